//! The graphs of several platforms as one, so that one solver sees what they have in common.

use std::collections::HashSet;

use crate::{
    BuildGraph, CacheKey, FileSource, HistoryEntry, KeyParts, Step, StepId, StepKind, TargetImage,
};

impl BuildGraph {
    /// Puts graphs behind each other: the targets of the first, then those of the second, and so
    /// on. Steps that two of them have in common stand there twice; the solver finds out by their
    /// keys and carries out the first (row A9: a stage on `$BUILDPLATFORM` runs once).
    ///
    /// Nothing when there is no graph.
    pub fn join(graphs: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut graphs = graphs.into_iter();
        let mut all = graphs.next()?;
        for graph in graphs {
            let by = u32::try_from(all.steps().len()).expect("Dockerfiles have fewer lines");
            let Self { steps, targets } = graph;
            let shifted = steps.into_iter().map(|step| shift_step(step, by));
            all.steps.extend(shifted);
            let shifted = targets.into_iter().map(|target| shift_target(target, by));
            all.targets.extend(shifted);
        }
        Some(Self::new(all.steps, all.targets))
    }

    /// How many steps there are that take time, those that do the same on the same counted once.
    /// Bases and merges take none.
    pub fn distinct_steps(&self) -> usize {
        let mut keys: Vec<CacheKey> = Vec::with_capacity(self.steps.len());
        let mut distinct = HashSet::new();
        for step in &self.steps {
            let mut parts = KeyParts::of_operation(&step.kind);
            for (number, input) in step.inputs().enumerate() {
                parts.digest(
                    format!("input.{number}"),
                    keys[input.index()].digest().clone(),
                );
            }
            let key = parts.key();
            match step.kind {
                StepKind::Scratch | StepKind::Base(_) | StepKind::Merge(_) => {}
                StepKind::Run(_) | StepKind::Copy(_) | StepKind::Workdir(_) => {
                    distinct.insert(key.clone());
                }
            }
            keys.push(key);
        }
        distinct.len()
    }
}

fn shift(id: &mut StepId, by: u32) {
    id.0 += by;
}

fn shift_step(mut step: Step, by: u32) -> Step {
    if let Some(parent) = &mut step.parent {
        shift(parent, by);
    }
    if let StepKind::Merge(layer) = &mut step.kind {
        shift(layer, by);
    }
    for from in step.file_sources_mut() {
        match from {
            FileSource::Step(id) => shift(id, by),
            FileSource::Context(_) => {}
        }
    }
    step
}

fn shift_target(mut target: TargetImage, by: u32) -> TargetImage {
    shift(&mut target.step, by);
    for entry in &mut target.history {
        match entry {
            HistoryEntry::Made {
                layer: Some(layer), ..
            } => shift(layer, by),
            HistoryEntry::Made { layer: None, .. } | HistoryEntry::Base(_) => {}
        }
    }
    target
}
