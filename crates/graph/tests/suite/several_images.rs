//! Several images in one graph, and images that are built on each other.

use graph::{BuildGraph, BuiltImage, ContextName, FileSource, ImageNumber, NamedContext, Request};
use oci::{ImageConfig, Platform};

use crate::support::{image, lowered_onto, platform};

fn look_up(reference: &graph::ImageName, platform: &Platform) -> graph::BaseImage {
    let config = ImageConfig {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        ..ImageConfig::default()
    };
    image(reference, config, &format!("{reference}-{platform}"))
}

/// Images by name and text, each of which may name the earlier ones.
fn built(images: &[(&str, &str)]) -> Result<BuildGraph, String> {
    let mut graph: Option<BuildGraph> = None;
    let mut contexts = std::collections::BTreeMap::new();
    for (number, (name, text)) in (0..).zip(images) {
        let request = Request {
            image: ImageNumber(number),
            image_shown: Some((*name).to_owned()),
            contexts: contexts.clone(),
            ..Request::new(platform("linux/amd64"), platform("linux/amd64"))
        };
        let (lowered, _) = lowered_onto(graph, text, &request, look_up).map_err(|findings| {
            let errors = findings.iter().filter(|found| found.is_error());
            let all: Vec<_> = errors.map(|found| found.message.clone()).collect();
            all.join("; ")
        })?;
        let target = lowered.graph.targets.last().expect("a target").clone();
        let made = BuiltImage {
            name: (*name).to_owned(),
            targets: vec![(platform("linux/amd64"), target)],
        };
        contexts.insert((*name).to_owned(), NamedContext::Built(made));
        graph = Some(lowered.graph);
    }
    Ok(graph.expect("there are images"))
}

fn titles(graph: &BuildGraph) -> Vec<String> {
    let steps = graph.steps().iter();
    steps.map(|step| step.title.clone()).collect()
}

#[test]
fn titles_name_the_image_and_contexts_are_its_own() {
    let text = "FROM alpine\nCOPY a /\n";
    let graph = built(&[("epp", text), ("bbr", text)]).expect("a graph");
    let copies = titles(&graph);
    assert_eq!(copies[1], "[epp 2/2] COPY a /");
    assert_eq!(copies[3], "[bbr 2/2] COPY a /");
    let contexts: Vec<_> = graph
        .steps()
        .iter()
        .flat_map(|step| step.file_sources().map(|(from, _)| from.clone()))
        .collect();
    let main = |number| FileSource::Context(ContextName::Main(ImageNumber(number)));
    assert_eq!(contexts, [main(0), main(1)]);
}

#[test]
fn an_image_builds_on_another_one_of_the_same_graph() {
    let base = "FROM alpine\nENV A=1\nLABEL made=here\nRUN prepare\nONBUILD RUN triggered $A\n";
    let check = |text: &str| {
        let graph = built(&[("base", base), ("app", text)]).expect("a graph");
        let app = graph.targets[1].clone();
        (graph, app)
    };
    let (graph, app) = check("FROM base\nRUN finish\n");
    assert_eq!(
        titles(&graph)[2..],
        ["[app 1/2] ONBUILD RUN triggered $A", "[app 2/2] RUN finish"]
    );
    // No second copy of the steps, no base that is looked up, and what the base says counts.
    assert_eq!(graph.steps().len(), 4);
    assert_eq!(graph.steps()[2].parent, Some(graph.targets[0].step));
    assert_eq!(app.config.config.variable("A"), Some("1"));
    assert_eq!(app.config.config.labels["made"], "here");
    assert!(app.config.config.on_build.is_empty());
    let layers = app.history.iter().filter(|entry| match entry {
        graph::HistoryEntry::Made { layer, .. } => layer.is_some(),
        graph::HistoryEntry::Base(_) => true,
    });
    assert_eq!(layers.count(), 4);

    let (graph, _) = check("FROM scratch\nCOPY --from=base /a /\n");
    let copy = graph.steps().last().expect("a copy");
    let from: Vec<_> = copy.file_sources().map(|(from, _)| from.clone()).collect();
    assert_eq!(from, [FileSource::Step(graph.targets[0].step)]);
}

#[test]
fn a_platform_that_an_image_is_not_built_for_is_an_error() {
    let text = "FROM --platform=linux/s390x base\nRUN finish\n";
    let error = built(&[("base", "FROM alpine\n"), ("app", text)]).expect_err("another platform");
    let expected = "the image `base` of this build is not built for linux/s390x";
    assert_eq!(error, expected);
}
