//! CopyIgnoredFile (C30): COPY and ADD that name what the ignore file leaves out of the context.

use dockerfile::ignore::IgnoreFile;
use dockerfile::{Diagnostic, Rule};

use crate::{BuildGraph, ContextName, CopySource, FileSource, ImageNumber, Origin, StepKind};

/// A name like any other.
const ANYTHING: &str = "-";

/// Patterns that match every name.
const EVERYTHING: [&str; 3] = ["*", "**", "**/*"];

/// The sources of an image's steps that an ignore file keeps out of its main context. Knows only the text of
/// both, so it is silent where a pattern takes back what another one leaves out.
pub fn copies_of_ignored(
    graph: &BuildGraph,
    image: ImageNumber,
    ignore: &IgnoreFile,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    if ignore.is_empty() || ignore.has_exceptions() {
        return findings;
    }
    for step in graph.steps().iter().filter(|step| step.image == image) {
        let (StepKind::Copy(copy), Origin::Dockerfile) = (&step.kind, &step.origin) else {
            continue;
        };
        for source in &copy.sources {
            let CopySource::Files {
                from: FileSource::Context(ContextName::Main(_)),
                pattern,
                span,
                ..
            } = source
            else {
                continue;
            };
            // The root of the context is only left out with everything that is in it.
            let (path, what) = match pattern.as_str() {
                "" => (ANYTHING, "everything"),
                path => (path, path),
            };
            let verdict = ignore.matches(path);
            let by_name = !verdict.pattern.is_some_and(|by| EVERYTHING.contains(&by));
            if !verdict.ignored || (path == ANYTHING && by_name) {
                continue;
            }
            let message = format!("the ignore file leaves out `{what}`");
            let mut finding = Diagnostic::warning(*span, message, "not in the context")
                .of_rule(Rule::CopyIgnoredFile);
            if let (Some(line), Some(by)) = (verdict.line, verdict.pattern) {
                let help = format!("line {line} of the ignore file, `{by}`, leaves it out");
                finding = finding.with_help(help);
            }
            findings.push(finding);
        }
    }
    findings.sort_by_key(|finding| finding.span.start);
    findings.dedup();
    findings
}
