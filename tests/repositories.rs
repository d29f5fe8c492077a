//! `kiln repo` against Artifact Registry as it behaves: operations that take their time, races,
//! refusals, and repositories that are not what they should be.

use serde_json::json;
use testkit::Google;

use crate::cli::Environment;

const PLACE: &str = "us-central1-docker.pkg.dev/p1/gie";
const RESOURCE: &str = "projects/p1/locations/us-central1/repositories/gie";

struct Site {
    environment: Environment,
    google: Google,
}

impl Site {
    fn new() -> Self {
        let (environment, google) = (Environment::new(), Google::start());
        let key = google.service_account().to_string();
        environment.write("key.json", &key);
        Self {
            environment,
            google,
        }
    }

    fn repo(&self, arguments: &[&str]) -> String {
        let arguments = [&["repo"], arguments].concat();
        let mut kiln = self.environment.kiln(&arguments);
        kiln.env("GOOGLE_APPLICATION_CREDENTIALS", "key.json")
            .envs(self.google.variables());
        let said = self
            .environment
            .describe(&kiln.output().expect("kiln starts"));
        assert!(!said.contains("canary"), "a secret is in {said}");
        said
    }

    fn check(&self, arguments: &[&str], expected: &str) {
        let said = self.repo(arguments);
        assert_eq!(
            said,
            expected,
            "kiln repo {}\n\n{said}",
            arguments.join(" ")
        );
    }
}

#[test]
fn a_repository_is_made_once_and_is_then_there() {
    let site = Site::new();
    site.google.set_looks(2);
    let flags = [
        "ensure",
        "us-central1-docker.pkg.dev/p1/gie/epp",
        "--description",
        "images",
        "--label",
        "team=infer",
        "--immutable-tags",
        "--keep-last",
        "10",
        "--delete-untagged-after",
        "30d",
    ];
    site.check(&flags, &format!("exit 0\nstdout:\ncreated: {PLACE}\n"));
    let made = site.google.repository(RESOURCE).expect("a repository");
    assert_eq!(made["format"], "DOCKER");
    assert_eq!(made["mode"], "STANDARD_REPOSITORY");
    assert_eq!(made["description"], "images");
    assert_eq!(made["labels"], json!({"team": "infer"}));
    assert_eq!(made["dockerConfig"], json!({"immutableTags": true}));
    let policies = &made["cleanupPolicies"];
    let untagged = &policies["kiln-delete-untagged"]["condition"];
    assert_eq!(
        *untagged,
        json!({"tagState": "UNTAGGED", "olderThan": "2592000s"})
    );
    assert_eq!(
        policies["kiln-keep-last"]["mostRecentVersions"]["keepCount"],
        10
    );
    site.check(&flags, &format!("exit 0\nstdout:\nexists: {PLACE}\n"));
}

#[test]
fn who_loses_a_race_has_what_was_wanted() {
    let site = Site::new();
    site.check(
        &["ensure", PLACE],
        &format!("exit 0\nstdout:\ncreated: {PLACE}\n"),
    );
    // Not there when it is looked for, and there when it is to be made.
    let missing = r#"{"error": {"status": "NOT_FOUND"}}"#;
    site.google
        .answer(&format!("/v1/{RESOURCE}"), 404, missing, 1);
    site.check(
        &["ensure", PLACE],
        &format!("exit 0\nstdout:\nexists: {PLACE}\n"),
    );
}

#[test]
fn what_differs_is_said_and_mended_on_request() {
    let site = Site::new();
    let foreign = json!({"id": "theirs", "action": "KEEP"});
    let repository = json!({
        "name": RESOURCE, "format": "DOCKER", "description": "old",
        "labels": {"a": "b"}, "cleanupPolicies": {"theirs": foreign},
    });
    site.google.put(RESOURCE, repository);
    let flags = [
        "ensure",
        PLACE,
        "--immutable-tags",
        "--label",
        "team=infer",
        "--keep-last",
        "3",
    ];
    let said = site.repo(&flags);
    assert!(
        said.starts_with(&format!("exit 1\nstdout:\nexists: {PLACE}\n")),
        "{said}"
    );
    assert!(
        said.contains("immutable tags: false, should be true"),
        "{said}"
    );
    assert!(
        said.contains("label: team=, should be team=infer"),
        "{said}"
    );
    assert!(said.contains("hint: --fix changes it"), "{said}");

    let fixed = [&flags[..], &["--fix"]].concat();
    site.check(&fixed, &format!("exit 0\nstdout:\nchanged: {PLACE}\n"));
    let now = site.google.repository(RESOURCE).expect("a repository");
    assert_eq!(now["labels"], json!({"a": "b", "team": "infer"}));
    assert_eq!(now["cleanupPolicies"]["theirs"], foreign);
    assert_eq!(now["description"], "old");
    site.check(&flags, &format!("exit 0\nstdout:\nexists: {PLACE}\n"));

    site.google
        .put(RESOURCE, json!({"name": RESOURCE, "format": "MAVEN"}));
    let said = site.repo(&["ensure", PLACE, "--fix"]);
    assert!(said.contains("format: MAVEN, should be DOCKER"), "{said}");
    assert!(
        said.contains("format, mode and location never change"),
        "{said}"
    );
}

#[test]
fn refusals_say_what_is_missing() {
    let check = |status: u16, body: &str, times: u32, expected: &[&str]| {
        let site = Site::new();
        site.google
            .answer(&format!("/v1/{RESOURCE}"), status, body, times);
        let said = site.repo(&["ensure", PLACE]);
        for expected in expected {
            assert!(said.contains(expected), "{expected}\nis not in\n{said}");
        }
    };
    let denied = r#"{"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no"}}"#;
    check(
        403,
        denied,
        9,
        &[
            "exit 1\n",
            "refuses to show the repository us-central1-docker.pkg.dev/p1/gie: no (PERMISSION_DENIED)",
            "builder@p1.iam.gserviceaccount.com needs the permission artifactregistry.repositories.get",
            "roles/artifactregistry.reader",
        ],
    );
    let disabled = r#"{"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "off",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}]}}"#;
    check(
        403,
        disabled,
        9,
        &["hint: gcloud services enable artifactregistry.googleapis.com"],
    );
    check(503, "<html>busy</html>", 1, &["exit 0\n", "created: "]);
    check(429, "", 2, &["exit 0\n", "created: "]);
    check(401, "{}", 1, &["exit 0\n", "created: "]);
    check(
        400,
        "<html>\u{7}</html>",
        9,
        &["exit 1\n", "it does not say why (400)"],
    );
    check(200, "<html>", 1, &["exit 1\n", "cannot be understood"]);
}

#[test]
fn other_registries_need_no_making() {
    let site = Site::new();
    site.check(
        &["ensure", "registry.example/p1/gie"],
        "exit 2\nstderr:\nerror: registry.example is not Artifact Registry: its hosts are \
         LOCATION-docker.pkg.dev, docker.LOCATION.rep.pkg.dev and gcr.io\n\
         hint: other registries make a repository when something is pushed to it\n",
    );
}

#[test]
fn tags_that_move_and_tags_that_never_do_need_two_repositories() {
    let site = Site::new();
    site.environment.write(
        "kiln.yaml",
        &format!("registry: {PLACE}\ntags:\n  floating: [main]\nimages:\n  epp: {{}}\n"),
    );
    let said = site.repo(&["ensure", PLACE, "--immutable-tags"]);
    assert!(
        said.contains("warning: kiln.yaml has tags that move (`tags.floating`)"),
        "{said}"
    );
    let said = site.repo(&["ensure", PLACE]);
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn an_image_is_shown_with_all_of_its_tags() {
    let site = Site::new();
    let digest = oci::Digest::of(b"epp").to_string();
    site.google.put(
        RESOURCE,
        json!({"name": RESOURCE, "format": "DOCKER", "sizeBytes": "7"}),
    );
    site.google.put(
        &format!("{RESOURCE}/packages/a%2Fepp/tags/v1"),
        json!({"version": format!("{RESOURCE}/packages/a%2Fepp/versions/{digest}")}),
    );
    site.google.put(
        &format!("{RESOURCE}/dockerImages/a%2Fepp@{digest}"),
        json!({"uri": format!("{PLACE}/a/epp@{digest}"), "tags": ["v1", "main"], "imageSizeBytes": "42",
               "mediaType": "application/vnd.oci.image.index.v1+json"}),
    );
    let said = site.repo(&["show", &format!("{PLACE}/a/epp:v1")]);
    for expected in [
        "exit 0\n",
        "tags            v1, main\n",
        "image bytes     42\n",
        "immutable tags  no\n",
    ] {
        assert!(said.contains(expected), "{expected}\nis not in\n{said}");
    }
    let said = site.repo(&["show", &format!("{PLACE}/a/epp:v1"), "--format", "json"]);
    assert!(said.contains("\"bytes\": 42"), "{said}");
    let said = site.repo(&["show", &format!("{PLACE}/a/epp:v2")]);
    assert!(
        said.contains("exit 1\n") && said.contains("there is no"),
        "{said}"
    );
    let said = site.repo(&["show", "us-central1-docker.pkg.dev/p1/other"]);
    assert!(
        said.contains("hint: kiln repo ensure us-central1-docker.pkg.dev/p1/other"),
        "{said}"
    );
}
