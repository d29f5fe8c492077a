//! What an image says of its sources and its base, and whose word counts.

use graph::{BASE_DIGEST, BASE_NAME, Identity, Request};
use oci::{ContainerConfig, ImageConfig};

use crate::support::{image, lowered, request};

fn labelled(pairs: &[(&str, &str)]) -> ImageConfig {
    let pairs = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ImageConfig {
        config: ContainerConfig {
            labels: pairs.collect(),
            ..ContainerConfig::default()
        },
        ..ImageConfig::default()
    }
}

fn labels(text: &str, request: &Request) -> Vec<String> {
    let base = labelled(&[
        ("revision", "of the base"),
        ("kept", "of the base"),
        (BASE_NAME, "the base of the base"),
        (BASE_DIGEST, "sha256:0"),
    ]);
    let (lowered, _) =
        lowered(text, request, |name, _| image(name, base.clone(), "a")).expect("a graph");
    let labels = &lowered.graph.targets[0].config.config.labels;
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

fn identified() -> Request {
    Request {
        identity: Some(Identity {
            labels: [("revision".to_owned(), "abc".to_owned())].into(),
        }),
        ..request()
    }
}

#[test]
fn the_base_says_nothing_of_the_image_and_everybody_else_wins() {
    let check = |text: &str, request: &Request, expected: &[&str]| {
        let found = labels(text, request);
        let found: Vec<&str> = found
            .iter()
            .map(|label| label.split("=sha256:").next().unwrap_or_default())
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    let name = "org.opencontainers.image.base.name=docker.io/library/alpine:3";
    let base = ["kept=of the base", BASE_DIGEST, name, "revision=abc"];
    check("FROM alpine:3", &identified(), &base);
    check("FROM alpine:3 AS a\nFROM a\nCMD x", &identified(), &base);
    check("FROM scratch\nCMD x", &identified(), &["revision=abc"]);
    let mut own = base;
    own[3] = "revision=mine";
    check("FROM alpine:3\nLABEL revision=mine", &identified(), &own);
    check(
        "FROM alpine:3 AS a\nLABEL revision=mine\nFROM a",
        &identified(),
        &own,
    );
    let mut given = identified();
    given
        .labels
        .insert("revision".to_owned(), "mine".to_owned());
    check("FROM alpine:3", &given, &own);
    // Without being asked, nothing is added and nothing is taken away.
    let plain = [
        "kept=of the base",
        BASE_DIGEST,
        "org.opencontainers.image.base.name=the base of the base",
        "revision=of the base",
    ];
    check("FROM alpine:3", &request(), &plain);
}

#[test]
fn arguments_are_offered_to_those_that_declare_them() {
    let offer = |text: &str, given: Option<&str>| {
        let mut request = request();
        request
            .offered_args
            .insert("COMMIT_SHA".to_owned(), "abc".to_owned());
        if let Some(given) = given {
            request
                .build_args
                .insert("COMMIT_SHA".to_owned(), given.to_owned());
        }
        let base = |name: &graph::ImageName, _: &oci::Platform| image(name, labelled(&[]), "a");
        let (lowered, _) = lowered(text, &request, base).expect("a graph");
        assert!(lowered.warnings.is_empty(), "{:?}", lowered.warnings);
        let labels = &lowered.graph.targets[0].config.config.labels;
        labels.get("c").cloned().unwrap_or_default()
    };
    let check = |text: &str, given: Option<&str>, expected: &str| {
        assert_eq!(offer(text, given), expected, "{text}");
    };
    check("FROM a\nARG COMMIT_SHA\nLABEL c=$COMMIT_SHA", None, "abc");
    check(
        "FROM a\nARG COMMIT_SHA=none\nLABEL c=$COMMIT_SHA",
        None,
        "abc",
    );
    check(
        "ARG COMMIT_SHA\nFROM a\nARG COMMIT_SHA\nLABEL c=$COMMIT_SHA",
        None,
        "abc",
    );
    check(
        "FROM a\nARG COMMIT_SHA\nLABEL c=$COMMIT_SHA",
        Some("mine"),
        "mine",
    );
    check("FROM a\nLABEL c=x", None, "x");
}
