//! From a Dockerfile's text to one graph: for each platform its stages, the images they name, its
//! steps; then the graphs are joined. Nothing here runs or changes anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use dockerfile::{Diagnostic, LineColumn, Parse};
use graph::{BaseImage, BuildGraph, Lowered, Pinned, Request, StageSet};
use oci::Reference;

use crate::error::BuildError;
use crate::event::Event;
use crate::explain::unpinned;
use crate::pin::Pins;
use crate::ports::Ports;
use crate::request::{BuildRequest, Shape};
use crate::source::Text;

/// Plans all that a request asks for.
///
/// # Errors
///
/// Everything that is wrong with the Dockerfile, or with an image that it names.
pub(crate) async fn plan(
    text: &Text,
    request: &BuildRequest,
    ports: &Ports,
) -> Result<BuildGraph, BuildError> {
    let mut planner = Planner {
        text,
        ports,
        pins: Pins::new(
            ports.store.clone(),
            ports.client.clone(),
            Arc::clone(&ports.reporter),
            request.pull,
        ),
        warned: BTreeSet::new(),
    };
    let mut graphs = Vec::new();
    for request in requests(request) {
        graphs.push(planner.graph(&request).await?);
    }
    let graph = BuildGraph::join(graphs)
        .ok_or_else(|| BuildError::input("there is no platform to build for"))?;
    let steps = graph.distinct_steps();
    ports.reporter.report(Event::Planned { steps });
    Ok(graph)
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
    ports: &'p Ports,
    pins: Pins,
    /// What was said already: most of what is odd is odd on every platform.
    warned: BTreeSet<String>,
}

impl Planner<'_> {
    async fn graph(&mut self, request: &Request) -> Result<BuildGraph, BuildError> {
        let stages = self.read_stages(request)?;
        let pinned = self.pin(stages).await?;
        self.lower(&pinned, request)
    }

    fn read_stages(&mut self, request: &Request) -> Result<StageSet<Reference>, BuildError> {
        let Parse { tree, diagnostics } = dockerfile::parse(&self.text.text);
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(self.refused(diagnostics));
        }
        self.warn(&diagnostics);
        graph::stages(&tree, request).map_err(|diagnostics| self.refused(diagnostics))
    }

    /// Looks up every image that is needed, and those that triggers of the images
    /// need in turn.
    async fn pin(
        &mut self,
        mut stages: StageSet<Reference>,
    ) -> Result<StageSet<BaseImage>, BuildError> {
        loop {
            for named in stages.images() {
                let looked_up = tokio::select! {
                    looked_up = self.pins.look_up(&named.image, &named.platform) => looked_up,
                    () = self.ports.interrupt.triggered() => return Err(BuildError::Interrupted),
                };
                looked_up.map_err(|error| unpinned(error, self.text, named.span))?;
            }
            let fact = |reference: &Reference, platform: &oci::Platform| {
                self.pins
                    .get(reference, platform)
                    .expect("all have been looked up")
                    .clone()
            };
            match stages
                .pin(fact)
                .map_err(|diagnostics| self.refused(diagnostics))?
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
        let Lowered { graph, warnings } =
            graph::lower(pinned, request).map_err(|diagnostics| self.refused(diagnostics))?;
        self.warn(&warnings);
        Ok(graph)
    }

    fn warn(&mut self, warnings: &[Diagnostic]) {
        for warning in warnings {
            let place = LineColumn::of(&self.text.text, warning.span);
            let message = format!(
                "{}:{}:{}: {}",
                self.text.name, place.line, place.column, warning.message
            );
            if self.warned.insert(message.clone()) {
                self.ports.reporter.report(Event::Warning { message });
            }
        }
    }

    fn refused(&self, diagnostics: Vec<Diagnostic>) -> BuildError {
        BuildError::Dockerfile {
            name: self.text.name.clone(),
            text: self.text.text.clone(),
            diagnostics,
        }
    }
}
