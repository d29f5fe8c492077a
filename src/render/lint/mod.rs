//! What `kiln lint` found, one file per shape. Turns findings into text; prints nothing.

mod github;
mod json;
mod sarif;
mod text;

use dockerfile::{Diagnostic, LineColumn};

/// A file that was checked.
#[derive(Debug)]
pub(crate) struct LintedFile {
    /// As it was named.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// In the order of the text.
    pub(crate) findings: Vec<Diagnostic>,
    /// Whether broken rules are errors.
    pub(crate) rules_are_errors: bool,
}

/// How findings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LintFormat {
    /// The lines of the file with what is wrong, for people
    Text,
    /// One JSON document, see docs/lint/README.md
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of GitHub Actions
    Github,
}

impl LintedFile {
    /// Whether a finding is to be shown as an error.
    fn is_error(&self, finding: &Diagnostic) -> bool {
        finding.is_error() || (self.rules_are_errors && finding.rule.is_some())
    }
}

/// All findings in a shape.
pub(crate) fn render(files: &[LintedFile], format: LintFormat, colour: bool) -> String {
    match format {
        LintFormat::Text => text::render(files, colour),
        LintFormat::Json => json::render(files),
        LintFormat::Sarif => sarif::render(files),
        LintFormat::Github => github::render(files),
    }
}

/// The page of a rule.
pub(crate) fn page(rule: dockerfile::Rule) -> String {
    format!(
        "{}/blob/main/docs/lint/{rule}.md",
        env!("CARGO_PKG_REPOSITORY")
    )
}

/// Where a finding begins and ends. An end at the beginning of a line, or behind blanks, is where
/// the text before it ends.
fn places(text: &str, finding: &Diagnostic) -> (LineColumn, LineColumn) {
    let start = finding.span.start;
    let inside = finding.span.of(text).trim_end();
    (
        LineColumn::at(text, start),
        LineColumn::at(text, start + inside.len()),
    )
}

#[cfg(test)]
mod tests;
