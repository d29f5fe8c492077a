//! Follows one build: notes what its steps are made from while that is at hand, draws the trace at
//! the end, compares it with the one before and keeps both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dockerfile::{InstructionKind, LineColumn};
use graph::{
    BuildGraph, KeyKind, KeyParts, Origin, Output as _, Solver, Step, StepId, StepKind, StepState,
};
use oci::{Digest, Hasher};
use store::Store;

use super::carry::Carried;
use super::explanation::{BaseFact, Explanation};
use super::files::FileList;
use super::history::{Account, Identity, accounts, remember_account};
use super::why::Comparison;
use super::{Hiding, Made, Miss, TRACE_FORMAT, Trace, TracedOutcome, TracedStep};
use crate::assemble::platform_of;
use crate::output::StepOutput;
use crate::run::Redactor;

/// The longest text of an instruction that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// The most parts of keys that a trace is made of. A Dockerfile that has more is not explained.
const PARTS_MAX: usize = 200_000;

/// What a build says about itself.
pub(crate) struct TracerOptions {
    pub store: Store,
    /// How messages call the Dockerfile, or those of several images.
    pub dockerfile: String,
    /// Their texts, by image.
    pub texts: Vec<String>,
    /// Where the context is, in any form.
    pub place: String,
    /// `--target`.
    pub target: Option<String>,
    /// What it builds for.
    pub platforms: Vec<String>,
    /// Names of the build arguments that were given.
    pub arguments: Vec<String>,
    /// Names of secrets.
    pub secrets: Vec<String>,
    pub redactor: Arc<Redactor>,
    pub no_cache: bool,
    /// Nothing is to be written: what is noted is forgotten with the build.
    pub is_dry: bool,
}

/// Follows a build.
pub(crate) struct Tracer {
    options: TracerOptions,
    identity: Identity,
    hiding: Hiding,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    /// Names of lists of files, by step.
    lists: HashMap<StepId, String>,
    /// Lists of a build that writes nothing.
    dry_lists: HashMap<String, FileList>,
    /// What was found of steps whose keys missed.
    misses: HashMap<StepId, Miss>,
    /// Traces that came from a cache.
    learned: Vec<Vec<u8>>,
    /// The trace of this build, once it has ended.
    drawn: Option<Trace>,
    /// Built from it.
    concluded: Option<Concluded>,
}

struct Concluded {
    explanation: Explanation,
    signature: String,
    accounts: Vec<Account>,
    steps: usize,
    cached: usize,
    ran: usize,
}

impl Tracer {
    /// Begins.
    pub(crate) fn new(options: TracerOptions) -> Self {
        let mut kin = Hasher::default();
        let target = options.target.as_deref().unwrap_or_default();
        for word in [&options.dockerfile, target]
            .into_iter()
            .chain(options.platforms.iter().map(String::as_str))
        {
            kin.update(&(word.len() as u64).to_le_bytes());
            kin.update(word.as_bytes());
        }
        let identity = Identity {
            kin: kin.finish().hex().to_owned(),
            place: Digest::of(options.place.as_bytes()).hex().to_owned(),
        };
        let hiding = Hiding {
            names: options.secrets.clone(),
        };
        Self {
            options,
            identity,
            hiding,
            noted: Mutex::default(),
        }
    }

    /// What a record says of how it came to be.
    pub(crate) fn made(&self, step: &Step, parts: Option<&KeyParts>, took: Duration) -> Made {
        let parts = parts.filter(|parts| parts.iter().count() <= PARTS_MAX / 100);
        Made {
            title: self.redact(&step.title),
            line: self.line(step),
            seconds: took.as_secs_f64(),
            at: now(),
            parts: parts.map_or_else(Vec::new, |parts| self.parts(parts)),
        }
    }

    /// Keeps the list of the files that a step takes from outside, unless that is known: `fill`
    /// is asked for it. `fingerprint`: what they come to.
    pub(crate) fn note_files(
        &self,
        step: StepId,
        sources: &[&str],
        fingerprint: &Digest,
        fill: impl FnOnce(&mut FileList) -> Option<()>,
    ) {
        // The same files from elsewhere have other paths.
        let mut hash = Hasher::default();
        for word in sources.iter().copied().chain([fingerprint.as_str()]) {
            hash.update(&(word.len() as u64).to_le_bytes());
            hash.update(word.as_bytes());
        }
        let name = hash.finish().hex()[..32].to_owned();
        if !self.identity.has_list(&self.options.store, &name) {
            let mut list = FileList::default();
            if fill(&mut list).is_none() {
                return;
            }
            match self.options.is_dry {
                true => drop(self.noted().dry_lists.insert(name.clone(), list)),
                false => self
                    .identity
                    .remember_list(&self.options.store, &name, &list),
            }
        }
        self.noted().lists.insert(step, name);
    }

    /// A step was not found under one of its keys; there is a record, but not its layers, or there
    /// is no record.
    pub(crate) fn note_miss(&self, step: StepId, has_record: bool) {
        let miss = match has_record {
            true => Miss::NoLayers,
            false => Miss::NoRecord,
        };
        self.noted().misses.insert(step, miss);
    }

    /// A trace that came from a cache that machines share: of the name that [`Self::carried`] gave.
    pub(crate) fn learn(&self, bytes: Vec<u8>) {
        self.noted().learned.push(bytes);
    }

    /// The name under which traces of this Dockerfile are carried.
    pub(crate) fn carried_name(&self) -> &str {
        &self.identity.kin
    }

    /// The trace of this build, for a cache that machines share; nothing before it has ended.
    pub(crate) fn carried(&self) -> Option<Vec<u8>> {
        let noted = self.noted();
        Some(self.carry(noted.drawn.as_ref()?).to_bytes())
    }

    /// The build has ended, well or not: draws the trace.
    pub(crate) fn draw(
        &self,
        graph: &BuildGraph,
        solver: &Solver<StepOutput>,
        times: &HashMap<StepId, Duration>,
    ) {
        let known = accounts(&self.options.store);
        let mut concluded = Concluded {
            explanation: Explanation::default(),
            signature: signature(graph, solver),
            accounts: known,
            steps: 0,
            cached: 0,
            ran: 0,
        };
        for id in graph.ids() {
            if solver.repeats(id).is_none()
                && solver.key(id, KeyKind::Definition).is_some()
                && !is_given(&graph.step(id).kind)
            {
                concluded.steps += 1;
                match outcome_of(solver.state(id)) {
                    TracedOutcome::Cached => concluded.cached += 1,
                    TracedOutcome::Ran | TracedOutcome::Failed => concluded.ran += 1,
                    TracedOutcome::Given | TracedOutcome::Unfinished => {}
                }
            }
        }
        let whole = self.identity.whole();
        let mut latest = concluded.accounts.iter().rev();
        let before = latest.find(|account| account.identity == whole);
        let same_as_before = concluded.ran == 0
            && solver.is_done()
            && before.is_some_and(|before| {
                before.image.is_some() && before.signature == concluded.signature
            });
        // Where nothing is new, the trace that is kept is the one that would be drawn.
        let trace = match same_as_before {
            true => None,
            false => self.trace(graph, solver, times),
        };
        let mut noted = self.noted();
        if let Some(trace) = &trace
            && concluded.ran > 0
        {
            concluded.explanation = self.explain(trace, &noted);
        }
        noted.drawn = trace;
        // Where keys were never known there was no build to speak of.
        noted.concluded = (concluded.steps > 0).then_some(concluded);
    }

    /// Why steps were carried out, once the build has ended.
    pub(crate) fn explanation(&self) -> Explanation {
        let noted = self.noted();
        let concluded = noted.concluded.as_ref();
        concluded.map_or_else(Explanation::default, |concluded| {
            concluded.explanation.clone()
        })
    }

    /// Keeps what the next build is compared with, and what this one came to. Gives its id.
    pub(crate) fn keep(&self, image: Option<&Digest>) -> Option<String> {
        let mut noted = self.noted();
        let concluded = noted.concluded.take()?;
        let store = &self.options.store;
        if let Some(trace) = &noted.drawn {
            let before = self.identity.trace(store);
            // Lists have records of their own here.
            let carried = Carried::new(&self.identity.place, trace, |_| None);
            self.identity
                .remember_trace(store, &carried, before.as_ref());
        }
        let mut id = Hasher::default();
        id.update(self.identity.whole().as_bytes());
        id.update(&nanoseconds().to_le_bytes());
        id.update(&std::process::id().to_le_bytes());
        let id = id.finish().short().to_owned();
        let account = Account {
            id: id.clone(),
            at: now(),
            dockerfile: self.options.dockerfile.clone(),
            target: self.options.target.clone(),
            image: image.cloned(),
            steps: concluded.steps,
            cached: concluded.cached,
            ran: concluded.ran,
            explanation: concluded.explanation,
            signature: concluded.signature,
            identity: self.identity.whole(),
        };
        remember_account(store, concluded.accounts, account);
        Some(id)
    }

    /// What an explanation would be if every step were carried out that was not found, and how long
    /// each took when it was last carried out, by its place in the graph.
    pub(crate) fn predict(
        &self,
        graph: &BuildGraph,
        solver: &Solver<StepOutput>,
    ) -> (Explanation, HashMap<u32, f64>) {
        let Some(mut trace) = self.trace(graph, solver, &HashMap::new()) else {
            return Default::default();
        };
        let noted = self.noted();
        let before = self.before(&trace, &noted);
        let alignment = before
            .as_ref()
            .map(|(carried, _)| super::align::Alignment::of(&carried.trace, &trace));
        let mut times = HashMap::new();
        for (place, step) in trace.steps.iter_mut().enumerate() {
            if step.outcome == TracedOutcome::Unfinished {
                step.outcome = TracedOutcome::Ran;
            }
            let was = alignment
                .as_ref()
                .and_then(|alignment| alignment.old_of[place]);
            if let (Some(was), Some((carried, _))) = (was, &before) {
                let old = &carried.trace.steps[was];
                if old.seconds > 0.0 {
                    step.seconds = old.seconds;
                    times.insert(step.number, old.seconds);
                }
            }
        }
        (self.explain(&trace, &noted), times)
    }

    /// The earlier build to compare with, and whether it was made elsewhere.
    fn before(&self, trace: &Trace, noted: &Noted) -> Option<(Carried, bool)> {
        let store = &self.options.store;
        let here = self.identity.trace(store).map(|carried| (carried, false));
        here.or_else(|| {
            let elsewhere = self.identity.traces_elsewhere(store).into_iter();
            let learned = noted.learned.iter().rev();
            let learned = learned.filter_map(|bytes| Carried::from_bytes(bytes));
            closest(elsewhere.chain(learned), trace).map(|carried| (carried, true))
        })
    }

    fn explain(&self, trace: &Trace, noted: &Noted) -> Explanation {
        let store = &self.options.store;
        let before = self.before(trace, noted);
        let list = |name: &str| {
            let dry = noted.dry_lists.get(name).cloned();
            dry.or_else(|| FileList::from_bytes(&self.identity.list(store, name)?))
        };
        let old_files = |step: &TracedStep| {
            let name = step.files.as_deref()?;
            let carried = before.as_ref().and_then(|(carried, _)| carried.list(name));
            let place = before.as_ref().map(|(carried, _)| carried.place.clone());
            carried.or_else(|| {
                let identity = Identity {
                    place: place?,
                    ..self.identity.clone()
                };
                FileList::from_bytes(&identity.list(store, name)?)
            })
        };
        let comparison = Comparison {
            old: before
                .as_ref()
                .map(|(carried, elsewhere)| (&carried.trace, *elsewhere)),
            new: trace,
            no_cache: self.options.no_cache,
            old_files: &old_files,
            new_files: &|step| list(step.files.as_deref()?),
            line_of: &|name, before| self.line_of_variable(name, before),
        };
        comparison.explain()
    }

    fn carry(&self, trace: &Trace) -> Carried {
        Carried::new(&self.identity.place, trace, |name| {
            self.identity.list(&self.options.store, name)
        })
    }

    /// Nothing when keys were never known, or are too many.
    fn trace(
        &self,
        graph: &BuildGraph,
        solver: &Solver<StepOutput>,
        times: &HashMap<StepId, Duration>,
    ) -> Option<Trace> {
        let noted = self.noted();
        let mut places: HashMap<StepId, usize> = HashMap::new();
        let mut steps: Vec<TracedStep> = Vec::new();
        let mut parts_count = 0;
        let platforms = platforms(graph);
        for id in graph.ids() {
            if solver.repeats(id).is_some() {
                continue;
            }
            let Some(parts) = solver.parts(id, KeyKind::Definition) else {
                continue;
            };
            parts_count += parts.iter().count();
            if parts_count > PARTS_MAX {
                return None;
            }
            let step = graph.step(id);
            let inputs = solver.inputs(id).filter_map(|(role, input)| {
                let place = places.get(&input)?;
                Some((role.to_owned(), *place))
            });
            let base = match &step.kind {
                StepKind::Base(base) => Some(BaseFact {
                    reference: base.reference.familiar(),
                    digest: base.manifest.digest.to_string(),
                    layers: base.layers.len(),
                }),
                StepKind::Scratch
                | StepKind::Merge(_)
                | StepKind::Run(_)
                | StepKind::Copy(_)
                | StepKind::Workdir(_) => None,
            };
            let outcome = match is_given(&step.kind) {
                true => TracedOutcome::Given,
                false => outcome_of(solver.state(id)),
            };
            let traced = TracedStep {
                number: id.0,
                stage: step.stage.clone(),
                platform: platforms.get(id.index()).cloned().unwrap_or_default(),
                title: self.redact(&step.title),
                text: self.text(step),
                line: self.line(step),
                is_trigger: matches!(step.origin, Origin::Onbuild { .. }),
                base,
                ignores_cache: step.ignores_cache,
                key: solver.key(id, KeyKind::Definition)?.to_string(),
                parts: self.parts(parts),
                inputs: inputs.collect(),
                output: solver
                    .output_of(id)
                    .map_or_else(String::new, |output| output.content().to_string()),
                files: noted.lists.get(&id).cloned(),
                outcome,
                seconds: times.get(&id).map_or(0.0, Duration::as_secs_f64),
                miss: noted.misses.get(&id).copied().unwrap_or_default(),
            };
            places.insert(id, steps.len());
            steps.push(traced);
        }
        Some(Trace {
            format: TRACE_FORMAT,
            at: now(),
            dockerfile: self.options.dockerfile.clone(),
            arguments: self.options.arguments.clone(),
            complete: solver.is_done(),
            steps,
        })
        .filter(|trace| !trace.steps.is_empty())
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().expect("no panics under this lock")
    }

    fn parts(&self, parts: &KeyParts) -> Vec<super::Part> {
        self.hiding.parts(parts, &|text| self.redact(text))
    }

    fn line(&self, step: &Step) -> usize {
        LineColumn::at(&self.options.texts[step.image.index()], step.span.start).line
    }

    /// The instruction as it was written, without what is secret in it.
    fn text(&self, step: &Step) -> String {
        let text = match &step.origin {
            Origin::Dockerfile => step.span.of(&self.options.texts[step.image.index()]),
            Origin::Onbuild { text, .. } => text.as_str(),
        };
        let mut end = text.len().min(TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text[..end].trim_end();
        if !text.contains("://") {
            return self.redact(text);
        }
        let words = text.split_inclusive(char::is_whitespace);
        let clean: String = words.map(dockerfile::remote::without_credentials).collect();
        self.redact(&clean)
    }

    fn redact(&self, text: &str) -> String {
        self.options.redactor.hide(text)
    }

    /// The line of the ARG or ENV that is the last one in front of a line to set a variable; not
    /// known where images have different Dockerfiles.
    fn line_of_variable(&self, name: &str, before: usize) -> Option<usize> {
        let (text, others) = self.options.texts.split_first()?;
        if others.iter().any(|other| other != text) {
            return None;
        }
        let tree = dockerfile::parse(text).tree;
        let sets = |kind: &InstructionKind| match kind {
            InstructionKind::Env(pairs) => pairs.pairs.iter().any(|pair| pair.key.value == name),
            InstructionKind::Arg(declarations) => {
                declarations.iter().any(|one| one.name.value == name)
            }
            _ => false,
        };
        let instructions = tree.instructions.iter();
        let mut lines = instructions
            .filter(|instruction| sets(&instruction.kind))
            .map(|instruction| LineColumn::at(text, instruction.span.start).line);
        lines.rfind(|line| *line < before)
    }
}

/// What each step is for, where there are several platforms: what a target needs that an earlier
/// one does not.
fn platforms(graph: &BuildGraph) -> Vec<String> {
    let mut platforms = vec![String::new(); graph.steps().len()];
    if graph.targets.len() < 2 {
        return platforms;
    }
    for target in &graph.targets {
        let name = platform_of(&target.config).to_string();
        let mut wanted = vec![target.step];
        while let Some(id) = wanted.pop() {
            if platforms[id.index()].is_empty() {
                platforms[id.index()].clone_from(&name);
                wanted.extend(graph.step(id).inputs());
            }
        }
    }
    platforms
}

/// Of several earlier builds the one that has most in common with this one, and at least half of
/// its instructions.
fn closest(candidates: impl Iterator<Item = Carried>, trace: &Trace) -> Option<Carried> {
    let worth = |carried: &Carried| {
        let alignment = super::align::Alignment::of(&carried.trace, trace);
        alignment.same(&carried.trace, trace)
    };
    let mut best: Option<(usize, Carried)> = None;
    for candidate in candidates {
        let worth = worth(&candidate);
        // Of equals the later one.
        let is_better = best
            .as_ref()
            .is_none_or(|(most, known)| (worth, candidate.trace.at) > (*most, known.trace.at));
        if 2 * worth >= trace.steps.len() && is_better {
            best = Some((worth, candidate));
        }
    }
    best.map(|(_, carried)| carried)
}

/// All keys in one.
fn signature(graph: &BuildGraph, solver: &Solver<StepOutput>) -> String {
    let mut hash = Hasher::default();
    for id in graph.ids() {
        if let Some(key) = solver.key(id, KeyKind::Definition) {
            hash.update(key.digest().as_str().as_bytes());
        }
    }
    hash.finish().short().to_owned()
}

/// Whether a step takes no time and is no work.
fn is_given(kind: &StepKind) -> bool {
    match kind {
        StepKind::Scratch | StepKind::Base(_) | StepKind::Merge(_) => true,
        StepKind::Run(_) | StepKind::Copy(_) | StepKind::Workdir(_) => false,
    }
}

fn outcome_of(state: StepState) -> TracedOutcome {
    match state {
        StepState::Ran => TracedOutcome::Ran,
        StepState::Cached(_) | StepState::NotNeeded => TracedOutcome::Cached,
        StepState::Failed => TracedOutcome::Failed,
        StepState::Probing(_)
        | StepState::Waiting
        | StepState::Fingerprinting
        | StepState::Running => TracedOutcome::Unfinished,
    }
}

fn since_1970() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

fn now() -> u64 {
    since_1970().as_secs()
}

fn nanoseconds() -> u128 {
    since_1970().as_nanos()
}
