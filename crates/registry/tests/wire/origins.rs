//! Where credentials go, and where they do not: every request that a second
//! registry, the attacker's, saw is searched for them (reliability page, D01 to
//! D05).

use http::Method;
use registry::{Client, ErrorKind, PushOptions};
use testkit::{Action, Auth, Endpoint, Match, Options, Realm, Registry};

use crate::common::{block_on, client_as, options, reference, repository, sample};

const SECRET: &str = "canary-secret";

/// The registry that the account belongs to, and one that it does not.
fn pair(auth: Auth) -> (Registry, Registry, Client) {
    let home = Registry::with(Options {
        auth,
        ..Options::default()
    });
    let foreign = Registry::start();
    let client = client_as(&home.host(), "u", SECRET);
    (home, foreign, client)
}

fn assert_clean(name: &str, foreign: &Registry) {
    for request in foreign.log() {
        assert!(
            !request.has_credentials() && !request.path.contains(SECRET),
            "{name}: credentials went to another origin: {} {:?}",
            request.path,
            request.headers
        );
    }
}

fn both_kinds() -> [Auth; 2] {
    [Auth::basic("u", SECRET), Auth::token("u", SECRET)]
}

#[test]
fn redirects_of_blobs_lose_the_credentials() {
    for auth in both_kinds() {
        for code in [301, 302, 303, 307, 308] {
            let (home, foreign, client) = pair(auth.clone());
            let sample = sample(3_000_000);
            sample.seed(&home, "a", "1");
            foreign.serve_file("/store/layer", sample.layer.clone());
            let location = format!("{}/store/layer?signature=x", foreign.url());
            let layer = Match::new(Method::GET, Endpoint::Blob)
                .reference(sample.layer_descriptor.digest.as_str());
            home.fault(layer, Action::Redirect { code, location });
            block_on(sample.pull(&client, &reference(&format!("{}/a:1", home.host()))))
                .expect("a redirect is followed");
            assert_eq!(foreign.log().len(), 1, "{code}");
            assert_clean("redirect", &foreign);
            assert!(home.log().iter().any(testkit::Recorded::has_credentials));
        }
    }
}

#[test]
fn a_redirect_within_the_registry_keeps_them() {
    for auth in both_kinds() {
        let (home, _foreign, client) = pair(auth);
        let sample = sample(10);
        sample.seed(&home, "a", "1");
        sample.seed(&home, "a", "2");
        home.fault(
            Match::new(Method::GET, Endpoint::Manifest).reference("1"),
            Action::Redirect {
                code: 307,
                location: "/v2/a/manifests/2".into(),
            },
        );
        block_on(sample.pull(&client, &reference(&format!("{}/a:1", home.host()))))
            .expect("the same registry");
    }
}

#[test]
fn a_challenge_behind_a_redirect_is_not_answered() {
    let (home, _, client) = pair(Auth::basic("u", SECRET));
    let foreign = Registry::with(Options {
        auth: Auth::token("u", SECRET),
        ..Options::default()
    });
    let sample = sample(10);
    sample.seed(&home, "a", "1");
    sample.seed(&foreign, "a", "1");
    home.fault(
        Match::new(Method::GET, Endpoint::Manifest),
        Action::Redirect {
            code: 307,
            location: format!("{}/v2/a/manifests/1", foreign.url()),
        },
    );
    let error = block_on(sample.pull(&client, &reference(&format!("{}/a:1", home.host()))))
        .expect_err("a foreign challenge");
    assert_eq!(*error.kind(), ErrorKind::Unauthorized, "{error}");
    assert_clean("challenge", &foreign);
    assert!(foreign.lines().iter().all(|line| !line.contains("/token")));
}

#[test]
fn redirects_end() {
    let (home, foreign, client) = pair(Auth::basic("u", SECRET));
    let sample = sample(10);
    sample.seed(&home, "a", "1");
    let cases = [
        ("a circle", "/v2/a/manifests/1".to_owned(), "circle"),
        (
            "a file",
            "file:///etc/passwd".to_owned(),
            "neither http nor https",
        ),
        (
            "a user",
            format!("http://u:p@{}/x", foreign.host()),
            "user name",
        ),
        (
            "a long one",
            format!("/{}", "x".repeat(9000)),
            "longer than",
        ),
        ("no URL", "http://[".to_owned(), "not a URL"),
    ];
    for (name, location, message) in cases {
        home.clear_faults();
        home.clear_log();
        home.fault(
            Match::new(Method::GET, Endpoint::Manifest),
            Action::Redirect {
                code: 302,
                location,
            },
        );
        let error =
            block_on(client.manifest(&reference(&format!("{}/a:1", home.host())))).expect_err(name);
        assert_eq!(*error.kind(), ErrorKind::Protocol, "{name}: {error}");
        assert!(error.to_string().contains(message), "{name}: {error}");
        assert!(home.log().len() <= 3, "{name}: {:?}", home.lines());
    }
    // A chain without a circle.
    home.clear_faults();
    home.clear_log();
    for hop in 0..20 {
        home.fault(
            Match::new(Method::GET, Endpoint::Manifest).nth(hop + 1),
            Action::Redirect {
                code: 302,
                location: format!("/v2/a/manifests/hop{hop}"),
            },
        );
    }
    let error = block_on(client.manifest(&reference(&format!("{}/a:1", home.host()))))
        .expect_err("a chain");
    assert!(error.to_string().contains("more than 5"), "{error}");
    assert_eq!(home.log().len(), 6);
    assert!(foreign.log().is_empty());
}

#[test]
fn uploads_elsewhere_go_without_credentials() {
    for auth in both_kinds() {
        let (home, foreign, client) = pair(auth);
        let sample = sample(10);
        home.fault(
            Match::new(Method::POST, Endpoint::UploadStart),
            Action::ReplaceHeader {
                name: "location".into(),
                value: Some(format!("{}/v2/a/blobs/uploads/none", foreign.url())),
            },
        );
        block_on(sample.push(
            &client,
            &repository(&format!("{}/a", home.host())),
            "1",
            &PushOptions::default(),
        ))
        .expect_err("there is no such upload");
        assert!(!foreign.log().is_empty());
        assert_clean("upload", &foreign);
    }
}

#[test]
fn what_is_sent_is_not_redirected_elsewhere() {
    let (home, foreign, client) = pair(Auth::basic("u", SECRET));
    let sample = sample(10);
    for (method, endpoint) in [
        (Method::POST, Endpoint::UploadStart),
        (Method::PUT, Endpoint::Manifest),
    ] {
        home.clear_faults();
        home.fault(
            Match::new(method.clone(), endpoint),
            Action::Redirect {
                code: 307,
                location: format!("{}/v2/a/x", foreign.url()),
            },
        );
        let error = block_on(sample.push(
            &client,
            &repository(&format!(
                "{}/{}",
                home.host(),
                method.as_str().to_lowercase()
            )),
            "1",
            &PushOptions::default(),
        ))
        .expect_err("a redirected push");
        assert_eq!(*error.kind(), ErrorKind::Protocol, "{error}");
    }
    assert!(foreign.log().is_empty());
}

fn token_auth(realm: Realm) -> Auth {
    Auth::Token {
        user: "u".into(),
        password: SECRET.into(),
        realm,
        uses: None,
        anonymous_pull: true,
    }
}

#[test]
fn a_token_service_elsewhere_sees_no_password() {
    let home = Registry::with(Options {
        auth: token_auth(Realm::OtherPort),
        ..Options::default()
    });
    let client = client_as(&home.host(), "u", SECRET);
    let sample = sample(10);
    sample.seed(&home, "a", "1");
    let name = reference(&format!("{}/a:1", home.host()));
    block_on(sample.pull(&client, &name)).expect("strangers may pull");
    let asked: Vec<_> = home
        .log()
        .into_iter()
        .filter(|request| request.on_token_port)
        .collect();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|request| !request.has_credentials()));

    let error = block_on(sample.push(&client, name.repository(), "2", &PushOptions::default()))
        .expect_err("strangers may not push");
    assert_eq!(*error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(!format!("{error:?}{error}").contains(SECRET));
    let advice = error.advice().expect("advice");
    assert!(advice.contains("no password was sent"), "{advice}");

    // Named in the settings, the service is trusted.
    let service = asked[0].header("host").expect("a host").to_owned();
    let mut options = options();
    options.credentials = registry::CredentialStore::default().with(
        &home.host(),
        registry::Credential::Password {
            username: "u".into(),
            password: registry::Secret::new(SECRET),
        },
        "the test",
    );
    options.settings.token_services.insert(
        home.host(),
        vec![format!("http://{service}").parse().expect("an origin")],
    );
    let client = Client::new(options).expect("a client");
    block_on(sample.push(&client, name.repository(), "2", &PushOptions::default()))
        .expect("a listed service");
}

#[test]
fn a_realm_that_is_no_place_to_ask_is_refused() {
    for realm in [
        "ftp://a/token",
        "/token",
        "http://u:p@127.0.0.1/token",
        "http://[",
    ] {
        let home = Registry::with(Options {
            auth: token_auth(Realm::Url(realm.into())),
            ..Options::default()
        });
        let client = client_as(&home.host(), "u", SECRET);
        let error = block_on(client.manifest(&reference(&format!("{}/a:1", home.host()))))
            .expect_err(realm);
        assert_eq!(*error.kind(), ErrorKind::Protocol, "{realm}: {error}");
    }
}

#[test]
fn a_token_service_that_redirects_is_not_followed() {
    let (home, foreign, client) = pair(Auth::token("u", SECRET));
    home.fault(
        Match::any().endpoint(Endpoint::Token),
        Action::Redirect {
            code: 307,
            location: format!("{}/token", foreign.url()),
        },
    );
    let error = block_on(client.manifest(&reference(&format!("{}/a:1", home.host()))))
        .expect_err("a redirect");
    assert_eq!(
        error.operation(),
        registry::Operation::Authenticate,
        "{error}"
    );
    assert!(foreign.log().is_empty());
}

#[test]
fn a_token_service_may_not_say_too_much() {
    let (home, _, client) = pair(Auth::token("u", SECRET));
    for body in [vec![b' '; 70_000], b"<html>".to_vec(), b"{}".to_vec()] {
        home.clear_faults();
        home.fault(
            Match::any().endpoint(Endpoint::Token),
            Action::ReplaceBody(body),
        );
        let error = block_on(client.manifest(&reference(&format!("{}/a:1", home.host()))))
            .expect_err("no token");
        assert_eq!(*error.kind(), ErrorKind::Protocol, "{error}");
    }
}

#[test]
fn mirrors_get_their_own_account_and_cannot_lie() {
    let (home, mirror, _) = pair(Auth::basic("u", SECRET));
    let sample = sample(3_000_000);
    sample.seed(&home, "a", "1");
    sample.seed(&mirror, "copy/a", "1");
    let mut options = options();
    options.credentials = registry::CredentialStore::default().with(
        &home.host(),
        registry::Credential::Password {
            username: "u".into(),
            password: registry::Secret::new(SECRET),
        },
        "the test",
    );
    options.settings.rules.push(registry::RegistryRule {
        prefix: home.host(),
        location: None,
        insecure: false,
        blocked: false,
        mirror_by_digest_only: false,
        mirrors: vec![registry::Mirror {
            location: format!("{}/copy", mirror.host()),
            insecure: false,
            used_for: registry::MirrorUse::Unspecified,
        }],
    });
    let client = Client::new(options).expect("a client");
    let pull = |text: String| block_on(sample.pull(&client, &reference(&text)));
    pull(format!("{}/a:1", home.host())).expect("the tag from home, the blobs from the mirror");
    assert!(
        home.lines()
            .iter()
            .all(|line| line.ends_with("/manifests/1"))
    );
    assert_eq!(mirror.log().len(), 2);
    assert_clean("mirror", &mirror);

    // Damaged copies are passed over while nothing has been handed out.
    mirror.put_blob_as("copy/a", &sample.config_descriptor.digest, b"{}".to_vec());
    home.clear_log();
    pull(format!("{}/a:1", home.host())).expect("home has the right one");
    assert_eq!(
        home.lines()
            .iter()
            .filter(|line| line.contains("/blobs/"))
            .count(),
        1
    );

    // When home is gone, the mirror answers tags too.
    home.fault(Match::any(), Action::status(503));
    mirror.put_blob("copy/a", sample.config.clone());
    pull(format!("{}/a:1", home.host())).expect("home is down");
}

#[test]
fn lists_deletes_and_questions_lose_the_credentials_elsewhere() {
    for auth in both_kinds() {
        for code in [302, 307] {
            let (home, foreign, client) = pair(auth.clone());
            let name = repository(&format!("{}/a", home.host()));
            let digest = oci::Digest::of(b"nothing");
            // From here on the account is shown without being asked for.
            block_on(client.may_push(&name)).expect("an answer");
            let location = format!("{}/v2/a/elsewhere", foreign.url());
            for endpoint in [Endpoint::Tags, Endpoint::Catalog, Endpoint::Referrers] {
                let location = location.clone();
                home.fault(
                    Match::new(Method::GET, endpoint),
                    Action::Redirect { code, location },
                );
            }
            let delete = Match::new(Method::DELETE, Endpoint::Manifest);
            home.fault(delete, Action::Redirect { code, location });
            block_on(client.tags(&name)).expect_err("there is no such list");
            block_on(client.repositories(&name)).expect_err("there is no such list");
            let _ = block_on(client.referrers(&name, &digest, None));
            let asked = foreign.log().len();
            assert!(asked >= 3, "{asked}");
            block_on(client.delete_manifest(&name, &digest)).expect_err("not followed");
            assert_eq!(foreign.log().len(), asked, "a delete goes nowhere else");
            home.fault(
                Match::new(Method::POST, Endpoint::UploadStart),
                Action::ReplaceHeader {
                    name: "location".into(),
                    value: Some(format!("{}/v2/a/blobs/uploads/none", foreign.url())),
                },
            );
            block_on(client.may_push(&name)).expect("an answer");
            assert!(foreign.log().len() > asked, "the session is given up there");
            assert_clean("lists", &foreign);
            assert!(home.log().iter().any(testkit::Recorded::has_credentials));
        }
    }
}
