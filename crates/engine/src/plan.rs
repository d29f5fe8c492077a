//! From a Dockerfile's text to one graph: for each platform its stages, the images they name, its
//! steps; then the graphs are joined. Nothing here runs or changes anything.

use std::sync::Arc;

use graph::{BaseImage, BuildGraph, ImageName, Lowered, Pinned, Request, StageSet};

use crate::error::BuildError;
use crate::failure::unpinned;
use crate::pin::Pins;
use crate::ports::Ports;
use crate::request::{BuildRequest, Shape};
use crate::review::{Review, Stages};
use crate::source::Text;

/// Plans all that a request asks for.
///
/// # Errors
///
/// Everything that is wrong with the Dockerfile, or with an image that it names.
pub(crate) async fn plan(
    text: &Text,
    review: &Review<'_>,
    which: Stages,
    request: &BuildRequest,
    ports: &Ports,
) -> Result<BuildGraph, BuildError> {
    let mut planner = Planner {
        text,
        review,
        which,
        ports,
        pins: Pins::new(
            ports.store.clone(),
            ports.client.clone(),
            Arc::clone(&ports.reporter),
            request.pull,
        ),
    };
    let mut graphs = Vec::new();
    for request in requests(request) {
        graphs.push(planner.graph(&request).await?);
    }
    BuildGraph::join(graphs).ok_or_else(|| BuildError::input("there is no platform to build for"))
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

struct Planner<'p> {
    text: &'p Text,
    /// Keeps what was found, once: most of what is odd is odd on every platform.
    review: &'p Review<'p>,
    which: Stages,
    ports: &'p Ports,
    pins: Pins,
}

impl Planner<'_> {
    async fn graph(&mut self, request: &Request) -> Result<BuildGraph, BuildError> {
        let stages = self.review.stages(request, self.which)?;
        let pinned = self.pin(stages).await?;
        self.lower(&pinned, request)
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

    fn lower(
        &mut self,
        pinned: &StageSet<BaseImage>,
        request: &Request,
    ) -> Result<BuildGraph, BuildError> {
        let Lowered { graph, warnings } = graph::lower(pinned, request)
            .map_err(|diagnostics| self.review.refused(diagnostics))?;
        self.review.add(warnings);
        Ok(graph)
    }
}
