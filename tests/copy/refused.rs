//! Images that contradict themselves go nowhere.

use oci::{Digest, MediaType};
use serde_json::{Value, json};
use testkit::{Action, Endpoint, Match, Method, Registry};

use super::bad;
use super::rich::{Rich, seed_rich};
use crate::cli::Environment;

/// What is wrong, and what is said of it. The destination has no tag afterwards.
fn check_refused(name: &str, prepare: impl FnOnce(&Registry, &Rich), words: &str) {
    let from = Registry::start();
    let rich = seed_rich(&from, "app");
    prepare(&from, &rich);
    let to = Registry::start();
    let environment = Environment::new();
    let source = format!("{}/app:1", from.host());
    for target in [format!("{}/app:1", to.host()), "oci:out:1".to_owned()] {
        let (code, said) = bad(&environment, &["copy", &source, &target]);
        assert_eq!(code, 1, "{name}: {said}");
        assert!(said.contains(words), "{name}: {said}");
    }
    assert_eq!(to.tags("app"), [""; 0], "{name}");
    assert!(
        !environment.work().join("out/index.json").exists(),
        "{name}"
    );
}

fn replace_index(registry: &Registry, change: impl FnOnce(&mut Value)) {
    let (_, content_type, bytes) = registry.manifest("app", "1").expect("an index");
    let mut index: Value = serde_json::from_slice(&bytes).expect("an index");
    change(&mut index);
    registry.put_manifest("app", "1", &content_type, index.to_string());
}

#[test]
fn what_contradicts_itself_is_refused() {
    check_refused(
        "a layer that is damaged",
        |registry, rich| {
            let (_, _, bytes) = registry
                .manifest("app", rich.images[0].as_str())
                .expect("one");
            let manifest: Value = serde_json::from_slice(&bytes).expect("a manifest");
            let layer = manifest["layers"][0]["digest"].as_str().expect("a digest");
            let size = manifest["layers"][0]["size"].as_u64().expect("a size");
            let digest = layer.parse().expect("a digest");
            let bytes = vec![7; usize::try_from(size).expect("small")];
            registry.put_blob_as("app", &digest, bytes);
        },
        "digest",
    );
    check_refused(
        "an image that is not there",
        |registry, _| {
            replace_index(registry, |index| {
                let other = Digest::of(b"other");
                index["manifests"][0]["digest"] = json!(other.as_str());
            });
        },
        "does not exist",
    );
    check_refused(
        "a size that is wrong",
        |registry, _| replace_index(registry, |index| index["manifests"][0]["size"] = json!(3)),
        "it has",
    );
    check_refused(
        "a type that is wrong",
        |registry, _| {
            replace_index(registry, |index| {
                index["manifests"][0]["mediaType"] = json!(MediaType::DockerManifest.as_str());
            });
        },
        "calls itself",
    );
    check_refused(
        "a list of blobs",
        |registry, _| {
            replace_index(registry, |index| {
                index["manifests"][0]["mediaType"] = json!("text/plain");
            });
        },
        "no manifest and no index",
    );
    check_refused(
        "both a manifest and an index",
        |registry, _| replace_index(registry, |index| index["layers"] = json!([])),
        "both `layers` and `manifests`",
    );
    check_refused(
        "keys that other readers take for ours",
        |registry, _| replace_index(registry, |index| index["Manifests"] = json!([])),
        "`Manifests`",
    );
    check_refused(
        "more than anybody needs",
        |registry, _| {
            replace_index(registry, |index| {
                let entry = index["manifests"][0].clone();
                index["manifests"] = json!(vec![entry; 1001]);
            });
        },
        "more than 1000",
    );
    check_refused(
        "a list of referrers that cannot be had",
        |registry, _| {
            let lists = Match::new(Method::GET, Endpoint::Referrers);
            registry.fault(lists, Action::status(403));
        },
        "403",
    );
}
