//! Channels: sets of images that are published, compared, promoted, taken back and removed as one,
//! as several people do it with one registry.

mod hostile;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::registry_program::RealRegistry;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Action, Endpoint, Match, Method, Options, Registry};

/// The images of seed days: six, each in two variants.
const IMAGES: [&str; 6] = [
    "envoy-prepare",
    "kubernetes-component-builder",
    "kubernetes-envoy-xds-api-rest-per-node",
    "kubernetes-lattice-controller-manager",
    "kubernetes-manager-api-rest",
    "lattice-cli-admin",
];

pub(crate) const DASHES: &str = "{registry}/{channel}-{variant}-{image}";
const PATHS: &str = "{registry}/{prefix}/{channel}/{variant}/{image}";

/// A team: one registry, one repository of sources, and what belongs to each of its members.
pub(crate) struct Team {
    pub(crate) registry: Registry,
    directory: TempDir,
}

impl Team {
    pub(crate) fn new(layout: &str, rules: &[&str]) -> Option<Self> {
        Self::with(Registry::start(), layout, rules)
    }

    /// A team whose channel `stable` is protected by rules; none, with the reason on stderr, where
    /// there is no git.
    fn with(registry: Registry, layout: &str, rules: &[&str]) -> Option<Self> {
        if Command::new("git").arg("--version").output().is_err() {
            eprintln!("skipped: git is not installed");
            return None;
        }
        let team = Self {
            registry,
            directory: tempfile::tempdir().expect("a temporary directory"),
        };
        let rules: Vec<String> = rules.iter().map(|rule| format!("{rule:?}")).collect();
        let mut declaration = format!(
            "registry: {}/lattice-dev\nprefix: system\nchannel-layout:\n  repository: \"{layout}\"\n\
             channels:\n  stable:\n    protected: true\n    require: [{}]\nvariants:\n  debug:\n    \
             args: {{KIND: debug}}\nimages:\n",
            team.registry.host(),
            rules.join(", ")
        );
        for image in IMAGES {
            declaration +=
                &format!("  {image}:\n    context: {image}\n    variants: [plain, debug]\n");
            team.write(
                &format!("{image}/Dockerfile"),
                "FROM scratch\nARG KIND=plain\nCOPY content /content\nCOPY content /$KIND\n",
            );
            team.write(&format!("{image}/content"), image);
        }
        team.write("kiln.yaml", &declaration);
        fs::create_dir_all(team.path("home")).expect("a directory");
        team.git(&["init", "-q", "-b", "main"]);
        team.commit("first");
        Some(team)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.path("work")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.work().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = self
            .clean("git")
            .args([
                "-c",
                "user.name=Kevin",
                "-c",
                "user.email=kevin@example.com",
            ])
            .args(arguments)
            .output()
            .expect("git starts");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits everything, and has the remote know it.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        let commit = self.git(&["rev-parse", "HEAD"]);
        self.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
        commit
    }

    fn clean(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    /// `kiln channel ARGUMENTS` as somebody, not started yet.
    fn channel(&self, user: &str, arguments: &[&str]) -> Command {
        let mut command = self.clean(env!("CARGO_BIN_EXE_kiln"));
        command
            .arg("channel")
            .args(arguments)
            .env("KILN_USER", user)
            .env("KILN_STORE", self.path(&format!("store-{user}")));
        command
    }

    #[track_caller]
    pub(crate) fn ok(&self, user: &str, arguments: &[&str]) -> String {
        let output = self.channel(user, arguments).output().expect("kiln starts");
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self, user: &str, arguments: &[&str]) -> Value {
        let text = self.ok(user, &[arguments, &["--format", "json"]].concat());
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["schema"], 1);
        value
    }

    /// Fails, with this code and these words.
    #[track_caller]
    pub(crate) fn fails(&self, user: &str, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.channel(user, arguments).output().expect("kiln starts");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    }

    #[track_caller]
    pub(crate) fn show(&self, user: &str, channel: &str) -> Value {
        self.json(user, &["show", channel])
    }

    /// The digests behind a tag, in the repositories of a channel that has dashes.
    pub(crate) fn digests(&self, channel: &str, tag: &str) -> Vec<Option<String>> {
        let repositories = repositories(channel).into_iter();
        let found = repositories.map(|name| self.registry.manifest(&name, tag));
        found
            .map(|found| found.map(|found| found.0.to_string()))
            .collect()
    }
}

/// `lattice-dev/CHANNEL-[debug-]IMAGE`, in the order of records.
pub(crate) fn repositories(channel: &str) -> Vec<String> {
    let variants = ["debug-", ""];
    let images = IMAGES.iter().flat_map(|image| {
        variants.map(|variant| format!("lattice-dev/{channel}-{variant}{image}"))
    });
    images.collect()
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn count(value: &Value, key: &str) -> usize {
    value[key].as_array().map_or(0, Vec::len)
}

#[test]
fn everybody_has_a_channel_of_their_own() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    let commit = team.git(&["rev-parse", "HEAD"]);
    let pushed = team.json("Kevin.Rosendahl", &["push"]);
    assert_eq!(pushed["done"], true, "{pushed}");
    let shown = team.show("Kevin.Rosendahl", "kevin.rosendahl");
    assert_eq!(shown["consistent"], true, "{shown:#}");
    let record = &shown["record"];
    assert_eq!(record["commit"], commit.as_str());
    assert_eq!(
        (&record["dirty"], &record["mixed"]),
        (&false.into(), &false.into())
    );
    assert_eq!(record["who"]["verified"], false);
    assert_eq!(count(record, "images"), 12);
    // Every image under its commit and under what the channel moves; nothing of anybody else.
    let latest = team.digests("kevin.rosendahl", "latest");
    assert!(latest.iter().all(Option::is_some), "{latest:?}");
    assert_eq!(latest, team.digests("kevin.rosendahl", &commit));
    let tags = team.registry.tags("lattice-dev/kevin.rosendahl");
    assert!(
        tags.contains(&commit) && tags.contains(&"current".to_owned()),
        "{tags:?}"
    );

    // The same again sends nothing, and moves nothing.
    team.registry.clear_log();
    let again = team.json("Kevin.Rosendahl", &["push"]);
    assert_eq!(again["done"], false, "{again}");
    let lines = team.registry.lines();
    let writes = lines
        .iter()
        .filter(|line| !line.starts_with("GET") && !line.starts_with("HEAD"));
    assert_eq!(writes.count(), 0, "{lines:?}");

    team.ok("bob", &["push", "envoy-prepare"]);
    let listed = team.json("bob", &["list"]);
    let names: Vec<&str> = listed["channels"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|channel| channel["name"].as_str())
        .collect();
    assert_eq!(names, ["bob", "kevin.rosendahl", "stable"]);
    let difference = team.json("bob", &["diff", "bob", "kevin.rosendahl"]);
    let states = difference["images"].as_array().expect("a list").iter();
    let states: Vec<&str> = states.filter_map(|image| image["state"].as_str()).collect();
    assert_eq!(states.iter().filter(|state| **state == "same").count(), 2);
    assert_eq!(states.iter().filter(|state| **state == "added").count(), 10);
}

#[test]
fn a_commit_leaves_images_that_it_does_not_change() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    let first = team.git(&["rev-parse", "HEAD"]);
    team.ok("kevin", &["push"]);
    let before = team.digests("kevin", "latest");
    team.write("envoy-prepare/content", "changed");
    let second = team.commit("second");
    let pushed = team.json("kevin", &["push"]);
    assert_eq!(pushed["record"]["commit"], second.as_str());
    assert_eq!(pushed["record"]["mixed"], false);
    // One image in two variants is new; the others are those of the first commit, and say so.
    let after = team.digests("kevin", "latest");
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before != after, number < 2, "image {number}");
        let image = &pushed["record"]["images"][number];
        let commit = if number < 2 { &second } else { &first };
        assert_eq!(image["commit"], commit.as_str(), "{image}");
        assert_eq!(image["digest"].as_str(), after.as_deref());
        assert_eq!(image["tags"][0], commit.as_str());
    }
    assert_eq!(team.show("kevin", "kevin")["consistent"], true);

    // A Dockerfile that declares the commit is made of it.
    team.write(
        "envoy-prepare/Dockerfile",
        "FROM scratch\nARG COMMIT_SHA\nCOPY content /content\nLABEL of=$COMMIT_SHA\n",
    );
    team.commit("third");
    team.ok("kevin", &["push"]);
    let third = team.digests("kevin", "latest");
    team.commit("fourth");
    team.ok("kevin", &["push"]);
    let fourth = team.digests("kevin", "latest");
    assert_ne!(fourth[..2], third[..2]);
    assert_eq!(fourth[2..], before[2..]);

    // What was made of changes is not what a clean commit has.
    team.write("new", "not committed");
    team.write("lattice-cli-admin/content", "half done");
    team.ok("kevin", &["push"]);
    let dirty = team.digests("kevin", "latest");
    team.commit("fifth");
    team.ok("kevin", &["push"]);
    assert_ne!(team.digests("kevin", "latest")[10..], dirty[10..]);
}

#[test]
fn names_that_many_share_are_no_channel() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.fails(
        "root",
        &["push"],
        2,
        &["many users and machines share", "--channel"],
    );
    team.fails("***", &["show"], 2, &["no letter or digit"]);
    assert!(team.registry.lines().is_empty(), "nothing was asked");
}

#[test]
fn a_part_of_the_set_makes_a_mixed_channel() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push"]);
    let before = team.digests("kevin", "latest");
    team.write("envoy-prepare/content", "changed");
    team.write("lattice-cli-admin/content", "changed too");
    team.commit("second");
    let pushed = team.json("kevin", &["push", "envoy-prepare"]);
    assert_eq!(pushed["record"]["mixed"], true);
    assert_eq!(count(&pushed["record"], "images"), 12);
    let after = team.digests("kevin", "latest");
    let changed = before
        .iter()
        .zip(&after)
        .filter(|(one, other)| one != other);
    assert_eq!(changed.count(), 2, "plain and debug of one image");
    assert_eq!(team.show("kevin", "kevin")["consistent"], true);
    // Of everything, nothing is mixed any more.
    assert_eq!(team.json("kevin", &["push"])["record"]["mixed"], false);
}

#[test]
fn a_set_that_cannot_be_moved_as_a_whole_stays_where_it_was() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push"]);
    let before = team.digests("kevin", "latest");
    for image in IMAGES {
        team.write(&format!("{image}/content"), "changed");
    }
    team.commit("second");
    let tags = Match::new(Method::PUT, Endpoint::Manifest).reference("latest");
    let once = tags.clone().nth(4);
    team.registry.fault(once, Action::status(403));
    let words = ["incomplete", "were put back"];
    team.fails("kevin", &["push"], 1, &words);
    team.registry.clear_faults();
    assert_eq!(team.digests("kevin", "latest"), before, "all were put back");
    assert_eq!(team.show("kevin", "kevin")["consistent"], true);

    // Where they cannot be put back either, that is said, and what the record says can be restored.
    team.registry.fault(tags.skip(3), Action::status(403));
    let words = [
        "could not be put back",
        "kiln channel rollback kevin --to 0",
    ];
    team.fails("kevin", &["push"], 1, &words);
    team.registry.clear_faults();
    assert_eq!(count(&team.show("kevin", "kevin"), "strays"), 3);
    team.ok("kevin", &["rollback", "--to", "0"]);
    assert_eq!(team.digests("kevin", "latest"), before);
    assert_eq!(team.show("kevin", "kevin")["consistent"], true);
    team.ok("kevin", &["push"]);
    assert_eq!(team.show("kevin", "kevin")["consistent"], true);
    assert_ne!(team.digests("kevin", "latest"), before);
}

#[test]
fn a_push_that_is_killed_between_tags_is_seen_and_repaired() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push"]);
    let record = team.show("kevin", "kevin")["record"].clone();
    let before = team.digests("kevin", "latest");
    for image in IMAGES {
        team.write(&format!("{image}/content"), "changed");
    }
    let commit = team.commit("second");
    // From the fourth tag on, the registry never answers.
    let fourth = Match::new(Method::PUT, Endpoint::Manifest)
        .reference("latest")
        .skip(3);
    team.registry.fault(fourth, Action::Stall { after: None });
    let mut child = team
        .channel("kevin", &["push"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("kiln starts");
    let moved = || {
        let puts = team.registry.lines();
        puts.iter()
            .filter(|line| line.starts_with("PUT") && line.ends_with("/latest"))
            .count()
    };
    let had = moved();
    for _ in 0..2_400 {
        if moved() >= had + 4 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    child.kill().expect("it runs");
    child.wait().expect("an end");
    team.registry.clear_faults();
    let shown = team.show("kevin", "kevin");
    assert_eq!(shown["record"], record, "the channel has what it had");
    let strays = count(&shown, "strays");
    let moved = team.digests("kevin", "latest");
    let moved = moved
        .iter()
        .zip(&before)
        .filter(|(one, other)| one != other)
        .count();
    assert_eq!(strays, moved, "what is astray is said");
    assert_eq!(shown["consistent"], strays == 0);

    team.ok("kevin", &["push"]);
    let shown = team.show("kevin", "kevin");
    assert_eq!(shown["consistent"], true);
    assert_eq!(shown["record"]["commit"], commit.as_str());
    assert_eq!(
        team.digests("kevin", "latest"),
        team.digests("kevin", &commit)
    );
}

#[test]
fn stable_is_not_moved_from_a_laptop_by_mistake() {
    let rules = ["clean", "branch:main", "all-images", "ci", "not-older"];
    let Some(team) = Team::new(DASHES, &rules) else {
        return;
    };
    let push = ["push", "--channel", "stable"];
    let refused = "the channel `stable` is protected";
    team.fails(
        "kevin",
        &push,
        4,
        &[refused, "ci: nobody's identity is verified"],
    );
    team.write("envoy-prepare/content", "half done");
    team.git(&["checkout", "-q", "-b", "feature"]);
    team.fails(
        "kevin",
        &[
            "push",
            "envoy-prepare",
            "--variant",
            "debug",
            "--channel",
            "stable",
        ],
        4,
        &[
            "clean: there are changes that are not committed",
            "branch:main: the branch is `feature`",
            "all-images: left out: envoy-prepare, kubernetes-component-builder",
            "--force-protected=stable",
        ],
    );
    for wrong in ["", "Stable", "kevin", "yes"] {
        let force = format!("--force-protected={wrong}");
        team.fails(
            "kevin",
            &[&push[..], &[&force]].concat(),
            4,
            &["was given to override"],
        );
    }
    assert_eq!(
        team.registry.tags("lattice-dev/stable"),
        Vec::<String>::new()
    );
    assert!(team.digests("stable", "latest").iter().all(Option::is_none));

    let forced = [&push[..], &["--force-protected=stable"]].concat();
    let pushed = team.json("kevin", &forced);
    let overridden = pushed["record"]["override"]["rules"].to_string();
    assert_eq!(overridden, r#"["clean","branch:main","ci"]"#);
    assert_eq!(pushed["record"]["dirty"], true);
    // What was overridden is there to be seen.
    assert!(
        team.ok("bob", &["show", "stable"])
            .contains("clean, branch:main, ci")
    );
}

#[test]
fn two_people_do_not_move_one_channel_past_each_other() {
    let Some(team) = Team::new(DASHES, &["tests:sh race.sh"]) else {
        return;
    };
    // While one looks at the rules, the other one pushes.
    team.write(
        "race.sh",
        &format!(
            "test -n \"$RACED\" || RACED=1 KILN_USER=bob KILN_STORE={} {} channel push --channel \
             stable\n",
            team.path("store-bob").display(),
            env!("CARGO_BIN_EXE_kiln")
        ),
    );
    team.commit("race");
    let push = ["push", "--channel", "stable"];
    team.fails(
        "kevin",
        &push,
        5,
        &["moved by somebody else meanwhile", "--take"],
    );
    assert_eq!(team.show("kevin", "stable")["record"]["who"]["name"], "bob");
    team.write("envoy-prepare/content", "more");
    team.commit("more");
    team.ok("kevin", &[&push[..], &["--take"]].concat());
    assert_eq!(
        team.show("kevin", "stable")["record"]["who"]["name"],
        "kevin"
    );
}

#[test]
fn what_was_tried_out_is_promoted_by_digest_with_what_refers_to_it() {
    let Some(team) = Team::new(DASHES, &["clean", "not-older"]) else {
        return;
    };
    team.ok("kevin", &["push"]);
    let digests = team.digests("kevin", "latest");
    let image = repositories("kevin")[1].clone();
    let signature = sign(&team.registry, &image);
    let planned = team.json("kevin", &["promote", "kevin", "stable", "--dry-run"]);
    assert_eq!(count(&planned["plan"], "images"), 12);
    assert!(team.digests("stable", "latest").iter().all(Option::is_none));
    let promoted = team.json("kevin", &["promote", "kevin", "stable"]);
    assert_eq!(promoted["record"]["origin"]["channel"], "kevin");
    assert_eq!(team.digests("stable", "latest"), digests);
    let commit = promoted["record"]["commit"].as_str().expect("a commit");
    assert_eq!(team.digests("stable", commit), digests);
    let there = repositories("stable")[1].clone();
    assert!(
        team.registry.manifest(&there, &signature).is_some(),
        "the signature went along"
    );
    assert_eq!(team.show("kevin", "stable")["consistent"], true);
    assert_eq!(
        team.json("kevin", &["promote", "kevin", "stable"])["done"],
        false
    );

    // What is promoted is judged, not what lies in the directory.
    team.write("envoy-prepare/content", "dirty");
    team.ok("kevin", &["push"]);
    team.git(&["checkout", "-q", "."]);
    team.fails(
        "kevin",
        &["promote", "kevin", "stable"],
        4,
        &["clean: there are changes"],
    );
    team.fails(
        "kevin",
        &["promote", "kevni", "stable"],
        2,
        &["there is no channel `kevni`"],
    );
    team.fails("kevin", &["promote", "kevin", "kevin"], 2, &["to itself"]);
}

/// Puts something that refers to an image beside it; its digest.
pub(crate) fn sign(registry: &Registry, repository: &str) -> String {
    let (digest, media_type, bytes) = registry.manifest(repository, "latest").expect("an image");
    let subject = serde_json::json!({
        "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len(),
    });
    let empty = registry.put_blob(repository, "{}");
    let layer = registry.put_blob(repository, "signed");
    let signature = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.notary.signature",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": empty.to_string(), "size": 2,
        },
        "layers": [{
            "mediaType": "application/jose+json", "digest": layer.to_string(), "size": 6,
        }],
        "subject": subject,
    });
    let bytes = signature.to_string();
    let digest = oci::Digest::of(bytes.as_bytes()).to_string();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    registry.put_manifest(repository, &digest, kind, bytes);
    digest
}

#[test]
fn a_channel_goes_back_and_forth() {
    let Some(team) = Team::new(DASHES, &["clean", "not-older"]) else {
        return;
    };
    let push = ["push", "--channel", "stable"];
    team.ok("kevin", &push);
    let first = team.digests("stable", "latest");
    let commit = team.git(&["rev-parse", "HEAD"]);
    team.write("envoy-prepare/content", "second");
    team.commit("second");
    team.ok("kevin", &push);
    let second = team.digests("stable", "latest");
    assert_ne!(first, second);
    let rolled = team.json("kevin", &["rollback", "stable"]);
    assert_eq!(rolled["record"]["commit"], commit.as_str());
    assert_eq!(rolled["record"]["origin"]["kind"], "restored");
    assert_eq!(team.digests("stable", "latest"), first);
    let shown = team.json("kevin", &["show", "stable", "--history", "5"]);
    assert_eq!(shown["consistent"], true);
    assert_eq!(count(&shown, "history"), 2);
    // Going back is undone by going back.
    team.ok("kevin", &["rollback", "stable"]);
    assert_eq!(team.digests("stable", "latest"), second);
    team.ok("kevin", &["rollback", "stable", "--to", &commit[..8]]);
    assert_eq!(team.digests("stable", "latest"), first);
    team.fails(
        "kevin",
        &["rollback", "stable", "--to", "999"],
        2,
        &["earlier states"],
    );
    team.fails(
        "kevin",
        &["rollback", "stable", "--to", "abcdef0"],
        2,
        &["never had"],
    );
    team.fails(
        "kevin",
        &["rollback", "stable", "--to", "x"],
        2,
        &["expected a number"],
    );
}

#[test]
fn consumers_are_told_what_to_use() {
    let Some(dashes) = Team::new(DASHES, &[]) else {
        return;
    };
    let host = dashes.registry.host();
    assert_eq!(
        dashes.ok("kevinrosendahl", &["env", "--variant", "debug"]),
        format!(
            "export LATTICE_CONTAINER_REGISTRY='{host}/lattice-dev'\n\
             export LATTICE_CONTAINER_REPO_PREFIX='kevinrosendahl-debug-'\n"
        )
    );
    assert!(
        dashes.registry.lines().is_empty(),
        "no registry is needed for names"
    );
    dashes.fails(
        "kevin",
        &["env", "--variant", "debgu"],
        2,
        &["plain, debug"],
    );
    let paths = Team::new(PATHS, &[]).expect("git is there");
    let host = paths.registry.host();
    let env = paths.json("kevin", &["env", "stable"]);
    assert_eq!(env["repo_prefix"], "system/stable/");
    assert_eq!(
        env["container_channel"],
        format!("{host}/lattice-dev/system/stable")
    );
    paths.ok("kevin", &["push"]);
    let values = paths.ok("kevin", &["env", "--values"]);
    for image in IMAGES {
        let repository = format!("lattice-dev/system/kevin/{image}");
        let (digest, ..) = paths
            .registry
            .manifest(&repository, "latest")
            .expect("an image");
        assert!(
            values.contains(&format!("{host}/{repository}@{digest}")),
            "{values}"
        );
    }
    let record = paths.show("kevin", "kevin")["record"].clone();
    assert_eq!(
        paths.ok("kevin", &["env", "--template", "{commit} {record}"]),
        format!(
            "{} {}\n",
            record["commit"].as_str().expect("a commit"),
            record["digest"].as_str().expect("a digest")
        )
    );
    assert_eq!(paths.show("kevin", "kevin")["consistent"], true);
}

#[test]
fn old_channels_go_and_what_others_name_stays() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push"]);
    team.ok("kevin", &["promote", "kevin", "stable"]);
    team.ok("bob", &["push", "envoy-prepare"]);
    let nothing = team.json("bob", &["prune", "--older-than", "30d", "--yes"]);
    assert_eq!(count(&nothing, "channels"), 0);
    let planned = team.json("bob", &["prune", "kevin", "--older-than", "0s"]);
    assert_eq!(
        (count(&planned, "channels"), &planned["removed"]),
        (1, &Value::Null)
    );
    assert!(team.digests("kevin", "latest").iter().all(Option::is_some));
    let removed = team.json("bob", &["prune", "kevin", "--older-than", "0s", "--yes"]);
    assert_eq!(
        removed["removed"], 13,
        "twelve images and a record: {removed:#}"
    );
    assert!(team.digests("kevin", "latest").iter().all(Option::is_none));
    team.fails(
        "bob",
        &["show", "kevin"],
        2,
        &["there is no channel `kevin`"],
    );
    for channel in ["stable", "bob"] {
        assert_eq!(team.show("bob", channel)["consistent"], true);
    }
    let stable = ["prune", "stable", "--older-than", "0s", "--yes"];
    team.fails("bob", &stable, 2, &["is protected: it is not removed"]);
}

#[test]
fn registries_that_do_not_delete_say_so() {
    let registry = Registry::with(Options {
        deletes: false,
        catalog: false,
        ..Options::default()
    });
    let Some(team) = Team::with(registry, DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push", "envoy-prepare"]);
    let prune = ["prune", "--older-than", "0s", "--yes"];
    team.fails(
        "kevin",
        &prune,
        1,
        &["does not list its repositories", "does not delete"],
    );
    assert_eq!(team.show("kevin", "kevin")["consistent"], true);
}

/// Lets somebody write over what the record of `kevin` says.
fn forge(team: &Team, change: impl Fn(&str) -> String) {
    let (_, kind, manifest) = team
        .registry
        .manifest("lattice-dev/kevin", "current")
        .expect("one");
    let mut manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let layer = manifest["layers"][0]["digest"]
        .as_str()
        .expect("a digest")
        .parse();
    let record = team
        .registry
        .blob("lattice-dev/kevin", &layer.expect("a digest"));
    let record = String::from_utf8(record.expect("a record").to_vec()).expect("UTF-8");
    let forged = change(&record);
    assert_ne!(forged, record);
    let digest = team.registry.put_blob("lattice-dev/kevin", forged.clone());
    manifest["layers"][0]["digest"] = digest.to_string().into();
    manifest["layers"][0]["size"] = forged.len().into();
    let bytes = manifest.to_string();
    let digest = oci::Digest::of(bytes.as_bytes());
    for name in ["current", digest.as_str()] {
        team.registry
            .put_manifest("lattice-dev/kevin", name, &kind, bytes.clone());
    }
}

#[test]
fn a_record_does_not_choose_where_tags_are_moved() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push", "envoy-prepare"]);
    forge(&team, |record| {
        record.replace("lattice-dev/kevin-envoy-prepare", "other-team/production")
    });
    let words = ["other-team/production", "the layout of channels"];
    team.fails("kevin", &["rollback", "--to", "0"], 1, &words);
    team.fails(
        "kevin",
        &["prune", "--older-than", "0s", "--yes"],
        1,
        &words,
    );
    team.fails("kevin", &["promote", "kevin", "bob"], 1, &words);
}

#[test]
fn debians_registry_has_channels_too() {
    let (Some(real), Some(team)) = (RealRegistry::start(), Team::new(DASHES, &["clean"])) else {
        return;
    };
    let run = |arguments: &[&str]| {
        let registry = format!("{}/lattice-dev", real.host);
        let mut command = team.channel("kevin", arguments);
        let output = command
            .env("KILN_REGISTRY", registry)
            .output()
            .expect("kiln starts");
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&run(&[arguments, &["--format", "json"]].concat())).expect("JSON")
    };
    run(&["push"]);
    team.write("envoy-prepare/content", "second");
    team.commit("second");
    run(&["push"]);
    run(&["promote", "kevin", "stable"]);
    run(&["rollback", "kevin"]);
    let names = json(&["list"])["channels"].to_string();
    assert!(
        names.contains("\"kevin\"") && names.contains("\"stable\""),
        "{names}"
    );
    for channel in ["kevin", "stable"] {
        assert_eq!(json(&["show", channel])["consistent"], true, "{channel}");
    }
    let difference = json(&["diff", "kevin", "stable"]);
    let images = difference["images"].as_array().expect("a list").iter();
    let changed = images.filter(|image| image["state"] == "changed");
    assert_eq!(changed.count(), 2, "a commit changes what is made of it");
    assert!(
        team.registry.lines().is_empty(),
        "everything went to the other registry"
    );
}

#[test]
fn verbs_have_examples() {
    let directory: &Path = Path::new("/");
    for verb in [
        "push", "list", "show", "diff", "promote", "rollback", "env", "prune", "protect",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
            .args(["channel", verb, "--help"])
            .current_dir(directory)
            .output()
            .expect("kiln starts");
        let text = said(&output);
        assert!(
            text.contains(&format!("Examples:\n  kiln channel {verb}"))
                || text.contains("Examples:\n  eval"),
            "{text}"
        );
    }
}
