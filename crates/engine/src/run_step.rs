//! Carries out a RUN: what it takes from outside becomes a fingerprint before, and mounts while it
//! runs in its cage.

use std::collections::HashMap;
use std::sync::Arc;

use dockerfile::Span;
use graph::{FileSource, RunMount, RunMountKind, RunStep, StepId};
use oci::{ChainId, Digest, Hasher};
use store::cache_mounts::CacheMountError;
use store::layer::EntryPath;
use store::unpacked::UnpackedKey;

use crate::cache::told;
use crate::copy::context::Context;
use crate::copy::select::{SelectError, Selection, select_path};
use crate::copy::stage::StageFiles;
use crate::copy::write::WriteError;
use crate::emulation::Way;
use crate::event::{Event, StepNumber};
use crate::output::StepOutput;
use crate::run::mounts::{MountError, Mounts, StepFiles, Supplies, prepare};
use crate::run::{Cage, RunError};
use crate::steps::{StepError, Workshop, layer_ref, unfound, unselected};

/// What a mount takes from a context or a step: whose files, which, and where that is said.
fn sources(step: &RunStep) -> impl Iterator<Item = (&FileSource, &str, Span)> {
    step.mounts
        .iter()
        .filter_map(|RunMount { kind, span }| match kind {
            RunMountKind::Bind { from, path, .. } => Some((from, path.as_str(), *span)),
            RunMountKind::Cache { seed, .. } => {
                let (from, path) = seed.as_ref()?;
                Some((from, path.as_str(), *span))
            }
            RunMountKind::Tmpfs { .. } | RunMountKind::Secret { .. } | RunMountKind::Ssh { .. } => {
                None
            }
        })
}

impl Workshop {
    /// A digest of what a RUN mounts from contexts. What was seen is kept, to be compared with
    /// what is there when the command has ended.
    pub(crate) fn fingerprint_mounted(
        &self,
        id: StepId,
        step: &RunStep,
    ) -> Result<Digest, StepError> {
        let mut hash = Hasher::default();
        let mut selections = Vec::new();
        for (from, path, span) in sources(step) {
            let FileSource::Context(name) = from else {
                continue;
            };
            let context = self.context(name, span)?;
            let selection = mounted(context, path, span)?;
            let digest = fingerprint(context, &selection)?;
            hash.update(digest.as_str().as_bytes());
            selections.push((selection, digest));
        }
        let fingerprint = hash.finish();
        self.note_mounted(id, step, &selections, &fingerprint);
        self.mounted
            .lock()
            .expect("no panics under this lock")
            .insert(id, selections);
        Ok(fingerprint)
    }

    /// Notes which files a RUN mounts from contexts.
    fn note_mounted(
        &self,
        id: StepId,
        step: &RunStep,
        selections: &[(Selection, Digest)],
        fingerprint: &Digest,
    ) {
        let of_contexts = sources(step).filter_map(|(from, path, _)| match from {
            FileSource::Context(name) => Some((name, path)),
            FileSource::Step(_) => None,
        });
        let (names, paths): (Vec<_>, Vec<_>) = of_contexts.unzip();
        self.tracer.note_files(id, &paths, fingerprint, |list| {
            for (name, (selection, _)) in names.into_iter().zip(selections) {
                list.add(selection, self.contexts.get(name)?).ok()?;
            }
            Some(())
        });
    }

    /// A digest of what a RUN mounts from other steps, by content.
    pub(crate) async fn fingerprint_mounted_steps(
        &self,
        step: &RunStep,
        outputs: &HashMap<StepId, StepOutput>,
    ) -> Result<Digest, StepError> {
        let mut hash = Hasher::default();
        for (from, path, span) in sources(step) {
            let FileSource::Step(id) = from else {
                continue;
            };
            let tree = self.layers.tree(&outputs[id].stack, true).await?;
            let files = StageFiles::new(tree);
            let found =
                select_path(&files, path).map_err(|error| unfound(error, span, &files, path))?;
            let selection = Selection {
                matches: vec![found],
            };
            let fingerprint = selection.fingerprint(&files).map_err(WriteError::from)?;
            hash.update(fingerprint.as_str().as_bytes());
        }
        Ok(hash.finish())
    }

    /// RUN. Where its base could not be read in parts after all, it is carried out again on one that
    /// is unpacked.
    pub(crate) async fn run(
        self: Arc<Self>,
        id: StepId,
        step: RunStep,
        parent: StepOutput,
        outputs: HashMap<StepId, StepOutput>,
    ) -> Result<StepOutput, StepError> {
        let (same, stack, from) = (step.clone(), parent.clone(), outputs.clone());
        let ran = Arc::clone(&self).run_once(id, step, parent, outputs).await;
        match ran {
            Err(StepError::Run(RunError::Ground { source, .. })) if source.wants_whole() => {
                let reason = told(&source);
                let message = format!("{reason}: the base is unpacked, and the step done again");
                self.reporter.report(Event::Warning { message });
                self.run_once(id, same, stack, from).await
            }
            ran => ran,
        }
    }

    async fn run_once(
        self: Arc<Self>,
        id: StepId,
        step: RunStep,
        parent: StepOutput,
        outputs: HashMap<StepId, StepOutput>,
    ) -> Result<StepOutput, StepError> {
        let rung = *self.rung.get_or_try_init(|| self.probe()).await?;
        let emulator = match self.way_of(&step.platform).await? {
            Way::Native | Way::Registered { .. } => None,
            Way::Given(emulator) => Some(emulator),
        };
        let footing = self
            .layers
            .footing(&parent.stack, rung.ids(), &step)
            .await?;
        let tree = self.layers.outline(&parent.stack, true).await?;
        let steps = self.mounted_steps(&step, &outputs).await?;
        let workshop = Arc::clone(&self);
        let ran = tokio::task::spawn_blocking(move || {
            let cage = Cage {
                store: workshop.store.clone(),
                scratch: Arc::clone(&workshop.scratch),
                reporter: Arc::clone(&workshop.reporter),
                cancel: workshop.cancel.clone(),
                rung,
                emulator,
                resolv_conf: workshop.resolv_conf.clone(),
                layer: workshop.layer,
                epoch: workshop.epoch,
                redactor: Arc::clone(&workshop.redactor),
            };
            let mounts = workshop.prepare(&step, &steps, rung.ids())?;
            let ran = cage.run(StepNumber(id.0), &step, &tree, &footing, &mounts)?;
            footing.remember(&workshop.store);
            drop(mounts);
            workshop.compare_mounted(id, &step)?;
            Ok::<_, StepError>(ran)
        });
        let (layer, upper) = ran.await.expect("running a step does not panic")?;
        let output = parent.with(layer_ref(&layer));
        // What the command left is what unpacking its layer on this stack would give: the next
        // step runs on it.
        if let Some(chain) = ChainId::of(&output.diff_ids()) {
            let adopted = self.store.unpacked().adopt(&upper, UnpackedKey::Top(chain));
            adopted.map_err(RunError::from)?;
        }
        Ok(output)
    }

    /// Unpacks the steps whose files are mounted.
    async fn mounted_steps(
        &self,
        step: &RunStep,
        outputs: &HashMap<StepId, StepOutput>,
    ) -> Result<HashMap<StepId, StepFiles>, StepError> {
        let mut steps = HashMap::new();
        for (from, _, _) in sources(step) {
            if let FileSource::Step(id) = from
                && !steps.contains_key(id)
            {
                let stack = &outputs[id].stack;
                let files = StepFiles {
                    layers: self.layers.unpacked(stack).await?,
                    tree: self.layers.tree(stack, true).await?,
                };
                steps.insert(*id, files);
            }
        }
        Ok(steps)
    }

    fn prepare(
        &self,
        step: &RunStep,
        steps: &HashMap<StepId, StepFiles>,
        ids: sandbox::IdMapping,
    ) -> Result<Mounts, StepError> {
        let supplies = Supplies {
            store: &self.store,
            scratch: &self.scratch,
            contexts: &self.contexts,
            steps,
            secrets: &self.secrets,
            agents: &self.agents,
            kept: &self.kept,
            cancel: &self.cancel,
            reporter: &*self.reporter,
            ids,
        };
        prepare(step, &supplies).map_err(|(span, source)| match source {
            MountError::Cache(CacheMountError::Cancelled) => RunError::Cancelled.into(),
            // Whatever was given up half-way.
            _ if self.cancel.is_cancelled() => RunError::Cancelled.into(),
            MountError::Select(error) => self.not_mounted(step, span, error, steps),
            source => StepError::Mount { source, span },
        })
    }

    /// A path that is not there, and what may have been meant.
    fn not_mounted(
        &self,
        step: &RunStep,
        span: Span,
        error: SelectError,
        steps: &HashMap<StepId, StepFiles>,
    ) -> StepError {
        let source = sources(step).find(|(_, _, at)| *at == span);
        match source {
            Some((FileSource::Context(name), path, _)) => match self.context(name, span) {
                Ok(context) => unselected(context, error, span, path),
                Err(no_context) => no_context,
            },
            Some((FileSource::Step(id), path, _)) => {
                let files = StageFiles::new(Arc::clone(&steps[id].tree));
                unfound(error, span, &files, path)
            }
            None => {
                let source = MountError::Select(error);
                StepError::Mount { source, span }
            }
        }
    }

    /// The layer was made from what is in the context now, or had better not be kept: its key says
    /// what was there before.
    fn compare_mounted(&self, id: StepId, step: &RunStep) -> Result<(), StepError> {
        let before = self
            .mounted
            .lock()
            .expect("no panics under this lock")
            .remove(&id);
        let mut before = before.unwrap_or_default().into_iter();
        for (from, path, span) in sources(step) {
            let FileSource::Context(name) = from else {
                continue;
            };
            let Some((before, digest)) = before.next() else {
                return Ok(());
            };
            let context = self.context(name, span)?;
            let now = mounted(context, path, span)?;
            let Some(changed) = first_difference(&before, &now) else {
                continue;
            };
            // Another time is no other content.
            if fingerprint(context, &now)? != digest {
                let path = changed.to_string();
                return Err(StepError::Changed { path, span });
            }
        }
        Ok(())
    }
}

fn mounted(context: &Context, path: &str, span: Span) -> Result<Selection, StepError> {
    let found =
        select_path(context, path).map_err(|error| unselected(context, error, span, path))?;
    Ok(Selection {
        matches: vec![found],
    })
}

fn fingerprint(context: &Context, selection: &Selection) -> Result<Digest, StepError> {
    let digest = selection.fingerprint(context);
    digest.map_err(|error| StepError::Write(error.into()))
}

/// The first path whose state is another one.
fn first_difference(before: &Selection, now: &Selection) -> Option<EntryPath> {
    let (mut before, mut now) = (before.nodes(), now.nodes());
    loop {
        match (before.next(), now.next()) {
            (None, None) => return None,
            (Some(one), Some(other)) if one == other => {}
            // Of two that are not the same the first is gone, or new.
            (Some((one, _)), Some((other, _))) => return Some(one.min(other).clone()),
            (Some((path, _)), None) | (None, Some((path, _))) => return Some(path.clone()),
        }
    }
}
