//! Findings for people: each with the lines that it is about.

use dockerfile::Severity;

use super::LintedFile;
use crate::render::excerpt;

pub(super) fn render(files: &[LintedFile], colour: bool) -> String {
    let mut out = String::new();
    for file in files {
        for finding in &file.findings {
            let mut shown = finding.clone();
            if file.is_error(finding) {
                shown.severity = Severity::Error;
            }
            out.push_str(&excerpt::finding(&file.name, &file.text, &shown, colour));
            out.push_str("\n\n");
        }
    }
    out
}
