//! Several platforms: the graphs of each as one, and what the solver finds that they share.

use graph::{BuildGraph, KeyKind, Request, StepKind, StepState};
use oci::{ImageConfig, Platform};

use crate::machine::Machine;
use crate::support::{image, lowered, lowered_onto, platform};

const DOCKERFILE: &str = "\
FROM --platform=$BUILDPLATFORM golang AS tools
RUN fetch
FROM --platform=$BUILDPLATFORM golang AS build
ARG TARGETARCH
RUN compile
FROM alpine
COPY --from=tools /tool /
COPY --from=build /program /
RUN test
";

/// Images whose layers are others for every platform.
fn look_up(reference: &graph::ImageName, platform: &Platform) -> graph::BaseImage {
    let config = ImageConfig {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        ..ImageConfig::default()
    };
    image(reference, config, &format!("{reference}-{platform}"))
}

fn joined(text: &str, platforms: &[&str]) -> BuildGraph {
    let mut graph = None;
    for name in platforms {
        let request = Request {
            platform_is_default: false,
            one_of_several: platforms.len() > 1,
            ..Request::new(platform(name), platform("linux/amd64"))
        };
        let (added, _) = lowered_onto(graph, text, &request, look_up).expect("a graph");
        graph = Some(added.graph);
    }
    graph.expect("there are platforms")
}

/// Rows: A9, F11
#[test]
fn what_platforms_have_in_common_runs_once() {
    let graph = joined(DOCKERFILE, &["linux/amd64", "linux/arm64"]);
    assert_eq!(graph.distinct_steps(), 9);
    let solver = Machine::default().build(&graph);
    let said: Vec<String> = graph
        .ids()
        .map(|id| {
            let state = match (solver.repeats(id), solver.state(id)) {
                (Some(first), _) => format!("is {first}"),
                (None, StepState::Ran) => "ran".to_owned(),
                (None, other) => panic!("step {id} ended as {other:?}"),
            };
            format!("{id} {state}: {}", graph.step(id).title)
        })
        .filter(|line| !line.contains("FROM"))
        .collect();
    let expected = "\
#1 ran: [linux/amd64 tools 2/2] RUN fetch
#3 ran: [linux/amd64 build 2/2] RUN compile
#5 ran: [linux/amd64 stage-2 2/4] COPY --from=tools /tool /
#6 ran: [linux/amd64 stage-2 3/4] COPY --from=build /program /
#7 ran: [linux/amd64 stage-2 4/4] RUN test
#9 is #1: [linux/amd64 tools 2/2] RUN fetch
#11 ran: [linux/amd64->arm64 build 2/2] RUN compile
#13 ran: [linux/arm64 stage-2 2/4] COPY --from=tools /tool /
#14 ran: [linux/arm64 stage-2 3/4] COPY --from=build /program /
#15 ran: [linux/arm64 stage-2 4/4] RUN test";
    assert_eq!(said.join("\n"), expected);
}

/// Rows: F11, I13
#[test]
fn a_base_that_is_for_another_platform_is_used_with_a_warning() {
    let check = |offered: &str, expected: &str| {
        let offered = platform(offered);
        let request = Request {
            platform_is_default: false,
            ..Request::new(platform("linux/arm64"), platform("linux/amd64"))
        };
        let text = "FROM alpine\nRUN test\n";
        let (lowered, _) =
            lowered(text, &request, |reference, _| look_up(reference, &offered)).expect("a graph");
        let [warning] = lowered.warnings.as_slice() else {
            panic!("{:?}", lowered.warnings);
        };
        assert_eq!(
            warning.rule,
            Some(dockerfile::Rule::InvalidBaseImagePlatform)
        );
        let run = lowered
            .graph
            .steps()
            .iter()
            .find_map(|step| match &step.kind {
                StepKind::Run(run) => Some(run.platform.to_string()),
                _ => None,
            });
        assert_eq!(run.as_deref(), Some(expected));
        // The image is what was asked for all the same.
        assert_eq!(lowered.graph.targets[0].config.architecture, "arm64");
    };
    // Its programs are for this machine: nothing has to be emulated.
    check("linux/amd64", "linux/amd64");
    check("linux/riscv64", "linux/arm64");
}

#[test]
fn targets_stay_in_order_and_point_at_their_own_steps() {
    let names = ["linux/arm64", "linux/amd64", "linux/arm/v7"];
    let graph = joined(DOCKERFILE, &names);
    let architectures: Vec<&str> = graph
        .targets
        .iter()
        .map(|target| target.config.architecture.as_str())
        .collect();
    assert_eq!(architectures, ["arm64", "amd64", "arm"]);
    for target in &graph.targets {
        let made = target.history.iter().filter_map(|entry| match entry {
            graph::HistoryEntry::Made { layer, .. } => *layer,
            graph::HistoryEntry::Base(_) => None,
        });
        assert_eq!(
            made.max(),
            Some(target.step),
            "the last layer is the target's"
        );
    }
}

#[test]
fn a_second_build_asks_once_for_every_platform() {
    let mut machine = Machine::default();
    let graph = joined(DOCKERFILE, &["linux/amd64", "linux/arm64"]);
    machine.build(&graph);
    let solver = machine.build(&graph);
    assert_eq!(machine.probes, 2);
    for target in &graph.targets {
        let state = solver.state(target.step);
        assert_eq!(state, StepState::Cached(KeyKind::Definition));
    }
}
