//! Credential helpers as shell scripts, good ones and bad ones.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use registry::{Client, ClientOptions, CredentialSources, CredentialStore, Error, ErrorKind};
use testkit::{Auth, Options, Registry};

use crate::common::{block_on, options, reference, sample};

const SECRET: &str = "canary-secret";

fn script(directory: &Path, name: &str, text: &str) {
    let path = directory.join(format!("docker-credential-{name}"));
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Pulls from a guarded registry with a helper that does `text`, named by
/// `config` (`HOST` is replaced).
fn pull(text: &str, config: &str) -> Result<Registry, Error> {
    let directory = tempfile::tempdir().expect("a directory");
    script(directory.path(), "fake", text);
    let registry = Registry::with(Options {
        auth: Auth::basic("u", SECRET),
        ..Options::default()
    });
    let sample = sample(10);
    sample.seed(&registry, "a", "1");
    let path = directory.path().join("config.json");
    std::fs::write(&path, config.replace("HOST", &registry.host())).expect("a file");
    let search_path = std::env::join_paths([
        Path::new("."),
        Path::new(""),
        directory.path(),
        Path::new("/usr/bin"),
        Path::new("/bin"),
    ])
    .expect("a path");
    let credentials = CredentialStore::load(CredentialSources {
        docker_config: Some(path),
        helper_environment: Some(vec![("PATH".into(), search_path.clone())]),
        search_path: Some(search_path),
        ..CredentialSources::default()
    })
    .expect("accounts");
    let client = Client::new(ClientOptions {
        credentials,
        ..options()
    })
    .expect("a client");
    block_on(sample.pull(&client, &reference(&format!("{}/a:1", registry.host()))))?;
    Ok(registry)
}

const HELPERS: &str = r#"{"credHelpers":{"HOST":"fake"}}"#;
const STORE: &str = r#"{"credsStore":"fake"}"#;

#[test]
fn a_helper_that_answers_is_believed() {
    let answer = format!(
        r#"read server; test "$1" = get || exit 9
printf '{{"ServerURL":"%s","Username":"u","Secret":"{SECRET}"}}' "$server""#
    );
    for config in [HELPERS, STORE] {
        pull(&answer, config).expect("the helper knows");
    }
    // One that answers without listening.
    pull(
        &format!(r#"exec <&-; echo '{{"Username":"u","Secret":"{SECRET}"}}'"#),
        HELPERS,
    )
    .expect("the helper knows");
}

#[test]
fn a_helper_that_fails_with_an_account_in_its_mouth_is_not_quoted() {
    for stream in ["1", "2"] {
        let text =
            format!(r#"echo 'warning {{"Username":"u","Secret":"{SECRET}"}}' >&{stream}; exit 1"#);
        let error = pull(&text, HELPERS).map(|_| ()).expect_err("it failed");
        let mut said = format!("{error} {error:?}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            said.push_str(&format!(" {cause} {cause:?}"));
            source = cause.source();
        }
        assert!(said.contains("docker-credential-fake failed"), "{said}");
        assert!(!said.contains(SECRET), "{said}");
    }
}

#[test]
fn a_helper_that_fails_is_an_error_that_names_it() {
    let cases = [
        ("echo oops >&2; exit 3", "oops"),
        ("echo 'no route to vault'; exit 1", "no route to vault"),
        ("exit 7", "exit status: 7"),
        ("echo not json", "not the JSON of an account"),
        (r#"echo '{"Username":"u"}'"#, "`Secret` is missing"),
        (r#"echo '{"Username":"u:v","Secret":"s"}'"#, "colon"),
        ("head -c 3000000 /dev/zero", "printed more than"),
    ];
    for (text, expected) in cases {
        let error = pull(text, HELPERS).expect_err(text);
        assert_eq!(*error.kind(), ErrorKind::Credentials, "{text}: {error}");
        let mut words = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            words.push_str(&format!(": {error}"));
            cause = error.source();
        }
        assert!(words.contains(expected), "{text}: {words}");
        assert!(words.contains("docker-credential-fake"), "{text}: {words}");
    }
}

#[test]
fn a_missing_helper_is_no_reason_to_try_another_account() {
    let config = format!(
        r#"{{"credHelpers":{{"HOST":"missing"}},"auths":{{"HOST":{{"username":"u","password":"{SECRET}"}}}}}}"#
    );
    let error = pull("exit 0", &config).expect_err("the helper is missing");
    assert_eq!(*error.kind(), ErrorKind::Credentials, "{error}");
}

#[test]
fn a_helper_that_knows_nothing_means_a_stranger() {
    let text = "echo 'credentials not found in native keychain'; exit 1";
    for config in [HELPERS, STORE] {
        let error = pull(text, config).expect_err("strangers may not");
        assert_eq!(*error.kind(), ErrorKind::Unauthorized, "{error}");
    }
    // Docker does not look into the file beside a store; what is there is from before it.
    let config = format!(
        r#"{{"credsStore":"fake","auths":{{"HOST":{{"username":"u","password":"{SECRET}"}}}}}}"#
    );
    let error = pull(text, &config).expect_err("the store's answer counts");
    assert_eq!(*error.kind(), ErrorKind::Unauthorized, "{error}");
}
