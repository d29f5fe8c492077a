//! Channels among people who use the same registry for other things, or do not mean well.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Action, Endpoint, Layer, Match, Method, Registry, image};

use super::{DASHES, Team, count, forge, repositories, said};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const PRUNE: [&str; 5] = ["prune", "kevin", "--older-than", "0s", "--yes"];

#[test]
fn what_somebody_tagged_outlives_its_channel() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push", "envoy-prepare"]);
    let [debug, plain, ..] = &repositories("kevin")[..] else {
        panic!("two repositories");
    };
    // One is a release; the other is in an index of somebody's.
    let (released, kind, bytes) = team.registry.manifest(plain, "latest").expect("an image");
    team.registry.put_manifest(plain, "v1.0", &kind, bytes);
    let (listed, kind, bytes) = team.registry.manifest(debug, "latest").expect("an image");
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": kind, "digest": listed.to_string(), "size": bytes.len()}],
    });
    team.registry
        .put_manifest(debug, "all", OCI_INDEX, index.to_string());
    let removed = team.json("bob", &PRUNE);
    assert_eq!(
        (&removed["removed"], &removed["kept"]),
        (&json!(1), &json!(2)),
        "the record goes: {removed:#}"
    );
    let tagged = team.registry.manifest(plain, "v1.0").map(|found| found.0);
    assert_eq!(tagged, Some(released));
    assert!(team.registry.manifest(debug, listed.as_str()).is_some());
}

#[test]
fn a_list_of_referrers_does_not_choose_what_is_removed() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push", "envoy-prepare"]);
    let plain = &repositories("kevin")[1];
    let (digest, _, _) = team.registry.manifest(plain, "latest").expect("an image");
    let other = image().layer(Layer::new().file("/other", "yes")).build();
    team.registry.seed(plain, other.digest.as_str(), &other);
    let list = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": other.digest.to_string(), "size": other.manifest.len(),
        }],
    });
    let tag = format!("sha256-{}", digest.hex());
    team.registry
        .put_manifest(plain, &tag, OCI_INDEX, list.to_string());
    team.json("bob", &PRUNE);
    assert!(team.registry.manifest(plain, digest.as_str()).is_none());
    assert!(
        team.registry
            .manifest(plain, other.digest.as_str())
            .is_some()
    );
}

#[test]
fn a_channel_that_is_moved_while_somebody_thinks_is_not_removed() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push", "envoy-prepare"]);
    let first = team.registry.manifest("lattice-dev/kevin", "current");
    let (_, kind, first) = first.expect("a record");
    team.write("envoy-prepare/content", "second");
    team.commit("second");
    team.ok("kevin", &["push", "envoy-prepare"]);
    team.registry.clear_log();
    // The third time, the earlier states are read: somebody else is quick.
    let layer = Match::new(Method::GET, Endpoint::Blob).repository("lattice-dev/kevin");
    team.registry.fault(
        layer.nth(3),
        Action::SlowBytes {
            bytes: 64,
            pause_ms: 100,
        },
    );
    let prune = team.channel("bob", &PRUNE).spawn_piped();
    let is_reading = || {
        let lines = team.registry.lines();
        let records = lines
            .iter()
            .filter(|line| line.starts_with("GET /v2/lattice-dev/kevin/blobs/"));
        records.count() >= 3
    };
    let start = Instant::now();
    while !is_reading() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    team.registry
        .put_manifest("lattice-dev/kevin", "current", &kind, first);
    let output = prune.wait_with_output().expect("kiln ends");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("was moved by somebody else"), "{text}");
    let deletes = team.registry.lines();
    assert!(deletes.iter().all(|line| !line.starts_with("DELETE")));
}

trait Piped {
    fn spawn_piped(&mut self) -> std::process::Child;
}

impl Piped for std::process::Command {
    fn spawn_piped(&mut self) -> std::process::Child {
        self.stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("kiln starts")
    }
}

#[test]
fn a_record_does_not_choose_which_hosts_are_asked() {
    let Some(team) = Team::new(DASHES, &["signed"]) else {
        return;
    };
    let elsewhere = Registry::start();
    team.ok("kevin", &["push", "envoy-prepare"]);
    forge(&team, |record| {
        let own = format!("{}/lattice-dev/kevin-envoy", team.registry.host());
        record.replace(&own, &format!("{}/x/kevin-envoy", elsewhere.host()))
    });
    for arguments in [
        &["promote", "kevin", "stable"][..],
        &["rollback", "--to", "0"],
        &["show"],
        &PRUNE,
    ] {
        team.fails("kevin", arguments, 1, &[&elsewhere.host()]);
    }
    assert_eq!(elsewhere.lines(), Vec::<String>::new());
}

#[test]
fn an_image_gets_another_name_and_keeps_its_place() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push"]);
    let declared = std::fs::read_to_string(team.work().join("kiln.yaml")).expect("a declaration");
    let renamed = declared.replace(
        "  envoy-prepare:\n",
        "  envoy-setup:\n    path: envoy-prepare\n",
    );
    team.write("kiln.yaml", &renamed);
    team.commit("another name");
    team.ok("kevin", &["push"]);
    let shown = team.show("kevin", "kevin");
    assert_eq!(count(&shown["record"], "images"), 12, "{shown:#}");
    assert_eq!(shown["consistent"], true);
}

#[test]
fn a_channel_that_cannot_be_read_is_named_and_hides_no_other() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push", "envoy-prepare"]);
    team.ok("bob", &["push", "envoy-prepare"]);
    forge(&team, |record| {
        record.replace("\"schema\":1", "\"schema\":2")
    });
    let list = team.channel("bob", &["list", "--format", "json"]);
    let output = { list }.output().expect("kiln starts");
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("the channel `kevin` is left out"), "{text}");
    let listed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(listed["complete"], false, "{listed:#}");
    let names = listed["channels"].as_array().expect("channels").iter();
    let names: Vec<_> = names
        .filter_map(|channel| channel["name"].as_str())
        .collect();
    assert_eq!(names, ["bob", "stable"]);
    team.fails(
        "bob",
        &["prune", "--older-than", "0s", "--yes"],
        1,
        &["nothing is removed"],
    );
}

#[test]
fn signatures_of_others_stay_when_a_channel_is_promoted() {
    let Some(team) = Team::new(DASHES, &[]) else {
        return;
    };
    team.ok("kevin", &["push"]);
    let (kevins, stables) = (&repositories("kevin")[1], &repositories("stable")[1]);
    let (digest, _, _) = team.registry.manifest(kevins, "latest").expect("an image");
    let tag = format!("sha256-{}.sig", digest.hex());
    let signed = |repository: &str, by: &str| {
        let config = team.registry.put_blob(repository, "{}");
        let layer = team.registry.put_blob(repository, by.to_owned());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.to_string(), "size": 2,
            },
            "layers": [{
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": layer.to_string(), "size": by.len(),
            }],
        });
        let kind = "application/vnd.oci.image.manifest.v1+json";
        team.registry
            .put_manifest(repository, &tag, kind, manifest.to_string());
        layer.to_string()
    };
    let of_kevin = signed(kevins, "kevin");
    let of_release = signed(stables, "release");
    team.ok("kevin", &["promote", "kevin", "stable"]);
    let (_, _, bytes) = team.registry.manifest(stables, &tag).expect("signatures");
    let manifest: Value = serde_json::from_slice(&bytes).expect("JSON");
    let layers = manifest["layers"].as_array().expect("layers").iter();
    let layers: Vec<_> = layers
        .filter_map(|layer| layer["digest"].as_str())
        .collect();
    assert_eq!(layers, [&of_release, &of_kevin]);
}
