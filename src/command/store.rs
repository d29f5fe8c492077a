//! `kiln store`: what is kept on this machine.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use store::gc::{Amount, Damage, Kind, PruneOptions};

use super::{amount, print_product};
use crate::args::StoreOption;
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::{Presentation, units};
use crate::settings::Settings;

/// How long pruning waits for builds that use the store.
const PRUNE_PATIENCE: Duration = Duration::from_secs(10);

/// Look at, check or empty the store
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln store ls\n  kiln store verify --repair")]
pub(crate) struct StoreArguments {
    #[command(flatten)]
    store: StoreOption,

    /// What to do.
    #[command(subcommand)]
    verb: StoreVerb,
}

/// What to do with the store.
#[derive(Debug, Subcommand)]
enum StoreVerb {
    /// List the images that have a name
    #[command(after_help = "Examples:\n  kiln store ls")]
    Ls,
    /// Show what takes how much space
    #[command(after_help = "Examples:\n  kiln store du")]
    Du,
    /// Read everything and compare it with its digests
    #[command(after_help = "Examples:\n  kiln store verify\n  kiln store verify --repair")]
    Verify {
        /// Move damaged things out of the way, so that they are made or fetched again
        #[arg(long)]
        repair: bool,
    },
    /// Remove what no image with a name needs
    #[command(
        after_help = "Examples:\n  kiln store prune --older-than 7d\n  kiln store prune --all --keep-bytes 10GiB"
    )]
    Prune {
        /// Remove the build cache too: everything that no image with a name needs
        #[arg(long)]
        all: bool,
        /// Remove only what has not been used for this long, such as 12h or 7d
        #[arg(long, value_name = "TIME", value_parser = amount::time)]
        older_than: Option<Duration>,
        /// Remove the oldest until the store is this small, such as 500MB or 10GiB
        #[arg(long, value_name = "BYTES", value_parser = amount::bytes)]
        keep_bytes: Option<u64>,
    },
}

impl Command for StoreArguments {
    fn store(&self) -> Option<&StoreOption> {
        Some(&self.store)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        run(self, settings, presentation)
    }
}

/// Does it.
fn run(
    arguments: &StoreArguments,
    settings: &Settings,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    // What an ordinary user's builds unpacked belongs to subordinate ids, which only root of a
    // user namespace can read and remove. Where there is none, there is nothing of that kind.
    match super::enter_user_namespace(&settings.invocation) {
        Ok(Some(code)) => return Ok(code),
        Ok(None) => {}
        Err(error) => presentation.warn(&format!("files of other users cannot be seen: {error}")),
    }
    let store = ports::open_store(settings)?;
    match &arguments.verb {
        StoreVerb::Ls => list(&store),
        StoreVerb::Du => usage(&store),
        StoreVerb::Verify { repair } => verify(&store, *repair),
        StoreVerb::Prune {
            all,
            older_than,
            keep_bytes,
        } => {
            let options = PruneOptions {
                all: *all,
                older_than: *older_than,
                keep_bytes: *keep_bytes,
                patience: PRUNE_PATIENCE,
                ..PruneOptions::default()
            };
            prune(&store, &options)
        }
    }
}

fn list(store: &store::Store) -> Result<ExitCode, ProgramError> {
    let mut out = String::new();
    for image in store.images().list() {
        let _ = writeln!(out, "{} {}", image.target.digest, image.name);
    }
    print_product(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn usage(store: &store::Store) -> Result<ExitCode, ProgramError> {
    let usage = store
        .du()
        .map_err(|error| ProgramError::failed("could not measure the store").because(&error))?;
    let mut out = String::new();
    let mut row = |what: &str, amount: Amount| {
        let bytes = units::bytes(amount.bytes);
        let _ = writeln!(out, "{what:<16} {:>9} {bytes:>10}", amount.count);
    };
    row("blobs", usage.blobs);
    row("layer indexes", usage.indexes);
    row("seek tables", usage.seek_tables);
    row("layer parts", usage.spans);
    row("unpacked layers", usage.unpacked);
    row("cache records", usage.records);
    row("images", usage.images);
    row("context hashes", usage.stat_caches);
    row("cache mounts", usage.cache_mounts);
    row("unfinished", usage.tmp);
    row("to be deleted", usage.trash);
    let _ = writeln!(
        out,
        "{:<16} {:>9} {:>10}",
        "total",
        "",
        units::bytes(usage.bytes())
    );
    print_product(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn verify(store: &store::Store, repair: bool) -> Result<ExitCode, ProgramError> {
    let verified = store
        .verify(repair)
        .map_err(|error| ProgramError::failed("could not read the store").because(&error))?;
    let mut out = String::new();
    for Damage { kind, path, reason } in &verified.damage {
        let kind = match kind {
            Kind::Blob => "blob",
            Kind::Index => "layer index",
            Kind::SeekTable => "seek table",
            Kind::Span => "part of a layer",
            Kind::Unpacked => "unpacked layer",
            Kind::Record => "cache record",
            Kind::Image => "image name",
            Kind::StatCache => "context hashes",
            Kind::Stray => "stray file",
        };
        let _ = writeln!(out, "{kind} {}: {reason}", path.display());
    }
    let read = units::bytes(verified.bytes);
    let _ = writeln!(
        out,
        "{} objects checked, {read} read, {} damaged",
        verified.checked,
        verified.damage.len()
    );
    print_product(&out)?;
    if verified.damage.is_empty() || verified.repaired {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(ProgramError::failed("the store is damaged")
            .hint("`kiln store verify --repair` moves damaged things out of the way; the next build makes or fetches them again"))
    }
}

fn prune(store: &store::Store, options: &PruneOptions) -> Result<ExitCode, ProgramError> {
    let pruned = store
        .prune(options)
        .map_err(|error| ProgramError::failed("could not prune the store").because(&error))?;
    let freed = units::bytes(pruned.bytes);
    print_product(&format!(
        "{} objects removed, {freed} freed\n",
        pruned.removed
    ))?;
    Ok(ExitCode::SUCCESS)
}
