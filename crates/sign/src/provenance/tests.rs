//! A provenance has what SLSA asks for, and in its small form nothing that could be private.

use std::collections::BTreeMap;

use oci::Digest;
use serde_json::{Value, json};

use super::*;

fn facts() -> BuildFacts {
    BuildFacts {
        kiln_version: "1".to_owned(),
        builder_platform: "linux/amd64".to_owned(),
        config_source: ConfigSource {
            path: "Dockerfile".to_owned(),
            remote: None,
        },
        dockerfile: "FROM a\n".to_owned(),
        options: BTreeMap::from([("target".to_owned(), "release".to_owned())]),
        build_arguments: BTreeMap::from([("TOKEN_KIND".to_owned(), "argument-value".to_owned())]),
        labels: BTreeMap::from([("team".to_owned(), "label-value".to_owned())]),
        secrets: vec![SecretUse {
            id: "secret-name".to_owned(),
            optional: true,
        }],
        materials: vec![
            Material::commit("https://git.example/a.git", &"a".repeat(40)),
            Material::new("https://files.example/x", &Digest::of(b"x")),
            Material::new("https://files.example/x", &Digest::of(b"x")),
        ],
        steps: vec![StepFacts {
            id: "step0".to_owned(),
            title: "step-title".to_owned(),
            ..StepFacts::default()
        }],
        invocation_id: "id".to_owned(),
        ..BuildFacts::default()
    }
}

#[test]
fn the_small_form_holds_no_argument_no_label_no_secret_and_no_step() {
    let check = |mode: ProvenanceMode, expected: bool| {
        let text = predicate(&facts(), mode).to_string();
        for word in [
            "argument-value",
            "label-value",
            "secret-name",
            "step-title",
            "FROM a",
        ] {
            assert_eq!(text.contains(word), expected, "{word} in {mode:?}");
        }
        for word in ["release", "https://git.example/a.git", "linux/amd64"] {
            assert!(text.contains(word), "{word} in {mode:?}");
        }
    };
    check(ProvenanceMode::Min, false);
    check(ProvenanceMode::Max, true);
}

#[test]
fn what_slsa_asks_for_is_where_it_asks_for_it() {
    let predicate = predicate(&facts(), ProvenanceMode::Max);
    let check = |pointer: &str, expected: Value| {
        assert_eq!(predicate.pointer(pointer), Some(&expected), "{pointer}");
    };
    check("/buildDefinition/buildType", json!(BUILD_TYPE));
    check(
        "/buildDefinition/externalParameters/configSource",
        json!({"path": "Dockerfile"}),
    );
    check(
        "/buildDefinition/externalParameters/request/args/build-arg:TOKEN_KIND",
        json!("argument-value"),
    );
    check(
        "/buildDefinition/resolvedDependencies",
        json!([
            {"uri": "https://files.example/x", "digest": {"sha256": Digest::of(b"x").hex()}},
            {"uri": "https://git.example/a.git", "digest": {"sha1": "a".repeat(40)}},
        ]),
    );
    check("/runDetails/builder/id", json!(BUILDER));
    check("/runDetails/metadata/invocationId", json!("id"));
    assert_eq!(predicate.pointer("/runDetails/metadata/startedOn"), None);
}

#[test]
fn times_are_there_when_they_are_given() {
    let facts = BuildFacts {
        times: Some(RunTimes {
            started: "2020-01-01T00:00:00Z".to_owned(),
            finished: "2020-01-01T00:00:01Z".to_owned(),
        }),
        ..facts()
    };
    let metadata = predicate(&facts, ProvenanceMode::Min)["runDetails"]["metadata"].take();
    assert_eq!(metadata["startedOn"], "2020-01-01T00:00:00Z");
    assert_eq!(metadata["finishedOn"], "2020-01-01T00:00:01Z");
}
