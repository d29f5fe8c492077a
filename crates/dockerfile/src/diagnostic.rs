//! What is wrong with a text, as data. Knows nothing of terminals, files or colours.

use crate::{Rule, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The text can be built, but probably does not mean what was intended.
    Warning,
    /// The text cannot be built.
    Error,
}

/// One finding about one place of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The finding in one sentence without a full stop.
    pub message: String,
    /// The place that it is about.
    pub span: Span,
    /// A few words to print beside the place.
    pub label: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    /// The rule that is broken. An error breaks none: it is wrong whatever anybody's rules are.
    pub rule: Option<Rule>,
}

impl Diagnostic {
    /// An error without help.
    pub fn error(span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span,
            label: label.into(),
            help: None,
            rule: None,
        }
    }

    /// A warning without help.
    pub fn warning(span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message, label)
        }
    }

    /// The same finding with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same finding as one of a rule.
    #[must_use]
    pub fn of_rule(mut self, rule: Rule) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Whether the text cannot be built because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
