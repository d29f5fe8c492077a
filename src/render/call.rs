//! The answers of `--call`: tables for people, and JSON with the field names of BuildKit's
//! subrequests (`frontend/subrequests`), because programs read those already.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dockerfile::{LineColumn, Span};
use engine::CheckReport;
use graph::{Outline, OutlineMount, TargetLine};
use serde_json::{Map, Value, json};

use super::lint::page;
use super::text::neutralise_lines;

/// What a nameless target is called.
const NAMELESS: &str = "(default)";

/// What a target takes, for people.
pub(crate) fn outline_text(outline: &Outline) -> String {
    let mut out = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.as_deref().unwrap_or(NAMELESS).to_owned();
        let mut rows = vec![vec!["TARGET:".to_owned(), name]];
        if let Some(description) = &outline.description {
            rows.push(vec!["DESCRIPTION:".to_owned(), description.clone()]);
        }
        table(&mut out, &rows, 1);
    }
    if !outline.arguments.is_empty() {
        let mut rows = vec![row(&["BUILD ARG", "VALUE", "DESCRIPTION"])];
        for argument in &outline.arguments {
            let value = argument.value.as_deref().unwrap_or("");
            let description = argument.description.as_deref().unwrap_or("");
            rows.push(row(&[&argument.name, value, description]));
        }
        table(&mut out, &rows, 3);
    }
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if mounts.is_empty() {
            continue;
        }
        let mut rows = vec![row(&[title, "REQUIRED"])];
        for mount in mounts {
            let required = if mount.required { "true" } else { "" };
            rows.push(row(&[&mount.name, required]));
        }
        table(&mut out, &rows, 3);
    }
    // The tables are parted by empty lines, and the last one needs none behind it.
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// What a target takes, for programs.
pub(crate) fn outline_json(outline: &Outline, text: &str) -> String {
    let mut object = Map::new();
    put_text(&mut object, "name", outline.name.as_deref());
    put_text(&mut object, "description", outline.description.as_deref());
    let arguments = outline.arguments.iter().map(|argument| {
        let mut object = Map::new();
        object.insert("name".to_owned(), json!(argument.name));
        put_text(&mut object, "description", argument.description.as_deref());
        put_text(&mut object, "value", argument.value.as_deref());
        object.insert("location".to_owned(), location(text, argument.span));
        Value::Object(object)
    });
    put_list(&mut object, "args", arguments.collect());
    let mount = |mount: &OutlineMount| {
        let mut object = Map::new();
        object.insert("name".to_owned(), json!(mount.name));
        if mount.required {
            object.insert("required".to_owned(), json!(true));
        }
        object.insert("location".to_owned(), location(text, mount.span));
        Value::Object(object)
    };
    put_list(
        &mut object,
        "secrets",
        outline.secrets.iter().map(mount).collect(),
    );
    put_list(&mut object, "ssh", outline.ssh.iter().map(mount).collect());
    let caches = outline
        .caches
        .iter()
        .map(|mount| json!({ "ID": mount.name, "location": location(text, mount.span) }));
    put_list(&mut object, "cache", caches.collect());
    object.insert("sources".to_owned(), json!([STANDARD.encode(text)]));
    format!("{:#}\n", Value::Object(object))
}

/// The stages, for people.
pub(crate) fn targets_text(targets: &[TargetLine]) -> String {
    let mut rows = vec![row(&["TARGET", "DESCRIPTION"])];
    for target in targets {
        let name = match (&target.name, target.is_default) {
            (Some(name), true) => format!("{name} {NAMELESS}"),
            (Some(name), false) => name.clone(),
            (None, true) => NAMELESS.to_owned(),
            // Nobody can ask for it by name.
            (None, false) => continue,
        };
        rows.push(row(&[&name, target.description.as_deref().unwrap_or("")]));
    }
    let mut out = String::new();
    table(&mut out, &rows, 3);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// The stages, for programs.
pub(crate) fn targets_json(targets: &[TargetLine], text: &str) -> String {
    let targets: Vec<Value> = targets
        .iter()
        .map(|target| {
            let mut object = Map::new();
            put_text(&mut object, "name", target.name.as_deref());
            if target.is_default {
                object.insert("default".to_owned(), json!(true));
            }
            put_text(&mut object, "description", target.description.as_deref());
            put_text(&mut object, "base", Some(&target.base));
            put_text(&mut object, "platform", target.platform.as_deref());
            object.insert("location".to_owned(), location(text, target.span));
            Value::Object(object)
        })
        .collect();
    let answer = json!({ "targets": targets, "sources": [STANDARD.encode(text)] });
    format!("{answer:#}\n")
}

/// What a check found, for programs.
pub(crate) fn check_json(report: &CheckReport) -> String {
    let warnings: Vec<Value> = report
        .findings
        .iter()
        .filter_map(|finding| {
            let rule = finding.rule?;
            let mut detail = finding.message.clone();
            if let Some(help) = &finding.help {
                detail.push_str("; ");
                detail.push_str(help);
            }
            Some(json!({
                "ruleName": rule.name(),
                "description": rule.summary(),
                "url": page(rule),
                "detail": detail,
                "location": location(&report.text, finding.span),
            }))
        })
        .collect();
    let answer = json!({
        "warnings": warnings,
        "sources": [{
            "fileName": report.name,
            "language": "Dockerfile",
            "data": STANDARD.encode(&report.text),
        }],
    });
    format!("{answer:#}\n")
}

/// The lines of an instruction, from 1.
fn location(text: &str, span: Span) -> Value {
    let inside = span.of(text).trim_end();
    let start = LineColumn::at(text, span.start).line;
    let end = LineColumn::at(text, span.start + inside.len()).line;
    json!({ "ranges": [{ "start": { "line": start }, "end": { "line": end } }] })
}

fn put_text(object: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        object.insert(key.to_owned(), json!(value));
    }
}

fn put_list(object: &mut Map<String, Value>, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        object.insert(key.to_owned(), Value::Array(list));
    }
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// Columns as wide as their widest cell, parted by `gap` blanks; an empty line behind them.
fn table(out: &mut String, rows: &[Vec<String>], gap: usize) {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| neutralise_lines(cell)).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}", width = width + gap));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push('\n');
}
