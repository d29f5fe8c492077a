//! Asks the solver what to do and does it, several things at a time, until the
//! targets are there or something failed.

mod targets;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use graph::{
    Action, BuildGraph, CacheKey, ImageNumber, KeyKind, Solver, SolverOptions, StepId, StepKind,
    StepState, TargetImage,
};
use oci::Digest;
use tokio::task::JoinSet;

use crate::cache::Caches;
use crate::event::{CachePlace, Event, StepNumber, StepOutcome};
use crate::export::registry::Uploads;
use crate::interrupt::Interrupt;
use crate::output::{Found, StepOutput};
use crate::report::StepReport;
use crate::run::RunError;
use crate::schedule::{distances, last_time, remember_time};
use crate::steps::{StepError, Workshop};
use crate::trace::Made;

/// A graph on its way to its targets.
pub(crate) struct Drive {
    pub graph: Arc<BuildGraph>,
    pub solver: Solver<StepOutput>,
    /// How the solver was made.
    pub options: SolverOptions,
    pub workshop: Arc<Workshop>,
    /// What other machines know.
    pub caches: Arc<Caches>,
    /// Who knew the results that were not made.
    pub hits: HashMap<StepId, CachePlace>,
    pub interrupt: Interrupt,
    /// Whether it is to be told which layers came of which keys.
    pub tells_what_came_of: bool,
    /// Steps that run at once.
    pub parallel: usize,
    /// Those that run now.
    pub running: usize,
    /// What is to be carried out, and has not been started.
    pub ready: Vec<(StepId, Vec<CacheKey>)>,
}

/// What there is once the targets are reached.
pub(crate) struct Reached {
    /// In the order of the targets.
    pub outputs: Vec<StepOutput>,
    pub steps: Vec<StepReport>,
    /// For each target how many of its layers, from the bottom, came of which key; empty when
    /// nobody asked.
    pub came_of: Vec<BTreeMap<Digest, usize>>,
    /// The definition key of each target.
    pub definitions: Vec<Option<Digest>>,
}

/// Why a target was not reached.
pub(crate) enum DriveError {
    Step(StepId, StepError),
    Interrupted,
}

/// Something that was started has ended.
enum Done {
    Fingerprint(StepId, Result<Digest, StepError>),
    /// The shared caches were asked; the address says which of them knew.
    Asked {
        step: StepId,
        kind: KeyKind,
        key: CacheKey,
        found: Option<String>,
    },
    Ran {
        step: StepId,
        keys: Vec<CacheKey>,
        took: Duration,
        result: Result<StepOutput, StepError>,
    },
}

impl Drive {
    /// Reaches the targets, and gives their outputs in their order. Layers are handed to `uploads`,
    /// those of each image, as soon as they exist.
    pub(crate) async fn reach_targets(
        mut self,
        uploads: &mut [Option<Uploads>],
    ) -> Result<Reached, DriveError> {
        let mut times: HashMap<StepId, Duration> = HashMap::new();
        let reached = self.reach(uploads, &mut times).await;
        let tracer = &self.workshop.tracer;
        for trace in self.caches.traces(tracer.carried_name()) {
            tracer.learn(trace);
        }
        tracer.draw(&self.graph, &self.solver, &times);
        let outputs = reached?;
        Ok(Reached {
            came_of: self.came_of(&outputs),
            definitions: self.definitions(),
            outputs,
            steps: self.report(&times),
        })
    }

    async fn reach(
        &mut self,
        uploads: &mut [Option<Uploads>],
        times: &mut HashMap<StepId, Duration>,
    ) -> Result<Vec<StepOutput>, DriveError> {
        let mut tasks: JoinSet<Done> = JoinSet::new();
        loop {
            let waiting = self.ready.len();
            self.decide(&mut tasks);
            if self.ready.len() > waiting
                && let Err(error) = self.find_emulators().await
            {
                self.stop(&mut tasks).await;
                return Err(error);
            }
            while self.running < self.parallel
                && let Some((step, keys)) = self.next_step()
            {
                self.running += 1;
                self.run(step, keys, &mut tasks);
            }
            if let Some(outputs) = self.solver.outputs() {
                let outputs = outputs.into_iter().cloned().collect();
                self.carry_over();
                self.share_what_was_noticed();
                return Ok(outputs);
            }
            let done = tokio::select! {
                done = tasks.join_next() => done,
                () = self.interrupt.triggered() => {
                    self.stop(&mut tasks).await;
                    return Err(DriveError::Interrupted);
                }
            };
            let done = done
                .expect("a solver that is not done has asked for something")
                .expect("steps do not panic and are not aborted");
            if let Err(failed) = self.take(done, uploads, times) {
                let was_lied_to = self.workshop.layers.were_lied_to();
                if !self.interrupt.is_triggered() && (self.caches.give_up() || was_lied_to) {
                    self.begin_again(&mut tasks, uploads, times).await;
                    continue;
                }
                self.stop(&mut tasks).await;
                // What fails while the user stops the build fails because of that.
                if self.interrupt.is_triggered() {
                    return Err(DriveError::Interrupted);
                }
                let (step, error) = *failed;
                return Err(DriveError::Step(step, error));
            }
        }
    }

    /// Finds out how every RUN that may have to run can do so, before anything runs.
    async fn find_emulators(&self) -> Result<(), DriveError> {
        for id in self.graph.ids() {
            let may_run = match self.solver.state(id) {
                StepState::Running
                | StepState::Waiting
                | StepState::Probing(_)
                | StepState::Fingerprinting => true,
                StepState::NotNeeded
                | StepState::Cached(_)
                | StepState::Ran
                | StepState::Failed => false,
            };
            if let StepKind::Run(run) = &self.graph.step(id).kind
                && may_run
                && self.solver.repeats(id).is_none()
            {
                self.workshop
                    .way_of(&run.platform)
                    .await
                    .map_err(|error| DriveError::Step(id, error))?;
            }
        }
        Ok(())
    }

    /// Does at once what takes no time, and starts to look at files. Steps that take time are
    /// then ready.
    fn decide(&mut self, tasks: &mut JoinSet<Done>) {
        loop {
            let actions = self.solver.actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Probe { step, kind, key } => {
                        let hit = self.recall(step, &key);
                        if hit.is_none() && self.caches.are_read() {
                            let caches = Arc::clone(&self.caches);
                            let base = self.base_of(step);
                            tasks.spawn(async move {
                                let found = caches.find(&key, &base).await;
                                Done::Asked {
                                    step,
                                    kind,
                                    key,
                                    found,
                                }
                            });
                            continue;
                        }
                        if hit.is_some() {
                            self.hits.insert(step, CachePlace::Local);
                        }
                        self.probed(step, kind, &key, hit);
                    }
                    Action::FingerprintOutside(step) => {
                        let (workshop, graph) =
                            (Arc::clone(&self.workshop), Arc::clone(&self.graph));
                        tasks.spawn(async move {
                            Done::Fingerprint(step, workshop.fingerprint_outside(step, graph).await)
                        });
                    }
                    Action::FingerprintSources(step) => {
                        let (workshop, graph) =
                            (Arc::clone(&self.workshop), Arc::clone(&self.graph));
                        let outputs = self.outputs_for(step);
                        tasks.spawn(async move {
                            let step_read = graph.step(step);
                            let fingerprint =
                                workshop.fingerprint_sources(step_read, &outputs).await;
                            Done::Fingerprint(step, fingerprint)
                        });
                    }
                    Action::Run {
                        step,
                        definition,
                        content,
                    } => {
                        let keys: Vec<_> =
                            [Some(definition), content].into_iter().flatten().collect();
                        if !self.answer(step, &keys) {
                            self.ready.push((step, keys));
                        }
                    }
                }
            }
        }
    }

    /// What the store has under a key, if all of it can be had.
    fn recall(&self, step: StepId, key: &CacheKey) -> Option<Found> {
        let layers = &self.workshop.layers;
        let base = self.base_of(step);
        StepOutput::recall(&self.workshop.store, key, &base, |digest| {
            layers.origins().knows(digest)
        })
    }

    /// As [`Self::recall`], and in what was read of the shared caches.
    fn recall_anywhere(&self, step: StepId, key: &CacheKey) -> Option<Found> {
        self.recall(step, key).or_else(|| {
            let base = self.base_of(step);
            self.caches.find_known(key.digest(), &base)?;
            self.recall(step, key)
        })
    }

    /// Takes what the caches said.
    fn probed(&mut self, step: StepId, kind: KeyKind, key: &CacheKey, hit: Option<Found>) {
        if let Some(found) = &hit {
            self.keep(step, key);
            // Found by content: next time its definition finds it at once.
            let definition = self.solver.key(step, KeyKind::Definition);
            if let Some(definition) = definition.filter(|definition| *definition != key) {
                let (output, made) = (&found.output, found.made.clone());
                output.remember(&self.workshop.layers, definition, made);
                self.keep(step, definition);
            }
        } else {
            let has_record = self.workshop.store.records().has(key.digest());
            self.workshop.tracer.note_miss(step, has_record);
        }
        let hit = hit.map(|found| found.output);
        self.solver.on_probed(step, kind, hit);
    }

    /// Has the shared caches keep what the store has under a key.
    fn keep(&self, step: StepId, key: &CacheKey) {
        if self.caches.are_filled() {
            let base = self.base_of(step);
            self.caches.keep(key.digest(), &base, self.in_target(step));
        }
    }

    /// Has the shared caches keep the steps that nobody had to ask for, because what stands on
    /// them was known.
    fn carry_over(&self) {
        if !self.caches.are_filled() {
            return;
        }
        for id in self.graph.ids() {
            if self.solver.repeats(id).is_some()
                || !matches!(self.solver.state(id), StepState::NotNeeded)
            {
                continue;
            }
            let Some(key) = self.solver.key(id, KeyKind::Definition) else {
                continue;
            };
            if self.recall_anywhere(id, key).is_some() {
                self.keep(id, key);
            }
        }
    }

    /// Begins at the targets again: what was done is in the store, and what could not be had is
    /// not expected any more. What runs comes to its end first.
    async fn begin_again(
        &mut self,
        tasks: &mut JoinSet<Done>,
        uploads: &mut [Option<Uploads>],
        times: &mut HashMap<StepId, Duration>,
    ) {
        while let Some(done) = tasks.join_next().await {
            let done = done.expect("steps do not panic and are not aborted");
            match done {
                Done::Ran { result: Ok(_), .. } => {
                    let taken = self.take(done, uploads, times);
                    debug_assert!(taken.is_ok(), "what was done is only written down");
                }
                // What fails now fails again, and then it counts.
                Done::Ran { result: Err(_), .. } | Done::Fingerprint(..) | Done::Asked { .. } => {}
            }
        }
        self.workshop.layers.disbelieve();
        self.ready.clear();
        self.running = 0;
        self.hits.clear();
        self.solver = Solver::new(&self.graph, self.options.clone());
    }

    /// Answers for a step that takes no time; says whether it is one.
    fn answer(&mut self, id: StepId, keys: &[CacheKey]) -> bool {
        let step = self.graph.step(id);
        let output = match &step.kind {
            StepKind::Scratch => StepOutput::scratch(),
            StepKind::Base(base) => StepOutput::of_base(base),
            StepKind::Merge(layer) => {
                let made = self.solver.output_of(*layer).expect("inputs come first");
                let output = self.parent_of(id).on_top(made);
                for key in keys {
                    output.remember(&self.workshop.layers, key, None);
                    self.keep(id, key);
                }
                output
            }
            StepKind::Run(_) | StepKind::Copy(_) | StepKind::Workdir(_) => return false,
        };
        self.solver.on_ran(id, output);
        true
    }

    /// What a step changes.
    fn parent_of(&self, id: StepId) -> StepOutput {
        match self.graph.step(id).parent {
            Some(parent) => {
                let output = self.solver.output_of(parent);
                output.expect("inputs come first").clone()
            }
            None => StepOutput::scratch(),
        }
    }

    /// Of the steps that could run the one with the longest way to a target.
    fn next_step(&mut self) -> Option<(StepId, Vec<CacheKey>)> {
        if self.ready.len() < 2 {
            return self.ready.pop();
        }
        let store = &self.workshop.store;
        let is_open = |id| match self.solver.state(id) {
            StepState::Probing(_)
            | StepState::Waiting
            | StepState::Fingerprinting
            | StepState::Running => true,
            StepState::NotNeeded | StepState::Cached(_) | StepState::Ran | StepState::Failed => {
                false
            }
        };
        let first = |id| self.first(id);
        let distances = distances(&self.graph, first, is_open, |step| last_time(store, step));
        // Of equals the first, as it is written.
        let (position, _) = self
            .ready
            .iter()
            .enumerate()
            .max_by_key(|(_, (id, _))| (distances.get(id), std::cmp::Reverse(id.0)))?;
        Some(self.ready.remove(position))
    }

    fn run(&mut self, id: StepId, keys: Vec<CacheKey>, tasks: &mut JoinSet<Done>) {
        let step = self.graph.step(id);
        let parent = self.parent_of(id);
        let work = step.kind.clone();
        let title = step.title.clone();
        let outputs = self.outputs_for(id);
        let soon = self.something_runs_on(id);
        let (workshop, graph) = (Arc::clone(&self.workshop), Arc::clone(&self.graph));
        tasks.spawn(async move {
            let began = Instant::now();
            let reporter = Arc::clone(&workshop.reporter);
            reporter.report(Event::StepStarted {
                step: StepNumber(id.0),
                title: title.clone(),
            });
            let result = match work {
                StepKind::Run(run) => workshop.run(id, *run, parent, outputs).await,
                StepKind::Copy(copy) => workshop.copy(id, graph, copy, parent, outputs, soon).await,
                StepKind::Workdir(workdir) => workshop.workdir(workdir, parent, soon).await,
                StepKind::Scratch | StepKind::Base(_) | StepKind::Merge(_) => {
                    unreachable!("answered without a task")
                }
            };
            let took = began.elapsed();
            let outcome = match &result {
                Ok(_) => StepOutcome::Ran,
                Err(StepError::Run(RunError::Cancelled)) => StepOutcome::Cancelled,
                Err(_) => StepOutcome::Failed,
            };
            reporter.report(Event::StepFinished {
                step: StepNumber(id.0),
                title,
                outcome,
                cache: None,
                duration: took,
            });
            Done::Ran {
                step: id,
                keys,
                took,
                result,
            }
        });
    }

    fn take(
        &mut self,
        done: Done,
        uploads: &mut [Option<Uploads>],
        times: &mut HashMap<StepId, Duration>,
    ) -> Result<(), Box<(StepId, StepError)>> {
        match done {
            Done::Fingerprint(step, Ok(fingerprint)) => {
                self.solver.on_fingerprint(step, fingerprint);
            }
            Done::Asked {
                step,
                kind,
                key,
                found,
            } => {
                let hit = found.as_ref().and_then(|_| self.recall(step, &key));
                if let (Some(address), Some(_)) = (found, &hit) {
                    self.hits.insert(step, CachePlace::Shared(address));
                }
                self.probed(step, kind, &key, hit);
            }
            Done::Ran {
                step,
                keys,
                took,
                result: Ok(output),
            } => {
                self.running -= 1;
                times.insert(step, took);
                remember_time(&self.workshop.store, self.graph.step(step), took);
                for key in &keys {
                    let made = self.made(step, key, took);
                    output.remember(&self.workshop.layers, key, Some(made));
                    self.keep(step, key);
                }
                if let Some(layer) = output.stack.last() {
                    for (number, uploads) in (0..).map(ImageNumber).zip(uploads) {
                        if let Some(uploads) = uploads
                            && self.is_in(step, |target| target.image == number)
                        {
                            uploads.start(layer);
                        }
                    }
                }
                self.solver.on_ran(step, output);
            }
            Done::Ran {
                step,
                took,
                result: Err(error),
                ..
            } => {
                self.running -= 1;
                times.insert(step, took);
                self.solver.on_failed(step);
                return Err(Box::new((step, error)));
            }
            Done::Fingerprint(step, Err(error)) => {
                self.solver.on_failed(step);
                return Err(Box::new((step, error)));
            }
        }
        Ok(())
    }

    /// How what is recorded under a key came to be.
    fn made(&self, id: StepId, key: &CacheKey, took: Duration) -> Made {
        let kinds = [KeyKind::Definition, KeyKind::Content];
        let kind = kinds
            .into_iter()
            .find(|kind| self.solver.key(id, *kind) == Some(key));
        let parts = kind.and_then(|kind| self.solver.parts(id, kind));
        let tracer = &self.workshop.tracer;
        tracer.made(self.graph.step(id), parts, took)
    }

    /// Stops what runs and waits until it has: nothing of a build outlives it.
    async fn stop(&self, tasks: &mut JoinSet<Done>) {
        self.workshop.cancel.cancel();
        self.workshop.layers.bases.abort();
        self.workshop.layers.queue.leave();
        self.workshop.remotes.stop();
        while tasks.join_next().await.is_some() {}
    }

    /// Whether a step's layer is a layer of a target, and not of a stage that
    /// is only copied from.
    fn in_target(&self, step: StepId) -> bool {
        self.is_in(step, |_| true)
    }

    /// Whether it is a layer of one of some targets.
    fn is_in(&self, step: StepId, which: impl Fn(&TargetImage) -> bool) -> bool {
        let targets = self.graph.targets.iter().filter(|target| which(target));
        let mut at: Vec<StepId> = targets.map(|target| target.step).collect();
        while let Some(id) = at.pop() {
            if self.first(id) == step {
                return true;
            }
            let above = self.graph.step(id);
            at.extend(above.parent);
            if let StepKind::Merge(layer) = above.kind {
                at.push(layer);
            }
        }
        false
    }

    /// Steps that repeat others have copied the same programs.
    fn share_what_was_noticed(&self) {
        let mut programs = self
            .workshop
            .programs
            .lock()
            .expect("no panics under this lock");
        for id in self.graph.ids() {
            if let Some(first) = self.solver.repeats(id)
                && let Some(found) = programs.get(&first).cloned()
            {
                programs.insert(id, found);
            }
        }
    }

    /// The step that stands for all that do the same as this one.
    fn first(&self, id: StepId) -> StepId {
        self.solver.repeats(id).unwrap_or(id)
    }

    /// The layers that a step's output begins with: those of its stage's base.
    fn base_of(&self, id: StepId) -> StepOutput {
        StepOutput::base_of(&self.graph, id)
    }

    /// Whether some RUN stands on a step's parent or on what follows: then its
    /// base is going to be unpacked anyway.
    fn something_runs_on(&self, id: StepId) -> bool {
        let parent = self.graph.step(id).parent.map(|parent| self.first(parent));
        let stands_on = |mut at: Option<StepId>| {
            while let Some(step) = at {
                if Some(self.first(step)) == parent {
                    return true;
                }
                at = self.graph.step(step).parent;
            }
            false
        };
        self.graph.ids().any(|other| {
            matches!(self.graph.step(other).kind, StepKind::Run(_))
                && matches!(
                    self.solver.state(other),
                    StepState::Waiting | StepState::Running | StepState::Probing(_)
                )
                && stands_on(self.graph.step(other).parent)
        })
    }

    fn outputs_for(&self, id: StepId) -> HashMap<StepId, StepOutput> {
        let inputs = self.graph.step(id).inputs();
        inputs
            .filter_map(|input| Some((input, self.solver.output_of(input)?.clone())))
            .collect()
    }

    /// Who knew the results that were not made. What is below a known result was known to the
    /// same: nobody asked.
    fn places(&self) -> HashMap<StepId, CachePlace> {
        let mut places = HashMap::new();
        let ids: Vec<StepId> = self.graph.ids().collect();
        for id in ids.into_iter().rev() {
            let first = self.first(id);
            let known = self.hits.get(&first).or_else(|| places.get(&first));
            let Some(place) = known.cloned() else {
                continue;
            };
            for input in self.graph.step(id).inputs() {
                let input = self.first(input);
                if matches!(self.solver.state(input), StepState::NotNeeded) {
                    places.entry(input).or_insert_with(|| place.clone());
                }
            }
            places.insert(first, place);
        }
        places
    }

    /// What became of each step, those below a cache hit included: they are as
    /// cached as it is.
    fn report(&self, times: &HashMap<StepId, Duration>) -> Vec<StepReport> {
        let places = self.places();
        let mut reports = Vec::new();
        for id in self.graph.ids() {
            let step = self.graph.step(id);
            let is_silent = matches!(
                step.kind,
                StepKind::Scratch | StepKind::Base(_) | StepKind::Merge(_)
            );
            if is_silent || self.solver.repeats(id).is_some() {
                continue;
            }
            let outcome = match self.solver.state(id) {
                StepState::Ran => StepOutcome::Ran,
                StepState::Cached(_) | StepState::NotNeeded => StepOutcome::Cached,
                StepState::Failed => StepOutcome::Failed,
                StepState::Probing(_)
                | StepState::Waiting
                | StepState::Fingerprinting
                | StepState::Running => StepOutcome::Cancelled,
            };
            let (number, duration) = (
                StepNumber(id.0),
                times.get(&id).copied().unwrap_or_default(),
            );
            if outcome == StepOutcome::Cached {
                self.workshop.reporter.report(Event::StepFinished {
                    step: number,
                    title: step.title.clone(),
                    outcome,
                    cache: places.get(&id).cloned(),
                    duration,
                });
            }
            reports.push(StepReport {
                step: number,
                title: step.title.clone(),
                outcome,
                cache: places.get(&id).cloned(),
                duration,
                cause: None,
            });
        }
        reports
    }
}
