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

#[cfg(test)]
mod tests {
    use dockerfile::Span;
    use oci::Digest;

    use super::*;
    use crate::{
        Action, CopySource, CopyStep, FileSource, ImageNumber, Origin, SolverOptions, Step,
        TargetImage, Unpack, WorkdirStep,
    };

    #[derive(Clone)]
    struct Made(Digest);

    impl Output for Made {
        fn content(&self) -> Digest {
            self.0.clone()
        }
    }

    fn step(kind: StepKind, parent: Option<u32>) -> Step {
        Step {
            kind,
            parent: parent.map(StepId),
            span: Span::new(0, 0),
            origin: Origin::Dockerfile,
            title: String::new(),
            stage: "stage".to_owned(),
            image: ImageNumber::default(),
            ignores_cache: false,
        }
    }

    fn workdir(path: &str, parent: u32) -> Step {
        let kind = StepKind::Workdir(WorkdirStep {
            path: path.to_owned(),
            user: String::new(),
        });
        step(kind, Some(parent))
    }

    /// `scratch`, /a on it, /b on that; a copy of /a's files on another `scratch`, /c on that.
    fn graph() -> BuildGraph {
        let copy = CopyStep {
            sources: vec![CopySource::Files {
                from: FileSource::Step(StepId(2)),
                pattern: "a".to_owned(),
                pivot: 0,
                span: Span::new(0, 0),
            }],
            destination: "/".to_owned(),
            destination_is_directory: true,
            chown: None,
            chmod: None,
            unpack: Unpack::Nothing,
            parents: false,
            excludes: Vec::new(),
        };
        let steps = vec![
            step(StepKind::Scratch, None),
            workdir("/a", 0),
            workdir("/b", 1),
            step(StepKind::Copy(copy), Some(0)),
            workdir("/c", 3),
        ];
        let target = TargetImage {
            image: ImageNumber::default(),
            step: StepId(4),
            span: Span::new(0, 0),
            config: oci::ImageConfig::default(),
            history: Vec::new(),
        };
        BuildGraph::new(steps, vec![target])
    }

    /// What will become of the four steps when the cache has the definitions of some.
    fn check(cached: &[u32], no_cache: bool, expected: [Forecast; 4]) {
        let graph = graph();
        let options = SolverOptions {
            no_cache,
            salt: String::new(),
        };
        let mut solver = Solver::new(&graph, options);
        loop {
            let actions = solver.actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                match action {
                    Action::Probe { step, kind, .. } => {
                        let is_there = kind == KeyKind::Definition && cached.contains(&step.0);
                        let made = Made(Digest::of(step.to_string().as_bytes()));
                        solver.on_probed(step, kind, is_there.then_some(made));
                    }
                    Action::Run { step, .. } if step.0 == 0 => {
                        solver.on_ran(step, Made(Digest::of(b"scratch")));
                    }
                    Action::Run { .. } | Action::FingerprintSources(_) => {}
                    Action::FingerprintOutside(step) => panic!("{step} reads nothing outside"),
                }
            }
        }
        let found: Vec<Forecast> = forecast(&graph, &solver, no_cache)
            .into_iter()
            .map(|(_, forecast)| forecast)
            .collect();
        assert_eq!(found, expected, "cached: {cached:?}");
    }

    #[test]
    fn what_is_known_beforehand_is_said_and_no_more() {
        use Forecast::{Cached, MayRun, WillRun};
        let hit = Cached(KeyKind::Definition);
        check(&[4], false, [hit; 4]);
        check(&[], false, [WillRun, MayRun, MayRun, MayRun]);
        check(&[1], false, [hit, WillRun, MayRun, MayRun]);
        check(&[2], false, [hit, hit, MayRun, MayRun]);
        check(&[2, 3], false, [hit, hit, hit, WillRun]);
        check(&[4], true, [WillRun; 4]);
    }
}
