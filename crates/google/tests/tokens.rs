//! Tokens from every kind of source, against services in memory; and what is said when there are none.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use google::{
    Ambient, Endpoints, Federation, GithubIdentity, Google, GoogleError, GoogleErrorKind,
    MetadataUse, Options, SCOPE_CLOUD_PLATFORM, Secret, SubjectToken, Timing,
};
use serde_json::{Value, json};
use testkit::{ACCESS_TOKEN, FEDERATED_TOKEN};

const SCOPES: &[&str] = &[SCOPE_CLOUD_PLATFORM];

/// Services, a directory for files, and what is ambient.
struct Place {
    services: testkit::Google,
    directory: tempfile::TempDir,
    ambient: Ambient,
}

impl Place {
    fn new() -> Self {
        Self {
            services: testkit::Google::start(),
            directory: tempfile::tempdir().unwrap(),
            ambient: Ambient::default(),
        }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name, &format!("#!/bin/sh\n{text}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn google(&self) -> Google {
        let url = self.services.url();
        Google::new(Options {
            endpoints: Endpoints {
                sts: Some(format!("{url}/sts")),
                oauth2: Some(format!("{url}/oauth2")),
                iam_credentials: Some(url.clone()),
                metadata: Some(url),
                universe: None,
            },
            ambient: self.ambient.clone(),
            timing: Timing {
                pause: Duration::from_millis(2),
                readiness: Duration::from_millis(100),
                ..Timing::default()
            },
            ..Options::default()
        })
    }

    async fn token(&self) -> Result<String, GoogleError> {
        let token = self.google().access_token(SCOPES).await?;
        Ok(token.expose().to_owned())
    }

    /// What becomes of a file of credentials.
    async fn token_of(&mut self, file: &Value) -> Result<String, GoogleError> {
        self.ambient.credentials_file = Some(self.file("credentials.json", &file.to_string()));
        self.token().await
    }
}

/// Everything that an error says, with its advice.
fn words(error: &GoogleError) -> String {
    let advice = error.advice().unwrap_or_default();
    let said = format!("{error} {error:?} {advice}");
    assert!(!said.contains("canary-"), "a secret is in: {said}");
    said
}

#[tokio::test]
async fn every_kind_of_file_becomes_a_token() {
    let mut place = Place::new();
    let services = place.services.clone();
    let text = place.file("text", &format!("{}\n", services.subject_token()));
    let wrapped = json!({ "value": services.subject_token() }).to_string();
    let wrapped = place.file("json", &wrapped);
    let in_field = json!({ "type": "json", "subject_token_field_name": "value" });
    let acts_as = Some(services.email());
    let (url, request) = services.github();
    let github = json!({
        "url": format!("{url}&audience=https%3A%2F%2Fiam.googleapis.com%2F{}", services.provider()),
        "headers": { "Authorization": format!("Bearer {request}") },
        "format": in_field,
    });
    let cases = [
        (services.service_account(), ACCESS_TOKEN),
        (services.authorized_user(), ACCESS_TOKEN),
        (
            services.external_account(json!({ "file": text }), None),
            FEDERATED_TOKEN,
        ),
        (
            services.external_account(json!({ "file": text }), acts_as),
            ACCESS_TOKEN,
        ),
        (
            services.external_account(json!({ "file": wrapped, "format": in_field }), None),
            FEDERATED_TOKEN,
        ),
        (
            services.external_account(
                json!({ "url": format!("{}/subject", services.url()) }),
                acts_as,
            ),
            ACCESS_TOKEN,
        ),
        // What google-github-actions/auth leaves.
        (services.external_account(github, acts_as), ACCESS_TOKEN),
        (
            services.impersonated(services.authorized_user()),
            ACCESS_TOKEN,
        ),
        (
            services.impersonated(services.service_account()),
            ACCESS_TOKEN,
        ),
    ];
    for (file, expected) in cases {
        assert_eq!(place.token_of(&file).await.unwrap(), expected, "{file}");
    }
}

#[tokio::test]
async fn programs_in_files_are_run_only_when_that_is_allowed() {
    let mut place = Place::new();
    let services = place.services.clone();
    let token = services.subject_token();
    let answer = format!(
        r#"test "$GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE" = 0 || exit 3
test "$1" = --now || exit 4
printf '{{"version":1,"success":true,"token_type":"urn:ietf:params:oauth:token-type:jwt","id_token":"{token}"}}'"#
    );
    let good = place.program("good", &answer);
    let cases = [
        (format!("{} --now", good.display()), true, ""),
        (format!("{}", good.display()), true, "version 1"),
        ("relative".to_owned(), true, "whole path"),
        (
            place
                .program(
                    "refuses",
                    r#"echo '{"version":1,"success":false,"code":"401","message":"log in"}'"#,
                )
                .display()
                .to_string(),
            true,
            "401 log in",
        ),
        (
            place
                .program("complains", "echo no >&2; exit 1")
                .display()
                .to_string(),
            true,
            "no",
        ),
        (
            place
                .program("floods", "head -c 3000000 /dev/zero")
                .display()
                .to_string(),
            true,
            "printed more than",
        ),
        (
            format!("{} --now", good.display()),
            false,
            "ALLOW_EXECUTABLES",
        ),
    ];
    for (command, allowed, expected) in cases {
        place.ambient.allow_executables = allowed;
        let source = json!({ "executable": { "command": command, "timeout_millis": 20000 } });
        let file = services.external_account(source, None);
        match place.token_of(&file).await {
            Ok(token) => assert_eq!(
                (token.as_str(), expected),
                (FEDERATED_TOKEN, ""),
                "{command}"
            ),
            Err(error) => {
                let said = words(&error);
                assert!(
                    !expected.is_empty() && said.contains(expected),
                    "{command}: {said}"
                );
            }
        }
    }
    place.ambient.allow_executables = true;
    let hangs = place.program("hangs", "sleep 600");
    let source = json!({ "executable": { "command": hangs, "timeout_millis": 200 } });
    let error = place
        .token_of(&services.external_account(source, None))
        .await;
    assert!(words(&error.unwrap_err()).contains("did not end"));
    // What it left in its file is used until it ends.
    let kept = place.file(
        "kept",
        &format!(
            r#"{{"version":1,"success":true,"id_token":"{token}","expiration_time":4000000000}}"#
        ),
    );
    let source = json!({ "executable": { "command": "/absent", "output_file": kept } });
    let found = place
        .token_of(&services.external_account(source, None))
        .await;
    assert_eq!(found.unwrap(), FEDERATED_TOKEN);
}

#[tokio::test]
async fn a_job_proves_its_identity_without_any_file() {
    let mut place = Place::new();
    let services = place.services.clone();
    let (request_url, request_token) = services.github();
    place.ambient.is_github = true;
    place.ambient.github = Some(GithubIdentity {
        request_url,
        request_token: Secret::new(request_token),
    });
    place.ambient.federation.provider = Some(services.provider().to_owned());
    // The service fails at first, as it does at busy hours.
    services.answer("/github", 503, "busy", 2);
    assert_eq!(place.token().await.unwrap(), FEDERATED_TOKEN);
    place.ambient.federation.service_account = Some(services.email().to_owned());
    services.answer(
        "/github",
        200,
        &json!({ "value": services.subject_token() }).to_string(),
        1,
    );
    assert_eq!(place.token().await.unwrap(), ACCESS_TOKEN);
    let identity = place.google().identity().await.unwrap();
    assert_eq!(identity.account.as_deref(), Some(services.email()));

    services.answer("/github", 403, "no", 1);
    let error = place.token().await.unwrap_err();
    assert!(words(&error).contains("id-token: write"), "{error}");
    place.ambient.github = None;
    let error = place.token().await.unwrap_err();
    assert!(words(&error).contains("id-token: write"), "{error}");
    place.ambient.is_github = false;
    place.ambient.federation.is_provider_demanded = true;
    let error = place.token().await.unwrap_err();
    assert!(words(&error).contains("--oidc-token-file"), "{error}");
}

#[tokio::test]
async fn identity_tokens_of_other_systems_come_from_files_and_variables() {
    let mut place = Place::new();
    let services = place.services.clone();
    let path = place.file("token", &services.subject_token());
    let variable = |token: Option<&str>| SubjectToken::Variable {
        name: "CI_TOKEN".to_owned(),
        token: token.map(Secret::new),
    };
    let good = services.subject_token();
    let cases = [
        (SubjectToken::File(path), ""),
        (SubjectToken::File("/absent/token".into()), "/absent/token"),
        (variable(Some(&good)), ""),
        (variable(None), "CI_TOKEN is not set"),
        (variable(Some("two words")), "CI_TOKEN holds no token"),
        // Its text comes back in the refusal, and is not repeated.
        (variable(Some("canary-wrong")), "another audience"),
    ];
    for (subject, expected) in cases {
        place.ambient.federation = Federation {
            provider: Some(services.provider().to_owned()),
            service_account: None,
            subject: Some(subject.clone()),
            is_provider_demanded: true,
            is_account_demanded: false,
        };
        match place.token().await {
            Ok(token) => assert_eq!((token.as_str(), expected), (FEDERATED_TOKEN, "")),
            Err(error) => {
                let said = words(&error);
                assert!(
                    !expected.is_empty() && said.contains(expected),
                    "{subject:?}: {said}"
                );
            }
        }
    }
    place.ambient.federation.provider = Some("projects/by-name/x".to_owned());
    let error = place.token().await.unwrap_err();
    assert_eq!(error.kind(), GoogleErrorKind::Unusable);
    assert!(words(&error).contains("NUMBER"), "{error}");
}

#[tokio::test]
async fn refusals_come_with_advice_and_without_secrets() {
    let mut place = Place::new();
    let services = place.services.clone();
    let oauth = |code: &str, description: &str| {
        json!({ "error": code, "error_description": description }).to_string()
    };
    let text = place.file("text", &services.subject_token());
    let external = services.external_account(json!({ "file": text }), Some(services.email()));
    let mut other = external.clone();
    other["audience"] = "//iam.googleapis.com/projects/name/x".into();
    let mut stranger = services.external_account(json!({ "file": text }), None);
    stranger["service_account_impersonation_url"] =
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/x@y:generateAccessToken"
            .into();
    let mut revoked = services.authorized_user();
    revoked["refresh_token"] = "canary-revoked".into();
    let echo = services.subject_token();
    let none = ("", 0, String::new());
    let cases = [
        (&other, none.clone(), "project's number"),
        (&stranger, none.clone(), "roles/iam.workloadIdentityUser"),
        (
            &revoked,
            none.clone(),
            "gcloud auth application-default login",
        ),
        (
            &external,
            (
                "/sts",
                403,
                oauth("unauthorized_client", "rejected by the attribute condition"),
            ),
            testkit::SUBJECT,
        ),
        (
            &external,
            (
                "/sts",
                400,
                oauth("invalid_grant", &format!("bad [{echo}]")),
            ),
            "invalid_grant: bad […]",
        ),
        (
            &services.authorized_user(),
            (
                "/oauth2",
                400,
                json!({ "error": "invalid_grant", "error_subtype": "invalid_rapt" }).to_string(),
            ),
            "new login",
        ),
        (
            &services.service_account(),
            (
                "/oauth2",
                400,
                oauth("invalid_grant", "Invalid JWT Signature."),
            ),
            "make a new one",
        ),
        (
            &services.authorized_user(),
            ("/oauth2", 200, "canary-junk".to_owned()),
            "cannot be understood",
        ),
        (
            &services.authorized_user(),
            (
                "/oauth2",
                200,
                r#"{"access_token":"canary-\nline"}"#.to_owned(),
            ),
            "control characters",
        ),
        (
            &services.authorized_user(),
            ("/oauth2", 200, "x".repeat(100_000)),
            "longer than",
        ),
    ];
    for (file, (path, status, body), expected) in cases {
        // As often as it is asked.
        services.answer(path, status, &body, 4);
        let error = place.token_of(file).await.unwrap_err();
        let said = words(&error);
        assert!(said.contains(expected), "{expected}: {said}");
        services.answer(path, 0, "", 0);
    }
}

#[tokio::test]
async fn services_in_trouble_are_asked_again_and_others_are_not() {
    let mut place = Place::new();
    let services = place.services.clone();
    let user = services.authorized_user();
    for (status, times, asked) in [
        (503, 3, 4),
        (429, 1, 2),
        (500, 9, 4),
        (400, 9, 1),
        (302, 9, 1),
    ] {
        let before = services.log().len();
        services.answer("/oauth2", status, "", times);
        let found = place.token_of(&user).await;
        assert_eq!(found.is_ok(), times < asked, "{status}");
        assert_eq!(services.log().len() - before, asked as usize, "{status}");
    }
}

#[tokio::test]
async fn the_machine_is_asked_when_nothing_else_is_there() {
    let mut place = Place::new();
    let services = place.services.clone();
    place.ambient.metadata = MetadataUse::Detect;
    assert_eq!(place.token().await.unwrap(), ACCESS_TOKEN);
    let identity = place.google().identity().await.unwrap();
    assert_eq!(identity.account.as_deref(), Some(services.email()));
    // A pod whose identity is not known yet.
    let token = "/computeMetadata/v1/instance/service-accounts/default/token";
    for status in [404, 503] {
        services.answer(token, status, "not ready", 3);
        assert_eq!(place.token().await.unwrap(), ACCESS_TOKEN, "{status}");
    }
    services.answer(token, 404, "Gaia id not found for email x@y\n", 99);
    let before = services.log().len();
    let error = place.token().await.unwrap_err();
    assert!(words(&error).contains("annotation"), "{error}");
    assert_eq!(services.log().len() - before, 2, "it will not change");
    services.answer(token, 404, "", 99);
    let error = place.token().await.unwrap_err();
    assert_eq!(error.kind(), GoogleErrorKind::Denied, "{error}");
    // A machine that was made without an account.
    services.answer(token, 404, "", 1);
    services.answer("/computeMetadata/v1/instance/service-accounts/", 200, "", 1);
    let error = place.token().await.unwrap_err();
    assert_eq!(error.kind(), GoogleErrorKind::NoAccount, "{error}");
    // Another cloud's machine.
    services.forget_flavor();
    let error = place.token().await.unwrap_err();
    assert_eq!(error.kind(), GoogleErrorKind::NoAccount, "{error}");
    place.ambient.metadata = MetadataUse::Present;
    let error = place.token().await.unwrap_err();
    assert!(words(&error).contains("does not say"), "{error}");
}

#[tokio::test]
async fn sources_are_tried_in_order_and_none_that_fails_is_passed_over() {
    let mut place = Place::new();
    let services = place.services.clone();
    place.ambient.metadata = MetadataUse::Never;
    let error = place.token().await.unwrap_err();
    assert_eq!(error.kind(), GoogleErrorKind::NoAccount);
    assert!(
        words(&error).contains("GOOGLE_APPLICATION_CREDENTIALS"),
        "{error}"
    );

    place.program(
        "gcloud",
        r#"test "$*" = "config config-helper --format=json" || exit 2
echo '{"credential":{"access_token":"gcloud-token","token_expiry":"2040-01-01T00:00:00Z"}}'"#,
    );
    place.ambient.search_path = Some(place.directory.path().into());
    assert_eq!(place.token().await.unwrap(), "gcloud-token");
    place.ambient.metadata = MetadataUse::Present;
    assert_eq!(place.token().await.unwrap(), ACCESS_TOKEN);
    let gcloud = place.file("adc.json", &services.authorized_user().to_string());
    place.ambient.gcloud_file = Some(gcloud);
    let place_of = async |place: &Place| place.google().identity().await.map(|found| found.place);
    assert!(place_of(&place).await.unwrap().ends_with("adc.json"));
    // A declaration for everybody, where nobody can prove anything.
    place.ambient.federation.provider = Some(services.provider().to_owned());
    assert!(place_of(&place).await.unwrap().ends_with("adc.json"));
    place.ambient.is_github = true;
    assert!(place_of(&place).await.unwrap().contains("GitHub Actions"));
    place.ambient.credentials_file = Some("/absent/key.json".into());
    let error = place_of(&place).await.unwrap_err();
    assert!(words(&error).contains("/absent/key.json"), "{error}");
    let key = place.file("key.json", &services.service_account().to_string());
    place.ambient.credentials_file = Some(key);
    assert!(place_of(&place).await.unwrap().ends_with("key.json"));
    place.ambient.federation.is_provider_demanded = true;
    assert!(place_of(&place).await.unwrap().contains("GitHub Actions"));
    // An account that was asked for is acted as by whoever is found; a declared one by its provider.
    for (demanded, expected) in [(true, true), (false, false)] {
        place.ambient.federation.is_provider_demanded = false;
        place.ambient.federation.is_account_demanded = demanded;
        place.ambient.federation.service_account = Some("other@p".to_owned());
        place.ambient.is_github = false;
        let found = place.google().identity().await.unwrap().account;
        assert_eq!(found.as_deref() == Some("other@p"), expected);
    }
    // A login of gcloud that has ended is as good as none.
    place.program(
        "gcloud",
        "echo 'ERROR: please run gcloud auth login' >&2; exit 1",
    );
    place.ambient = Ambient {
        search_path: place.ambient.search_path.clone(),
        ..Ambient::default()
    };
    let error = place.token().await.unwrap_err();
    assert_eq!(error.kind(), GoogleErrorKind::NoAccount);
    assert!(words(&error).contains("gcloud auth login"), "{error}");
}

#[tokio::test]
async fn many_who_ask_get_one_token() {
    let mut place = Place::new();
    let services = place.services.clone();
    let user = services.authorized_user().to_string();
    place.ambient.credentials_file = Some(place.file("user.json", &user));
    let google = place.google();
    let ask = async |renew: bool| {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let google = google.clone();
            all.spawn(async move {
                match renew {
                    true => google.renewed_access_token(SCOPES).await,
                    false => google.access_token(SCOPES).await,
                }
            });
        }
        all.join_all()
            .await
            .into_iter()
            .for_each(|found| assert!(found.is_ok()));
        services.given()
    };
    assert_eq!(ask(false).await, 1);
    assert_eq!(ask(false).await, 1);
    assert_eq!(ask(true).await, 2);
    // Other scopes are another token.
    google.access_token(&[google::SCOPE_STORAGE]).await.unwrap();
    assert_eq!(services.given(), 3);
}

#[tokio::test]
async fn tokens_are_renewed_before_they_end() {
    let place = Place::new();
    let services = place.services.clone();
    // At a quarter of a short life, and by our own clock.
    services.set_life(Some(0));
    let user = place.file("user.json", &services.authorized_user().to_string());
    let google = place.google().with_file(&user).unwrap();
    google.access_token(SCOPES).await.unwrap();
    google.access_token(SCOPES).await.unwrap();
    assert_eq!(services.given(), 2, "one that is over is not used");
    services.set_life(Some(100));
    let token = google.access_token(SCOPES).await.unwrap();
    assert!(token.time_left() <= Duration::from_secs(100));
    google.access_token(SCOPES).await.unwrap();
    assert_eq!(services.given(), 3, "a good one is");
    assert!(!format!("{token:?} {google:?}").contains("canary"));
}
