//! Errors as the user meets them: a kind that decides the exit code, a headline, what caused it,
//! hints, and the place in the Dockerfile. Only this file and `render/` print.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use dockerfile::Diagnostic;
use engine::{BuildError, ErrorKind, FailedStep};

use crate::render::{self, Presentation, Shape};

/// The exit code of a bug: `EX_SOFTWARE` of sysexits.h.
const EXIT_INTERNAL: u8 = 70;

/// The exit code of a push to a tag that never moves and points at something else.
pub(crate) const EXIT_TAG_CONFLICT: u8 = 3;

/// The exit code of a protected channel that does not allow what was asked for.
pub(crate) const EXIT_PROTECTED: u8 = 4;

/// The exit code of a channel that somebody else has moved meanwhile.
pub(crate) const EXIT_MOVED: u8 = 5;

/// The exit code when an image is not signed by anybody who is trusted.
pub(crate) const EXIT_NOT_VERIFIED: u8 = 6;

/// The exit code after Ctrl-C: 128 and the number of SIGINT, as shells count.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// The most causes that are printed.
const CAUSES_MAX: usize = 12;

/// Why the program did not do what it was asked.
#[derive(Debug)]
pub(crate) struct ProgramError {
    /// Whose fault it is.
    pub(crate) kind: ErrorKind,
    /// What was being done, to what. Empty when `detail` says it.
    pub(crate) headline: String,
    /// Why, outermost first, none twice.
    pub(crate) causes: Vec<String>,
    /// What to do about it.
    pub(crate) hints: Vec<String>,
    /// Where in the Dockerfile.
    pub(crate) detail: Option<Box<Detail>>,
    /// The exit code, where it is not that of the kind.
    pub(crate) code: Option<u8>,
}

/// The place in the Dockerfile that an error is about.
#[derive(Debug)]
pub(crate) enum Detail {
    /// What is wrong with the text.
    Findings {
        /// How the Dockerfile is called.
        name: String,
        /// The Dockerfile.
        text: String,
        /// In the order of the text.
        diagnostics: Vec<Diagnostic>,
    },
    /// The step that failed.
    Step(FailedStep),
}

impl ProgramError {
    /// The input is wrong.
    pub(crate) fn input(headline: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, headline.into())
    }

    /// Something failed.
    pub(crate) fn failed(headline: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, headline.into())
    }

    /// A registry did not do what was wanted: why, and what helps.
    pub(crate) fn registry(headline: impl Into<String>, error: &registry::Error) -> Self {
        let mut failed = Self::failed(headline).because(error);
        failed.hints.extend(error.advice());
        failed
    }

    fn new(kind: ErrorKind, headline: String) -> Self {
        Self {
            kind,
            headline,
            causes: Vec::new(),
            hints: Vec::new(),
            detail: None,
            code: None,
        }
    }

    /// Gives it an exit code of its own.
    #[must_use]
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = Some(code);
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds what another error says, and what to do about that.
    #[must_use]
    pub(crate) fn joined(mut self, why: &Self) -> Self {
        let causes = std::iter::once(&why.headline).chain(&why.causes);
        for cause in causes {
            if !cause.is_empty() && self.causes.len() < CAUSES_MAX {
                self.causes.push(cause.clone());
            }
        }
        self.hints.extend(why.hints.iter().cloned());
        self
    }

    /// Adds an error and everything that caused it. A cause that only repeats what stands above
    /// it is left out.
    #[must_use]
    pub(crate) fn because(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            let above = self.causes.last().unwrap_or(&self.headline);
            if !text.is_empty() && !above.contains(&text) && self.causes.len() < CAUSES_MAX {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }
}

impl From<project::ReadError> for ProgramError {
    fn from(error: project::ReadError) -> Self {
        let diagnostics = error.diagnostics.into_iter().map(|found| {
            let span = dockerfile::Span::new(found.span.start, found.span.end);
            let mut diagnostic = Diagnostic::error(span, found.message, found.label);
            diagnostic.help = found.help;
            diagnostic
        });
        let mut program_error = Self::input(format!("{} cannot be used", error.name));
        program_error.detail = Some(Box::new(Detail::Findings {
            name: error.name,
            text: error.text,
            diagnostics: diagnostics.collect(),
        }));
        program_error
    }
}

impl From<BuildError> for ProgramError {
    fn from(error: BuildError) -> Self {
        let kind = error.kind();
        match error {
            BuildError::Dockerfile {
                name,
                text,
                diagnostics,
            } => {
                let mut program_error = Self::new(kind, format!("{name} cannot be built"));
                program_error.detail = Some(Box::new(Detail::Findings {
                    name,
                    text,
                    diagnostics,
                }));
                program_error
            }
            BuildError::Rules {
                name,
                text,
                diagnostics,
            } => {
                let headline = format!("{name} breaks rules, and `check=error=true` forbids it");
                let mut program_error = Self::new(kind, headline);
                program_error.detail = Some(Box::new(Detail::Findings {
                    name,
                    text,
                    diagnostics,
                }));
                program_error
            }
            BuildError::Step(step) => {
                let headline = match step.title.as_str() {
                    "" => step.message.clone(),
                    title => format!("{}: {}", render::text::title(title), step.message),
                };
                let mut program_error = Self::new(kind, headline);
                if let Some(source) = &step.source {
                    program_error = program_error.because(source.as_ref());
                }
                program_error.hints.extend(step.hint.clone());
                program_error.detail = Some(Box::new(Detail::Step(*step)));
                program_error
            }
            BuildError::Input {
                message,
                hint,
                source,
            }
            | BuildError::Failed {
                message,
                hint,
                source,
            }
            | BuildError::TagConflict {
                message,
                hint,
                source,
            } => {
                let mut program_error = Self::new(kind, message);
                if let Some(source) = &source {
                    program_error = program_error.because(source.as_ref());
                }
                program_error.hints.extend(hint);
                program_error
            }
            BuildError::Image { image, error } => {
                // The title of a step names the image.
                let is_named = matches!(&*error, BuildError::Step(step) if !step.title.is_empty());
                let mut program_error = Self::from(*error);
                if !is_named {
                    program_error.headline = format!("{image}: {}", program_error.headline);
                }
                program_error
            }
            BuildError::Interrupted => Self::new(kind, "interrupted".to_owned()),
        }
    }
}

/// The exit code of an error. Documented in docs/exit-codes.md.
pub(crate) fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Failed => 1,
        ErrorKind::TagConflict => EXIT_TAG_CONFLICT,
        ErrorKind::Input => 2,
        ErrorKind::Interrupted => EXIT_INTERRUPTED,
    }
}

/// Prints the error of a run that has one, and says how the program ends.
pub(crate) fn conclude(
    outcome: Result<ExitCode, ProgramError>,
    presentation: Presentation,
) -> ExitCode {
    let error = match outcome {
        Ok(code) => return code,
        Err(error) => error,
    };
    let text = match presentation.shape {
        Shape::Json => render::json::error(&error),
        Shape::Tty | Shape::Plain | Shape::Quiet => {
            render::excerpt::error(&error, presentation.colour)
        }
    };
    presentation.print(&text);
    ExitCode::from(error.code.unwrap_or_else(|| exit_code(error.kind)))
}

/// Makes a panic say what to do, and end with an exit code of its own that no failed build has.
/// Nothing of the store needs to be put right: whatever was unfinished is swept by the next run.
pub(crate) fn explain_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(|place| format!(" at {}:{}", place.file(), place.line()))
            .unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("unknown reason");
        // A stderr that is gone must not keep the exit code from being right.
        let _ = writeln!(
            std::io::stderr(),
            "internal error: {what}{place}\n\
             This is a bug in kiln {version}, not in your Dockerfile. Please report it at \
             {repository}/issues with this message and the command; the store is intact.",
            version = env!("CARGO_PKG_VERSION"),
            repository = env!("CARGO_PKG_REPOSITORY"),
        );
        std::process::exit(i32::from(EXIT_INTERNAL));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Cause {
        text: &'static str,
        source: Option<Box<Cause>>,
    }

    fn chain(texts: &[&'static str]) -> Option<Box<Cause>> {
        let (first, rest) = texts.split_first()?;
        Some(Box::new(Cause {
            text: first,
            source: chain(rest),
        }))
    }

    #[test]
    fn every_cause_is_said_once() {
        let check = |texts: &[&'static str], expected: &[&str]| {
            let source = chain(texts).expect("a chain");
            let error = ProgramError::failed("could not push x").because(source.as_ref());
            assert_eq!(error.causes, expected);
        };
        check(
            &["could not connect", "connection refused"],
            &["could not connect", "connection refused"],
        );
        check(&["could not push x", "refused"], &["refused"]);
        check(
            &["disk: no space left", "no space left"],
            &["disk: no space left"],
        );
    }

    #[test]
    fn kinds_have_the_documented_codes() {
        assert_eq!(exit_code(ErrorKind::Failed), 1);
        assert_eq!(exit_code(ErrorKind::Input), 2);
        assert_eq!(exit_code(ErrorKind::TagConflict), 3);
        assert_eq!(exit_code(ErrorKind::Interrupted), 130);
    }
}
