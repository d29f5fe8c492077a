//! `kiln cache prune`: what makes builds fast goes, images with a name stay.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use store::Store;
use store::gc::PruneOptions;
use store::inventory::Part;

use super::filter::{Filters, kind};
use crate::command::{amount, print_product};
use crate::error::ProgramError;
use crate::render::text::title as printable;
use crate::render::{Presentation, units};

/// How long pruning waits for builds that use the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// What goes. The names and what they mean are those of `docker buildx prune`.
#[derive(Args, Debug)]
pub(super) struct PruneFlags {
    /// What is known of the layers of base images too, so that they are read again
    #[arg(short, long)]
    all: bool,

    /// Only some: until=TIME (not used for so long), type=KIND, type!=KIND, id=BEGINNING; can be
    /// repeated
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,

    /// Only what has not been used for this long, such as 12h or 7d; short for --filter until=TIME
    #[arg(long, value_name = "TIME", value_parser = amount::time)]
    older_than: Option<Duration>,

    /// The oldest first, until the store is this small, such as 500MB or 10GiB
    #[arg(long, value_name = "BYTES", value_parser = amount::bytes,
          visible_aliases = ["max-used-space", "reserved-space"])]
    keep_storage: Option<u64>,

    /// The oldest first, until this much of the disk is free
    #[arg(long, value_name = "BYTES", value_parser = amount::bytes)]
    min_free_space: Option<u64>,

    /// Ask nothing
    #[arg(short, long)]
    force: bool,

    /// Say what was removed, thing by thing
    #[arg(long)]
    verbose: bool,
}

impl PruneFlags {
    pub(super) fn filters(&self) -> &[String] {
        &self.filters
    }
}

/// Removes it.
pub(super) fn run(
    flags: &PruneFlags,
    filters: Filters,
    store: &Store,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    let mut among = filters.among;
    among.unused_for = among.unused_for.max(flags.older_than);
    if !flags.all && among.parts.is_none() {
        let parts: BTreeSet<Part> = Part::ALL.into();
        among.parts = Some(
            parts
                .into_iter()
                .filter(|part| !matches!(part, Part::Index | Part::SeekTable))
                .collect(),
        );
    }
    // Somebody who types it may not know yet what it does; a script does.
    if !flags.force && std::io::stdin().is_terminal() {
        let question = "This removes the build cache as far as no image with a name needs it, or \
                        what the options say of it. Go on?";
        if !presentation.confirm(question) {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let options = PruneOptions {
        among,
        all: true,
        older_than: None,
        keep_bytes: flags.keep_storage,
        free_bytes: flags.min_free_space,
        patience: PATIENCE,
    };
    let pruned = store
        .prune(&options)
        .map_err(|error| ProgramError::failed("could not prune the cache").because(&error))?;
    let mut out = String::new();
    if flags.verbose {
        for item in &pruned.items {
            let _ = writeln!(
                out,
                "{:<9} {:>10}  {}",
                kind(item.part),
                units::bytes(item.bytes),
                printable(&item.name)
            );
        }
    }
    let _ = writeln!(
        out,
        "{} removed, {} freed",
        units::count(pruned.items.len(), "object", "objects"),
        units::bytes(pruned.bytes)
    );
    print_product(&out)?;
    Ok(ExitCode::SUCCESS)
}
