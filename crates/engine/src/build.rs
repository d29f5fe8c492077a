//! The pipeline, one line per arrow.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use graph::{BuildGraph, ContextName, FileSource, Solver, SolverOptions, StepKind};
use oci::{Digest, Repository};
use store::layer::{LayerOptions, default_level};
use tokio::task::JoinHandle;

use crate::annotations::Annotated;
use crate::assemble::{assemble, rfc3339};
use crate::cache::{CacheTarget, Caches, Ending, inline};
use crate::cache_mounts::KeptMounts;
use crate::copy::context::Context;
use crate::drive::{Drive, DriveError, Reached};
use crate::emulation::Emulation;
use crate::error::BuildError;
use crate::event::{Event, StepOutcome};
use crate::export::registry::Uploads;
use crate::export::{self, Exported};
use crate::failure::failed_step;
use crate::footing::{Bases, MountedBase, Room};
use crate::foreign;
use crate::image_set::ImageSet;
use crate::layers::Layers;
use crate::origins::{Origin, Origins};
use crate::output::StepOutput;
use crate::place::Places;
use crate::plan::plan;
use crate::ports::Ports;
use crate::provenance;
use crate::report::{BuildReport, ImageReport, StepReport, Traffic};
use crate::request::{BaseMount, BuildRequest, Output, Shape};
use crate::review::{Review, Stages};
use crate::run::Redactor;
use crate::run::ssh::Agents;
use crate::secret::Secrets;
use crate::source::{Text, open_context, open_place, place_name, read_dockerfile};
use crate::steps::Workshop;
use crate::trace::{Explanation, Tracer, TracerOptions};

/// The format of what the cache holds: a number that goes up whenever equal
/// keys would no longer mean equal layers.
const CACHE_FORMAT: u32 = 3;

/// Builds an image and brings it where it is to go.
///
/// # Errors
///
/// Everything that keeps the image from being everywhere it should be; then no
/// tag has been moved to it that was not moved before the error.
pub async fn build(request: &BuildRequest, ports: &Ports) -> Result<BuildReport, BuildError> {
    let began = Instant::now();
    export::check(request, ports)?;
    let secrets = Secrets::read(&request.secrets, &*ports.reporter)?;
    let places = Places::new(request, ports, &secrets)?;
    let main = places.bring(&request.context, ports).await?;
    let text = read_dockerfile(&request.dockerfile, &main, &places, ports).await?;
    let review = Review::begin(&text, &request.graph, ports)?;
    let graph = plan(&text, &review, Stages::OfTarget, request, ports).await?;
    let steps = graph.distinct_steps();
    let mut contexts = BTreeMap::new();
    let main = open_context(&main, &text, &ports.store)?;
    contexts.extend(main.map(|context| (ContextName::Main, context)));
    contexts.extend(named_contexts(&graph, &places, request, ports).await?);
    let tracing = Tracing::Kept;
    let mut build = Build::open(
        request, ports, graph, &places, contexts, secrets, &text, tracing,
    )?;
    build.review(&review);
    review.conclude(ports)?;
    ports.reporter.report(Event::Planned { steps });
    let made = build.make(request, ports, &text).await;
    let ending = match &made {
        Ok(_) => Ending::Done,
        Err(BuildError::Interrupted) => Ending::Interrupted,
        Err(_) => Ending::Failed,
    };
    let explanation = build.workshop.tracer.explanation();
    let id = build.keep_trace(made.as_ref().ok());
    if ending == Ending::Done {
        tokio::select! {
            () = build.workshop.layers.share() => {}
            () = ports.interrupt.triggered() => {}
        }
    }
    build.caches.finish(ending, &ports.interrupt).await;
    let (images, mut steps, exported) = made?;
    for step in &mut steps {
        step.cause = explanation.cause_of(step.step.0);
    }
    build.close(ports)?;
    Ok(BuildReport {
        id,
        explanation,
        ..report(&images, steps, exported, ports, began)
    })
}

/// What becomes of what is noted of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracing {
    /// It is kept for the next one.
    Kept,
    /// Nothing of it is written.
    Dry,
}

/// A build with its graph known.
pub(crate) struct Build {
    pub graph: Arc<BuildGraph>,
    pub workshop: Arc<Workshop>,
    origins: Origins,
    pub caches: Arc<Caches>,
    uploads: Option<Uploads>,
    /// Cache mounts on their way back.
    keeping: Option<JoinHandle<()>>,
}

impl Build {
    pub(crate) fn open(
        request: &BuildRequest,
        ports: &Ports,
        graph: BuildGraph,
        places: &Places,
        contexts: BTreeMap<ContextName, Context>,
        secrets: Secrets,
        text: &Text,
        tracing: Tracing,
    ) -> Result<Self, BuildError> {
        let graph = Arc::new(graph);
        let origins = origins(&graph);
        let scratch = Arc::clone(&places.scratch);
        let scratch_path = scratch.path().to_owned();
        let layers = Layers::new(
            ports.store.clone(),
            ports.client.clone(),
            Arc::clone(&ports.reporter),
            Arc::clone(&scratch),
            origins.clone(),
            Bases::new(
                request.laziness,
                Room::new(ports.store.path(), request.disk_budget_bytes),
                mounted_bases(&graph, &request.base_mounts)?,
            ),
        );
        let agents = Agents::new(
            request.ssh.clone(),
            Arc::clone(&scratch),
            ports.program_path.clone(),
        );
        let threads = NonZeroUsize::new(request.threads).unwrap_or(NonZeroUsize::MIN);
        let cancel = sandbox::CancelToken::new()
            .map_err(|source| BuildError::failed("could not make an event descriptor", source))?;
        let uploads = uploads(request, ports, &origins);
        let caches = Caches::open(&request.cache, &destinations(request), &origins, ports);
        layers.use_shelves(Arc::clone(caches.shelves()));
        let redactor = Arc::new(Redactor::new(secrets.values()));
        let tracer = tracer(request, ports, text, Arc::clone(&redactor), tracing);
        let kept = KeptMounts::open(
            &request.cache_mounts,
            ports.store.clone(),
            Arc::clone(&ports.reporter),
            cancel.clone(),
            &ports.network,
            request.cache.key.as_ref(),
        );
        let workshop = Arc::new(Workshop {
            kept: Arc::new(kept),
            store: ports.store.clone(),
            scratch,
            layers,
            remotes: Arc::clone(&places.remotes),
            contexts,
            reporter: Arc::clone(&ports.reporter),
            cancel,
            sandbox: request.sandbox,
            rung: tokio::sync::OnceCell::new(),
            resolv_conf: ports.resolv_conf.clone(),
            emulation: Emulation {
                host: request.graph.build_platform.clone(),
                directory: request.emulator_directory.clone(),
                program_path: ports.program_path.clone(),
                scratch: scratch_path,
            },
            ways: tokio::sync::Mutex::default(),
            programs: Mutex::default(),
            layer: LayerOptions {
                compression: request.compression,
                level: request.compression_level,
                threads,
            },
            epoch: request.epoch_seconds,
            selections: Mutex::default(),
            mounted: Mutex::default(),
            redactor,
            tracer,
            secrets,
            agents,
        });
        Ok(Self {
            graph,
            workshop,
            origins,
            caches: Arc::new(caches),
            uploads,
            keeping: None,
        })
    }

    /// Makes the image and brings it where it is to go. When a layer that a cache said to have
    /// cannot be had after all, what made it is carried out, and all is tried again.
    async fn make(
        &mut self,
        request: &BuildRequest,
        ports: &Ports,
        text: &Text,
    ) -> Result<(ImageSet, Vec<StepReport>, Exported), BuildError> {
        loop {
            let Reached {
                outputs,
                steps,
                came_of,
            } = self.drive(request, ports, text).await?;
            let images = self.assemble(request, outputs, &came_of);
            // What has been printed cannot be taken back.
            if request.outputs.iter().any(Output::is_stdout) {
                self.caches
                    .try_layers(&images, ports, &self.workshop.layers)
                    .await;
                if self.caches.give_up() {
                    continue;
                }
            }
            match self.export(request, ports, &images).await {
                Ok(exported) => return Ok((images, steps, exported)),
                Err(error) if ports.interrupt.is_triggered() || !self.can_do_without() => {
                    return Err(error);
                }
                Err(_) => self.uploads = uploads(request, ports, &self.origins),
            }
        }
    }

    /// After something failed: whether that was because of what only a cache said, which is forgotten
    /// now.
    fn can_do_without(&self) -> bool {
        let layers = &self.workshop.layers;
        let was_lied_to = layers.were_lied_to();
        layers.disbelieve();
        self.caches.give_up() || was_lied_to
    }

    /// What only the context shows.
    pub(crate) fn review(&self, review: &Review<'_>) {
        if let Some(context) = self.workshop.contexts.get(&ContextName::Main) {
            review.ignored(&self.graph, context.ignore());
        }
    }

    async fn drive(
        &mut self,
        request: &BuildRequest,
        ports: &Ports,
        text: &Text,
    ) -> Result<Reached, BuildError> {
        let options = SolverOptions {
            no_cache: request.no_cache,
            salt: salt(request),
        };
        let drive = Drive {
            graph: Arc::clone(&self.graph),
            solver: Solver::new(&self.graph, options.clone()),
            options,
            workshop: Arc::clone(&self.workshop),
            caches: Arc::clone(&self.caches),
            hits: HashMap::new(),
            tells_what_came_of: request.cache.to.contains(&CacheTarget::Inline),
            interrupt: ports.interrupt.clone(),
            parallel: request.threads.max(1),
            running: 0,
            ready: Vec::new(),
        };
        let driven = drive.reach_targets(&mut self.uploads).await;
        // They may be why a RUN failed.
        self.warn_of_foreign_programs(text, ports);
        match &driven {
            Ok(_) => self.keep_cache_mounts(ports).await,
            Err(DriveError::Step(..)) if request.cache_mounts.after_failure => {
                self.keep_cache_mounts(ports).await;
                self.cache_mounts_are_kept(ports).await;
            }
            Err(DriveError::Step(..) | DriveError::Interrupted) => {}
        }
        driven.map_err(|error| match error {
            DriveError::Interrupted => BuildError::Interrupted,
            DriveError::Step(step, error) => {
                BuildError::Step(Box::new(failed_step(error, step, &self.graph, text)))
            }
        })
    }

    /// Keeps what the next build is compared with, here and in shared caches. Gives the id of this
    /// one.
    fn keep_trace(&self, made: Option<&(ImageSet, Vec<StepReport>, Exported)>) -> Option<String> {
        let tracer = &self.workshop.tracer;
        let image = made.map(|(images, ..)| images.descriptor().digest);
        let id = tracer.keep(image.as_ref());
        // A build in which nothing was carried out has nothing to say, and writes nothing.
        let is_cached = |steps: &[StepReport]| {
            let mut steps = steps.iter();
            steps.all(|step| step.outcome == StepOutcome::Cached)
        };
        if self.caches.are_filled()
            && !made.is_some_and(|(_, steps, _)| is_cached(steps))
            && let Some(trace) = tracer.carried()
        {
            self.caches.keep_trace(tracer.carried_name(), &trace);
        }
        id
    }

    /// Names what was copied into an image and cannot run in it.
    fn warn_of_foreign_programs(&self, text: &Text, ports: &Ports) {
        let programs = self.workshop.programs.lock();
        let programs = programs.expect("no panics under this lock");
        for message in foreign::warnings(&self.graph, &programs, text) {
            ports.reporter.report(Event::Warning { message });
        }
    }

    pub(crate) fn assemble(
        &self,
        request: &BuildRequest,
        outputs: Vec<StepOutput>,
        came_of: &[BTreeMap<Digest, usize>],
    ) -> ImageSet {
        let created = rfc3339(request.epoch_seconds);
        let mut images =
            self.graph
                .targets
                .iter()
                .zip(outputs)
                .enumerate()
                .map(|(number, (target, output))| {
                    let mut annotations = request.annotations.clone();
                    if let Some(came_of) = came_of.get(number) {
                        let value = inline::value(&output.stack, came_of);
                        let name = inline::ANNOTATION.to_owned();
                        annotations.add(Annotated::Manifest(None), name, value);
                    }
                    assemble(target, output, &annotations, &created)
                });
        match &request.shape {
            Shape::Image => {
                let image = images.next().expect("a build has a target");
                ImageSet::single(image, &request.annotations)
            }
            Shape::Index(_) => ImageSet::indexed(images.collect(), &request.annotations),
        }
    }

    async fn export(
        &mut self,
        request: &BuildRequest,
        ports: &Ports,
        images: &ImageSet,
    ) -> Result<Exported, BuildError> {
        export::keep(&ports.store, images).map_err(disk)?;
        provenance::remember(&ports.store, images, &self.origins);
        let exporting = export::export(
            request,
            ports,
            images,
            &self.workshop.layers,
            self.uploads.take(),
        );
        let exported = tokio::select! {
            exported = exporting => exported,
            () = ports.interrupt.triggered() => Err(BuildError::Interrupted),
        };
        self.cache_mounts_are_kept(ports).await;
        exported
    }

    /// Begins to take back what commands left in cache mounts.
    async fn keep_cache_mounts(&mut self, ports: &Ports) {
        self.cache_mounts_are_kept(ports).await;
        let kept = Arc::clone(&self.workshop.kept);
        self.keeping = Some(tokio::spawn(kept.take_back()));
    }

    /// Waits until they are, or the user has had enough.
    async fn cache_mounts_are_kept(&mut self, ports: &Ports) {
        let Some(mut keeping) = self.keeping.take() else {
            return;
        };
        let done = tokio::select! {
            done = &mut keeping => done,
            () = ports.interrupt.triggered() => {
                self.workshop.kept.stop();
                keeping.await
            }
        };
        // A panic there is a bug, and none of the image's business.
        drop(done);
    }

    /// What was learnt is durable when this returns.
    fn close(self, ports: &Ports) -> Result<(), BuildError> {
        if let Ok(workshop) = Arc::try_unwrap(self.workshop) {
            for context in workshop.contexts.into_values() {
                context.close().map_err(disk)?;
            }
        }
        ports
            .store
            .flush()
            .map_err(|source| BuildError::failed("could not make the store durable", source))
    }
}

/// Brings layers to registries, where the image is to go there.
fn uploads(request: &BuildRequest, ports: &Ports, origins: &Origins) -> Option<Uploads> {
    request.outputs.contains(&Output::Registry).then(|| {
        let reporter = Arc::clone(&ports.reporter);
        let (store, client) = (ports.store.clone(), ports.client.clone());
        Uploads::new(store, client, reporter, origins.clone(), &request.tags)
    })
}

/// The repositories that the image is pushed to.
fn destinations(request: &BuildRequest) -> Vec<Repository> {
    if request.outputs.contains(&Output::Registry) {
        let tags = request.tags.iter();
        tags.map(|tag| tag.repository().clone()).collect()
    } else {
        Vec::new()
    }
}

/// The bases that are mounted on this machine.
fn mounted_bases(graph: &BuildGraph, mounts: &[BaseMount]) -> Result<Vec<MountedBase>, BuildError> {
    let mut bases = BTreeMap::new();
    for step in graph.steps() {
        if let StepKind::Base(base) = &step.kind {
            bases.insert(base.reference.familiar(), base);
        }
    }
    let mut mounted = Vec::new();
    for BaseMount { image, directory } in mounts {
        let is_it = |base: &&graph::BaseImage| {
            base.reference == graph::ImageName::Registry(image.clone())
                || image.digest() == Some(&base.manifest.digest)
        };
        let of_image: Vec<_> = bases.values().map(|base| &***base).filter(is_it).collect();
        if of_image.is_empty() {
            return Err(BuildError::Input {
                message: format!(
                    "--base-mount: {} is no base of this build",
                    image.familiar()
                ),
                hint: Some(match bases.len() {
                    0 => "this build has no base image".to_owned(),
                    _ => {
                        let names: Vec<_> = bases.keys().map(String::as_str).collect();
                        format!("its bases are {}", names.join(", "))
                    }
                }),
                source: None,
            });
        }
        for base in of_image {
            let layers = base.layers.iter();
            let diff_ids = layers.map(|layer| layer.diff_id.clone()).collect();
            mounted.push(MountedBase::new(diff_ids, directory.clone()));
        }
    }
    Ok(mounted)
}

/// Opens the named contexts that some step takes files from.
pub(crate) async fn named_contexts(
    graph: &BuildGraph,
    places: &Places,
    request: &BuildRequest,
    ports: &Ports,
) -> Result<BTreeMap<ContextName, Context>, BuildError> {
    let mut contexts = BTreeMap::new();
    for (name, source) in &request.named_contexts {
        let context = ContextName::Named(name.clone());
        let is_needed = |step: &graph::Step| {
            let mut sources = step.file_sources();
            sources.any(|(from, _)| *from == FileSource::Context(context.clone()))
        };
        if !graph.steps().iter().any(is_needed) {
            continue;
        }
        let place = places.bring(source, ports).await?;
        match open_place(&place, None, &ports.store)? {
            Some(opened) => contexts.insert(context, opened),
            None => {
                return Err(BuildError::input(format!(
                    "the context `{name}` holds no files: it is neither a directory nor an archive"
                )));
            }
        };
    }
    Ok(contexts)
}

/// What notes why things are done.
fn tracer(
    request: &BuildRequest,
    ports: &Ports,
    text: &Text,
    redactor: Arc<Redactor>,
    tracing: Tracing,
) -> Tracer {
    let platforms = match request.shape.platforms() {
        [] => std::slice::from_ref(&request.graph.platform),
        platforms => platforms,
    };
    Tracer::new(TracerOptions {
        store: ports.store.clone(),
        dockerfile: text.name.clone(),
        text: text.text.clone(),
        place: place_name(&request.context, text),
        target: request.graph.target.clone(),
        platforms: platforms.iter().map(ToString::to_string).collect(),
        arguments: request.graph.build_args.keys().cloned().collect(),
        secrets: request.secrets.keys().cloned().collect(),
        redactor,
        no_cache: request.no_cache,
        is_dry: tracing == Tracing::Dry,
    })
}

/// Everything outside a step that decides its layer's bytes: names and values, so that a difference
/// can be told.
pub(crate) fn salt(request: &BuildRequest) -> String {
    let level = request
        .compression_level
        .unwrap_or_else(|| default_level(request.compression));
    format!(
        "format={CACHE_FORMAT} compression={:?} level={level} epoch={}",
        request.compression, request.epoch_seconds
    )
}

/// Which repository the layers of base images are in.
fn origins(graph: &BuildGraph) -> Origins {
    let origins = Origins::default();
    for step in graph.steps() {
        if let StepKind::Base(base) = &step.kind {
            let Some(repository) = base.reference.repository() else {
                continue;
            };
            for layer in &base.layers {
                let origin = Origin::Registry(repository.clone());
                origins.add(layer.blob.digest.clone(), origin);
            }
        }
    }
    origins
}

fn disk(source: impl std::error::Error + Send + Sync + 'static) -> BuildError {
    BuildError::failed("could not write to the store", source)
}

fn report(
    images: &ImageSet,
    steps: Vec<StepReport>,
    exported: Exported,
    ports: &Ports,
    began: Instant,
) -> BuildReport {
    let moved = ports.client.traffic();
    BuildReport {
        manifest: images.descriptor(),
        images: images
            .images()
            .iter()
            .map(|image| ImageReport {
                platform: image.platform(),
                manifest: image.descriptor(),
                config: image.config.digest().clone(),
            })
            .collect(),
        image_bytes: images.bytes(),
        steps,
        id: None,
        explanation: Explanation::default(),
        traffic: Traffic {
            down_bytes: moved.down_bytes,
            up_bytes: moved.up_bytes,
            requests: moved.requests,
            ..exported.traffic
        },
        outputs: exported.outputs,
        duration: began.elapsed(),
    }
}
