//! `kiln doctor`: what is wrong in an environment is found and said with what to do about it, what is
//! right is called right, and nothing secret is shown. Everything secret here has `canary` in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use serde_json::{Value, json};
use testkit::{Action, Auth, Endpoint, Google, Match, Options, Registry};

use crate::cli::Environment;

const PLACE: &str = "us-central1-docker.pkg.dev/p1/gie";
const RESOURCE: &str = "projects/p1/locations/us-central1/repositories/gie";

/// A machine with Google's services and a registry. Words and files may say `REGISTRY`.
struct Site {
    environment: Environment,
    google: Google,
    registry: Registry,
    variables: Vec<(&'static str, String)>,
}

impl Site {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let (environment, google) = (Environment::new(), Google::start());
        let mut variables = google.variables();
        variables.push(("NO_GCE_CHECK", "true".to_owned()));
        Self {
            environment,
            google,
            registry: Registry::with(options),
            variables,
        }
    }

    fn write(&self, path: &str, text: &str) {
        let text = text.replace("REGISTRY", &self.registry.host());
        self.environment.write(path, &text);
    }

    /// A program on PATH.
    fn program(&self, name: &str, text: &str) {
        let path = format!("../home/bin/{name}");
        self.write(&path, &format!("#!/bin/sh\n{text}\n"));
        let path = self.environment.work().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// A key of Google's, and Artifact Registry's hosts at our registry.
    fn with_key(&mut self) {
        let key = self.google.service_account().to_string();
        self.write("../home/key.json", &key);
        let path = self.environment.work().join("../home/key.json");
        let path = path.display().to_string();
        self.variables
            .push(("GOOGLE_APPLICATION_CREDENTIALS", path));
        self.variables
            .push(("KILN_GOOGLE_HOSTS", self.registry.host()));
        let entry = |host: &str| {
            format!("[[registry]]\nprefix = \"{host}\"\nlocation = \"REGISTRY\"\ninsecure = true\n")
        };
        let conf = entry("us-central1-docker.pkg.dev") + &entry("gcr.io");
        self.write("../home/registries.conf", &conf);
        let conf = self.environment.work().join("../home/registries.conf");
        self.variables
            .push(("CONTAINERS_REGISTRIES_CONF", conf.display().to_string()));
    }

    fn kiln(&self, arguments: &[&str]) -> Command {
        let host = self.registry.host();
        let words: Vec<String> = ["doctor"]
            .iter()
            .chain(arguments)
            .map(|word| word.replace("REGISTRY", &host))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.environment.kiln(&words);
        let bin = self.environment.work().join("../home/bin");
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        command
    }

    fn doctor(&self, arguments: &[&str]) -> String {
        let output = self.kiln(arguments).output().expect("kiln starts");
        let said = self.environment.describe(&output);
        assert!(!said.contains("canary"), "a secret came out: {said}");
        assert!(
            !said.contains("stderr:"),
            "a check fails everything: {said}"
        );
        said.replace(&self.registry.host(), "REGISTRY")
    }

    /// Every expected line is there, and the exit code is as expected.
    #[track_caller]
    fn check(&self, arguments: &[&str], exit: u8, expected: &[&str]) {
        let said = self.doctor(arguments);
        for expected in expected {
            assert!(
                said.lines().any(|line| line.contains(expected)),
                "{expected}\nis not in\n{said}"
            );
        }
        assert!(said.starts_with(&format!("exit {exit}\n")), "{said}");
        let has_problem = said.lines().any(|line| line.starts_with("problem "));
        assert_eq!(exit == 1, has_problem, "{said}");
    }
}

#[test]
fn an_empty_machine_has_no_problem() {
    let site = Site::new();
    site.check(
        &["--offline"],
        0,
        &[
            "ok       kiln.yaml: there is none",
            "ok       docker config: there is none",
            "warning  sources: ",
            " disk: ",
            " sandbox: ",
        ],
    );
    assert!(site.registry.log().is_empty() && site.google.log().is_empty());
}

#[test]
fn what_docker_keeps_is_read_as_docker_reads_it() {
    let check = |config: &str, prepare: &dyn Fn(&Site), exit: u8, expected: &[&str]| {
        let site = Site::new();
        site.write("../home/.docker/config.json", config);
        prepare(&site);
        site.check(&["--offline"], exit, expected);
    };
    let nothing = |_: &Site| {};
    check(
        "{\n  \"auths\": {,}\n}",
        &nothing,
        1,
        &["problem  docker config: [DIR]/home/.docker/config.json is not a docker configuration: "],
    );
    check("{\n  \"auths\": {,}\n}", &nothing, 1, &["line 2 column 13"]);
    check(
        r#"{"credHelpers": {"*.pkg.dev": "x", "https://r.example/v2/": "x"}}"#,
        &|site| site.program("docker-credential-x", "exit 1"),
        0,
        &[
            "credHelpers[\"*.pkg.dev\"] is never used: the key must be HOST[:PORT], such as us-west1-docker.pkg.dev",
            "credHelpers[\"https://r.example/v2/\"] is never used: the key must be HOST[:PORT], such as r.example",
            "ok       credential helpers: docker-credential-x is there",
        ],
    );
    check(
        r#"{"credHelpers": {"gcr.io": "nowhere"}, "credsStore": "desktop"}"#,
        &nothing,
        1,
        &[
            "problem  credential helpers: docker-credential-nowhere is not on PATH",
            "or remove credHelpers[\"gcr.io\"]: kiln has Google's accounts built in",
            "problem  credential helpers: docker-credential-desktop is not on PATH, and credsStore in",
        ],
    );
    let many: serde_json::Map<String, Value> = (0..11)
        .map(|number| (format!("r{number}.example"), json!("x")))
        .collect();
    check(
        &json!({ "credHelpers": many }).to_string(),
        &|site| site.program("docker-credential-x", "exit 1"),
        0,
        &["has 11 entries in credHelpers, which slows `docker build`"],
    );
    check(
        "{}",
        &|site| {
            site.program("snap", "exit 1");
            let bin = site.environment.work().join("../home/bin");
            symlink("snap", bin.join("docker")).expect("a link");
        },
        0,
        &["bin/docker is from snap"],
    );
}

#[test]
fn the_account_and_what_it_may_do_are_said() {
    let site = Site::new();
    site.check(
        &["REGISTRY/team/app:1"],
        0,
        &[
            "ok       account: REGISTRY/team/app: none, as anybody",
            "ok       pull: REGISTRY/team/app:1: nothing of that name is there",
            "ok       push: REGISTRY/team/app: allowed",
            "ok       clock: as at REGISTRY",
        ],
    );
    let site = Site::with(Options {
        auth: Auth::token("user", "canary"),
        ..Options::default()
    });
    site.check(
        &["REGISTRY/team/app:1"],
        1,
        &["problem  pull: REGISTRY/team/app:1: refused: "],
    );
    // user:canary
    let auths = r#"{"auths": {"REGISTRY": {"auth": "dXNlcjpjYW5hcnk="}}}"#;
    site.write("../home/.docker/config.json", auths);
    let said = site.doctor(&["REGISTRY/team/app:1", "--pull-only"]);
    assert!(said.contains(": user, password from [DIR]"), "{said}");
    assert!(said.contains("\nok       pull: "), "{said}");
    assert!(!said.contains(" push: "), "{said}");
    // A helper that hangs is nobody's answer, and one that fails is said.
    site.write(
        "../home/.docker/config.json",
        r#"{"credHelpers": {"REGISTRY": "x"}}"#,
    );
    site.program("docker-credential-x", "echo no idea; exit 1");
    site.check(
        &["REGISTRY/team/app:1"],
        1,
        &[
            "problem  account: the account for REGISTRY/team/app cannot be used",
            "no idea",
        ],
    );
}

#[test]
fn a_registry_that_does_not_answer_is_one_problem() {
    let site = Site::new();
    let said = site.doctor(&["127.0.0.1:1/app"]);
    assert!(said.starts_with("exit 1\n"), "{said}");
    assert_eq!(said.matches("problem ").count(), 1, "{said}");
    assert!(said.contains("problem  pull: 127.0.0.1:1/app"), "{said}");
    site.check(
        &["127.0.0.1:1/app", "--offline"],
        0,
        &["ok       account: "],
    );
}

#[test]
fn a_wrong_clock_is_said() {
    let site = Site::new();
    let action = Action::ReplaceHeader {
        name: "date".to_owned(),
        value: Some("Tue, 15 Nov 1994 08:12:31 GMT".to_owned()),
    };
    let first = Match::any().endpoint(Endpoint::Version);
    site.registry.fault(first.times(9), action);
    site.check(
        &["REGISTRY/app"],
        1,
        &[
            " s ahead of REGISTRY: tokens will be refused",
            "fix: set the clock",
        ],
    );
}

#[test]
fn repositories_of_artifact_registry_are_looked_at() {
    let check = |repository: Option<Value>, yaml: &str, name: &str, exit: u8, expected: &[&str]| {
        let mut site = Site::new();
        site.with_key();
        if let Some(repository) = repository {
            site.google.put(RESOURCE, repository.clone());
            let former = "projects/p1/locations/us/repositories/gcr.io";
            site.google.put(former, repository);
        }
        if !yaml.is_empty() {
            site.write("kiln.yaml", yaml);
        }
        let names = [name];
        let arguments = if name.is_empty() { &[][..] } else { &names[..] };
        site.check(arguments, exit, expected);
    };
    let image = format!("{PLACE}/epp");
    check(
        Some(json!({"name": RESOURCE, "format": "DOCKER"})),
        "",
        &image,
        0,
        &[
            "ok       google: builder@p1.iam.gserviceaccount.com: ",
            "ok       repository: us-central1-docker.pkg.dev/p1/gie is there",
            "ok       account: us-central1-docker.pkg.dev/p1/gie/epp: builder@p1.iam.gserviceaccount.com, password from Google: ",
            "ok       push: us-central1-docker.pkg.dev/p1/gie/epp: allowed",
        ],
    );
    check(
        None,
        "",
        &image,
        1,
        &[
            "problem  repository: us-central1-docker.pkg.dev/p1/gie does not exist",
            "         fix: kiln repo ensure us-central1-docker.pkg.dev/p1/gie",
        ],
    );
    check(
        Some(json!({"name": RESOURCE, "format": "MAVEN"})),
        "",
        &image,
        1,
        &["has the format MAVEN, and images need DOCKER"],
    );
    check(
        Some(
            json!({"name": RESOURCE, "format": "DOCKER", "dockerConfig": {"immutableTags": true}}),
        ),
        &format!("registry: {PLACE}\ntags: {{floating: [main]}}\nimages:\n  epp: {{}}\n"),
        "",
        1,
        &["has immutable tags, and kiln.yaml has tags that move (`tags.floating`)"],
    );
    check(
        Some(json!({"name": "former", "format": "DOCKER"})),
        "",
        "gcr.io/p1/epp",
        0,
        &["gcr.io/p1 (served by repository gcr.io in us) is there"],
    );
    check(
        None,
        "",
        "us-central1-docker.pkg.dev/p1",
        1,
        &["names no repository"],
    );
}

#[test]
fn what_artifact_registry_does_not_say_fails_nothing_else() {
    let mut site = Site::new();
    site.with_key();
    let denied = r#"{"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no"}}"#;
    site.google
        .answer(&format!("/v1/{RESOURCE}"), 403, denied, 9);
    site.check(
        &[&format!("{PLACE}/epp")],
        0,
        &[
            "warning  repository: us-central1-docker.pkg.dev/p1/gie could not be looked at: ",
            "roles/artifactregistry.reader",
            "ok       push: ",
        ],
    );
}

#[test]
fn federation_is_looked_at_before_anybody_is_asked() {
    let check = |variables: &[(&'static str, &str)], exit: u8, expected: &[&str]| {
        let mut site = Site::new();
        let variables = variables
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        site.variables.extend(variables);
        site.check(&[], exit, expected);
    };
    let good = "projects/123/locations/global/workloadIdentityPools/gh/providers/gh";
    let named = "projects/my-project/locations/global/workloadIdentityPools/gh/providers/gh";
    let provider = "KILN_GCP_WORKLOAD_IDENTITY_PROVIDER";
    check(
        &[(provider, named)],
        1,
        &[
            "problem  google: the workload identity provider has `my-project`, and needs the project's number",
            "fix: gcloud projects describe my-project --format='value(projectNumber)'",
        ],
    );
    check(
        &[(provider, good), ("GITHUB_ACTIONS", "true")],
        1,
        &[
            "problem  google: this job of GitHub Actions is to prove its identity",
            "fix: `permissions: {id-token: write}` in the workflow",
        ],
    );
    let site = Site::new();
    let (url, secret) = site.google.github();
    let token = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", secret.to_owned()),
        (provider, good.to_owned()),
    ];
    let mut site = site;
    site.variables.extend(token);
    site.check(
        &[],
        0,
        &["ok       google: ", "GitHub Actions; tokens can be had"],
    );
}

#[test]
fn an_account_that_gives_no_token_is_a_problem() {
    let mut site = Site::new();
    site.with_key();
    site.write("../home/key.json", "{\"type\": ");
    site.check(&[], 1, &["problem  google: no token can be had: [DIR]"]);
    site.check(&["--offline"], 0, &[]);
}

#[test]
fn the_declaration_is_read() {
    let site = Site::new();
    site.write("kiln.yaml", "images:\n  epp:\n    contxt: .\n");
    site.check(
        &["--offline"],
        1,
        &["problem  kiln.yaml: kiln.yaml cannot be used: kiln.yaml:3: "],
    );
    // Where images go is asked without being named.
    site.write(
        "kiln.yaml",
        "registry: REGISTRY\nprefix: team\nimages:\n  epp: {}\n  bbr: {path: other/bbr}\n",
    );
    site.check(
        &[],
        0,
        &[
            "ok       kiln.yaml: kiln.yaml: 2 images",
            "ok       push: REGISTRY/team/epp: allowed",
            "ok       push: REGISTRY/team/other/bbr: allowed",
        ],
    );
    site.write(
        "kiln.yaml",
        "destinations:\n  here: {registry: REGISTRY/a}\n  there: {registry: REGISTRY/b}\n\
         images:\n  epp: {}\n",
    );
    site.check(
        &[],
        0,
        &[
            "ok       push: REGISTRY/a/epp: allowed",
            "ok       push: REGISTRY/b/epp: allowed",
        ],
    );
}

#[test]
fn contexts_hold_nothing_secret() {
    let site = Site::new();
    site.write("kiln.yaml", "images:\n  epp: {context: app}\n");
    site.write("app/Dockerfile", "FROM scratch\nCOPY . /\n");
    site.write("app/.git/HEAD", "ref: refs/heads/main\n");
    site.write("app/gha-creds-1.json", "{}");
    site.write("app/deep/.env", "A=canary");
    site.write("app/tls.pem", "-----BEGIN CERTIFICATE-----\n");
    site.write("app/key.pem", "-----BEGIN PRIVATE KEY-----\ncanary\n");
    let fix = "         fix: add `gha-creds-1.json` to app/.dockerignore";
    site.check(
        &["--offline"],
        0,
        &[
            "ok       context: app: 6 files, ",
            "warning  context: app has its `.git`",
            "warning  context: app has `gha-creds-1.json`, which looks like a secret",
            "warning  context: app has `deep/.env`",
            "warning  context: app has `key.pem`",
            fix,
        ],
    );
    site.write(
        "app/.dockerignore",
        ".git\n**/.env\ngha-creds-*.json\nkey.pem\n",
    );
    let said = site.doctor(&["--offline"]);
    assert!(!said.contains("warning  context"), "{said}");
    assert!(said.contains("ok       context: app: 3 files, "), "{said}");
    site.write("app/.dockerignore", "!\n");
    site.check(
        &["--offline"],
        1,
        &["problem  context: app/.dockerignore cannot be used: line 1"],
    );
}

#[test]
fn sources_that_make_no_good_tags_are_said() {
    let site = Site::new();
    let git = |arguments: &[&str]| {
        let status = Command::new("git")
            .args(["-c", "user.name=u", "-c", "user.email=u@example.com"])
            .args(arguments)
            .current_dir(site.environment.work())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{arguments:?}");
    };
    site.write("Dockerfile", "FROM scratch\n");
    git(&["init", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-m", "one"]);
    site.check(
        &["--offline"],
        0,
        &["ok       sources: ", " on main, clean"],
    );
    site.write("Dockerfile", "FROM scratch\nUSER 1\n");
    git(&["checkout", "--detach"]);
    site.check(
        &["--offline"],
        0,
        &[
            "that are not committed: tags get a suffix",
            "HEAD is detached",
        ],
    );
    git(&["commit", "-am", "two"]);
    let own = site.environment.work().display().to_string();
    git(&[
        "clone",
        "--depth",
        "1",
        &format!("file://{own}"),
        "../shallow",
    ]);
    let mut kiln = site.kiln(&["--offline"]);
    kiln.current_dir(site.environment.work().join("../shallow"));
    let said = site
        .environment
        .describe(&kiln.output().expect("kiln starts"));
    assert!(said.contains("fix: git fetch --unshallow --tags"), "{said}");
}

#[test]
fn a_chart_that_ignores_values_is_found() {
    let site = Site::new();
    let shape = "shape: repository-tag";
    site.write(
        "kiln.yaml",
        &format!("images:\n  epp: {{helm: {{path: image, {shape}}}}}\n"),
    );
    site.write("chart/Chart.yaml", "name: pool\nversion: 0.1.0\n");
    site.write(
        "chart/values.yaml",
        "router:\n  image:\n    repository: r\n    tag: v0\n",
    );
    site.write(
        "chart/templates/a.yaml",
        "image: {{ .Values.router.image.repository }}:{{ .Values.router.image.tag }}\n",
    );
    site.check(
        &["--offline", "--chart", "chart"],
        1,
        &[
            "problem  chart: epp: the chart ignores `image.repository`, `image.tag` (chart)",
            "the chart reads `router.image.tag`",
        ],
    );
    site.write(
        "kiln.yaml",
        &format!("images:\n  epp: {{helm: {{path: router.image, {shape}}}}}\n"),
    );
    site.check(
        &["--offline", "--chart", "chart"],
        0,
        &["ok       chart: epp: chart reads `router.image`"],
    );
}

#[test]
fn programs_read_findings_too() {
    let site = Site::new();
    let output = site.kiln(&["--offline", "--format", "json"]).output();
    let output = output.expect("kiln starts");
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["schema"], 1);
    let findings = document["findings"].as_array().expect("findings");
    let declaration = json!({
        "level": "ok", "check": "kiln.yaml", "said": "there is none, and none is needed", "fix": null,
    });
    assert!(findings.contains(&declaration), "{document:#}");
}
