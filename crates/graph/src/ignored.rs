//! CopyIgnoredFile (C30): COPY and ADD that name what the ignore file leaves out of the context.

use dockerfile::ignore::IgnoreFile;
use dockerfile::{Diagnostic, Rule};

use crate::{BuildGraph, ContextName, CopySource, FileSource, Origin, StepKind};

/// The sources of a graph that an ignore file keeps out of the main context. Knows only the text of
/// both, so it is silent where a pattern takes back what another one leaves out.
pub fn copies_of_ignored(graph: &BuildGraph, ignore: &IgnoreFile) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    if ignore.is_empty() || ignore.has_exceptions() {
        return findings;
    }
    for step in graph.steps() {
        let (StepKind::Copy(copy), Origin::Dockerfile) = (&step.kind, &step.origin) else {
            continue;
        };
        for source in &copy.sources {
            let CopySource::Files {
                from: FileSource::Context(ContextName::Main),
                pattern,
                span,
                ..
            } = source
            else {
                continue;
            };
            let verdict = ignore.matches(pattern);
            let (ignored, what) = match pattern.as_str() {
                "" => (ignore.leaves_out_everything(), "everything"),
                path => (verdict.ignored, path),
            };
            if !ignored {
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
