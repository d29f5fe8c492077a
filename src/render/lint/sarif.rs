//! Findings as SARIF 2.1.0 (OASIS). Columns are counted in UTF-16 code units, which is what the log
//! says of itself (`columnKind`, section 3.14.17).

use dockerfile::{Diagnostic, Rule};
use serde_json::{Map, Value, json};

use super::{LintedFile, page};

pub(super) fn render(files: &[LintedFile]) -> String {
    let rules: Vec<Value> = Rule::ALL
        .iter()
        .map(|rule| {
            json!({
                "id": rule.name(),
                "shortDescription": { "text": rule.summary() },
                "helpUri": page(*rule),
                "defaultConfiguration": {
                    "enabled": !rule.is_experimental(),
                    "level": "warning",
                },
            })
        })
        .collect();
    let artifacts: Vec<Value> = files
        .iter()
        .map(|file| json!({ "location": { "uri": uri(&file.name) } }))
        .collect();
    let results: Vec<Value> = files
        .iter()
        .enumerate()
        .flat_map(|(index, file)| {
            let findings = file.findings.iter();
            findings.map(move |finding| result(index, file, finding))
        })
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "kiln",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            } },
            "columnKind": "utf16CodeUnits",
            "artifacts": artifacts,
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn result(index: usize, file: &LintedFile, finding: &Diagnostic) -> Value {
    let mut message = finding.message.clone();
    if let Some(help) = &finding.help {
        message.push_str("; ");
        message.push_str(help);
    }
    let level = if file.is_error(finding) {
        "error"
    } else {
        "warning"
    };
    let mut result = Map::new();
    if let Some(rule) = finding.rule {
        result.insert("ruleId".to_owned(), json!(rule.name()));
        let place = Rule::ALL.iter().position(|known| *known == rule);
        result.insert("ruleIndex".to_owned(), json!(place));
    }
    result.insert("level".to_owned(), json!(level));
    result.insert("message".to_owned(), json!({ "text": message }));
    let location = json!([{ "physicalLocation": {
        "artifactLocation": { "uri": uri(&file.name), "index": index },
        "region": region(&file.text, finding),
    } }]);
    result.insert("locations".to_owned(), location);
    Value::Object(result)
}

/// Lines and columns from 1; the end is one past the last character (section 3.30).
fn region(text: &str, finding: &Diagnostic) -> Value {
    let inside = finding.span.of(text).trim_end();
    let start = position(text, finding.span.start);
    let end = position(text, finding.span.start + inside.len());
    json!({
        "startLine": start.0,
        "startColumn": start.1,
        "endLine": end.0,
        "endColumn": end.1,
    })
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    // A byte order mark is no part of the first line.
    let line = before[line_start..].trim_start_matches('\u{feff}');
    (
        before.matches('\n').count() + 1,
        line.encode_utf16().count() + 1,
    )
}

/// A path as a reference of RFC 3986: what is no unreserved character is written in hex.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
