//! From the texts of Dockerfiles to one graph: for each image and platform its stages, the images
//! they name, its steps, each behind those that are there already. Nothing here runs or changes
//! anything.

use std::sync::Arc;

use graph::{
    BaseImage, BuildGraph, BuiltImage, ImageName, Lowered, NamedContext, Pinned, Request, StageSet,
};

use crate::assemble::platform_of;
use crate::error::BuildError;
use crate::failure::unpinned;
use crate::pin::Pins;
use crate::ports::Ports;
use crate::request::{BuildRequest, Shape};
use crate::review::{Review, Stages};
use crate::set::{SetImage, SetRequest};
use crate::source::Text;

/// Knows no image yet.
pub(crate) fn pins(set: &SetRequest, ports: &Ports) -> Pins {
    Pins::new(
        ports.store.clone(),
        ports.client.clone(),
        Arc::clone(&ports.reporter),
        set.options().pull,
    )
}

/// Plans all that a set asks for. `texts` and `reviews`: of its images.
///
/// # Errors
///
/// Everything that is wrong with a Dockerfile, or with an image that it names.
pub(crate) async fn plan(
    texts: &[Text],
    reviews: &[Review<'_>],
    which: Stages,
    set: &SetRequest,
    pins: &mut Pins,
    ports: &Ports,
) -> Result<BuildGraph, BuildError> {
    let mut graph: Option<BuildGraph> = None;
    for (((number, image), text), review) in set.numbered().zip(texts).zip(reviews) {
        let mut planner = Planner {
            text,
            review,
            which,
            ports,
            pins: &mut *pins,
        };
        for mut request in requests(&image.request) {
            request.image = number;
            if set.has_several() {
                request.image_shown = Some(image.name.clone());
            }
            add_needed(&mut request, image, set, graph.as_ref());
            let added = planner.add(graph.take(), &request).await;
            graph = Some(added.map_err(|error| set.blame(number, error))?);
        }
    }
    graph.ok_or_else(|| BuildError::input("there is no platform to build for"))
}

/// What is asked of the graph of each platform.
fn requests(request: &BuildRequest) -> Vec<Request> {
    match &request.shape {
        Shape::Image => vec![request.graph.clone()],
        Shape::Index(platforms) => platforms
            .iter()
            .map(|platform| Request {
                platform: platform.clone(),
                platform_is_default: false,
                one_of_several: platforms.len() > 1,
                ..request.graph.clone()
            })
            .collect(),
    }
}

/// Puts the images that an image is built on in the place of their names. What the user gave
/// another meaning keeps that.
fn add_needed(
    request: &mut Request,
    image: &SetImage,
    set: &SetRequest,
    graph: Option<&BuildGraph>,
) {
    for (word, name) in &image.needs {
        let number = set.number_of(name);
        let targets = graph.iter().flat_map(|graph| &graph.targets);
        let targets = targets
            .filter(|target| Some(target.image) == number)
            .map(|target| (platform_of(&target.config), target.clone()));
        let built = BuiltImage {
            name: name.clone(),
            targets: targets.collect(),
        };
        let place = request.contexts.entry(NamedContext::key(word));
        place.or_insert(NamedContext::Built(built));
    }
}

struct Planner<'p> {
    text: &'p Text,
    /// Keeps what was found, once: most of what is odd is odd on every platform.
    review: &'p Review<'p>,
    which: Stages,
    ports: &'p Ports,
    pins: &'p mut Pins,
}

impl Planner<'_> {
    /// Adds what one request asks for to a graph.
    async fn add(
        &mut self,
        graph: Option<BuildGraph>,
        request: &Request,
    ) -> Result<BuildGraph, BuildError> {
        let stages = self.review.stages(request, self.which)?;
        let pinned = self.pin(stages).await?;
        let Lowered { graph, warnings } = graph::lower_onto(graph, &pinned, request)
            .map_err(|diagnostics| self.review.refused(diagnostics))?;
        self.review.add(warnings);
        Ok(graph)
    }

    /// Looks up every image that is needed, and those that triggers of the images
    /// need in turn.
    async fn pin(
        &mut self,
        mut stages: StageSet<ImageName>,
    ) -> Result<StageSet<BaseImage>, BuildError> {
        loop {
            for named in stages.images() {
                let looked_up = tokio::select! {
                    looked_up = self.pins.look_up(&named.image, &named.platform) => looked_up,
                    () = self.ports.interrupt.triggered() => return Err(BuildError::Interrupted),
                };
                looked_up.map_err(|error| unpinned(error, self.text, named.span))?;
            }
            let fact = |reference: &ImageName, platform: &oci::Platform| {
                self.pins
                    .get(reference, platform)
                    .expect("all have been looked up")
                    .clone()
            };
            match stages
                .pin(fact)
                .map_err(|diagnostics| self.review.refused(diagnostics))?
            {
                Pinned::All(pinned) => return Ok(pinned),
                Pinned::More(more) => stages = more,
            }
        }
    }
}
