//! What a build would do, without doing it: nothing is run, recorded, sent or named. Base images
//! are looked up and context files hashed as in a build, because all that follows depends on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use graph::{
    Action, BuildGraph, CopySource, FileSource, Forecast, ImageNumber, Solver, SolverOptions,
    StepId, StepKind,
};
use oci::{ChainId, Digest, Reference, Repository};
use store::unpacked::UnpackedKey;

use crate::build::{Build, Tracing, check_outputs, salt};
use crate::cache::CacheTarget;
use crate::error::BuildError;
use crate::event::StepNumber;
use crate::failure::failed_step;
use crate::image_set::ImageSet;
use crate::origins::Origins;
use crate::output::{LayerRef, StepOutput};
use crate::overlay::Overlays;
use crate::plan::{pins, plan};
use crate::ports::Ports;
use crate::request::{BuildRequest, Output};
use crate::review::Stages;
use crate::set::SetRequest;
use crate::sources::{Sources, conclude, review_contexts, reviews};
use crate::trace::Explanation;

/// What a build would do.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// How the Dockerfile is called.
    pub dockerfile: String,
    /// The images that it builds on, each once.
    pub bases: Vec<PlannedBase>,
    /// The steps that the target needs, in order; base images not listed.
    pub steps: Vec<PlannedStep>,
    /// Why steps would be carried out that are not found, if all of them are.
    pub explanation: Explanation,
    /// What would come in.
    pub fetch: PlannedFetch,
    /// The image, where every step of it was found.
    pub image: Option<Digest>,
    /// The images, where several are built.
    pub images: Vec<PlannedImage>,
    /// What would be sent, by repository.
    pub pushes: Vec<PlannedPush>,
    /// The names that would be given.
    pub tags: Vec<PlannedTag>,
}

/// One of several images that are built.
#[derive(Clone, Debug)]
pub struct PlannedImage {
    /// How it is called.
    pub name: String,
    /// What it will be, where every step of it was found.
    pub digest: Option<Digest>,
}

/// An image that a build begins with.
#[derive(Clone, Debug)]
pub struct PlannedBase {
    /// As the Dockerfile names it, with defaults applied.
    pub reference: String,
    /// The manifest that it is now.
    pub digest: Digest,
    /// How many layers it has.
    pub layers: usize,
    /// Their bytes, compressed.
    pub bytes: u64,
}

/// A step.
#[derive(Clone, Debug)]
pub struct PlannedStep {
    /// Its place in the graph.
    pub step: StepNumber,
    /// Such as `[build 2/5] RUN make`.
    pub title: String,
    /// What will become of it.
    pub forecast: Forecast,
    /// What it fetches from an address was not asked for: it may be what it was.
    pub asks_address: bool,
    /// How long it took when it was last carried out, where that is known, in seconds.
    pub seconds: Option<f64>,
}

/// What would come in: layers whose files or whose list of files are needed and are not here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlannedFetch {
    /// Layers that are read to their end.
    pub layers: usize,
    /// Their bytes, compressed: exactly what comes in.
    pub bytes: u64,
    /// Layers that may be needed, or of which a part may be enough.
    pub layers_maybe: usize,
    /// Their bytes: the most that comes in for them.
    pub bytes_maybe: u64,
}

/// What would be sent to a repository.
#[derive(Clone, Debug)]
pub struct PlannedPush {
    /// Which.
    pub repository: Repository,
    /// Layers that it has.
    pub present: usize,
    /// Layers that it would take over from another repository of its registry.
    pub mounted: usize,
    /// Layers that would be sent.
    pub sent: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Layers that are to be made: nobody knows how large they will be.
    pub unknown: usize,
}

/// A name that would be given.
#[derive(Clone, Debug)]
pub struct PlannedTag {
    /// The name.
    pub reference: Reference,
    /// Where.
    pub place: TagPlace,
    /// What it points at; nothing when it is new.
    pub old: Option<Digest>,
    /// What it would point at, where that is known.
    pub new: Option<Digest>,
}

/// Where a name is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagPlace {
    /// In a registry.
    Registry,
    /// In the store of this machine.
    Store,
}

/// Says what a build would do.
///
/// # Errors
///
/// Everything that would keep the build from its first step, and registries that do not answer.
pub async fn dry_run(request: &BuildRequest, ports: &Ports) -> Result<DryRun, BuildError> {
    dry_run_set(&SetRequest::single(request), ports).await
}

/// Says what a build of several images would do.
///
/// # Errors
///
/// As of [`dry_run`].
pub async fn dry_run_set(set: &SetRequest, ports: &Ports) -> Result<DryRun, BuildError> {
    check_outputs(set, ports)?;
    let (mut sources, texts) = Sources::read(set, ports).await?;
    let reviews = reviews(set, &texts, ports)?;
    let mut pins = pins(set, ports);
    let graph = plan(&texts, &reviews, Stages::OfTarget, set, &mut pins, ports).await?;
    Overlays::pin(set, &graph, &mut pins, &ports.interrupt).await?;
    let contexts = sources.contexts(set, &texts, &graph, ports).await?;
    review_contexts(&reviews, &graph, &contexts);
    let build = Build::open(set, ports, graph, sources, contexts, &texts, Tracing::Dry)?;
    conclude(set, &reviews, ports)?;
    let options = SolverOptions {
        no_cache: set.options().no_cache,
        salt: salt(set.options()),
    };
    let mut outlook = Outlook {
        solver: Solver::new(&build.graph, options),
        asks_address: BTreeSet::new(),
        build: &build,
        ports,
    };
    tokio::select! {
        looked = outlook.look() => looked.map_err(|(step, error)| {
            let image = build.graph.step(step).image;
            let failed = failed_step(error, step, &build.graph, &texts);
            set.blame(image, BuildError::Step(Box::new(failed)))
        })?,
        () = ports.interrupt.triggered() => return Err(BuildError::Interrupted),
    }
    let mut names: Vec<&str> = texts.iter().map(|text| text.name.as_str()).collect();
    names.dedup();
    let planned = outlook.planned(set, names.join(", "));
    tokio::select! {
        planned = planned => planned,
        () = ports.interrupt.triggered() => Err(BuildError::Interrupted),
    }
}

/// A build, and what can be known of it beforehand.
struct Outlook<'b> {
    solver: Solver<StepOutput>,
    asks_address: BTreeSet<StepId>,
    build: &'b Build,
    ports: &'b Ports,
}

impl Outlook<'_> {
    /// Answers the solver as long as the answers are known.
    async fn look(&mut self) -> Result<(), (StepId, crate::steps::StepError)> {
        let graph = Arc::clone(&self.build.graph);
        loop {
            let actions = self.solver.actions();
            if actions.is_empty() {
                return Ok(());
            }
            for action in actions {
                match action {
                    Action::FingerprintOutside(step) if asks_address(&graph, step) => {
                        self.asks_address.insert(step);
                        let nothing = Digest::of(b"an address that was not asked");
                        self.solver.on_fingerprint(step, nothing);
                    }
                    Action::FingerprintOutside(step) => {
                        let workshop = Arc::clone(&self.build.workshop);
                        let fingerprint = workshop.fingerprint_outside(step, Arc::clone(&graph));
                        let fingerprint = fingerprint.await.map_err(|error| (step, error))?;
                        self.solver.on_fingerprint(step, fingerprint);
                    }
                    // Trees would have to be fetched.
                    Action::FingerprintSources(_) => {}
                    Action::Probe { step, kind, key } => {
                        let layers = &self.build.workshop.layers;
                        let base = StepOutput::base_of(&graph, step);
                        let hit = StepOutput::recall(&self.ports.store, &key, &base, |digest| {
                            layers.origins().knows(digest)
                        });
                        let mut hit = hit.map(|found| found.output);
                        if hit.is_none() && self.build.caches.are_read() {
                            hit = self.build.caches.peek(&key, &base).await;
                        }
                        self.solver.on_probed(step, kind, hit);
                    }
                    Action::Run { step, .. } => match &graph.step(step).kind {
                        StepKind::Scratch => self.solver.on_ran(step, StepOutput::scratch()),
                        StepKind::Base(base) => self.solver.on_ran(step, StepOutput::of_base(base)),
                        StepKind::Merge(layer) => {
                            let parent = graph.step(step).parent;
                            let below = parent.and_then(|parent| self.solver.output_of(parent));
                            let below = below.cloned().unwrap_or_else(StepOutput::scratch);
                            let layer = self.solver.output_of(*layer);
                            let output = below.on_top(layer.expect("inputs come first"));
                            self.solver.on_ran(step, output);
                        }
                        // It will run, and what it comes to is not known.
                        StepKind::Run(_) | StepKind::Copy(_) | StepKind::Workdir(_) => {}
                    },
                }
            }
        }
    }

    async fn planned(&self, set: &SetRequest, dockerfile: String) -> Result<DryRun, BuildError> {
        let request = set.options();
        let graph = &self.build.graph;
        let tracer = &self.build.workshop.tracer;
        for trace in self.build.caches.traces(tracer.carried_name()) {
            tracer.learn(trace);
        }
        let (explanation, times) = tracer.predict(graph, &self.solver);
        let forecasts = graph::forecast(graph, &self.solver, request.no_cache);
        let made = self.images(set);
        let digest = |number: ImageNumber| {
            let images = made.as_ref()?.get(number.index())?;
            Some(images.descriptor().digest)
        };
        let mut pushes = Vec::new();
        let mut tags = Vec::new();
        for (number, _, request) in set.outcomes() {
            self.pushes(set, number, request, &mut pushes).await?;
            tags.extend(self.tags(request, digest(number).as_ref()).await?);
        }
        let images = set.outcomes().filter(|_| set.has_several());
        let images = images.map(|(number, name, _)| PlannedImage {
            name: name.to_owned(),
            digest: digest(number),
        });
        let steps = forecasts.iter().map(|(id, forecast)| PlannedStep {
            step: StepNumber(id.0),
            title: graph.step(*id).title.clone(),
            forecast: *forecast,
            asks_address: self.asks_address.contains(id),
            seconds: times.get(&id.0).copied(),
        });
        Ok(DryRun {
            dockerfile,
            bases: bases(graph),
            steps: steps.collect(),
            explanation,
            fetch: self.fetch(&forecasts, set),
            pushes,
            tags,
            image: (!set.has_several())
                .then(|| digest(ImageNumber::default()))
                .flatten(),
            images: images.collect(),
        })
    }

    /// The images, where all of their layers are known.
    fn images(&self, set: &SetRequest) -> Option<Vec<ImageSet>> {
        let outputs = self.solver.outputs()?.into_iter().cloned().collect();
        // A cache in the image says what is only known once all is made.
        if set.options().cache.to.contains(&CacheTarget::Inline) {
            return None;
        }
        // So does what is said of it, which is among what a tag points at.
        let mut images = set.images().iter();
        if images.any(|image| !image.request.attestations.is_empty()) {
            return None;
        }
        Some(self.build.assemble(set, outputs, &[]))
    }

    /// What is known of the layers of a step's output: those that are sure, from the lowest on,
    /// and how many more there will be.
    fn known_layers(&self, step: StepId) -> (StepOutput, usize) {
        let graph = &self.build.graph;
        let mut missing = 0;
        let mut at = step;
        loop {
            if let Some(output) = self.solver.output_of(at) {
                return (output.clone(), missing);
            }
            match graph.step(at).parent {
                Some(parent) => {
                    missing += 1;
                    at = parent;
                }
                None => return (StepOutput::base_of(graph, at), missing),
            }
        }
    }

    /// The layers that have to be read for the steps that will be carried out, and for outputs.
    fn fetch(&self, forecasts: &[(StepId, Forecast)], set: &SetRequest) -> PlannedFetch {
        let graph = &self.build.graph;
        let mut needed: BTreeMap<Digest, (u64, Need)> = BTreeMap::new();
        let mut want = |output: &StepOutput, files: bool, whole: bool| {
            for position in 0..output.stack.len() {
                let layer = &output.stack[position];
                let Some(need) = self.need(&output.stack[..=position], files, whole) else {
                    continue;
                };
                let entry = needed.entry(layer.blob.digest.clone());
                let (_, known) = entry.or_insert((layer.blob.size, need));
                *known = (*known).max(need);
            }
        };
        for (id, forecast) in forecasts {
            let is_sure = match forecast {
                Forecast::Cached(_) => continue,
                Forecast::WillRun => true,
                Forecast::MayRun => false,
            };
            let step = graph.step(*id);
            let runs = matches!(step.kind, StepKind::Run(_));
            if let Some(parent) = step.parent {
                want(&self.known_layers(parent).0, runs, is_sure);
            }
            for (from, _) in step.file_sources() {
                if let FileSource::Step(source) = from {
                    want(&self.known_layers(*source).0, true, is_sure);
                }
            }
        }
        for target in &graph.targets {
            let request = &set.images()[target.image.index()].request;
            let all_layers = request.outputs.iter().any(|output| match output {
                Output::Oci { .. }
                | Output::Docker { .. }
                | Output::Tar { .. }
                | Output::Local { .. }
                | Output::Load => true,
                Output::Registry | Output::Image => false,
            });
            if all_layers {
                for layer in self.known_layers(target.step).0.stack.iter() {
                    if !self.ports.store.blobs().has(&layer.blob) {
                        let need = (layer.blob.size, Need::Whole);
                        needed.insert(layer.blob.digest.clone(), need);
                    }
                }
            }
        }
        let mut fetch = PlannedFetch::default();
        for (bytes, need) in needed.into_values() {
            match need {
                Need::Perhaps => {
                    fetch.layers_maybe += 1;
                    fetch.bytes_maybe += bytes;
                }
                Need::Whole => {
                    fetch.layers += 1;
                    fetch.bytes += bytes;
                }
            }
        }
        fetch
    }

    /// What a step needs of the topmost layer of a stack that is not here. `files`: not only the
    /// list of its files; `is_sure`: the step will be carried out.
    fn need(&self, stack: &[LayerRef], files: bool, is_sure: bool) -> Option<Need> {
        let store = &self.ports.store;
        let layer = stack.last()?;
        if store.blobs().has(&layer.blob) {
            return None;
        }
        if store.indexes().get(&layer.diff_id).is_none() {
            return Some(match is_sure {
                true => Need::Whole,
                false => Need::Perhaps,
            });
        }
        if !files {
            return None;
        }
        let diff_ids: Vec<_> = stack.iter().map(|layer| layer.diff_id.clone()).collect();
        let keys = [
            Some(UnpackedKey::Layer(layer.diff_id.clone())),
            ChainId::of(&diff_ids).map(UnpackedKey::Top),
        ];
        let is_unpacked = keys
            .iter()
            .flatten()
            .any(|key| store.unpacked().get(key).is_some());
        // Where its files are is known: those that are asked for can be had by themselves.
        (!is_unpacked).then_some(Need::Perhaps)
    }

    /// Adds what would be sent of one image.
    async fn pushes(
        &self,
        set: &SetRequest,
        outcome: ImageNumber,
        request: &BuildRequest,
        pushes: &mut Vec<PlannedPush>,
    ) -> Result<(), BuildError> {
        if !request.outputs.contains(&Output::Registry) {
            return Ok(());
        }
        let mut layers: BTreeMap<Digest, LayerRef> = BTreeMap::new();
        // An overlay is one layer more than the image that it is made from.
        let overlay = set.overlays().find(|(number, _)| *number == outcome);
        let mut unknown = usize::from(overlay.is_some());
        let image = match overlay {
            Some((_, overlay)) => set.number_of(&overlay.of).unwrap_or_default(),
            None => outcome,
        };
        let targets = self.build.graph.targets.iter();
        for target in targets.filter(|target| target.image == image) {
            let (output, missing) = self.known_layers(target.step);
            let known = output.stack.iter().cloned();
            layers.extend(known.map(|layer| (layer.blob.digest.clone(), layer)));
            unknown += missing;
        }
        for tag in &request.tags {
            let repository = tag.repository();
            if pushes.iter().any(|push| push.repository == *repository) {
                continue;
            }
            let mut push = PlannedPush {
                repository: repository.clone(),
                present: 0,
                mounted: 0,
                sent: 0,
                bytes: 0,
                unknown,
            };
            for layer in layers.values() {
                let there = self.ports.client.has_blob(repository, &layer.blob).await;
                let there = there.map_err(|source| unasked(repository, source))?;
                if there {
                    push.present += 1;
                } else if can_be_mounted(self.build.workshop.layers.origins(), layer, repository) {
                    push.mounted += 1;
                } else {
                    push.sent += 1;
                    push.bytes += layer.blob.size;
                }
            }
            pushes.push(push);
        }
        Ok(())
    }

    async fn tags(
        &self,
        request: &BuildRequest,
        new: Option<&Digest>,
    ) -> Result<Vec<PlannedTag>, BuildError> {
        let mut tags = Vec::new();
        for reference in &request.tags {
            let mut tag = |place, old| {
                tags.push(PlannedTag {
                    reference: reference.clone(),
                    place,
                    old,
                    new: new.cloned(),
                });
            };
            if request.outputs.contains(&Output::Image) {
                let old = self.ports.store.images().get(&reference.to_string());
                tag(TagPlace::Store, old.map(|old| old.digest));
            }
            if request.outputs.contains(&Output::Registry) {
                let old = self.ports.client.tag_points_at(reference).await;
                let old = old.map_err(|source| unasked(reference.repository(), source))?;
                tag(TagPlace::Registry, old);
            }
        }
        Ok(tags)
    }
}

/// How much of a layer is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Nothing, a part or all of it.
    Perhaps,
    /// All of it.
    Whole,
}

fn unasked(repository: &Repository, source: registry::Error) -> BuildError {
    BuildError::Failed {
        message: format!("could not ask {repository} what it has"),
        hint: source.advice(),
        source: Some(source.into()),
    }
}

fn can_be_mounted(origins: &Origins, layer: &LayerRef, to: &Repository) -> bool {
    let origin = origins.get(&layer.blob.digest);
    let origin = origin.as_ref().and_then(|origin| origin.repository());
    origin.is_some_and(|origin| origin.same_registry(to))
}

/// Whether a step fetches something by itself.
fn asks_address(graph: &BuildGraph, step: StepId) -> bool {
    match &graph.step(step).kind {
        StepKind::Copy(copy) => copy
            .sources
            .iter()
            .any(|source| matches!(source, CopySource::Url(_) | CopySource::Git(_))),
        StepKind::Scratch
        | StepKind::Base(_)
        | StepKind::Run(_)
        | StepKind::Workdir(_)
        | StepKind::Merge(_) => false,
    }
}

fn bases(graph: &BuildGraph) -> Vec<PlannedBase> {
    let mut bases: Vec<PlannedBase> = Vec::new();
    for step in graph.steps() {
        if let StepKind::Base(base) = &step.kind
            && !bases
                .iter()
                .any(|known| known.digest == base.manifest.digest)
        {
            bases.push(PlannedBase {
                reference: base.reference.familiar(),
                digest: base.manifest.digest.clone(),
                layers: base.layers.len(),
                bytes: base.layers.iter().map(|layer| layer.blob.size).sum(),
            });
        }
    }
    bases
}
