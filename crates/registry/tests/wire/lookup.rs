//! Which account belongs to a registry, as docker and podman find it: one table.

use std::os::unix::fs::PermissionsExt as _;

use registry::{Credential, CredentialSources, CredentialStore};

use crate::common::block_on;

/// What stands in the files, and what is found for `HOST PATH`.
struct Case {
    variable: &'static str,
    docker: &'static str,
    podman: &'static str,
    found: &'static [(&'static str, &'static str)],
}

const NOTHING: Case = Case {
    variable: "",
    docker: "",
    podman: "",
    found: &[],
};

/// A helper that answers with the key that it was asked for, and a few that do otherwise.
const HELPERS: [(&str, &str); 4] = [
    (
        "echo",
        r#"read key; echo "{\"Username\":\"helper\",\"Secret\":\"$key\"}""#,
    ),
    (
        "token",
        r#"echo '{"Username":"<token>","Secret":"refresh"}'"#,
    ),
    (
        "none",
        "echo 'credentials not found in native keychain'; exit 1",
    ),
    ("broken", "echo 'no vault' >&2; exit 1"),
];

// u:p, v:q
const CASES: &[Case] = &[
    Case {
        docker: r#"{"auths":{"a.io":{"auth":"dTpw"},"https://b.io/v1/":{"auth":"djpx"},"c.io:5000":{"auth":"dTpw"}}}"#,
        found: &[
            ("a.io x", "u:p"),
            ("b.io x", "v:q"),
            ("c.io:5000 x", "u:p"),
            ("c.io x", "nobody"),
            ("x.a.io x", "nobody"),
            ("a.io.evil x", "nobody"),
        ],
        ..NOTHING
    },
    // An exact key wins over one that has to be normalised, whatever the order.
    Case {
        docker: r#"{"auths":{"https://a.io/v2/":{"auth":"djpx"},"a.io":{"auth":"dTpw"}}}"#,
        found: &[("a.io x", "u:p")],
        ..NOTHING
    },
    // The names of Docker Hub are one.
    Case {
        docker: r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}"#,
        found: &[
            ("docker.io library/x", "u:p"),
            ("index.docker.io library/x", "u:p"),
            ("registry-1.docker.io library/x", "u:p"),
            ("docker.com library/x", "nobody"),
        ],
        ..NOTHING
    },
    Case {
        docker: r#"{"credHelpers":{"https://index.docker.io/v1/":"echo"}}"#,
        found: &[("docker.io x", "helper:https://index.docker.io/v1/")],
        ..NOTHING
    },
    // Helpers by exact name, never by suffix, scheme or pattern.
    Case {
        docker: r#"{"credHelpers":{"us-docker.pkg.dev":"echo","pkg.dev":"echo","*.pkg.dev":"echo","https://e.io":"echo"}}"#,
        found: &[
            ("us-docker.pkg.dev p/r/i", "helper:us-docker.pkg.dev"),
            ("eu-docker.pkg.dev p/r/i", "nobody"),
            ("e.io x", "nobody"),
        ],
        ..NOTHING
    },
    // What a helper does not know, nobody knows; and an empty name is none.
    Case {
        docker: r#"{"auths":{"a.io":{"auth":"dTpw"},"b.io":{"auth":"dTpw"},"c.io":{"auth":"dTpw"}},"credHelpers":{"a.io":"none","b.io":""},"credsStore":"none"}"#,
        podman: r#"{"auths":{"a.io":{"auth":"djpx"},"c.io":{"auth":"djpx"}}}"#,
        found: &[("a.io x", "nobody"), ("b.io x", "u:p"), ("c.io x", "v:q")],
        ..NOTHING
    },
    Case {
        docker: r#"{"auths":{"a.io":{}},"credsStore":"echo"}"#,
        found: &[("a.io x", "helper:a.io")],
        ..NOTHING
    },
    Case {
        docker: r#"{"credsStore":"token"}"#,
        found: &[("a.io x", "identity refresh")],
        ..NOTHING
    },
    // One that fails, or is not there, is an error: nobody else is asked (D19).
    Case {
        docker: r#"{"auths":{"a.io":{"auth":"dTpw"},"b.io":{"auth":"dTpw"}},"credHelpers":{"a.io":"broken","b.io":"absent"}}"#,
        podman: r#"{"auths":{"a.io":{"auth":"djpx"},"b.io":{"auth":"djpx"}}}"#,
        found: &[
            ("a.io x", "error: no vault"),
            ("b.io x", "error: `docker-credential-absent` is not in PATH"),
        ],
        ..NOTHING
    },
    // `auth` wins over the separate fields; tokens win over both; NULs behind a password go.
    Case {
        docker: r#"{"auths":{"a.io":{"auth":"dTpw","username":"v","password":"q"},"b.io":{"auth":"dTpw","identitytoken":"t"},"c.io":{"registrytoken":"t"},"d.io":{"auth":"dTpwAAA="},"e.io":{"username":"v","password":"q"}}}"#,
        found: &[
            ("a.io x", "u:p"),
            ("b.io x", "identity t"),
            ("c.io x", "registry t"),
            ("d.io x", "u:p"),
            ("e.io x", "v:q"),
        ],
        ..NOTHING
    },
    // Podman's keys may have a path; the longest that covers the name wins.
    Case {
        podman: r#"{"auths":{"q.io":{"auth":"dTpw"},"q.io/org/app":{"auth":"djpx"}}}"#,
        found: &[
            ("q.io org/app", "v:q"),
            ("q.io org/app/sub", "v:q"),
            ("q.io org/apps", "u:p"),
            ("q.io org", "u:p"),
        ],
        ..NOTHING
    },
    // The variable first, then docker, then podman.
    Case {
        variable: r#"{"auths":{"a.io":{"auth":"dTpw"}}}"#,
        docker: r#"{"auths":{"a.io":{"auth":"djpx"},"b.io":{"auth":"djpx"}}}"#,
        podman: r#"{"auths":{"b.io":{"auth":"dTpw"},"c.io":{"auth":"dTpw"}}}"#,
        found: &[("a.io x", "u:p"), ("b.io x", "v:q"), ("c.io x", "u:p")],
    },
    // A file that `touch` or a login tool left.
    Case {
        docker: " \n",
        found: &[("a.io x", "nobody")],
        ..NOTHING
    },
];

#[test]
fn accounts_are_found_as_docker_and_podman_find_them() {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in HELPERS {
        let path = directory.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("a mode");
    }
    for (at, case) in CASES.iter().enumerate() {
        let (docker, podman) = (directory.path().join("d"), directory.path().join("p"));
        std::fs::write(&docker, case.docker).expect("a file");
        std::fs::write(&podman, case.podman).expect("a file");
        let path: std::ffi::OsString =
            format!("{}:/usr/bin:/bin", directory.path().display()).into();
        let store = CredentialStore::load(CredentialSources {
            docker_auth_config: (!case.variable.is_empty()).then(|| case.variable.to_owned()),
            docker_config: Some(docker),
            auth_files: vec![podman],
            search_path: Some(path.clone()),
            helper_environment: Some(vec![("PATH".into(), path)]),
        })
        .expect("good files");
        for (name, expected) in case.found {
            let (host, path) = name.split_once(' ').expect("HOST PATH");
            let found = match block_on(store.look_up(host, path, false)) {
                Err(error) => {
                    let source = std::error::Error::source(&error);
                    format!(
                        "error: {}",
                        source.map(ToString::to_string).unwrap_or_default()
                    )
                }
                Ok(lookup) => match lookup.found.map(|found| found.credential) {
                    None => "nobody".to_owned(),
                    Some(Credential::Password { username, password }) => {
                        format!("{username}:{}", password.expose())
                    }
                    Some(Credential::IdentityToken(token)) => {
                        format!("identity {}", token.expose())
                    }
                    Some(Credential::RegistryToken(token)) => {
                        format!("registry {}", token.expose())
                    }
                },
            };
            match expected.strip_prefix("error: ") {
                Some(part) => assert!(found.contains(part), "case {at}: {name}: {found}"),
                None => assert_eq!(found, *expected, "case {at}: {name}"),
            }
        }
    }
}

#[test]
fn the_variable_takes_nothing_but_accounts() {
    let load = |text: &str| {
        CredentialStore::load(CredentialSources {
            docker_auth_config: Some(text.to_owned()),
            ..CredentialSources::default()
        })
    };
    load(r#"{"auths":{"a.io":{"auth":"dTpw"}}}"#).expect("accounts");
    load(r#"{"auths":{}}"#).expect("no accounts");
    for text in [
        "c2VjcmV0",
        "[]",
        "{}",
        r#"{"auths":{"a.io":{"auth":"dTpw","email":"c2VjcmV0"}}}"#,
        r#"{"auths":{},"credsStore":"c2VjcmV0"}"#,
        r#"{"auths":{"a.io":{"username":"u","password":"c2VjcmV0"}}}"#,
        r#"{"auths":{"a.io":{"auth":"c2VjcmV0"}}}"#,
        r#"{"auths":{}} trailing"#,
    ] {
        let error = load(text).expect_err(text);
        let said = format!("{error} {error:?}");
        assert!(said.contains("DOCKER_AUTH_CONFIG"), "{text}: {said}");
        assert!(!said.contains("c2VjcmV0"), "{text}: {said}");
    }
}

#[test]
fn keys_that_can_never_match_are_noted() {
    let directory = tempfile::tempdir().expect("a directory");
    let docker = directory.path().join("config.json");
    let text = r#"{"credHelpers":{"pkg.dev":"x","*.gcr.io":"x","https://a.io":"x","a.io/b":"x","b.io":"x"}}"#;
    std::fs::write(&docker, text).expect("a file");
    let store = CredentialStore::load(CredentialSources {
        docker_config: Some(docker),
        ..CredentialSources::default()
    })
    .expect("a good file");
    let notes = store.notes().join("\n");
    for key in ["pkg.dev", "*.gcr.io", "https://a.io", "a.io/b"] {
        assert!(
            notes.contains(&format!("credHelpers[\"{key}\"]")),
            "{key}: {notes}"
        );
    }
    assert!(
        !notes.contains("b.io\"]") || !notes.contains("\"b.io\""),
        "{notes}"
    );
}
