//! What is wrong with a declaration, as data. Knows nothing of terminals, files or colours.

use crate::Span;

/// One finding about one place of the text. Every finding is an error: a declaration is understood
/// as a whole, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The place that it is about.
    pub span: Span,
    /// The finding in one sentence without a full stop.
    pub message: String,
    /// A few words to print beside the place.
    pub label: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding without advice.
    pub fn error(span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            label: label.into(),
            help: None,
        }
    }

    /// The same finding with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
