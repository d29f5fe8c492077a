//! Findings as workflow commands of GitHub Actions, which become annotations of the change.

use std::fmt::Write;

use super::{LintedFile, places};

pub(super) fn render(files: &[LintedFile]) -> String {
    let mut out = String::new();
    for file in files {
        for finding in &file.findings {
            let (start, end) = places(&file.text, finding);
            let command = if file.is_error(finding) {
                "error"
            } else {
                "warning"
            };
            let mut properties = format!(
                "file={},line={},endLine={},col={}",
                property(&file.name),
                start.line,
                end.line,
                start.column
            );
            // Columns of different lines are not understood.
            if start.line == end.line {
                let _ = write!(properties, ",endColumn={}", end.column);
            }
            let title = finding.rule.map_or("Dockerfile", dockerfile::Rule::name);
            let mut message = finding.message.clone();
            if let Some(help) = &finding.help {
                let _ = write!(message, "; {help}");
            }
            let _ = writeln!(
                out,
                "::{command} {properties},title={}::{}",
                property(title),
                escaped(&message)
            );
        }
    }
    out
}

/// What would end the command or begin another one.
fn escaped(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The same for a value between commas.
fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}
