//! `kiln cache ls`: the steps that need not be done again.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use engine::CachedStep;
use serde_json::json;
use store::Store;
use store::inventory::Part;

use super::filter::Filters;
use super::{Format, ListFlags, unreadable};
use crate::command::print_product;
use crate::error::ProgramError;
use crate::render::times::{ago, stamp};
use crate::render::units;

/// As many digits of a key as tell it from others, as docker shows.
const KEY_DIGITS: usize = 12;

/// Shows them.
pub(super) fn run(
    flags: &ListFlags,
    filters: &Filters,
    store: &Store,
) -> Result<ExitCode, ProgramError> {
    let mut items = store.inventory().map_err(|error| unreadable(&error))?;
    let now = SystemTime::now();
    items.retain(|item| item.part == Part::Record && filters.among.has(item, now));
    let steps = engine::cached_steps(store, &items);
    let mut out = String::new();
    match flags.format {
        Format::Json => {
            for step in &steps {
                let _ = writeln!(out, "{}", object(step));
            }
        }
        Format::Table if flags.verbose => {
            for step in &steps {
                describe(&mut out, step, now);
            }
        }
        Format::Table => {
            let _ = writeln!(
                out,
                "{:<KEY_DIGITS$}  {:>10}  {:<15}  STEP",
                "KEY", "LAYER", "LAST USED"
            );
            for step in &steps {
                let _ = writeln!(
                    out,
                    "{}  {:>10}  {:<15}  {}",
                    short(step),
                    units::bytes(step.layer_bytes),
                    ago(step.used, now),
                    title(step)
                );
            }
        }
    }
    print_product(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn short(step: &CachedStep) -> &str {
    step.keys
        .first()
        .map_or("", |key| &key.hex()[..KEY_DIGITS.min(key.hex().len())])
}

/// What the step was; steps of builds that kept no title are known by what they made.
fn title(step: &CachedStep) -> String {
    match &step.title {
        Some(title) => crate::render::text::title(title),
        None => format!(
            "(a step with {})",
            units::count(step.layers, "layer", "layers")
        ),
    }
}

fn describe(out: &mut String, step: &CachedStep, now: SystemTime) {
    let _ = writeln!(out, "Step:       {}", title(step));
    if let Some(line) = step.line {
        let _ = writeln!(out, "Line:       {line}");
    }
    for key in &step.keys {
        let _ = writeln!(out, "Key:        {}", key.hex());
    }
    if let Some(layer) = &step.layer {
        let place = if step.is_here {
            "here"
        } else {
            "in a registry"
        };
        let _ = writeln!(
            out,
            "Layer:      {layer}, {}, {place}",
            units::bytes(step.layer_bytes)
        );
    }
    let _ = writeln!(out, "Layers:     {}", step.layers);
    if let Some(milliseconds) = step.took_milliseconds {
        let took = units::duration(std::time::Duration::from_millis(milliseconds));
        let _ = writeln!(out, "Took:       {took}");
    }
    let _ = writeln!(
        out,
        "Made:       {} ({})",
        stamp(step.made),
        ago(step.made, now)
    );
    let _ = writeln!(
        out,
        "Last used:  {} ({})\n",
        stamp(step.used),
        ago(step.used, now)
    );
}

pub(super) fn object(step: &CachedStep) -> serde_json::Value {
    let keys: Vec<&str> = step.keys.iter().map(|key| key.hex()).collect();
    json!({
        "step": step.title,
        "line": step.line,
        "keys": keys,
        "layers": step.layers,
        "layer": step.layer,
        "layer_bytes": step.layer_bytes,
        "is_here": step.is_here,
        "took_seconds": step.took_milliseconds.map(|ms| ms as f64 / 1000.0),
        "made": stamp(step.made),
        "last_used": stamp(step.used),
    })
}
