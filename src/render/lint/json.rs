//! Findings as one JSON document. Its schema is in docs/lint/README.md.

use dockerfile::Rule;
use serde_json::{Value, json};

use super::{LintedFile, places};

/// The version of the schema.
const SCHEMA: u32 = 1;

pub(super) fn render(files: &[LintedFile]) -> String {
    let files: Vec<Value> = files
        .iter()
        .map(|file| {
            let findings: Vec<Value> = file
                .findings
                .iter()
                .map(|finding| {
                    let (start, end) = places(&file.text, finding);
                    json!({
                        "rule": finding.rule.map(Rule::name),
                        "severity": if file.is_error(finding) { "error" } else { "warning" },
                        "message": finding.message,
                        "label": finding.label,
                        "hint": finding.help,
                        "line": start.line,
                        "column": start.column,
                        "end_line": end.line,
                        "end_column": end.column,
                    })
                })
                .collect();
            json!({ "file": file.name, "findings": findings })
        })
        .collect();
    format!("{:#}\n", json!({ "schema": SCHEMA, "files": files }))
}
