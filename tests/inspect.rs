//! What `kiln inspect` says of an image is so, wherever the image is.

use serde_json::{Value, json};
use testkit::{Action, Endpoint, Layer, Match, Method, Registry, image};

use crate::cli::Environment;
use crate::copy::rich::{Rich, seed_rich};
use crate::copy::{bad, good};

fn inspected(environment: &Environment, arguments: &[&str]) -> Value {
    let arguments = [&["inspect", "--format", "json"], arguments].concat();
    serde_json::from_str(&good(environment, &arguments)).expect("JSON")
}

fn assert_rich(found: &Value, rich: &Rich) {
    assert_eq!(found["schema"], 1);
    assert_eq!(found["digest"], rich.index.as_str());
    assert_eq!(found["platforms"], json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(found["annotations"], json!({"who": "we"}));
    let images = found["images"].as_array().expect("images");
    assert_eq!(images.len(), 2, "{found:#}");
    assert_eq!(images[0]["digest"], rich.images[0].as_str());
    assert_eq!(images[0]["platform"], "linux/amd64");
    assert_eq!(images[0]["layers"].as_array().map(Vec::len), Some(2));
    assert_eq!(images[0]["config"]["entrypoint"], json!(["/bin/app"]));
    assert_eq!(images[0]["config"]["env"], json!(["GREETING=hello"]));
    assert_eq!(images[0]["config"]["labels"], json!({"team": "lattice"}));
    let attestation = json!([{
        "manifest": rich.attestation.as_str(),
        "predicate_types": ["https://slsa.dev/provenance/v1"],
    }]);
    assert_eq!(images[0]["attestations"], attestation);
    assert_eq!(images[1]["attestations"], json!([]));
}

fn assert_referrers(found: &Value, rich: &Rich) {
    let referrers = found["referrers"].as_array().expect("referrers");
    let kind = |digest: &oci::Digest| {
        let one = referrers
            .iter()
            .find(|referrer| referrer["digest"] == digest.as_str());
        one.map(|one| one["kind"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(kind(&rich.signature).as_deref(), Some("signature"));
    assert_eq!(kind(&rich.cosign).as_deref(), Some("signature"));
    assert_eq!(kind(&rich.contents).as_deref(), Some("sbom"));
    assert_eq!(kind(&rich.note).as_deref(), Some("other"));
    assert_eq!(referrers.len(), 4, "{found:#}");
}

#[test]
fn an_index_wherever_it_is() {
    let registry = Registry::start();
    let rich = seed_rich(&registry, "app");
    let environment = Environment::new();
    let name = format!("{}/app:1", registry.host());
    good(
        &environment,
        &["tag", &name, &format!("{}/app:same", registry.host())],
    );
    registry.seed("app", "other", &image().build());
    let found = inspected(&environment, &[&name]);
    assert_rich(&found, &rich);
    assert_referrers(&found, &rich);
    assert_eq!(
        found["tags"],
        json!({"names": ["1", "same"], "complete": true})
    );
    good(&environment, &["copy", &name, "oci:layout:1"]);
    good(&environment, &["copy", &name, "oci-archive:file.tar:1"]);
    for place in ["oci:layout:1", "oci-archive:file.tar"] {
        let found = inspected(&environment, &[place]);
        assert_rich(&found, &rich);
        assert_referrers(&found, &rich);
        assert_eq!(found["tags"], Value::Null);
    }
    good(&environment, &["pull", &name]);
    let stored = format!("store:{name}");
    let found = inspected(&environment, &[&stored]);
    assert_rich(&found, &rich);
    assert_eq!(found["tags"]["names"], json!([name]));

    let raw = environment
        .kiln(&["inspect", "--raw", &name])
        .output()
        .expect("kiln starts");
    assert_eq!(oci::Digest::of(&raw.stdout), rich.index);
    let arguments = ["inspect", "--raw", "--platform", "arm64", &stored];
    let raw = environment.kiln(&arguments).output().expect("kiln starts");
    assert_eq!(oci::Digest::of(&raw.stdout), rich.images[1]);
}

#[test]
fn text_for_people() {
    let registry = Registry::start();
    let rich = seed_rich(&registry, "app");
    let environment = Environment::new();
    let name = format!("{}/app:1", registry.host());
    let found = good(&environment, &["inspect", &name]);
    for words in [
        &*format!("Digest:      {}\n", rich.index),
        "Platforms:   linux/amd64, linux/arm64\n",
        "Tags:        1\n",
        "\nlinux/arm64:\n",
        "  Entrypoint:  [\"/bin/app\"]\n",
        "  Env:         GREETING=hello\n",
        "    team=lattice\n",
        "https://slsa.dev/provenance/v1\n",
        &*format!(
            "  signature    {} application/vnd.cncf.notary.signature\n",
            rich.signature
        ),
    ] {
        assert!(found.contains(words), "{words}: {found}");
    }
}

#[test]
fn labels_do_not_write_on_terminals() {
    let registry = Registry::start();
    let odd = image()
        .config("Labels", json!({"a": "x\u{1b}[31m\nDigest: y"}))
        .build();
    registry.seed("app", "1", &odd);
    let environment = Environment::new();
    let found = good(
        &environment,
        &["inspect", &format!("{}/app:1", registry.host())],
    );
    assert!(!found.contains('\u{1b}'), "{found}");
    assert_eq!(found.matches("\nDigest:").count(), 1, "{found}");
}

#[test]
fn what_a_registry_does_not_tell_is_a_note() {
    let registry = Registry::start();
    registry.seed(
        "app",
        "1",
        &image().layer(Layer::new().file("/x", "x")).build(),
    );
    registry.fault(Match::new(Method::GET, Endpoint::Tags), Action::status(403));
    registry.fault(
        Match::new(Method::GET, Endpoint::Referrers),
        Action::status(403),
    );
    let environment = Environment::new();
    let found = inspected(&environment, &[&format!("{}/app:1", registry.host())]);
    assert_eq!(
        found["notes"].as_array().map(Vec::len),
        Some(2),
        "{found:#}"
    );
    assert_eq!(found["tags"], Value::Null);
}

#[test]
fn many_tags_are_cut_and_it_is_said() {
    let registry = Registry::start();
    let built = image().build();
    for number in 0..130 {
        registry.seed("app", &format!("v{number:03}"), &built);
    }
    let environment = Environment::new();
    let found = inspected(&environment, &[&format!("{}/app:v129", registry.host())]);
    assert_eq!(found["tags"]["complete"], false);
    assert_eq!(found["tags"]["names"][0], "v129");
    assert_eq!(found["notes"], json!(["101 of 130 tags were looked at"]));
}

#[test]
fn what_is_not_there() {
    let registry = Registry::start();
    let environment = Environment::new();
    let (code, said) = bad(
        &environment,
        &["inspect", &format!("{}/app:1", registry.host())],
    );
    assert_eq!(code, 1, "{said}");
    for (place, words) in [
        ("store:nothing", "nothing:latest is not in the store"),
        ("oci:nowhere", "could not read"),
        ("docker-daemon:app", "kiln load --to docker"),
        ("./file.tar", "docker-archive:./file.tar"),
    ] {
        let (code, said) = bad(&environment, &["inspect", place]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(words), "{said}");
    }
}
