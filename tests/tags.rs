//! Tags that can be trusted: made from the commit, telling of changes, never moved to other bytes;
//! and what images say of their sources.

use std::process::{Command, Output};

use serde_json::Value;
use testkit::{Layer, Registry, image};

use crate::cli::Environment;

const DOCKERFILE: &str = "FROM REGISTRY/base:1\nARG COMMIT_SHA\nARG BUILD_REF=none\nARG DATE\n\
                          LABEL arguments=\"$COMMIT_SHA $BUILD_REF $DATE\"\nCOPY a.txt /\n";

struct Place {
    registry: Registry,
    environment: Environment,
}

impl Place {
    /// A repository with one commit and a registry with one image.
    fn new() -> Self {
        let place = Self {
            registry: Registry::start(),
            environment: Environment::new(),
        };
        let layer = Layer::new().file("base.txt", "base\n");
        place
            .registry
            .seed("base", "1", &image().layer(layer).build());
        let dockerfile = DOCKERFILE.replace("REGISTRY", &place.registry.host());
        place.environment.write("Dockerfile", &dockerfile);
        place.environment.write("a.txt", "one\n");
        place.git(&["init", "--quiet", "--initial-branch=main"]);
        place.git(&[
            "remote",
            "add",
            "origin",
            "https://user:secret@example.org/app.git",
        ]);
        place.commit("first");
        place
    }

    fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, arguments: &[&str]) -> String {
        let date = "2001-02-03T04:05:06Z";
        let output = Command::new("git")
            .args(arguments)
            .current_dir(self.environment.work())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_DATE"), date)))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "n")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "n@example.org")))
            .output()
            .expect("git starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    fn repository(&self) -> String {
        format!("{}/team/app", self.registry.host())
    }

    /// `kiln build --push --repo … .`
    fn push(&self, arguments: &[&str]) -> Output {
        let repository = self.repository();
        let common = ["build", "--quiet", "--push", "--repo", &repository];
        self.run(&[&common, arguments, &["."]].concat(), &[])
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.environment.kiln(arguments);
        let command = command.envs(variables.iter().copied());
        command.output().expect("kiln starts")
    }

    /// It works, and prints this.
    fn pushed(&self, arguments: &[&str]) -> String {
        let output = self.push(arguments);
        let said = self.environment.describe(&output);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// It does not work, and says this.
    fn refused(&self, arguments: &[&str], expected: &str) -> i32 {
        let output = self.push(arguments);
        let said = self.environment.describe(&output);
        assert!(!output.status.success(), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        output.status.code().unwrap_or_default()
    }

    fn tags(&self) -> Vec<String> {
        let mut tags = self.registry.tags("team/app");
        tags.sort();
        tags
    }

    fn manifest(&self, tag: &str) -> Value {
        let (_, _, bytes) = self.registry.manifest("team/app", tag).expect("a manifest");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn labels(&self, tag: &str) -> Value {
        let digest = self.manifest(tag)["config"]["digest"].clone();
        let digest = digest
            .as_str()
            .expect("a digest")
            .parse()
            .expect("a digest");
        let blob = self
            .registry
            .blob("team/app", &digest)
            .expect("a configuration");
        let config: Value = serde_json::from_slice(&blob).expect("JSON");
        config["config"]["Labels"].clone()
    }
}

#[test]
fn the_commit_is_the_tag_and_changes_are_told() {
    let place = Place::new();
    let head = place.head();
    let product = place.pushed(&[]);
    let (digest, _, _) = place.registry.manifest("team/app", &head).expect("the tag");
    assert_eq!(product, format!("{}:{head}@{digest}", place.repository()));
    assert_eq!(place.tags(), std::slice::from_ref(&head));
    place.environment.write("a.txt", "two\n");
    place.pushed(&[]);
    let dirty = place.tags().pop().expect("a tag");
    assert!(dirty.starts_with(&format!("{head}-dirty-")), "{dirty}");
    assert_eq!(dirty.len(), head.len() + "-dirty-12345678".len());
    // The same changes are the same tag, and others are another.
    place.pushed(&[]);
    assert_eq!(place.tags().len(), 2);
    place.environment.write("a.txt", "three\n");
    place.pushed(&[]);
    assert_eq!(place.tags().len(), 3);
    let before = place.tags();
    assert_eq!(
        place.refused(&["--dirty=refuse"], "changes that are not committed"),
        2
    );
    assert_eq!(place.tags(), before);
}

#[test]
fn a_tag_of_a_commit_never_moves() {
    let place = Place::new();
    let head = place.head();
    place.pushed(&[]);
    let (first, _, _) = place.registry.manifest("team/app", &head).expect("the tag");
    // Equal bytes are no conflict; another argument makes other bytes.
    place.pushed(&[]);
    let code = place.refused(&["--label", "other=bytes", "--extra-tag", "main"], &head);
    assert!(code > 2, "an exit code of its own: {code}");
    let (still, _, _) = place.registry.manifest("team/app", &head).expect("the tag");
    assert_eq!(first, still);
    assert_eq!(place.tags(), std::slice::from_ref(&head), "nothing moved");
    place.pushed(&["--label", "other=bytes", "--retag"]);
    let (moved, _, _) = place.registry.manifest("team/app", &head).expect("the tag");
    assert_ne!(first, moved);
}

#[test]
fn policies_and_floating_tags() {
    let place = Place::new();
    place.git(&["tag", "v1.0"]);
    place.commit("second");
    let short = &place.head()[..12];
    let describe = place.git(&["describe", "--tags"]);
    place.pushed(&[
        "--tag-policy",
        "git-short,git-describe",
        "--extra-tag",
        "main",
    ]);
    let mut expected = [short, describe.as_str(), "main"];
    expected.sort();
    assert_eq!(place.tags(), expected);
    place.commit("third");
    place.pushed(&["--tag", "v2", "--extra-tag", "main"]);
    let digest = |tag: &str| place.registry.manifest("team/app", tag).expect("a tag").0;
    assert_eq!(digest("main"), digest("v2"));
    assert_ne!(digest("main"), digest(short));
    place.refused(
        &["--extra-tag", "latest"],
        "`latest` says nothing of what it is",
    );
    place.refused(&["--tag", "latest"], "`latest` says nothing of what it is");
    place.pushed(&["--extra-tag", "latest", "--allow-latest"]);
    place.refused(&["--extra-tag", "a/b"], "--extra-tag: `a/b`");
}

#[test]
fn the_declaration_says_how_tags_are_made() {
    let place = Place::new();
    place.environment.write(
        "kiln.yaml",
        "tags:\n  policy: [git-short]\n  floating: [\"{branch}\", \"day-{date}\"]\n  dirty: refuse\n",
    );
    let head = place.commit("declared");
    place.pushed(&[]);
    let mut expected = [&head[..12], "day-20010203", "main"];
    expected.sort_unstable();
    assert_eq!(place.tags(), expected);
    place.environment.write("a.txt", "two\n");
    place.refused(&[], "changes that are not committed");
    // The tag of the commit is taken by what was committed.
    place.refused(&["--dirty", "allow"], "an immutable tag is taken");
}

#[test]
fn a_whole_name_as_a_tag_is_compared_with_the_repository() {
    let place = Place::new();
    let repository = place.repository();
    let whole = format!("{repository}:v1");
    let arguments = [
        "build",
        "--push",
        "--repo",
        &repository,
        "--tag",
        &whole,
        ".",
    ];
    let output = place.run(&arguments, &[]);
    let said = place.environment.describe(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("`v1` is enough"), "{said}");
    assert_eq!(place.tags(), ["v1"]);
    let other = format!("{}/team/other:v1", place.registry.host());
    place.refused(&["--tag", &other], "/team/other, and --repo is");
    place.refused(&["--tag", "epp:v1"], "docker.io/library/epp, and --repo is");
    place.refused(&["--tag=-x"], "--tag: `-x`");
    let arguments = [
        "build",
        "--push",
        "--repo",
        &format!("{repository}:v1"),
        ".",
    ];
    let said = place.environment.describe(&place.run(&arguments, &[]));
    assert!(
        said.contains(&format!("--repo {repository}, and --tag v1")),
        "{said}"
    );
    assert_eq!(place.tags(), ["v1"]);
}

#[test]
fn images_say_what_they_are_made_of() {
    let place = Place::new();
    place.git(&["tag", "v1.0"]);
    let head = place.head();
    place.pushed(&[
        "--extra-tag",
        "main",
        "--label",
        "org.opencontainers.image.version=mine",
    ]);
    let (labels, annotations) = (
        place.labels(&head),
        place.manifest(&head)["annotations"].clone(),
    );
    let (base, _, _) = place.registry.manifest("base", "1").expect("the base");
    let expected = [
        ("revision", head.clone()),
        ("source", "https://example.org/app.git".to_owned()),
        ("version", "mine".to_owned()),
        ("created", "2001-02-03T04:05:06Z".to_owned()),
        ("base.name", format!("{}/base:1", place.registry.host())),
        ("base.digest", base.to_string()),
    ];
    for (key, value) in expected {
        let key = format!("org.opencontainers.image.{key}");
        assert_eq!(labels[&key], value, "{key}");
        assert_eq!(annotations[&key], value, "{key}");
    }
    assert_eq!(
        labels["arguments"],
        format!("{head} main 2001-02-03T04:05:06Z")
    );
    // Two builds of one commit are one image.
    let first = place.manifest(&head);
    place.pushed(&[
        "--no-cache",
        "--extra-tag=main",
        "--label=org.opencontainers.image.version=mine",
    ]);
    assert_eq!(first, place.manifest(&head));
}

#[test]
fn a_plain_build_says_nothing_that_buildkit_would_not() {
    let place = Place::new();
    let name = format!("{}:plain", place.repository());
    let check = |arguments: &[&str]| {
        let common = ["build", "--quiet", "--push", "--tag", &name];
        let output = place.run(&[&common, arguments, &["."]].concat(), &[]);
        let said = place.environment.describe(&output);
        assert!(output.status.success(), "{said}");
        // Stdout is the digest alone, as it always was.
        assert!(
            String::from_utf8_lossy(&output.stdout).starts_with("sha256:"),
            "{said}"
        );
        place.labels("plain")
    };
    let labels = check(&[]);
    assert_eq!(labels, serde_json::json!({"arguments": " none "}));
    assert_eq!(place.manifest("plain")["annotations"], Value::Null);
    let labels = check(&["--identity-labels"]);
    assert_eq!(labels["org.opencontainers.image.revision"], place.head());
    let labels = check(&["--identity-labels=false"]);
    assert_eq!(labels["org.opencontainers.image.revision"], Value::Null);
}

#[test]
fn flags_that_would_do_nothing_are_refused() {
    let place = Place::new();
    for flags in [
        &["--extra-tag=main"][..],
        &["--tag-policy=git-sha"],
        &["--dirty=allow"],
    ] {
        let output = place.run(&[&["build"], flags, &["."]].concat(), &[]);
        let said = place.environment.describe(&output);
        assert!(said.contains("no --repo says where"), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn without_a_commit_a_tag_must_be_given() {
    let place = Place::new();
    std::fs::remove_dir_all(place.environment.work().join(".git")).expect("removed");
    place.refused(&[], "is not in the working tree of a git repository");
    place.refused(
        &["--identity-labels", "--tag=v1"],
        "is not in the working tree",
    );
    place.pushed(&["--tag", "v1"]);
    assert_eq!(place.tags(), ["v1"]);
    place.git(&["init", "--quiet"]);
    place.refused(&[], "has no commit yet");
}

#[test]
fn variables_of_makefiles_count_where_the_declaration_says_so() {
    let place = Place::new();
    let repository = place.repository();
    let tag = format!("{repository}:v7");
    let variables = [
        ("IMAGE_REPO", repository.as_str()),
        ("IMAGE_TAG", tag.as_str()),
        ("EXTRA_TAG", "main"),
    ];
    let build = ["build", "--quiet", "--push", "."];
    let said = place.environment.describe(&place.run(&build, &variables));
    assert!(
        said.contains("there is no name to push the image under"),
        "{said}"
    );
    place.environment.write("kiln.yaml", "compat: epp\n");
    let output = place.run(&build, &variables);
    let said = place.environment.describe(&output);
    assert!(output.status.success(), "{said}");
    assert_eq!(place.tags(), ["main", "v7"]);
}

#[test]
fn an_index_says_it_too() {
    let place = Place::new();
    place
        .environment
        .write("Dockerfile", "FROM scratch\nCOPY a.txt /\n");
    let head = place.commit("for every platform");
    place.pushed(&[
        "--platform=linux/amd64,linux/arm64",
        "--label=org.opencontainers.image.version=mine",
        "--annotation=index:org.opencontainers.image.source=elsewhere",
    ]);
    let annotations = place.manifest(&head)["annotations"].clone();
    let expected = serde_json::json!({
        "org.opencontainers.image.created": "2001-02-03T04:05:06Z",
        "org.opencontainers.image.revision": head,
        "org.opencontainers.image.source": "elsewhere",
        "org.opencontainers.image.version": "mine",
    });
    assert_eq!(annotations, expected);
}
