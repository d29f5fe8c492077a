//! Why a build did not succeed, as data that the program turns into words.

use dockerfile::{Diagnostic, Span};

/// Whose fault it is, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input was wrong: exit code 2.
    Input,
    /// The build or the publishing failed: exit code 1.
    Failed,
    /// An immutable tag points at something else: exit code 3.
    TagConflict,
    /// The user interrupted: exit code 130.
    Interrupted,
}

/// Why a build did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile says something that cannot be built.
    #[error("{} cannot be built", name)]
    Dockerfile {
        /// How the Dockerfile is called.
        name: String,
        /// Its text, for excerpts.
        text: String,
        /// What is wrong, in order of the text.
        diagnostics: Vec<Diagnostic>,
    },
    /// The Dockerfile breaks rules that it wants to be kept (`# check=error=true`).
    #[error("{} breaks rules that it wants to be kept", name)]
    Rules {
        /// How the Dockerfile is called.
        name: String,
        /// Its text, for excerpts.
        text: String,
        /// All findings, in order of the text.
        diagnostics: Vec<Diagnostic>,
    },
    /// A step failed.
    #[error("{}", .0.message)]
    Step(Box<FailedStep>),
    /// Something else that the user gave is wrong.
    #[error("{message}")]
    Input {
        /// What was being done, to what.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// Why.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Something else failed.
    #[error("{message}")]
    Failed {
        /// What was being done, to what.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// Why.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A tag that never moves points at something else.
    #[error("{message}")]
    TagConflict {
        /// What was being done.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// Which tag, and where it points.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// One of several images cannot be had.
    #[error("{image}: {error}")]
    Image {
        /// Its name.
        image: String,
        /// Why.
        error: Box<BuildError>,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// A step that failed, with what is needed to see why.
#[derive(Debug)]
pub struct FailedStep {
    /// How the Dockerfile is called.
    pub name: String,
    /// Its text, for the excerpt.
    pub text: String,
    /// Where the instruction stands; `None` when it came from an ONBUILD of a
    /// base image.
    pub span: Option<Span>,
    /// Such as `[build 2/5] RUN make`; empty when the message says what was being done.
    pub title: String,
    /// What went wrong: `the command exited with code 2`, or what COPY missed.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The command, for RUN.
    pub command: Option<String>,
    /// The end of its output, for RUN.
    pub output_tail: Vec<u8>,
    /// The mistake is in the input, not in what happened.
    pub input: bool,
    /// Why.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl BuildError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Dockerfile { .. } | Self::Input { .. } => ErrorKind::Input,
            Self::Step(step) if step.input => ErrorKind::Input,
            Self::Step(_) | Self::Failed { .. } | Self::Rules { .. } => ErrorKind::Failed,
            Self::TagConflict { .. } => ErrorKind::TagConflict,
            Self::Image { error, .. } => error.kind(),
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }

    /// An error of the input.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input {
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    /// A failure with its cause.
    pub fn failed(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed {
            message: message.into(),
            hint: None,
            source: Some(source.into()),
        }
    }
}
