//! Dockerfiles that nobody would write: whatever the text, there is a graph or there are errors
//! with places in the text.

use graph::{HistoryEntry, StepKind};
use oci::{ContainerConfig, ImageConfig};
use proptest::prelude::*;

use crate::support;

const LINES: [&str; 44] = [
    "FROM a",
    "FROM a AS x",
    "FROM x AS y",
    "FROM x",
    "FROM scratch AS z",
    "FROM --platform=$BUILDPLATFORM $A",
    "FROM ${A:-y}",
    "ARG A=a",
    "ARG A B=$A C",
    "ARG http_proxy",
    "ENV A=b PATH=$PATH:/x",
    "ENV A $B$B",
    "ENV B=\"\0\"",
    "COPY . .",
    "COPY --from=x / $A",
    "COPY --from=0 a b /c/",
    "COPY --from=b:1 a b",
    "COPY --from=z a b",
    "COPY --chown=$A:$B --chmod=$C a b",
    "COPY <<E <<\"F\" /g/\n$A\nE\n$A\nF",
    "COPY --link a b",
    "ADD a.tar /",
    "ADD https://a/b c",
    "RUN make $A",
    "RUN [\"a\", \"b\"]",
    "RUN <<E\n#!/bin/x\nE",
    "RUN",
    "RUN --mount=type=tmpfs,target=/a x",
    "RUN --network=none x",
    "WORKDIR a/../b",
    "WORKDIR $C",
    "WORKDIR /",
    "USER ${A}",
    "SHELL [\"s\", \"-c\"]",
    "CMD a",
    "ENTRYPOINT [\"e\"]",
    "EXPOSE $A 80-82/udp",
    "HEALTHCHECK --interval=5s CMD true",
    "ONBUILD COPY --from=x a b",
    "ONBUILD RUN $A",
    "VOLUME [\"/v\", \"$A\"]",
    "LABEL $A=b",
    "STOPSIGNAL 9",
    "MAINTAINER me",
];

const HEADS: [&str; 6] = [
    "",
    "# check=skip=all",
    "# check=error=true;skip=UndefinedVar",
    "# check=experimental=all",
    "# check=é=;;",
    "# syntax=x\n# check=skip=A,,é",
];

fn lines(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(LINES.to_vec()), count)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A check has something to say about places of the text, and an outline names what is there.
    #[test]
    fn a_check_and_an_outline(above in lines(0..3), below in lines(0..10), head in prop::sample::select(HEADS.to_vec())) {
        let text = format!("{head}\nARG A=a\n# A says it\n{}\nFROM $A AS w\n# é\n{}\n", above.join("\n"), below.join("\n"));
        let request = support::request();
        let ignore = dockerfile::ignore::IgnoreFile::parse("a\n").expect("an ignore file");
        let checked = graph::check(&text, &request, Some(&ignore), None);
        for finding in &checked.findings {
            prop_assert!(text.get(finding.span.start..finding.span.end).is_some(), "{finding:?}");
            prop_assert!(finding.rule.is_none_or(|rule| checked.settings.wants(rule) || rule.is_experimental()));
        }
        for line in graph::targets(&checked.tree, &text) {
            prop_assert!(line.span.of(&text).to_ascii_uppercase().starts_with("FROM"));
        }
        if !checked.has_errors() && let Ok(outline) = graph::outline(&checked.tree, &text, &request) {
            for argument in outline.arguments {
                prop_assert!(argument.span.of(&text).contains(&argument.name));
            }
        }
    }

    #[test]
    fn a_graph_or_errors(lines in lines(0..10), triggers in lines(0..4), target in prop::option::of("[xyz]")) {
        let text = format!("ARG A=a\nFROM a\n{}\n", lines.join("\n"));
        let mut request = support::request();
        request.target = target;
        let look_up = |reference: &graph::ImageName, _: &oci::Platform| {
            let on_build = triggers.iter().map(|line| (*line).to_owned()).collect();
            let config = ImageConfig {
                config: ContainerConfig { on_build, env: vec!["=".to_owned()], ..ContainerConfig::default() },
                ..ImageConfig::default()
            };
            support::image(reference, config, "layer")
        };
        match support::lowered(&text, &request, look_up) {
            Err(findings) => {
                prop_assert!(findings.iter().any(|finding| finding.is_error()));
                for finding in findings {
                    prop_assert!(text.get(finding.span.start..finding.span.end).is_some(), "{:?}", finding);
                }
            }
            Ok((lowered, _)) => {
                let graph = &lowered.graph;
                prop_assert!(lowered.warnings.iter().all(|finding| !finding.is_error()));
                for step in graph.steps() {
                    prop_assert!(text.get(step.span.start..step.span.end).is_some());
                    prop_assert!(!step.title.contains('\n'), "{}", step.title);
                    if let StepKind::Run(run) = &step.kind {
                        prop_assert!(!run.argv.is_empty());
                        prop_assert!(run.cwd.starts_with('/'));
                        let path = run.env.iter().filter(|one| one.name == "PATH");
                        prop_assert_eq!(path.count(), 1);
                        prop_assert!(run.env.iter().all(|one| !one.name.is_empty()));
                    }
                }
                // As many entries with a layer as there are layers below the target.
                let mut layers = 0;
                let mut step = Some(graph.targets[0].step);
                while let Some(id) = step {
                    layers += match &graph.step(id).kind {
                        StepKind::Scratch => 0,
                        StepKind::Base(base) => base.layers.len(),
                        StepKind::Run(_) | StepKind::Copy(_) | StepKind::Workdir(_) | StepKind::Merge(_) => 1,
                    };
                    step = graph.step(id).parent;
                }
                let entries = graph.targets[0].history.iter().filter(|entry| match entry {
                    HistoryEntry::Base(entry) => !entry.empty_layer,
                    HistoryEntry::Made { layer, .. } => layer.is_some(),
                });
                prop_assert_eq!(entries.count(), layers);
            }
        }
    }
}
