//! A Dockerfile checked as a build would check it, without anything being run or changed.

use dockerfile::Diagnostic;

use crate::error::BuildError;
use crate::place::Places;
use crate::plan::plan;
use crate::ports::Ports;
use crate::request::BuildRequest;
use crate::review::{Review, Stages};
use crate::secret::Secrets;
use crate::source::{open_context, read_dockerfile};

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
    let secrets = Secrets::read(&request.secrets, &*ports.reporter)?;
    let places = Places::new(request, ports, &secrets)?;
    let main = places.bring(&request.context, ports).await?;
    let text = read_dockerfile(&request.dockerfile, &main, &places, ports).await?;
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
    let secrets = Secrets::read(&request.secrets, &*ports.reporter)?;
    let places = Places::new(request, ports, &secrets)?;
    let main = places.bring(&request.context, ports).await?;
    let text = read_dockerfile(&request.dockerfile, &main, &places, ports).await?;
    let review = Review::begin(&text, &request.graph, ports)?;
    let graph = plan(&text, &review, Stages::All, request, ports).await?;
    if let Some(context) = open_context(&main, &text, &ports.store)? {
        review.ignored(&graph, context.ignore());
    }
    Ok(CheckReport {
        findings: review.selected(),
        name: text.name.clone(),
        text: text.text.clone(),
    })
}
