//! `kiln cache du`: what takes how much space.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::json;
use store::Store;
use store::inventory::{Item, Part};

use super::filter::{Filters, kind};
use super::{Format, ListFlags, unreadable};
use crate::command::print_product;
use crate::error::ProgramError;
use crate::render::text::title as printable;
use crate::render::times::{ago, stamp};
use crate::render::units;

/// As many digits of a name as tell it from others.
const NAME_COLUMNS: usize = 12;

/// Shows it: by kind, and thing by thing when more is asked for.
pub(super) fn run(
    flags: &ListFlags,
    filters: &Filters,
    store: &Store,
) -> Result<ExitCode, ProgramError> {
    let (mut items, mut steps) = engine::inventory(store).map_err(|error| unreadable(&error))?;
    let now = SystemTime::now();
    items.retain(|item| filters.among.has(item, now));
    items.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    let is_shown = |key: &oci::Digest| {
        let record = |item: &Item| item.part == Part::Record && item.name == key.hex();
        items.iter().any(record)
    };
    steps.retain(|step| step.keys.iter().any(is_shown));
    // What was done for a thing: for a layer and for a record.
    let title_of = |item: &Item| {
        let named = steps.iter().find(|step| match item.part {
            Part::Record => step.keys.iter().any(|key| key.hex() == item.name),
            Part::Blob => step
                .layer
                .as_ref()
                .is_some_and(|layer| layer.hex() == item.name),
            Part::Unpacked
            | Part::Index
            | Part::SeekTable
            | Part::Span
            | Part::CacheMount
            | Part::StatCache => false,
        });
        named.and_then(|step| step.title.clone())
    };
    let mut out = String::new();
    match flags.format {
        Format::Json => {
            for item in &items {
                let object = json!({
                    "id": item.name,
                    "type": kind(item.part),
                    "step": title_of(item),
                    "bytes": item.bytes,
                    "reclaimable": !item.needed,
                    "made": stamp(item.made),
                    "last_used": stamp(item.used),
                });
                let _ = writeln!(out, "{object}");
            }
        }
        Format::Table => {
            kinds(&mut out, &items, now);
            if flags.verbose {
                for item in &items {
                    let title = title_of(item);
                    let _ = writeln!(out, "\nID:           {}", printable(&item.name));
                    let _ = writeln!(out, "Type:         {}", kind(item.part));
                    if let Some(title) = title {
                        let _ = writeln!(out, "Step:         {}", printable(&title));
                    }
                    let _ = writeln!(out, "Size:         {}", units::bytes(item.bytes));
                    let _ = writeln!(out, "Reclaimable:  {}", !item.needed);
                    let _ = writeln!(out, "Made:         {}", stamp(item.made));
                    let _ = writeln!(
                        out,
                        "Last used:    {} ({})",
                        stamp(item.used),
                        ago(item.used, now)
                    );
                }
            } else if !steps.is_empty() {
                let _ = writeln!(out, "\n{:>10}  {:<15}  STEP", "LAYER", "LAST USED");
                for step in &steps {
                    let layer = match step.is_here {
                        true => units::bytes(step.layer_bytes),
                        // Its bytes are in the registry of its base.
                        false => "-".to_owned(),
                    };
                    let key = step.keys.first().map_or("", |key| key.hex());
                    let title = match &step.title {
                        Some(title) => printable(title),
                        None => key[..NAME_COLUMNS.min(key.len())].to_owned(),
                    };
                    let _ = writeln!(out, "{layer:>10}  {:<15}  {title}", ago(step.used, now));
                }
            }
        }
    }
    print_product(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn kinds(out: &mut String, items: &[Item], now: SystemTime) {
    let _ = writeln!(
        out,
        "{:<10} {:>8} {:>10} {:>12}  LAST USED",
        "TYPE", "COUNT", "SIZE", "RECLAIMABLE"
    );
    let mut row = |name: &str, of: &[&Item]| {
        let size: u64 = of.iter().map(|item| item.bytes).sum();
        let free = of.iter().filter(|item| !item.needed);
        let free: u64 = free.map(|item| item.bytes).sum();
        let used = of.iter().map(|item| item.used).max();
        let used = used.map_or_else(|| "-".to_owned(), |used| ago(used, now));
        let _ = writeln!(
            out,
            "{name:<10} {:>8} {:>10} {:>12}  {used}",
            of.len(),
            units::bytes(size),
            units::bytes(free)
        );
    };
    for part in Part::ALL {
        let of: Vec<&Item> = items.iter().filter(|item| item.part == part).collect();
        row(kind(part), &of);
    }
    row("total", &items.iter().collect::<Vec<_>>());
}
