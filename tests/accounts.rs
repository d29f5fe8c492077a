//! Who we are to registries: accounts from every source open a registry, what is kept is kept well,
//! and nothing secret comes out of any command. Everything secret here has `canary` in it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use testkit::{ACCESS_TOKEN, Auth, FEDERATED_TOKEN, Google, Options, Registry};

use crate::cli::Environment;

/// The name that goes with a token.
const TOKEN_USER: &str = "oauth2accesstoken";

/// A registry that wants an account, Google's services, and a user with a small context.
struct Place {
    environment: Environment,
    registry: Registry,
    google: Google,
    variables: Vec<(&'static str, String)>,
}

impl Place {
    fn new(user: &str, password: &str) -> Self {
        Self::with(Auth::token(user, password))
    }

    fn with(auth: Auth) -> Self {
        let environment = Environment::new();
        environment.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
        let registry = Registry::with(Options {
            auth,
            ..Options::default()
        });
        let google = Google::start();
        let mut variables = google.variables();
        variables.push(("KILN_GOOGLE_HOSTS", registry.host()));
        variables.push(("NO_GCE_CHECK", "true".to_owned()));
        Self {
            environment,
            registry,
            google,
            variables,
        }
    }

    fn home(&self) -> PathBuf {
        self.environment.work().join("../home")
    }

    fn config(&self) -> PathBuf {
        self.home().join(".docker/config.json")
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.home().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// A program beside those of the system.
    fn program(&self, name: &str, text: &str) {
        let path = self.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    fn kiln(&self, arguments: &[&str]) -> Command {
        let host = self.registry.host();
        let words: Vec<String> = arguments
            .iter()
            .map(|word| word.replace("REGISTRY", &host))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.environment.kiln(&words);
        let path = format!("{}:/usr/bin:/bin", self.home().join("bin").display());
        command.env("PATH", path);
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        command
    }

    /// Runs a command with this on stdin; what came out, with the registry's name replaced. Nothing
    /// secret may be in it.
    #[track_caller]
    fn say(&self, arguments: &[&str], input: &str) -> String {
        let output = fed(self.kiln(arguments), input);
        let said = self.environment.describe(&output);
        assert!(!said.contains("canary"), "a secret came out: {said}");
        said.replace(&self.registry.host(), "REGISTRY")
    }

    /// Builds and pushes; what was said, when that went wrong.
    #[track_caller]
    fn push(&self) -> Result<(), String> {
        for progress in ["json", "plain"] {
            let said = self.say(
                &[
                    "build",
                    "--progress",
                    progress,
                    "--push",
                    "-t",
                    "REGISTRY/team/app:1",
                    ".",
                ],
                "",
            );
            if !said.starts_with("exit 0") {
                return Err(said);
            }
        }
        assert_eq!(self.registry.tags("team/app"), ["1"]);
        Ok(())
    }
}

/// Runs a command with something on stdin.
fn fed(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kiln starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // Who does not listen is no fault of ours.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("kiln ends")
}

#[test]
fn every_source_of_google_opens_a_registry() {
    let check = |name: &str, password: &str, prepare: &dyn Fn(&mut Place)| {
        let mut place = Place::new(TOKEN_USER, password);
        prepare(&mut place);
        if let Err(said) = place.push() {
            panic!("{name}: {said}\n{:#?}", place.google.log());
        }
    };
    let file = |place: &mut Place, text: Value| {
        let path = place.file("credentials.json", &text.to_string());
        place
            .variables
            .push(("GOOGLE_APPLICATION_CREDENTIALS", path));
    };
    check("a service account's key", ACCESS_TOKEN, &|place| {
        file(place, place.google.service_account());
    });
    check("a user's login", ACCESS_TOKEN, &|place| {
        let text = place.google.authorized_user().to_string();
        place.file(".config/gcloud/application_default_credentials.json", &text);
    });
    check("another provider's identity", FEDERATED_TOKEN, &|place| {
        let token = place.file("token", &place.google.subject_token());
        file(
            place,
            place
                .google
                .external_account(json!({ "file": token }), None),
        );
    });
    check(
        "an identity that acts as an account",
        ACCESS_TOKEN,
        &|place| {
            let url = format!("{}/subject", place.google.url());
            let email = Some(place.google.email());
            file(
                place,
                place.google.external_account(json!({ "url": url }), email),
            );
        },
    );
    check("a user who acts as an account", ACCESS_TOKEN, &|place| {
        file(
            place,
            place.google.impersonated(place.google.authorized_user()),
        );
    });
    check("the metadata server", ACCESS_TOKEN, &|place| {
        place
            .variables
            .push(("GCE_METADATA_HOST", place.google.host()));
    });
    check("gcloud", ACCESS_TOKEN, &|place| {
        let answer = json!({ "credential": { "access_token": ACCESS_TOKEN } });
        place.program("gcloud", &format!("echo '{answer}'"));
    });
    check("a token in a variable", FEDERATED_TOKEN, &|place| {
        let token = place.google.subject_token();
        place
            .variables
            .push(("KILN_OIDC_TOKEN_FILE", place.file("token", &token)));
        let provider = place.google.provider().to_owned();
        place
            .variables
            .push(("KILN_GCP_WORKLOAD_IDENTITY_PROVIDER", provider));
    });
}

#[test]
fn a_job_of_github_pushes_without_any_file() {
    let mut place = Place::new(TOKEN_USER, ACCESS_TOKEN);
    let (url, token) = place.google.github();
    place.variables.extend([
        ("GITHUB_ACTIONS", "true".to_owned()),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", token.to_owned()),
    ]);
    place.google.answer("/github", 503, "busy", 2);
    let build = |more: &[&str]| {
        let fixed = [
            "build",
            "--progress",
            "json",
            "--push",
            "-t",
            "REGISTRY/team/app:1",
            ".",
        ];
        place.say(&[&fixed, more].concat(), "")
    };
    // Without a word about Google everybody is a stranger.
    let said = build(&[]);
    assert!(said.starts_with("exit 1"), "{said}");
    let provider = ["--gcp-workload-identity-provider", place.google.provider()];
    let account = ["--gcp-service-account", place.google.email()];
    let said = build(&[provider, account].concat());
    assert!(said.starts_with("exit 0"), "{said}");
    assert_eq!(place.registry.tags("team/app"), ["1"]);
    assert!(!place.home().join(".docker").exists());
    let mut secrets = Command::new("grep");
    secrets
        .args(["-rl", "canary"])
        .arg(place.environment.work())
        .arg(place.home());
    let found = secrets.output().expect("grep");
    assert_eq!(
        String::from_utf8_lossy(&found.stdout),
        "",
        "secrets on disk"
    );

    let said = build(&["--gcp-workload-identity-provider", "projects/name/x"]);
    assert!(said.contains("projects/NUMBER"), "{said}");
    place.google.answer("/github", 403, "no", 1);
    let said = build(&[provider, account].concat());
    assert!(said.contains("id-token: write"), "{said}");
}

#[test]
fn what_goes_wrong_is_said_without_secrets() {
    let check = |prepare: &dyn Fn(&mut Place), expected: &[&str]| {
        let mut place = Place::new(TOKEN_USER, "something else");
        prepare(&mut place);
        let said = place.push().expect_err("it goes wrong");
        for part in expected {
            assert!(said.contains(part), "{part}: {said}");
        }
    };
    let file = |place: &mut Place, text: Value| {
        let path = place.file("credentials.json", &text.to_string());
        place
            .variables
            .push(("GOOGLE_APPLICATION_CREDENTIALS", path));
    };
    // The registry does not accept the token.
    check(
        &|place| file(place, place.google.service_account()),
        &["builder@p1.iam.gserviceaccount.com", "repository:team/app"],
    );
    check(
        &|place| {
            let mut user = place.google.authorized_user();
            user["refresh_token"] = "canary-old".into();
            file(place, user);
        },
        &["invalid_grant", "gcloud auth application-default login"],
    );
    check(
        &|place| {
            let token = place.google.subject_token();
            let stranger = Some("stranger@p1.iam.gserviceaccount.com");
            let token = place.file("token", &token);
            file(
                place,
                place
                    .google
                    .external_account(json!({ "file": token }), stranger),
            );
        },
        &["getAccessToken", "roles/iam.workloadIdentityUser"],
    );
    check(
        &|place| {
            place
                .variables
                .push(("GOOGLE_APPLICATION_CREDENTIALS", "/absent.json".to_owned()));
        },
        &["/absent.json"],
    );
    check(
        &|place| {
            let mut planted = place.google.authorized_user();
            planted["token_uri"] = "https://evil.example/token".into();
            file(place, planted);
            place
                .variables
                .retain(|(name, _)| *name != "KILN_ENDPOINT_OAUTH2");
        },
        &["evil.example", "nothing is sent there"],
    );
    // A helper that is named and missing is no reason to be somebody else.
    check(
        &|place| {
            let text = json!({ "credHelpers": { place.registry.host(): "absent" } });
            place.file(".docker/config.json", &text.to_string());
            file(place, place.google.service_account());
        },
        &["docker-credential-absent", "credHelpers", "Google built in"],
    );
    check(
        &|place| {
            let text = json!({ "credHelpers": { place.registry.host(): "leaks" } });
            place.file(".docker/config.json", &text.to_string());
            place.program(
                "docker-credential-leaks",
                r#"echo '{"Secret":"canary-secret"}' >&2; exit 1"#,
            );
        },
        &["docker-credential-leaks"],
    );
}

#[test]
fn logging_in_shows_the_account_first_and_keeps_it_then() {
    let place = Place::new("kevin", "canary-password");
    let login = ["login", "REGISTRY", "-u", "kevin", "--password-stdin"];
    let said = place.say(&login, "wrong\n");
    assert!(
        said.starts_with("exit 1") && said.contains("nothing was kept"),
        "{said}"
    );
    assert!(!place.config().exists());
    let said = place.say(&login, "canary-password\n");
    assert!(
        said.starts_with("exit 0\nstdout:\nlogged in to REGISTRY as kevin"),
        "{said}"
    );
    assert!(said.contains("credential helper"), "{said}");
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&place.config()), 0o600);
    assert_eq!(mode(place.config().parent().expect("a parent")), 0o700);
    place.push().expect("we are known now");
    let said = place.say(&["logout", "REGISTRY"], "");
    assert!(said.contains("logged out of REGISTRY"), "{said}");
    assert_eq!(
        fs::read_to_string(place.config()).expect("a file"),
        "{\n\t\"auths\": {}\n}\n"
    );
    let said = place.say(&["logout", "REGISTRY"], "");
    assert_eq!(said, "exit 0\nstdout:\nthere was no account for REGISTRY\n");
    // Nobody can be asked, and nobody is waited for.
    for (arguments, expected) in [
        (&["login", "REGISTRY"][..], "--username"),
        (&["login", "REGISTRY", "-u", "kevin"], "--password-stdin"),
        (
            &["login", "REGISTRY", "-u", "k", "-p", "canary"],
            "--password-stdin",
        ),
        (
            &["login", "REGISTRY", "-u", "a:b", "--password-stdin"],
            "colon",
        ),
        (
            &[
                "login",
                "REGISTRY",
                "-u",
                "k",
                "--password-stdin",
                "--gcp-service-account",
                "a@p",
            ],
            "need no login",
        ),
        (
            &["login", "not a name", "-u", "k", "--password-stdin"],
            "HOST:PORT",
        ),
    ] {
        let said = place.say(arguments, "");
        assert!(
            said.starts_with("exit 2") && said.contains(expected),
            "{said}"
        );
    }
}

#[test]
fn the_key_of_an_account_works_and_is_warned_of() {
    let key = Google::start().service_account();
    let key = serde_json::to_string_pretty(&key).expect("JSON");
    let place = Place::new("_json_key", &key);
    let login = ["login", "REGISTRY", "-u", "_json_key", "--password-stdin"];
    let said = place.say(&login, &format!("{key}\n"));
    assert!(said.starts_with("exit 0"), "{said}");
    assert!(said.contains("--gcp-workload-identity-provider"), "{said}");
    place.push().expect("the file is understood");
}

#[test]
fn a_helper_keeps_the_account_where_one_is_named() {
    let place = Place::new("kevin", "canary-password");
    place.file(
        ".docker/config.json",
        r#"{"credsStore":"fake","unknown":{"b":1,"a":2}}"#,
    );
    let vault = place.home().join("vault").display().to_string();
    place.program(
        "docker-credential-fake",
        &format!(
            "case $1 in\nstore) cat > {vault};;\nget) cat > /dev/null; test -e {vault} || {{ echo \
             'credentials not found in native keychain'; exit 1; }}; cat {vault};;\nerase) cat > \
             /dev/null; rm {vault};;\nesac"
        ),
    );
    let login = ["login", "REGISTRY", "-u", "kevin", "--password-stdin"];
    let said = place.say(&login, "canary-password");
    assert!(said.contains("kept in docker-credential-fake"), "{said}");
    let config = fs::read_to_string(place.config()).expect("a file");
    assert!(!config.contains("\"auth\""), "{config}");
    assert!(config.contains("\"b\": 1,\n\t\t\"a\": 2"), "{config}");
    place.push().expect("the helper knows");
    let said = place.say(&["logout", "REGISTRY"], "");
    assert!(
        said.contains("removed from docker-credential-fake"),
        "{said}"
    );
    assert!(!Path::new(&vault).exists());
}

#[test]
fn docker_is_told_whom_to_ask() {
    let place = Place::new("u", "p");
    let configure = ["auth", "configure-docker", "us-docker.pkg.dev,REGISTRY"];
    let said = place.say(&configure, "");
    assert!(
        said.starts_with("exit 2") && said.contains("--yes"),
        "{said}"
    );
    assert!(said.contains("\"us-docker.pkg.dev\": \"kiln\""), "{said}");
    assert!(
        said.contains("docker-credential-kiln is not in PATH"),
        "{said}"
    );
    assert!(!place.config().exists());
    let said = place.say(&[&configure[..], &["--yes"]].concat(), "");
    assert!(said.starts_with("exit 0"), "{said}");
    let written = fs::read_to_string(place.config()).expect("a file");
    let said = place.say(&[&configure[..], &["--yes"]].concat(), "");
    assert!(said.contains("already"), "{said}");
    assert_eq!(fs::read_to_string(place.config()).expect("a file"), written);
    let said = place.say(
        &[
            "auth",
            "configure-docker",
            "REGISTRY",
            "--helper",
            "gcloud",
            "-y",
        ],
        "",
    );
    assert!(
        said.contains("now asked of docker-credential-kiln"),
        "{said}"
    );
    let said = place.say(&["auth", "configure-docker", "pkg.dev", "--yes"], "");
    assert!(
        said.starts_with("exit 2") && said.contains("would never be used"),
        "{said}"
    );
    let said = place.say(&["auth", "configure-docker", "ghcr.io", "--yes"], "");
    assert!(said.contains("no registry of Google's"), "{said}");
}

#[test]
fn whoami_says_who_and_why_and_what_for() {
    let mut place = Place::new(TOKEN_USER, ACCESS_TOKEN);
    let said = place.say(&["auth", "whoami", "REGISTRY/team/app"], "");
    assert!(said.contains("account     none"), "{said}");
    assert!(said.contains("Google, built in: no account"), "{said}");
    assert!(said.contains("push        refused"), "{said}");
    let key = place.file("key.json", &place.google.service_account().to_string());
    place
        .variables
        .push(("GOOGLE_APPLICATION_CREDENTIALS", key));
    let said = place.say(&["auth", "whoami", "REGISTRY/team/app"], "");
    for part in [
        "account     builder@p1.iam.gserviceaccount.com",
        "user name   oauth2accesstoken",
        "a service account's key",
        "expires     in 59 min",
        "pull        nothing of that name",
        "push        allowed",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = place.say(
        &["auth", "whoami", "REGISTRY/team/app", "--format", "json"],
        "",
    );
    let json = said.split_once("stdout:\n").expect("an answer").1;
    let found: Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(found["schema"], 1);
    assert_eq!(found["account"]["kind"], "password");
    assert_eq!(found["push"]["outcome"], "allowed");
    assert_eq!(found["pull"]["outcome"], "missing");
    assert!(place.registry.tags("team/app").is_empty());
    // What a file says wins.
    let text = json!({ "auths": { place.registry.host(): { "auth": "dTpjYW5hcnk=" } } });
    place.file(".docker/config.json", &text.to_string());
    let before = place.registry.log().len();
    let said = place.say(&["auth", "whoami", "REGISTRY/team/app", "--offline"], "");
    assert!(
        said.contains("account     u\n") && said.contains("config.json"),
        "{said}"
    );
    assert_eq!(place.registry.log().len(), before);
}

#[test]
fn the_declaration_of_a_project_says_who_vouches() {
    let mut place = Place::new(TOKEN_USER, ACCESS_TOKEN);
    let (url, token) = place.google.github();
    place.variables.extend([
        ("GITHUB_ACTIONS", "true".to_owned()),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", token.to_owned()),
    ]);
    let text = format!(
        "google:\n  workload-identity-provider: {}\n  service-account: {}\n",
        place.google.provider(),
        place.google.email()
    );
    place.environment.write("kiln.yaml", &text);
    let said = place.say(&["auth", "whoami", "REGISTRY/team/app"], "");
    assert!(said.contains("push        allowed"), "{said}");
    assert!(said.contains("GitHub Actions"), "{said}");
}

#[test]
fn a_token_is_printed_to_who_asks() {
    let mut place = Place::new(TOKEN_USER, ACCESS_TOKEN);
    let said = place.say(&["auth", "print-token"], "");
    assert!(
        said.starts_with("exit 2") && said.contains("no account at Google"),
        "{said}"
    );
    let key = place.file("key.json", &place.google.service_account().to_string());
    place
        .variables
        .push(("GOOGLE_APPLICATION_CREDENTIALS", key));
    let output = fed(place.kiln(&["auth", "print-token"]), "");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{ACCESS_TOKEN}\n")
    );
}

#[test]
fn the_program_is_a_helper_of_docker() {
    let mut place = Place::new(TOKEN_USER, ACCESS_TOKEN);
    place.file("bin/.keep", "");
    let program = place.home().join("bin/docker-credential-kiln");
    symlink(env!("CARGO_BIN_EXE_kiln"), &program).expect("a link");
    let ask = |place: &Place, verb: &str, input: &str| {
        let mut command = Command::new(&program);
        command.arg(verb).env_clear().env("HOME", place.home());
        command.envs(place.variables.iter().map(|(name, value)| (*name, value)));
        let output = fed(command, input);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{verb}");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.code(), said)
    };
    let not_found = (
        Some(1),
        "credentials not found in native keychain".to_owned(),
    );
    let host = place.registry.host();
    assert_eq!(ask(&place, "get", &host), not_found, "no account");
    let key = place.file("key.json", &place.google.service_account().to_string());
    place
        .variables
        .push(("GOOGLE_APPLICATION_CREDENTIALS", key));
    assert_eq!(ask(&place, "get", "https://index.docker.io/v1/"), not_found);
    assert_eq!(ask(&place, "get", "evilgcr.io\n"), not_found);
    for server in [host.clone(), format!("{host}\n"), format!("https://{host}")] {
        let (code, said) = ask(&place, "get", &server);
        assert_eq!(code, Some(0), "{said}");
        let answer: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(answer["ServerURL"], server.trim());
        assert_eq!(answer["Username"], TOKEN_USER);
        assert_eq!(answer["Secret"], ACCESS_TOKEN);
    }
    let no_server = (Some(1), "no credentials server URL".to_owned());
    assert_eq!(ask(&place, "get", "\n"), no_server);
    assert_eq!(ask(&place, "erase", ""), no_server);
    assert_eq!(ask(&place, "erase", "gcr.io"), (Some(0), String::new()));
    let account = r#"{"ServerURL":"gcr.io","Username":"u","Secret":"s"}"#;
    assert_eq!(ask(&place, "store", account), (Some(0), String::new()));
    assert_eq!(ask(&place, "store", "{}"), no_server);
    let nobody = r#"{"ServerURL":"gcr.io","Username":"","Secret":"s"}"#;
    assert_eq!(ask(&place, "store", nobody).1, "no credentials username");
    assert_eq!(ask(&place, "store", "canary").0, Some(1));
    let (code, said) = ask(&place, "list", "unused");
    let list: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (code, &list["https://gcr.io"]),
        (Some(0), &TOKEN_USER.into())
    );
    assert!(ask(&place, "version", "").1.contains("kiln"));
    assert_eq!(ask(&place, "dance", "").0, Some(1));
    // Named in docker's file it is asked without a process, even where it is no program.
    fs::remove_file(&program).expect("removed");
    let text = json!({ "credHelpers": { place.registry.host(): "kiln" } });
    place.file(".docker/config.json", &text.to_string());
    place.push().expect("the helper that we are knows");
}
