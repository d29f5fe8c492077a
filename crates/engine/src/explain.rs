//! Errors of parts become errors of a build: with the line of the Dockerfile
//! that they belong to, and with what the user can do.

use graph::{StepId, StepKind};

use crate::copy::place::PlaceError;
use crate::copy::select::SelectError;
use crate::error::{BuildError, FailedStep};
use crate::pin::PinError;
use crate::run::RunError;
use crate::source::Text;
use crate::steps::{StepError, Unselected};

/// A base image that cannot be had is a mistake in the Dockerfile when the
/// registry says that it does not exist.
pub(crate) fn unpinned(error: PinError, text: &Text, span: dockerfile::Span) -> BuildError {
    let (input, hint) = match &error {
        PinError::Registry { source, .. } => (
            matches!(source.kind(), registry::ErrorKind::NotFound),
            source.advice(),
        ),
        PinError::Platform { .. } => (true, Some("choose one of those with --platform".to_owned())),
        PinError::Depth { .. }
        | PinError::Document { .. }
        | PinError::Config { .. }
        | PinError::LayerCount { .. }
        | PinError::Disk(_)
        | PinError::Blob(_) => (false, None),
    };
    let message = error.to_string();
    let source = match error {
        PinError::Registry { source, .. } => Some(source.into()),
        PinError::Document { source, .. } => Some(source.into()),
        PinError::Config { source, .. } => Some(source.into()),
        PinError::Platform { .. }
        | PinError::Depth { .. }
        | PinError::LayerCount { .. }
        | PinError::Disk(_)
        | PinError::Blob(_) => None,
    };
    BuildError::Step(Box::new(FailedStep {
        name: text.name.clone(),
        text: text.text.clone(),
        span: Some(span),
        title: message.clone(),
        message,
        hint,
        command: None,
        output_tail: Vec::new(),
        input,
        source,
    }))
}

/// Adds to an error of a step where it stands and what the user can do.
pub(crate) fn failed_step(
    error: StepError,
    id: StepId,
    graph: &graph::BuildGraph,
    text: &Text,
) -> FailedStep {
    let step = graph.step(id);
    let mut failed = FailedStep {
        name: text.name.clone(),
        text: text.text.clone(),
        span: Some(step.span),
        title: step.title.clone(),
        message: error.to_string(),
        hint: None,
        command: match &step.kind {
            StepKind::Run(run) => Some(run.command_shown.clone()),
            StepKind::Scratch | StepKind::Base(_) | StepKind::Copy(_) | StepKind::Workdir(_) => {
                None
            }
        },
        output_tail: Vec::new(),
        input: false,
        source: None,
    };
    match error {
        StepError::Select(unselected) => {
            let Unselected {
                source,
                span,
                excluded,
                near,
            } = *unselected;
            failed.span = Some(span);
            failed.input = !matches!(source, SelectError::Files(_));
            failed.hint = match (&source, excluded) {
                (_, Some(excluded)) => Some(format!(
                    "it exists, but line {} of {} excludes it: `{}`",
                    excluded.line, excluded.file, excluded.pattern
                )),
                (SelectError::NotFound { pattern }, None) => nearest(pattern, &near),
                (SelectError::Pattern { .. } | SelectError::Files(_), None) => None,
            };
        }
        StepError::Place(error) => failed.input = !matches!(error, PlaceError::Path(_)),
        StepError::NoContext { span } => {
            failed.span = Some(span);
            failed.input = true;
        }
        StepError::User(_) => {
            failed.input = true;
            failed.hint =
                Some("add the user in a RUN before this line, or use its number".to_owned());
        }
        StepError::Run(RunError::User(_)) => failed.input = true,
        StepError::Run(error) => {
            failed.output_tail = error.tail().to_vec();
            failed.source = source_of(error);
        }
        other => failed.source = source_of(other),
    }
    failed
}

/// The cause of an error whose own text is shown already.
fn source_of(
    error: impl std::error::Error + Send + Sync + 'static,
) -> Option<Box<dyn std::error::Error + Send + Sync>> {
    let mut causes = Vec::new();
    let mut at = error.source();
    while let Some(cause) = at {
        causes.push(cause.to_string());
        at = cause.source();
    }
    Chain::of(causes)
}

/// Causes as texts, each the source of the one before.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Chain {
    text: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Chain {
    fn of(causes: Vec<String>) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        let mut chain: Option<Box<dyn std::error::Error + Send + Sync>> = None;
        for text in causes.into_iter().rev() {
            // A transparent error repeats its cause's text.
            if chain
                .as_ref()
                .is_some_and(|cause| cause.to_string() == text)
            {
                continue;
            }
            chain = Some(Box::new(Chain {
                text,
                source: chain,
            }));
        }
        chain
    }
}

/// A name that may have been meant.
fn nearest(pattern: &str, names: &[String]) -> Option<String> {
    let wanted = pattern.rsplit('/').next().unwrap_or(pattern);
    let best = dockerfile::suggest::nearest(wanted, names.iter().map(String::as_str))?;
    let directory = pattern
        .rsplit_once('/')
        .map(|(directory, _)| format!("{directory}/"))
        .unwrap_or_default();
    Some(format!("did you mean `{directory}{best}`?"))
}
