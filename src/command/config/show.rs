//! `kiln config show`: the values that count, and where they come from.

use std::process::ExitCode;

use clap::Args;
use project::{Layered, Origin};
use serde_json::{Map, Value, json};

use crate::args::{Format, FormatOption, ProjectOptions};
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::project::{self as loading, LoadedProject, ProjectFlags};
use crate::render::Presentation;
use crate::settings::Settings;

/// Show the values that count
///
/// A flag counts before the environment, that before kiln.local.yaml, that before kiln.yaml.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln config show --origin\n  KILN_REGISTRY=localhost:5000 kiln config \
                  show --format json"
)]
pub(super) struct ShowArguments {
    /// Say where each value comes from
    #[arg(long)]
    origin: bool,

    /// The channel that is meant when none is named [default: KILN_CHANNEL, or kiln.local.yaml's]
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    project: ProjectOptions,
}

impl Command for ShowArguments {
    fn run(&self, settings: &Settings, _: Presentation) -> Result<ExitCode, ProgramError> {
        let flags = ProjectFlags {
            channel: self.channel.as_deref(),
            ..(&self.project).into()
        };
        let loaded = loading::load(settings, flags)?;
        print_product(&match self.format.format {
            Format::Text => text(&loaded.layered, self.origin),
            Format::Json => json(&loaded),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// One value.
struct Row {
    path: String,
    value: Value,
    origin: Origin,
}

/// All values that are there, maps taken apart.
fn rows(layered: &Layered) -> Vec<Row> {
    let mut rows = Vec::new();
    take_apart(layered, &mut Vec::new(), &values(layered), &mut rows);
    rows
}

fn values(layered: &Layered) -> Value {
    // A declaration has nothing that JSON could not say.
    let mut values = serde_json::to_value(&layered.project).unwrap_or_default();
    if let Some(channel) = &layered.channel {
        values["channel"] = channel.value.clone().into();
    }
    values
}

fn take_apart(layered: &Layered, path: &mut Vec<String>, value: &Value, rows: &mut Vec<Row>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                path.push(key.clone());
                take_apart(layered, path, value, rows);
                path.pop();
            }
        }
        Value::Array(items) if items.is_empty() && !written(layered, path) => {}
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let path = project::shown_path(path);
            rows.push(Row {
                origin: layered.origin(&path).clone(),
                path,
                value: value.clone(),
            });
        }
    }
}

/// An empty list that somebody wrote says something.
fn written(layered: &Layered, path: &[String]) -> bool {
    *layered.origin(&project::shown_path(path)) != Origin::BuiltIn
}

fn text(layered: &Layered, with_origin: bool) -> String {
    let shown = |value: &Value| match value {
        Value::String(text) => {
            let is_plain = |letter: char| !letter.is_control();
            match !text.is_empty() && text.chars().all(is_plain) {
                true => text.clone(),
                false => value.to_string(),
            }
        }
        other => other.to_string(),
    };
    let rows = rows(layered);
    let lines: Vec<(String, &Origin)> = rows
        .iter()
        .map(|row| (format!("{}: {}", row.path, shown(&row.value)), &row.origin))
        .collect();
    /// Longer values do not push all origins away.
    const WIDTH_MAX: usize = 60;
    let widths = lines.iter().map(|(line, _)| line.chars().count());
    let width = widths
        .filter(|width| *width <= WIDTH_MAX)
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for (line, origin) in &lines {
        match with_origin {
            true => out.push_str(&format!("{line:width$}  # {origin}\n")),
            false => out.push_str(&format!("{line}\n")),
        }
    }
    out
}

fn json(loaded: &LoadedProject) -> String {
    let mut origins = Map::new();
    for row in rows(&loaded.layered) {
        let (kind, what) = match &row.origin {
            Origin::Flag(name) => ("flag", Some(name.clone())),
            Origin::Environment(name) => ("environment", Some(name.clone())),
            Origin::File { .. } => ("file", Some(row.origin.to_string())),
            Origin::BuiltIn => ("built-in", None),
        };
        origins.insert(row.path, json!({"kind": kind, "place": what}));
    }
    let document = json!({
        "schema": 1,
        "file": loaded.declared.name,
        "directory": loaded.directory,
        "values": values(&loaded.layered),
        "origins": origins,
    });
    format!("{document:#}\n")
}
