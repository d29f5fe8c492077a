//! What to do next, and nothing else: the solver is told what happened and answers with actions.
//!
//! It starts at the targets. Once the fingerprints of everything from outside below the targets
//! are known, so is every definition key, and the cache is asked for the targets'; only where that
//! misses are the inputs looked at, each by its own definition key. A step whose inputs have
//! become available gets a second chance by its content key before it is run. Steps with equal
//! definition keys are one step. What ignores the cache is carried out, and what stands on it has only
//! the second chance.
//!
//! ```text
//! idle → probing definition ─ hit ─────────────────────────────→ done
//!             └ miss → inputs → sources' fingerprint → probing content ─ hit → done
//!                                                          └ miss → running → done
//! ```

use std::collections::HashMap;

use oci::Digest;

use crate::{BuildGraph, CacheKey, FileSource, KeyKind, KeyParts, StepId, StepKind};

/// What a step results in, which the solver hands on without looking into it.
pub trait Output: Clone {
    /// The digest of the file system that it stands for: equal for equal content, however made.
    fn content(&self) -> Digest;
}

/// How to go about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SolverOptions {
    /// Ask no cache; results are still to be recorded under their keys.
    pub no_cache: bool,
    /// Part of every key: whatever else decides the bytes of a layer, such as its format, its
    /// compression and the time that its entries are clamped to.
    pub salt: String,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Take the fingerprint of everything that a step takes from outside of the graph: files of
    /// contexts, what is behind addresses; answer with [`Solver::on_fingerprint`].
    FingerprintOutside(StepId),
    /// Take the fingerprint of all the files that a step copies or mounts from other steps, whose
    /// outputs exist; answer with [`Solver::on_fingerprint`].
    FingerprintSources(StepId),
    /// Ask the cache; answer with [`Solver::on_probed`].
    Probe {
        /// The step that wants to know.
        step: StepId,
        /// Which of its keys.
        kind: KeyKind,
        /// The key.
        key: CacheKey,
    },
    /// Carry the step out and record the output under its keys; answer with [`Solver::on_ran`].
    /// The outputs of all its inputs exist. A base or a merge needs no more than an answer.
    Run {
        /// The step.
        step: StepId,
        /// To record under.
        definition: CacheKey,
        /// To record under too; nothing for a base or a merge.
        content: Option<CacheKey>,
    },
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepState {
    /// Nobody needs its output, so far or ever.
    NotNeeded,
    /// The cache is being asked.
    Probing(KeyKind),
    /// Its inputs are being made.
    Waiting,
    /// The files that it copies are being looked at.
    Fingerprinting,
    /// It is being carried out.
    Running,
    /// Its output was in the cache.
    Cached(KeyKind),
    /// Its output was made.
    Ran,
    /// It could not be carried out.
    Failed,
}

/// Decides what to do next with a graph.
#[derive(Debug, Clone)]
pub struct Solver<O> {
    nodes: Vec<Node<O>>,
    targets: Vec<StepId>,
    options: SolverOptions,
    /// Fingerprints from outside that were asked for and have not come yet.
    outside_pending: usize,
    queue: Vec<Action>,
    failed: Option<StepId>,
}

#[derive(Debug, Clone)]
struct Node<O> {
    /// A part for each, in front of its key or fingerprint; resolved to first twins once keys are known.
    inputs: Vec<Input>,
    operation: KeyParts,
    is_base: bool,
    /// It only puts together what other steps made.
    is_merge: bool,
    ignores_cache: bool,
    /// It ignores the cache, or something below it does: what its definition once led to is not
    /// what is asked for, and only equal inputs may spare it.
    is_renewed: bool,
    reads_outside: bool,
    reads_steps: bool,
    /// Whether a target's output depends on it.
    in_cone: bool,
    outside: Option<Digest>,
    sources: Option<Digest>,
    definition: Option<Keyed>,
    content: Option<Keyed>,
    /// The first step with the same definition key: itself unless it repeats another.
    twin: StepId,
    users: Vec<StepId>,
    progress: Progress<O>,
}

#[derive(Debug, Clone)]
struct Input {
    step: StepId,
    role: String,
}

#[derive(Debug, Clone)]
struct Keyed {
    key: CacheKey,
    parts: KeyParts,
}

impl From<KeyParts> for Keyed {
    fn from(parts: KeyParts) -> Self {
        Self {
            key: parts.key(),
            parts,
        }
    }
}

#[derive(Debug, Clone)]
enum Progress<O> {
    Idle,
    ProbingDefinition,
    Waiting,
    Fingerprinting,
    ProbingContent,
    Running,
    Done(O, StepState),
    Failed,
}

impl<O: Output> Solver<O> {
    /// A solver that has done nothing yet.
    pub fn new(graph: &BuildGraph, options: SolverOptions) -> Self {
        let mut nodes: Vec<Node<O>> = graph.ids().map(|id| Node::new(graph, id)).collect();
        for target in &graph.targets {
            nodes[target.step.index()].in_cone = true;
        }
        for index in (0..nodes.len()).rev() {
            if nodes[index].in_cone {
                for input in nodes[index].inputs.clone() {
                    nodes[input.step.index()].in_cone = true;
                }
            }
        }
        let queue: Vec<Action> = graph
            .ids()
            .filter(|id| nodes[id.index()].in_cone && nodes[id.index()].reads_outside)
            .map(Action::FingerprintOutside)
            .collect();
        let mut solver = Self {
            nodes,
            targets: graph.targets.iter().map(|target| target.step).collect(),
            options,
            outside_pending: queue.len(),
            queue,
            failed: None,
        };
        if solver.outside_pending == 0 {
            solver.define();
        }
        solver
    }

    /// What to do that was not said before. Everything in it may be done at the same time.
    pub fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.queue)
    }

    /// A fingerprint that was asked for.
    pub fn on_fingerprint(&mut self, step: StepId, fingerprint: Digest) {
        if self.failed.is_some() {
            return;
        }
        let node = &mut self.nodes[step.index()];
        if matches!(node.progress, Progress::Fingerprinting) {
            node.sources = Some(fingerprint);
            self.second_chance(step);
        } else {
            assert!(
                node.reads_outside && node.outside.is_none(),
                "nobody asked for a fingerprint of step {step}"
            );
            node.outside = Some(fingerprint);
            self.outside_pending -= 1;
            if self.outside_pending == 0 {
                self.define();
            }
        }
    }

    /// What the cache said. What was found by content should be recorded under the definition key
    /// too ([`Solver::key`]), so that the next build finds it without its inputs.
    pub fn on_probed(&mut self, step: StepId, kind: KeyKind, hit: Option<O>) {
        let node = &self.nodes[step.index()];
        let asked = match &node.progress {
            Progress::ProbingDefinition => Some(KeyKind::Definition),
            Progress::ProbingContent => Some(KeyKind::Content),
            Progress::Idle
            | Progress::Waiting
            | Progress::Fingerprinting
            | Progress::Running
            | Progress::Done(..)
            | Progress::Failed => None,
        };
        assert_eq!(asked, Some(kind), "nobody asked the cache for step {step}");
        match (hit, kind) {
            (Some(output), kind) => self.done(step, output, StepState::Cached(kind)),
            (None, KeyKind::Definition) => self.want_inputs(step),
            (None, KeyKind::Content) => self.run(step),
        }
    }

    /// A step was carried out.
    pub fn on_ran(&mut self, step: StepId, output: O) {
        let node = &self.nodes[step.index()];
        assert!(
            matches!(node.progress, Progress::Running),
            "nobody asked to run step {step}"
        );
        self.done(step, output, StepState::Ran);
    }

    /// A step could not be carried out, or a fingerprint not be taken for it. There will be no
    /// more actions; what is under way may be stopped or reported, both are fine.
    pub fn on_failed(&mut self, step: StepId) {
        self.nodes[step.index()].progress = Progress::Failed;
        self.failed.get_or_insert(step);
        self.queue.clear();
    }

    /// Whether the outputs of all targets are there.
    pub fn is_done(&self) -> bool {
        self.outputs().is_some()
    }

    /// The first step that failed.
    pub fn failed(&self) -> Option<StepId> {
        self.failed
    }

    /// The outputs of the targets, in their order, once all of them are there.
    pub fn outputs(&self) -> Option<Vec<&O>> {
        self.targets
            .iter()
            .map(|target| self.output_of(*target))
            .collect()
    }

    /// A step's output, where it is there. A running step's inputs always are.
    pub fn output_of(&self, step: StepId) -> Option<&O> {
        match &self.node_of_twin(step).progress {
            Progress::Done(output, _) => Some(output),
            Progress::Idle
            | Progress::ProbingDefinition
            | Progress::Waiting
            | Progress::Fingerprinting
            | Progress::ProbingContent
            | Progress::Running
            | Progress::Failed => None,
        }
    }

    /// How far a step is. One that repeats another is as far as that other.
    pub fn state(&self, step: StepId) -> StepState {
        match &self.node_of_twin(step).progress {
            Progress::Idle => StepState::NotNeeded,
            Progress::ProbingDefinition => StepState::Probing(KeyKind::Definition),
            Progress::Waiting => StepState::Waiting,
            Progress::Fingerprinting => StepState::Fingerprinting,
            Progress::ProbingContent => StepState::Probing(KeyKind::Content),
            Progress::Running => StepState::Running,
            Progress::Done(_, how) => *how,
            Progress::Failed => StepState::Failed,
        }
    }

    /// The earlier step that does the very same thing, if there is one: actions name only that.
    pub fn repeats(&self, step: StepId) -> Option<StepId> {
        let twin = self.nodes[step.index()].twin;
        (twin != step).then_some(twin)
    }

    /// The steps whose outputs a step reads, each with the name of its part in keys. Once keys are
    /// known, steps that repeat others are not among them.
    pub fn inputs(&self, step: StepId) -> impl Iterator<Item = (&str, StepId)> {
        let inputs = self.nodes[step.index()].inputs.iter();
        inputs.map(|input| (input.role.as_str(), input.step))
    }

    /// A key of a step, once it is known.
    pub fn key(&self, step: StepId, kind: KeyKind) -> Option<&CacheKey> {
        self.keyed(step, kind).map(|keyed| &keyed.key)
    }

    /// What a key of a step is made from, once it is known.
    pub fn parts(&self, step: StepId, kind: KeyKind) -> Option<&KeyParts> {
        self.keyed(step, kind).map(|keyed| &keyed.parts)
    }

    fn keyed(&self, step: StepId, kind: KeyKind) -> Option<&Keyed> {
        let node = self.node_of_twin(step);
        match kind {
            KeyKind::Definition => node.definition.as_ref(),
            KeyKind::Content => node.content.as_ref(),
        }
    }

    fn node_of_twin(&self, step: StepId) -> &Node<O> {
        &self.nodes[self.nodes[step.index()].twin.index()]
    }

    /// Makes every definition key, finds the steps that repeat others, and begins at the targets.
    fn define(&mut self) {
        let mut first: HashMap<(CacheKey, bool), StepId> = HashMap::new();
        for index in 0..self.nodes.len() {
            if !self.nodes[index].in_cone {
                continue;
            }
            let id = StepId(index as u32);
            let mut parts = KeyParts::begin(KeyKind::Definition, &self.options.salt);
            parts.extend(&self.nodes[index].operation);
            let mut inputs = self.nodes[index].inputs.clone();
            for input in &mut inputs {
                input.step = self.nodes[input.step.index()].twin;
                let definition = self.nodes[input.step.index()].definition.as_ref();
                let definition = definition.expect("inputs come before their users");
                parts.digest(input.role.clone(), definition.key.digest().clone());
            }
            if let Some(outside) = &self.nodes[index].outside {
                parts.digest("outside", outside.clone());
            }
            let keyed = Keyed::from(parts);
            let renewed_inputs = inputs
                .iter()
                .any(|input| self.nodes[input.step.index()].is_renewed);
            let is_renewed = self.nodes[index].ignores_cache || renewed_inputs;
            let twin = *first.entry((keyed.key.clone(), is_renewed)).or_insert(id);
            if twin == id {
                for input in &inputs {
                    self.nodes[input.step.index()].users.push(id);
                }
            }
            let node = &mut self.nodes[index];
            node.inputs = inputs;
            node.is_renewed = is_renewed;
            node.definition = Some(keyed);
            node.twin = twin;
        }
        for target in self.targets.clone() {
            self.want(self.nodes[target.index()].twin);
        }
    }

    /// Somebody needs the step's output. Without a cache that is true of its inputs too, all the
    /// way down: a loop, because a Dockerfile may be longer than a stack is deep.
    fn want(&mut self, step: StepId) {
        let mut wanted = vec![step];
        let mut waiting = Vec::new();
        while let Some(step) = wanted.pop() {
            let node = &mut self.nodes[step.index()];
            if !matches!(node.progress, Progress::Idle) {
                continue;
            }
            if node.is_base {
                self.run(step);
            } else if self.options.no_cache || node.is_renewed {
                node.progress = Progress::Waiting;
                wanted.extend(node.inputs.iter().map(|input| input.step));
                waiting.push(step);
            } else {
                self.probe_definition(step);
            }
        }
        for step in waiting {
            self.continue_with_inputs(step);
        }
    }

    fn probe_definition(&mut self, step: StepId) {
        let node = &mut self.nodes[step.index()];
        node.progress = Progress::ProbingDefinition;
        let key = node
            .definition
            .as_ref()
            .expect("keys are known")
            .key
            .clone();
        let kind = KeyKind::Definition;
        self.queue.push(Action::Probe { step, kind, key });
    }

    fn want_inputs(&mut self, step: StepId) {
        if self.failed.is_some() {
            return;
        }
        self.nodes[step.index()].progress = Progress::Waiting;
        for input in self.nodes[step.index()].inputs.clone() {
            self.want(input.step);
        }
        self.continue_with_inputs(step);
    }

    /// Goes on with a step that waited, if all its inputs are there.
    fn continue_with_inputs(&mut self, step: StepId) {
        let node = &self.nodes[step.index()];
        let ready = matches!(node.progress, Progress::Waiting)
            && node
                .inputs
                .iter()
                .all(|input| self.output_of(input.step).is_some());
        if !ready {
            return;
        }
        if node.is_merge {
            self.run(step);
        } else if node.reads_steps {
            self.nodes[step.index()].progress = Progress::Fingerprinting;
            self.queue.push(Action::FingerprintSources(step));
        } else {
            self.second_chance(step);
        }
    }

    /// Makes the content key and asks for it.
    fn second_chance(&mut self, step: StepId) {
        let node = &self.nodes[step.index()];
        let mut parts = KeyParts::begin(KeyKind::Content, &self.options.salt);
        parts.extend(&node.operation);
        let parent = node.inputs.first().expect("only a base has no parent");
        let parent_output = self.output_of(parent.step).expect("inputs are there");
        parts.digest(parent.role.clone(), parent_output.content());
        if let Some(outside) = &node.outside {
            parts.digest("outside", outside.clone());
        }
        if let Some(sources) = &node.sources {
            parts.digest("copied", sources.clone());
        }
        let keyed = Keyed::from(parts);
        let key = keyed.key.clone();
        self.nodes[step.index()].content = Some(keyed);
        if self.options.no_cache || self.nodes[step.index()].ignores_cache {
            self.run(step);
        } else {
            self.nodes[step.index()].progress = Progress::ProbingContent;
            let kind = KeyKind::Content;
            self.queue.push(Action::Probe { step, kind, key });
        }
    }

    fn run(&mut self, step: StepId) {
        if self.failed.is_some() {
            return;
        }
        let node = &mut self.nodes[step.index()];
        node.progress = Progress::Running;
        let definition = node
            .definition
            .as_ref()
            .expect("keys are known")
            .key
            .clone();
        let content = node.content.as_ref().map(|keyed| keyed.key.clone());
        self.queue.push(Action::Run {
            step,
            definition,
            content,
        });
    }

    fn done(&mut self, step: StepId, output: O, how: StepState) {
        self.nodes[step.index()].progress = Progress::Done(output, how);
        if self.failed.is_some() {
            return;
        }
        for user in self.nodes[step.index()].users.clone() {
            self.continue_with_inputs(user);
        }
    }
}

impl<O> Node<O> {
    fn new(graph: &BuildGraph, id: StepId) -> Self {
        let step = graph.step(id);
        let mut inputs: Vec<Input> = Vec::new();
        inputs.extend(step.parent.map(|parent| Input {
            step: parent,
            role: "parent".to_owned(),
        }));
        if let StepKind::Merge(layer) = &step.kind {
            inputs.push(Input {
                step: *layer,
                role: "layer".to_owned(),
            });
        }
        for (index, (from, _)) in step.file_sources().enumerate() {
            if let FileSource::Step(source) = from {
                inputs.push(Input {
                    step: *source,
                    role: format!("source.{index}"),
                });
            }
        }
        Self {
            inputs,
            operation: KeyParts::of_operation(&step.kind),
            is_base: matches!(step.kind, StepKind::Scratch | StepKind::Base(_)),
            is_merge: matches!(step.kind, StepKind::Merge(_)),
            ignores_cache: step.ignores_cache,
            is_renewed: false,
            reads_outside: step.reads_outside(),
            reads_steps: step.reads_steps(),
            in_cone: false,
            outside: None,
            sources: None,
            definition: None,
            content: None,
            twin: id,
            users: Vec::new(),
            progress: Progress::Idle,
        }
    }
}
