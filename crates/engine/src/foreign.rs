//! Programs for one processor in an image for another: a warning, because some images hold such
//! programs on purpose, and most do not.
//!
//! Only what COPY and ADD put into a target in this build is looked at, while it is written. What a
//! base image or a RUN brings is not, and neither is what was found in the cache.

use std::collections::{BTreeMap, BTreeSet};

use dockerfile::LineColumn;
use graph::{BuildGraph, StepId, StepKind, TargetImage};
use oci::Platform;

use crate::assemble::platform_of;
use crate::copy::programs::Program;
use crate::machine::Machine;
use crate::source::Text;

/// The most files that are named; the rest is counted.
const NAMED_MAX: usize = 5;

/// Architectures whose programs also run on processors of another.
const ALSO_RUN: [(&str, &str); 2] = [("amd64", "386"), ("arm64", "arm")];

/// The warnings about all targets. `programs` knows also of the steps that repeat others.
pub(crate) fn warnings(
    graph: &BuildGraph,
    programs: &BTreeMap<StepId, Vec<Program>>,
    texts: &[Text],
) -> Vec<String> {
    let mut said = BTreeSet::new();
    let mut warnings = Vec::new();
    let mut unnamed = 0;
    for target in &graph.targets {
        let platform = platform_of(&target.config);
        for step in steps_of(graph, target) {
            for program in programs.get(&step).into_iter().flatten() {
                if belongs(program.machine, &platform)
                    || !said.insert((program.path.clone(), platform.clone()))
                {
                    continue;
                }
                if warnings.len() >= NAMED_MAX {
                    unnamed += 1;
                    continue;
                }
                let text = &texts[graph.step(step).image.index()];
                let place = LineColumn::of(&text.text, graph.step(step).span);
                warnings.push(format!(
                    "{}:{}:{}: {} is a program for {}, and the image is for {platform}",
                    text.name, place.line, place.column, program.path, program.machine.architecture
                ));
            }
        }
    }
    if unnamed > 0 {
        warnings.push(format!("{unnamed} more programs are for another processor"));
    }
    warnings
}

/// The steps whose layers a target has, but for those of its base.
fn steps_of(graph: &BuildGraph, target: &TargetImage) -> Vec<StepId> {
    let mut steps = Vec::new();
    let mut at = vec![target.step];
    while let Some(id) = at.pop() {
        let step = graph.step(id);
        at.extend(step.parent);
        match step.kind {
            StepKind::Merge(layer) => at.push(layer),
            StepKind::Copy(_) => steps.push(id),
            StepKind::Scratch | StepKind::Base(_) | StepKind::Run(_) | StepKind::Workdir(_) => {}
        }
    }
    steps.reverse();
    steps
}

fn belongs(machine: &Machine, platform: &Platform) -> bool {
    machine.architecture == platform.architecture
        || ALSO_RUN.contains(&(platform.architecture.as_str(), machine.architecture))
        || Machine::of_platform(platform).is_none()
}
