//! The pipeline, one line per arrow.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dockerfile::{Diagnostic, Parse};
use graph::{
    BaseImage, ContextName, Lowered, Pinned, Request, Solver, SolverOptions, StageSet, StepKind,
};
use oci::{Digest, Reference, Repository};
use store::layer::LayerOptions;

use crate::assemble::{Image, assemble, rfc3339};
use crate::drive::{Drive, DriveError};
use crate::error::BuildError;
use crate::event::Event;
use crate::explain::{failed_step, unpinned};
use crate::export::registry::Uploads;
use crate::export::{self, Exported};
use crate::layers::Layers;
use crate::output::StepOutput;
use crate::pin::Pins;
use crate::ports::Ports;
use crate::provenance;
use crate::report::{BuildReport, StepReport, Traffic};
use crate::request::{BuildRequest, Output};
use crate::source::{Text, open_context, read_dockerfile};
use crate::steps::Workshop;

/// The format of what the cache holds: a number that goes up whenever equal
/// keys would no longer mean equal layers.
const CACHE_FORMAT: u32 = 2;

/// Builds an image and brings it where it is to go.
///
/// # Errors
///
/// Everything that keeps the image from being everywhere it should be; then no
/// tag has been moved to it that was not moved before the error.
pub async fn build(request: &BuildRequest, ports: &Ports) -> Result<BuildReport, BuildError> {
    let began = Instant::now();
    export::check(request, ports)?;
    let text = read_dockerfile(&request.dockerfile, &request.context)?;
    let stages = read_stages(&text, &request.graph, ports)?;
    let pinned = pin(stages, &text, request, ports).await?;
    let lowered = lower(&pinned, &text, &request.graph, ports)?;
    let mut build = Build::open(request, ports, &text, lowered)?;
    let (outputs, steps) = build.drive(request, ports, &text).await?;
    let image = build.assemble(request, outputs);
    let exported = build.export(request, ports, &image).await?;
    build.close(ports)?;
    Ok(report(&image, steps, exported, ports, began))
}

fn read_stages(
    text: &Text,
    request: &Request,
    ports: &Ports,
) -> Result<StageSet<Reference>, BuildError> {
    let Parse { tree, diagnostics } = dockerfile::parse(&text.text);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(refused(text, diagnostics));
    }
    warn(text, &diagnostics, ports);
    graph::stages(&tree, request).map_err(|diagnostics| refused(text, diagnostics))
}

fn warn(text: &Text, warnings: &[Diagnostic], ports: &Ports) {
    for warning in warnings {
        let place = dockerfile::LineColumn::of(&text.text, warning.span);
        let message = format!(
            "{}:{}:{}: {}",
            text.name, place.line, place.column, warning.message
        );
        ports.reporter.report(Event::Warning { message });
    }
}

fn refused(text: &Text, diagnostics: Vec<Diagnostic>) -> BuildError {
    BuildError::Dockerfile {
        name: text.name.clone(),
        text: text.text.clone(),
        diagnostics,
    }
}

/// Looks up every image that is needed, and those that triggers of the images
/// need in turn.
async fn pin(
    mut stages: StageSet<Reference>,
    text: &Text,
    request: &BuildRequest,
    ports: &Ports,
) -> Result<StageSet<BaseImage>, BuildError> {
    let mut pins = Pins::new(
        ports.store.clone(),
        ports.client.clone(),
        Arc::clone(&ports.reporter),
        request.pull,
    );
    loop {
        for named in stages.images() {
            let looked_up = tokio::select! {
                looked_up = pins.look_up(&named.image, &named.platform) => looked_up,
                () = ports.interrupt.triggered() => return Err(BuildError::Interrupted),
            };
            looked_up.map_err(|error| unpinned(error, text, named.span))?;
        }
        let fact = |reference: &Reference, platform: &oci::Platform| {
            pins.get(reference, platform)
                .expect("all have been looked up")
                .clone()
        };
        match stages
            .pin(fact)
            .map_err(|diagnostics| refused(text, diagnostics))?
        {
            Pinned::All(pinned) => return Ok(pinned),
            Pinned::More(more) => stages = more,
        }
    }
}

fn lower(
    pinned: &StageSet<BaseImage>,
    text: &Text,
    request: &Request,
    ports: &Ports,
) -> Result<Lowered, BuildError> {
    let lowered =
        graph::lower(pinned, request).map_err(|diagnostics| refused(text, diagnostics))?;
    warn(text, &lowered.warnings, ports);
    let steps = lowered
        .graph
        .steps()
        .iter()
        .filter(|step| {
            !matches!(
                step.kind,
                StepKind::Scratch | StepKind::Base(_) | StepKind::Merge(_)
            )
        })
        .count();
    ports.reporter.report(Event::Planned { steps });
    Ok(lowered)
}

/// A build with its graph known.
struct Build {
    graph: Arc<graph::BuildGraph>,
    workshop: Arc<Workshop>,
    origins: BTreeMap<Digest, Repository>,
    uploads: Option<Uploads>,
}

impl Build {
    fn open(
        request: &BuildRequest,
        ports: &Ports,
        text: &Text,
        lowered: Lowered,
    ) -> Result<Self, BuildError> {
        let graph = Arc::new(lowered.graph);
        let origins = origins(&graph);
        let scratch = ports.store.scratch().map_err(disk)?;
        let scratch = Arc::new(scratch);
        let layers = Layers::new(
            ports.store.clone(),
            ports.client.clone(),
            Arc::clone(&ports.reporter),
            Arc::clone(&scratch),
            origins
                .iter()
                .map(|(digest, repository)| (digest.clone(), repository.clone()))
                .collect(),
        );
        let main = open_context(&request.context, text, &ports.store)?;
        let contexts = main.map(|context| (ContextName::Main, context));
        let threads = NonZeroUsize::new(request.threads).unwrap_or(NonZeroUsize::MIN);
        let cancel = sandbox::CancelToken::new()
            .map_err(|source| BuildError::failed("could not make an event descriptor", source))?;
        let uploads = request.outputs.contains(&Output::Registry).then(|| {
            let reporter = Arc::clone(&ports.reporter);
            let (store, client) = (ports.store.clone(), ports.client.clone());
            Uploads::new(store, client, reporter, origins.clone(), &request.tags)
        });
        let workshop = Arc::new(Workshop {
            store: ports.store.clone(),
            scratch,
            layers,
            contexts: contexts.into_iter().collect(),
            reporter: Arc::clone(&ports.reporter),
            cancel,
            sandbox: request.sandbox,
            rung: tokio::sync::OnceCell::new(),
            resolv_conf: ports.resolv_conf.clone(),
            layer: LayerOptions {
                compression: request.compression,
                level: None,
                threads,
            },
            epoch: request.epoch_seconds,
            selections: Mutex::default(),
        });
        Ok(Self {
            graph,
            workshop,
            origins,
            uploads,
        })
    }

    async fn drive(
        &mut self,
        request: &BuildRequest,
        ports: &Ports,
        text: &Text,
    ) -> Result<(Vec<StepOutput>, Vec<StepReport>), BuildError> {
        let options = SolverOptions {
            no_cache: request.no_cache,
            salt: salt(request),
        };
        let drive = Drive {
            graph: Arc::clone(&self.graph),
            solver: Solver::new(&self.graph, options),
            workshop: Arc::clone(&self.workshop),
            interrupt: ports.interrupt.clone(),
            parallel: request.threads.max(1),
        };
        let driven = drive.reach_targets(&mut self.uploads).await;
        driven.map_err(|error| match error {
            DriveError::Interrupted => BuildError::Interrupted,
            DriveError::Step(step, error) => {
                BuildError::Step(Box::new(failed_step(error, step, &self.graph, text)))
            }
        })
    }

    fn assemble(&self, request: &BuildRequest, mut outputs: Vec<StepOutput>) -> Image {
        let output = outputs.pop().expect("a build has a target");
        assemble(
            &self.graph.targets[0],
            output,
            &request.annotations,
            &rfc3339(request.epoch_seconds),
        )
    }

    async fn export(
        &mut self,
        request: &BuildRequest,
        ports: &Ports,
        image: &Image,
    ) -> Result<Exported, BuildError> {
        export::keep(&ports.store, image).map_err(disk)?;
        provenance::remember(&ports.store, image, &self.origins);
        let exporting = export::export(
            request,
            ports,
            image,
            &self.workshop.layers,
            self.uploads.take(),
        );
        tokio::select! {
            exported = exporting => exported,
            () = ports.interrupt.triggered() => Err(BuildError::Interrupted),
        }
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

/// Everything outside a step that decides its layer's bytes.
fn salt(request: &BuildRequest) -> String {
    format!(
        "{CACHE_FORMAT} {:?} {}",
        request.compression, request.epoch_seconds
    )
}

/// Which repository the layers of base images are in.
fn origins(graph: &graph::BuildGraph) -> BTreeMap<Digest, Repository> {
    let mut origins = BTreeMap::new();
    for step in graph.steps() {
        if let StepKind::Base(base) = &step.kind {
            for layer in &base.layers {
                origins.insert(
                    layer.blob.digest.clone(),
                    base.reference.repository().clone(),
                );
            }
        }
    }
    origins
}

fn disk(source: impl std::error::Error + Send + Sync + 'static) -> BuildError {
    BuildError::failed("could not write to the store", source)
}

fn report(
    image: &Image,
    steps: Vec<StepReport>,
    exported: Exported,
    ports: &Ports,
    began: Instant,
) -> BuildReport {
    let moved = ports.client.traffic();
    BuildReport {
        manifest: image.descriptor(),
        config: image.config.digest().clone(),
        image_bytes: image.bytes(),
        steps,
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
