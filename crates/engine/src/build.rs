//! The pipeline, one line per arrow.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use graph::{BuildGraph, ImageNumber, Solver, SolverOptions, StepKind};
use oci::{Digest, Repository};
use store::layer::{LayerOptions, default_level};
use tokio::task::JoinHandle;

use crate::annotations::Annotated;
use crate::assemble::{Image, assemble, rfc3339};
use crate::attest::attest;
use crate::cache::{CacheTarget, Caches, Ending, inline};
use crate::cache_mounts::KeptMounts;
use crate::contexts::Contexts;
use crate::drive::{Drive, DriveError, Reached};
use crate::emulation::Emulation;
use crate::error::BuildError;
use crate::event::{Event, StepOutcome};
use crate::export::registry::{self, Uploads};
use crate::export::{self, Exported};
use crate::failure::failed_step;
use crate::footing::{Bases, MountedBase, Room};
use crate::foreign;
use crate::image_set::ImageSet;
use crate::input::inputs;
use crate::layers::Layers;
use crate::origins::{Origin, Origins};
use crate::output::StepOutput;
use crate::overlay::Overlays;
use crate::plan::{pins, plan};
use crate::ports::Ports;
use crate::provenance;
use crate::report::{
    BuildReport, BuiltImage, ImageReport, OutputReport, SetReport, StepReport, Traffic,
};
use crate::request::{BaseMount, BuildRequest, Output};
use crate::review::Stages;
use crate::run::Redactor;
use crate::run::ssh::Agents;
use crate::set::{SetImage, SetRequest};
use crate::source::{Text, place_name};
use crate::sources::{Sources, conclude, review_contexts, reviews};
use crate::steps::Workshop;
use crate::trace::{Tracer, TracerOptions};

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
    let report = build_set(&SetRequest::single(request), ports).await?;
    Ok(report.into_single())
}

/// Builds several images as one, and brings them where they are to go: what they have in common is
/// done once. Nothing goes anywhere before all of them are there.
///
/// # Errors
///
/// As of [`build`], with the name of the image. What does not depend on what failed may have been
/// made, and is found in the cache by the next build.
pub async fn build_set(set: &SetRequest, ports: &Ports) -> Result<SetReport, BuildError> {
    let began = Instant::now();
    check_outputs(set, ports)?;
    let (mut sources, texts) = Sources::read(set, ports).await?;
    let reviews = reviews(set, &texts, ports)?;
    let mut pins = pins(set, ports);
    let graph = plan(&texts, &reviews, Stages::OfTarget, set, &mut pins, ports).await?;
    let overlays = Overlays::pin(set, &graph, &mut pins, &ports.interrupt).await?;
    let steps = graph.distinct_steps();
    let contexts = sources.contexts(set, &texts, &graph, ports).await?;
    review_contexts(&reviews, &graph, &contexts);
    let mut build = Build::open(set, ports, graph, sources, contexts, &texts, Tracing::Kept)?;
    overlays.add_origins(&build.origins);
    conclude(set, &reviews, ports)?;
    ports.reporter.report(Event::Planned { steps });
    let made = build.make(set, &overlays, ports, &texts).await;
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
    let Made {
        images,
        definitions,
        mut steps,
        exported,
        published,
    } = made?;
    for step in &mut steps {
        step.cause = explanation.cause_of(step.step.0);
    }
    let inputs = inputs(set, &images, &build.graph, &definitions);
    build.close(ports)?;
    let moved = ports.client.traffic();
    let mut traffic = Traffic {
        down_bytes: moved.down_bytes,
        up_bytes: moved.up_bytes,
        requests: moved.requests,
        ..Traffic::default()
    };
    let images = set.outcomes().zip(images).zip(inputs).zip(exported);
    let images = images.map(|((((_, name, _), images), input), exported)| {
        traffic.blobs_sent += exported.traffic.blobs_sent;
        traffic.blobs_mounted += exported.traffic.blobs_mounted;
        traffic.blobs_present += exported.traffic.blobs_present;
        built_image(name, &images, input, exported.outputs)
    });
    Ok(SetReport {
        images: images.collect(),
        steps,
        id,
        explanation,
        traffic,
        published,
        duration: began.elapsed(),
    })
}

/// Refuses outputs that cannot succeed.
pub(crate) fn check_outputs(set: &SetRequest, ports: &Ports) -> Result<(), BuildError> {
    for (number, _, request) in set.outcomes() {
        export::check(request, ports).map_err(|error| set.blame(number, error))?;
    }
    Ok(())
}

/// What was made, by image.
struct Made {
    images: Vec<ImageSet>,
    /// The definition keys of the targets of the graph.
    definitions: Vec<Option<Digest>>,
    steps: Vec<StepReport>,
    exported: Vec<Exported>,
    published: Option<publish::Report>,
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
    /// Of those images that go to registries.
    uploads: Vec<Option<Uploads>>,
    /// Cache mounts on their way back.
    keeping: Option<JoinHandle<()>>,
    pub began: Instant,
}

impl Build {
    pub(crate) fn open(
        set: &SetRequest,
        ports: &Ports,
        graph: BuildGraph,
        sources: Sources,
        contexts: Contexts,
        texts: &[Text],
        tracing: Tracing,
    ) -> Result<Self, BuildError> {
        let request = set.options();
        let Sources {
            secrets, places, ..
        } = sources;
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
        let uploads = uploads(set, ports, &origins);
        let caches = Caches::open(&request.cache, &destinations(set), &origins, ports);
        layers.use_shelves(Arc::clone(caches.shelves()));
        let redactor = Arc::new(Redactor::new(secrets.values()));
        let tracer = tracer(set, ports, texts, Arc::clone(&redactor), tracing);
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
            began: Instant::now(),
        })
    }

    /// Makes the images and brings them where they are to go. When a layer that a cache said to have
    /// cannot be had after all, what made it is carried out, and all is tried again.
    async fn make(
        &mut self,
        set: &SetRequest,
        overlays: &Overlays,
        ports: &Ports,
        texts: &[Text],
    ) -> Result<Made, BuildError> {
        loop {
            let Reached {
                outputs,
                steps,
                came_of,
                definitions,
            } = self.drive(set, ports, texts).await?;
            let mut images = self.assemble(set, outputs.clone(), &came_of);
            let (salt, created) = (salt(set.options()), rfc3339(set.options().epoch_seconds));
            let laid = overlays.make(set, &images, &outputs, &salt, &created, &self.workshop);
            let laid = tokio::select! {
                laid = laid => laid,
                () = ports.interrupt.triggered() => return Err(BuildError::Interrupted),
            };
            match laid {
                Ok(laid) => images.extend(laid),
                Err(_) if self.can_do_without() => continue,
                Err(error) => return Err(error),
            }
            let images = match attest(set, overlays, self, texts, images, ports).await {
                Ok(images) => images,
                Err(_) if !ports.interrupt.is_triggered() && self.can_do_without() => continue,
                Err(error) => return Err(error),
            };
            // What has been printed cannot be taken back.
            let mut outputs = set.outcomes().flat_map(|(.., request)| &request.outputs);
            if outputs.any(Output::is_stdout) {
                for images in &images {
                    self.caches
                        .try_layers(images, ports, &self.workshop.layers)
                        .await;
                }
                if self.caches.give_up() {
                    continue;
                }
            }
            match self.export(set, ports, &images).await {
                Ok((exported, published)) => {
                    return Ok(Made {
                        images,
                        definitions,
                        steps,
                        exported,
                        published,
                    });
                }
                Err(error) if ports.interrupt.is_triggered() || !self.can_do_without() => {
                    return Err(error);
                }
                Err(_) => self.uploads = uploads(set, ports, &self.origins),
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

    async fn drive(
        &mut self,
        set: &SetRequest,
        ports: &Ports,
        texts: &[Text],
    ) -> Result<Reached, BuildError> {
        let request = set.options();
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
        self.warn_of_foreign_programs(texts, ports);
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
                let image = self.graph.step(step).image;
                let failed = failed_step(error, step, &self.graph, texts);
                set.blame(image, BuildError::Step(Box::new(failed)))
            }
        })
    }

    /// Keeps what the next build is compared with, here and in shared caches. Gives the id of this
    /// one.
    fn keep_trace(&self, made: Option<&Made>) -> Option<String> {
        let tracer = &self.workshop.tracer;
        // Of several images the first stands for all: the signature tells builds apart.
        let image = made.and_then(|made| Some(made.images.first()?.descriptor().digest));
        let id = tracer.keep(image.as_ref());
        // A build in which nothing was carried out has nothing to say, and writes nothing.
        let is_cached = |steps: &[StepReport]| {
            let mut steps = steps.iter();
            steps.all(|step| step.outcome == StepOutcome::Cached)
        };
        if self.caches.are_filled()
            && !made.is_some_and(|made| is_cached(&made.steps))
            && let Some(trace) = tracer.carried()
        {
            self.caches.keep_trace(tracer.carried_name(), &trace);
        }
        id
    }

    /// Names what was copied into an image and cannot run in it.
    fn warn_of_foreign_programs(&self, texts: &[Text], ports: &Ports) {
        let programs = self.workshop.programs.lock();
        let programs = programs.expect("no panics under this lock");
        for message in foreign::warnings(&self.graph, &programs, texts) {
            ports.reporter.report(Event::Warning { message });
        }
    }

    /// Puts the images together, in their order.
    pub(crate) fn assemble(
        &self,
        set: &SetRequest,
        outputs: Vec<StepOutput>,
        came_of: &[BTreeMap<Digest, usize>],
    ) -> Vec<ImageSet> {
        let created = rfc3339(set.options().epoch_seconds);
        let mut by_image: BTreeMap<ImageNumber, Vec<Image>> = BTreeMap::new();
        for (number, (target, output)) in self.graph.targets.iter().zip(outputs).enumerate() {
            let request = &set.images()[target.image.index()].request;
            let mut annotations = request.annotations.clone();
            if let Some(came_of) = came_of.get(number) {
                let value = inline::value(&output.stack, came_of);
                let name = inline::ANNOTATION.to_owned();
                annotations.add(Annotated::Manifest(None), name, value);
            }
            annotations.identify(request.graph.identity.as_ref(), &target.config);
            let image = assemble(target, output, &annotations, &created);
            by_image.entry(target.image).or_default().push(image);
        }
        let sets = set.numbered().map(|(number, SetImage { request, .. })| {
            let images = by_image.remove(&number).unwrap_or_default();
            ImageSet::of(images, request)
        });
        sets.collect()
    }

    /// Brings all images where they are to go; before the first one goes anywhere, all are kept.
    /// Registries come last, for all images in one transaction.
    async fn export(
        &mut self,
        set: &SetRequest,
        ports: &Ports,
        sets: &[ImageSet],
    ) -> Result<(Vec<Exported>, Option<publish::Report>), BuildError> {
        for images in sets {
            export::keep(&ports.store, images).map_err(disk)?;
            provenance::remember(&ports.store, images, &self.origins);
        }
        let mut all = Vec::new();
        for ((number, _, request), images) in set.outcomes().zip(sets) {
            let exporting = export::export(request, ports, images, &self.workshop.layers);
            let exported = tokio::select! {
                exported = exporting => exported,
                () = ports.interrupt.triggered() => Err(BuildError::Interrupted),
            };
            self.cache_mounts_are_kept(ports).await;
            all.push(exported.map_err(|error| set.blame(number, error))?);
        }
        let published =
            registry::publish_set(set, ports, sets, &mut self.uploads, &mut all).await?;
        Ok((all, published))
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
            workshop.contexts.close().map_err(disk)?;
        }
        ports
            .store
            .flush()
            .map_err(|source| BuildError::failed("could not make the store durable", source))
    }
}

/// What brings layers to registries, for each image that is to go there.
fn uploads(set: &SetRequest, ports: &Ports, origins: &Origins) -> Vec<Option<Uploads>> {
    let shared = registry::uploads(ports);
    let uploads = set.outcomes().map(|(.., request)| {
        let is_pushed = request.outputs.contains(&Output::Registry);
        is_pushed.then(|| Uploads::new(shared.clone(), ports, origins, &request.tags))
    });
    uploads.collect()
}

/// The repositories that the images are pushed to.
fn destinations(set: &SetRequest) -> Vec<Repository> {
    let requests = set.outcomes().map(|(.., request)| request);
    let pushed = requests.filter(|request| request.outputs.contains(&Output::Registry));
    let tags = pushed.flat_map(|request| &request.tags);
    tags.map(|tag| tag.repository().clone()).collect()
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

/// What notes why things are done.
fn tracer(
    set: &SetRequest,
    ports: &Ports,
    texts: &[Text],
    redactor: Arc<Redactor>,
    tracing: Tracing,
) -> Tracer {
    let requests = || set.images().iter().map(|image| &image.request);
    let platforms = requests().flat_map(|request| match request.shape.platforms() {
        [] => std::slice::from_ref(&request.graph.platform),
        platforms => platforms,
    });
    let places = requests().zip(texts);
    let places = places.map(|(request, text)| place_name(&request.context, text));
    let mut names: Vec<&str> = texts.iter().map(|text| text.name.as_str()).collect();
    names.dedup();
    let targets = requests().map(|request| request.graph.target.as_deref());
    let target = match targets.clone().flatten().next() {
        None => None,
        Some(_) => {
            let targets: Vec<_> = targets.map(Option::unwrap_or_default).collect();
            Some(targets.join(", "))
        }
    };
    let arguments: BTreeSet<_> = requests()
        .flat_map(|request| request.graph.build_args.keys().cloned())
        .collect();
    Tracer::new(TracerOptions {
        store: ports.store.clone(),
        dockerfile: names.join(", "),
        texts: texts.iter().map(|text| text.text.clone()).collect(),
        place: places.collect::<Vec<_>>().join("\n"),
        target,
        platforms: platforms.map(ToString::to_string).collect(),
        arguments: arguments.into_iter().collect(),
        secrets: set.options().secrets.keys().cloned().collect(),
        redactor,
        no_cache: set.options().no_cache,
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

fn built_image(
    name: &str,
    images: &ImageSet,
    input: Digest,
    outputs: Vec<OutputReport>,
) -> BuiltImage {
    let reports = images.images().iter().map(|image| ImageReport {
        platform: image.platform(),
        manifest: image.descriptor(),
        config: image.config.digest().clone(),
    });
    BuiltImage {
        name: name.to_owned(),
        manifest: images.descriptor(),
        images: reports.collect(),
        image_bytes: images.bytes(),
        input,
        outputs,
    }
}
