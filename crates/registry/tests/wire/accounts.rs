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
