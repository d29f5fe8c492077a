//! An engine in a few lines: does what the solver says, with a cache that is a map and steps that
//! are hashes.

use std::collections::HashMap;

use graph::{
    Action, BuildGraph, CacheKey, FileSource, KeyKind, Output, Solver, SolverOptions, StepId,
    StepKind,
};
use oci::Digest;

/// The content of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) Digest);

impl Output for Tree {
    fn content(&self) -> Digest {
        self.0.clone()
    }
}

#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) cache: HashMap<CacheKey, Tree>,
    /// Files of the context by name.
    pub(crate) context: HashMap<String, String>,
    pub(crate) options: SolverOptions,
    pub(crate) probes: usize,
}

impl Machine {
    /// Solves the graph and returns the solver at its end.
    pub(crate) fn build(&mut self, graph: &BuildGraph) -> Solver<Tree> {
        let mut solver: Solver<Tree> = Solver::new(graph, self.options.clone());
        self.probes = 0;
        while !solver.is_done() {
            let actions = solver.actions();
            assert!(!actions.is_empty(), "the solver is stuck");
            for action in actions {
                match action {
                    Action::FingerprintOutside(step) => {
                        solver.on_fingerprint(step, self.fingerprint(graph, step));
                    }
                    Action::FingerprintSources(step) => {
                        let inputs = graph.step(step).inputs().skip(1);
                        let content: Vec<String> = inputs
                            .map(|input| solver.output_of(input).expect("it exists").0.to_string())
                            .collect();
                        solver.on_fingerprint(step, Digest::of(content.join(" ").as_bytes()));
                    }
                    Action::Probe { step, kind, key } => {
                        self.probes += 1;
                        let hit = self.cache.get(&key).cloned();
                        if let Some(tree) = &hit {
                            let definition = solver.key(step, KeyKind::Definition);
                            let definition = definition.expect("asked after it was known").clone();
                            self.cache.insert(definition, tree.clone());
                        }
                        solver.on_probed(step, kind, hit);
                    }
                    Action::Run {
                        step,
                        definition,
                        content,
                    } => {
                        let tree = run(graph, step, &definition);
                        self.cache.insert(definition, tree.clone());
                        if let Some(content) = content {
                            self.cache.insert(content, tree.clone());
                        }
                        solver.on_ran(step, tree);
                    }
                }
            }
        }
        solver
    }

    fn fingerprint(&self, graph: &BuildGraph, step: StepId) -> Digest {
        assert!(
            graph.step(step).reads_outside(),
            "step {step} needs nothing"
        );
        let mut files: Vec<String> = Vec::new();
        for (from, path) in graph.step(step).file_sources() {
            if let FileSource::Context(_) = from {
                let content = self.context.get(path).map_or("", String::as_str);
                files.push(format!("{path}={content}"));
            }
        }
        Digest::of(files.join(" ").as_bytes())
    }
}

/// A step's output: a hash of how it is made, unless the command says that it is always the same.
fn run(graph: &BuildGraph, step: StepId, definition: &CacheKey) -> Tree {
    let content = match &graph.step(step).kind {
        StepKind::Run(run) if run.command_shown.starts_with("stable") => "stable".to_owned(),
        StepKind::Run(_)
        | StepKind::Scratch
        | StepKind::Base(_)
        | StepKind::Copy(_)
        | StepKind::Workdir(_)
        | StepKind::Merge(_) => definition.to_string(),
    };
    Tree(Digest::of(content.as_bytes()))
}
