//! Proving who we are, and what is said when that fails.

use base64::Engine as _;
use http::Method;
use registry::{Client, ClientOptions, CredentialSources, CredentialStore, ErrorKind, PushOptions};
use testkit::{Action, Auth, Endpoint, Match, Options, Registry};

use crate::common::{block_on, client, client_as, options, reference, repository, sample};

const SECRET: &str = "canary-secret";

fn guarded(auth: Auth) -> Registry {
    Registry::with(Options {
        auth,
        ..Options::default()
    })
}

/// A client with the accounts of a `config.json`.
fn client_with(directory: &std::path::Path, config: &str) -> Client {
    let path = directory.join("config.json");
    std::fs::write(&path, config).expect("a file");
    let credentials = CredentialStore::load(CredentialSources {
        docker_config: Some(path),
        ..CredentialSources::default()
    })
    .expect("accounts");
    Client::new(ClientOptions {
        credentials,
        ..options()
    })
    .expect("a client")
}

#[test]
fn accounts_of_a_file_open_the_registry() {
    let directory = tempfile::tempdir().expect("a directory");
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("u:{SECRET}"));
    for guard in [Auth::basic("u", SECRET), Auth::token("u", SECRET)] {
        for entry in [
            format!(r#"{{"auth":"{auth}"}}"#),
            format!(r#"{{"username":"u","password":"{SECRET}"}}"#),
        ] {
            let registry = guarded(guard.clone());
            let config = format!(r#"{{"auths":{{"{}":{entry}}}}}"#, registry.host());
            let client = client_with(directory.path(), &config);
            let sample = sample(10);
            let target = repository(&format!("{}/a", registry.host()));
            block_on(sample.push(&client, &target, "1", &PushOptions::default()))
                .expect("the account is right");
            assert!(sample.is_in(&registry, "a", "1"));
        }
    }
}

#[test]
fn an_identity_token_is_exchanged() {
    let directory = tempfile::tempdir().expect("a directory");
    let registry = guarded(Auth::token("u", SECRET));
    let config = format!(
        r#"{{"auths":{{"{}":{{"identitytoken":"{SECRET}"}}}}}}"#,
        registry.host()
    );
    let client = client_with(directory.path(), &config);
    let sample = sample(10);
    sample.seed(&registry, "a", "1");
    block_on(sample.pull(&client, &reference(&format!("{}/a:1", registry.host()))))
        .expect("the token is right");
    let asked = registry
        .log()
        .into_iter()
        .find(|request| request.endpoint == Endpoint::Token)
        .expect("a question");
    assert_eq!(asked.method, Method::POST);
    assert!(!asked.path.contains(SECRET) && !asked.has_credentials());
}

#[test]
fn a_wrong_password_names_account_and_place_and_never_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    for guard in [Auth::basic("u", "right"), Auth::token("u", "right")] {
        let registry = guarded(guard);
        let config = format!(
            r#"{{"auths":{{"{}":{{"username":"u","password":"{SECRET}"}}}}}}"#,
            registry.host()
        );
        let client = client_with(directory.path(), &config);
        let error = block_on(client.resolve(&reference(&format!("{}/a:1", registry.host()))))
            .expect_err("a wrong password");
        assert_eq!(*error.kind(), ErrorKind::Unauthorized, "{error}");
        let account = error.account_used().expect("an account");
        assert!(
            account.contains("`u`") && account.contains("config.json"),
            "{account}"
        );
        assert!(!format!("{error} {error:?}").contains(SECRET));
        assert!(registry.log().len() <= 4, "{:?}", registry.lines());
    }
}

#[test]
fn no_account_at_all_is_said() {
    for guard in [Auth::basic("u", "p"), Auth::token("u", "p")] {
        let registry = guarded(guard);
        let error = block_on(client().resolve(&reference(&format!("{}/a:1", registry.host()))))
            .expect_err("no account");
        assert_eq!(*error.kind(), ErrorKind::Unauthorized, "{error}");
    }
}

#[test]
fn fresh_tokens_that_are_refused_end_it() {
    let registry = guarded(Auth::token("u", "p"));
    let challenge = "Bearer realm=\"REALM\",service=\"s\""
        .replace("REALM", &format!("{}/token", registry.url()));
    registry.fault(
        Match::new(Method::HEAD, Endpoint::Manifest),
        Action::status_with(401, "www-authenticate", &challenge),
    );
    let client = client_as(&registry.host(), "u", "p");
    let error = block_on(client.resolve(&reference(&format!("{}/a:1", registry.host()))))
        .expect_err("refused for ever");
    assert_eq!(*error.kind(), ErrorKind::Unauthorized, "{error}");
    let tokens = registry
        .log()
        .iter()
        .filter(|request| request.endpoint == Endpoint::Token)
        .count();
    assert_eq!(tokens, 2);
}

#[test]
fn tokens_are_asked_for_once_and_for_no_more_than_is_needed() {
    let registry = guarded(Auth::token("u", "p"));
    let sample = sample(10);
    sample.seed(&registry, "a", "1");
    let client = client_as(&registry.host(), "u", "p");
    let name = reference(&format!("{}/a:1", registry.host()));
    block_on(async {
        let pulls = (0..8).map(|_| sample.pull(&client, &name));
        for result in futures_util::future::join_all(pulls).await {
            result.expect("a pull");
        }
    });
    let scopes: Vec<String> = registry
        .log()
        .iter()
        .filter(|request| request.endpoint == Endpoint::Token)
        .map(|request| request.path.clone())
        .collect();
    assert_eq!(scopes.len(), 1, "{scopes:?}");
    assert!(scopes[0].contains("repository%3Aa%3Apull"), "{scopes:?}");
    assert!(!scopes[0].contains("push"), "{scopes:?}");
}

/// A token that ends in the middle of an upload costs a new token and nothing else (R01).
#[test]
fn an_upload_goes_on_where_its_token_ended() {
    for uses in 1..=10 {
        let registry = guarded(Auth::Token {
            user: "u".into(),
            password: "p".into(),
            realm: testkit::Realm::SamePort,
            uses: Some(uses),
            anonymous_pull: false,
        });
        let client = client_as(&registry.host(), "u", "p");
        let sample = sample(1_000_000);
        let target = repository(&format!("{}/a", registry.host()));
        let in_pieces = PushOptions {
            chunk_bytes: Some(100_000),
            ..PushOptions::default()
        };
        block_on(sample.push(&client, &target, "1", &in_pieces)).expect("tokens are renewed");
        assert!(sample.is_in(&registry, "a", "1"));
        let log = registry.log();
        let opened = (log.iter())
            .filter(|request| request.endpoint == Endpoint::UploadStart && request.status == 202);
        assert_eq!(
            opened.count(),
            2,
            "one session for each blob, with {uses} uses"
        );
        let taken: u64 = (log.iter())
            .filter(|request| request.method == Method::PATCH && request.status == 202)
            .map(|request| request.bytes_in)
            .sum();
        assert!(
            taken <= 1_000_300,
            "nothing is sent twice: {taken} bytes with {uses} uses"
        );
    }
}

#[test]
fn what_is_refused_names_scope_action_and_account() {
    // Always 401, to fresh tokens too (R02).
    let registry = guarded(Auth::token("u", "p"));
    let challenge = format!("Bearer realm=\"{}/token\",service=\"s\"", registry.url());
    registry.fault(
        Match::new(Method::POST, Endpoint::UploadStart),
        Action::status_with(401, "www-authenticate", &challenge),
    );
    let push = |registry: &Registry| {
        let client = client_as(&registry.host(), "u", "p");
        let target = repository(&format!("{}/team/a", registry.host()));
        let sample = sample(10);
        block_on(sample.push(&client, &target, "1", &PushOptions::default()))
            .expect_err("it is refused")
    };
    let error = push(&registry);
    let said = error.to_string();
    assert_eq!(*error.kind(), ErrorKind::Unauthorized, "{said}");
    assert!(
        said.contains("credentials for repository:team/a:pull,push"),
        "{said}"
    );
    assert!(said.contains("account `u` from the test"), "{said}");
    // 403 is not asked again (R03).
    let registry = guarded(Auth::token("u", "p"));
    registry.fault(
        Match::new(Method::POST, Endpoint::UploadStart),
        Action::status(403),
    );
    let error = push(&registry);
    let said = error.to_string();
    assert_eq!(*error.kind(), ErrorKind::Denied, "{said}");
    assert!(said.contains("push to repository `team/a`"), "{said}");
    assert!(said.contains("account `u` from the test"), "{said}");
    let asked = registry.log().into_iter();
    let asked = asked.filter(|request| request.status == 403).count();
    assert_eq!(asked, 1);
}

#[test]
fn access_is_asked_for_without_leaving_anything() {
    use registry::Access;
    let registry = guarded(Auth::token("u", "p"));
    let sample = sample(10);
    sample.seed(&registry, "a", "1");
    let name = |text: &str| reference(&format!("{}/{text}", registry.host()));
    let good = client_as(&registry.host(), "u", "p");
    let bad = client_as(&registry.host(), "u", "wrong");
    block_on(async {
        good.check_login(&registry.host())
            .await
            .expect("he is known");
        let error = bad.check_login(&registry.host()).await.expect_err("not he");
        assert_eq!(*error.kind(), ErrorKind::Unauthorized, "{error}");
        for (client, text, expected) in [
            (&good, "a:1", "Allowed"),
            (&good, "a:2", "Missing"),
            (&bad, "a:1", "Refused"),
        ] {
            let found = client.may_pull(&name(text)).await.expect("an answer");
            let found = match found {
                Access::Allowed => "Allowed",
                Access::Missing => "Missing",
                Access::Refused(_) => "Refused",
            };
            assert_eq!(found, expected, "{text}");
        }
        let target = repository(&format!("{}/new", registry.host()));
        let found = good.may_push(&target).await.expect("an answer");
        assert!(matches!(found, Access::Allowed), "{found:?}");
        let found = bad.may_push(&target).await.expect("an answer");
        assert!(matches!(found, Access::Refused(_)), "{found:?}");
    });
    let closed = registry.log().into_iter();
    let closed = closed.filter(|request| request.method == Method::DELETE);
    assert_eq!(closed.count(), 1, "the upload is cancelled");
}
