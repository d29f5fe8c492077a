//! `kiln cache`: the build cache on this machine: what is in it, and what may go.

mod du;
mod filter;
mod ls;
mod prune;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use self::filter::Filters;
use crate::args::StoreOption;
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Look at or empty the build cache
///
/// `kiln store` looks after everything that kiln keeps, images with a name included; this is about
/// what makes builds fast, and can be made or fetched again.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln cache du\n  kiln cache prune --older-than 7d")]
pub(crate) struct CacheArguments {
    #[command(flatten)]
    store: StoreOption,

    /// What to do.
    #[command(subcommand)]
    verb: CacheVerb,
}

/// What to do with the build cache.
#[derive(Debug, Subcommand)]
enum CacheVerb {
    /// List the steps that need not be done again
    #[command(after_help = "Examples:\n  kiln cache ls --filter until=24h")]
    Ls(ListFlags),
    /// Show what takes how much space, and when it was used last
    #[command(
        after_help = "Examples:\n  kiln cache du --filter until=24h\n  kiln cache du --verbose"
    )]
    Du(ListFlags),
    /// Remove the build cache, or some of it
    #[command(
        after_help = "Examples:\n  kiln cache prune --older-than 7d\n  kiln cache prune --all --force"
    )]
    Prune(prune::PruneFlags),
}

/// What is shown, and how.
#[derive(Args, Debug)]
struct ListFlags {
    /// Show only some: until=TIME (not used for so long), type=KIND, type!=KIND, id=BEGINNING; can
    /// be repeated
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,

    /// Show everything that is known of each
    #[arg(long)]
    verbose: bool,

    /// How it is shown
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns
    Table,
    /// One object a line
    Json,
}

impl Command for CacheArguments {
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
    arguments: &CacheArguments,
    settings: &Settings,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    let filters = match &arguments.verb {
        CacheVerb::Ls(flags) | CacheVerb::Du(flags) => Filters::read(&flags.filters)?,
        CacheVerb::Prune(flags) => Filters::read(flags.filters())?,
    };
    // As for `kiln store`: files of subordinate ids.
    match super::enter_user_namespace(&settings.invocation) {
        Ok(Some(code)) => return Ok(code),
        Ok(None) => {}
        Err(error) => presentation.warn(&format!("files of other users cannot be seen: {error}")),
    }
    let store = ports::open_store(settings)?;
    match &arguments.verb {
        CacheVerb::Ls(flags) => ls::run(flags, &filters, &store),
        CacheVerb::Du(flags) => du::run(flags, &filters, &store),
        CacheVerb::Prune(flags) => prune::run(flags, filters, &store, presentation),
    }
}

fn unreadable(error: &store::DiskError) -> ProgramError {
    ProgramError::failed("could not read the store").because(error)
}
