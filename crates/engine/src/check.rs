//! A Dockerfile checked as a build would check it, without anything being run or changed.

use dockerfile::Diagnostic;

use crate::error::BuildError;
use crate::overlay::Overlays;
use crate::plan::{pins, plan};
use crate::ports::Ports;
use crate::request::BuildRequest;
use crate::review::Stages;
use crate::set::SetRequest;
use crate::sources::{Sources, review_contexts, reviews};

/// The text of a Dockerfile.
#[derive(Debug)]
pub struct DockerfileText {
    /// How messages call it.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Reads the Dockerfile of a request, wherever it is.
///
/// # Errors
///
/// When it cannot be read.
pub async fn read(request: &BuildRequest, ports: &Ports) -> Result<DockerfileText, BuildError> {
    let set = SetRequest::single(request);
    let (_, mut texts) = Sources::read(&set, ports).await?;
    let text = texts.remove(0);
    Ok(DockerfileText {
        name: text.name,
        text: text.text,
    })
}

/// What a check of a Dockerfile came to.
#[derive(Debug)]
pub struct CheckReport {
    /// How the Dockerfile is called.
    pub name: String,
    /// Its text.
    pub text: String,
    /// In the order of the text; none keeps the file from being built.
    pub findings: Vec<Diagnostic>,
}

/// Looks at all stages, unless the request names a target, and at every image that they name.
///
/// # Errors
///
/// Whatever keeps the file from being built before its first step.
pub async fn check(request: &BuildRequest, ports: &Ports) -> Result<CheckReport, BuildError> {
    let mut reports = check_set(&SetRequest::single(request), ports).await?;
    Ok(reports.remove(0))
}

/// The same for the Dockerfile of every image of a set.
///
/// # Errors
///
/// As of [`check`].
pub async fn check_set(set: &SetRequest, ports: &Ports) -> Result<Vec<CheckReport>, BuildError> {
    let (sources, texts) = Sources::read(set, ports).await?;
    let reviews = reviews(set, &texts, ports)?;
    let mut pins = pins(set, ports);
    let graph = plan(&texts, &reviews, Stages::All, set, &mut pins, ports).await?;
    Overlays::pin(set, &graph, &mut pins, &ports.interrupt).await?;
    let contexts = sources.main_contexts(set, &texts, ports)?;
    review_contexts(&reviews, &graph, &contexts);
    let reports = texts
        .iter()
        .zip(&reviews)
        .map(|(text, review)| CheckReport {
            findings: review.selected(),
            name: text.name.clone(),
            text: text.text.clone(),
        });
    Ok(reports.collect())
}
