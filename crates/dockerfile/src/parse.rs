//! Dockerfile text to a tree.

use crate::{Diagnostic, Dockerfile, Span};

/// A tree and what is wrong with the text. The tree is always there; it may be built only when no
/// diagnostic is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse {
    /// What could be understood.
    pub tree: Dockerfile,
    /// What could not, and what looks odd, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parse {
    /// Whether any diagnostic is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads a whole Dockerfile. Never fails: what is wrong is in the diagnostics.
pub fn parse(text: &str) -> Parse {
    being_written(text, '\\')
}

/// Reads one trigger as stored under `OnBuild` in an image configuration. The tree holds at most
/// one instruction and may not be FROM, MAINTAINER or ONBUILD (I9). `escape` is the escape
/// character of the file that the trigger is now part of.
pub fn parse_onbuild(text: &str, escape: char) -> Parse {
    being_written(text, escape)
}

fn being_written(text: &str, escape: char) -> Parse {
    Parse {
        tree: Dockerfile {
            escape,
            directives: Vec::new(),
            nodes: Vec::new(),
            instructions: Vec::new(),
        },
        diagnostics: vec![Diagnostic::error(
            Span::new(0, text.len()),
            "the parser is being written",
            "here",
        )],
    }
}
