//! What a solver that was told all that can be known beforehand is going to do.

use crate::{BuildGraph, KeyKind, Output, Solver, StepId, StepKind, StepState};

/// What will become of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forecast {
    /// The cache has its output, or that of a step that stands on it.
    Cached(KeyKind),
    /// It will be carried out.
    WillRun,
    /// It will be carried out unless its inputs come to what they once were: nobody knows before
    /// they exist.
    MayRun,
}

/// What will become of every step that is work, in order; those that repeat others left out. Ask
/// when the solver has no more actions whose answers can be known: steps that it wants to have run
/// are left running. `no_cache` as the solver's own.
pub fn forecast<O: Output>(
    graph: &BuildGraph,
    solver: &Solver<O>,
    no_cache: bool,
) -> Vec<(StepId, Forecast)> {
    let is_work = |id: &StepId| match &graph.step(*id).kind {
        StepKind::Scratch | StepKind::Base(_) | StepKind::Merge(_) => false,
        StepKind::Run(_) | StepKind::Copy(_) | StepKind::Workdir(_) => true,
    };
    let wanted = |id: &StepId| {
        solver.repeats(*id).is_none() && solver.key(*id, KeyKind::Definition).is_some()
    };
    graph
        .ids()
        .filter(|id| is_work(id) && wanted(id))
        .map(|id| {
            let forecast = match solver.state(id) {
                StepState::Cached(kind) => Forecast::Cached(kind),
                StepState::NotNeeded => Forecast::Cached(KeyKind::Definition),
                StepState::Running | StepState::Ran | StepState::Failed => Forecast::WillRun,
                StepState::Probing(_) | StepState::Waiting | StepState::Fingerprinting => {
                    match no_cache || graph.step(id).ignores_cache {
                        true => Forecast::WillRun,
                        false => Forecast::MayRun,
                    }
                }
            };
            (id, forecast)
        })
        .collect()
}
