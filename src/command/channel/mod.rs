//! `kiln channel`: sets of images that are chosen as one.

mod appearance;
mod diff;
mod env;
mod fleet;
mod gate;
mod git;
mod ground;
mod helm;
mod identity;
mod list;
mod moving;
mod needed;
mod outcome;
mod promote;
mod protect;
mod prune;
mod push;
mod rollback;
mod show;
mod signed;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::diff::DiffArguments;
use self::env::EnvArguments;
pub(crate) use self::identity::TokenSource;
use self::list::ListArguments;
use self::promote::PromoteArguments;
use self::protect::ProtectArguments;
use self::prune::PruneArguments;
use self::push::PushArguments;
use self::rollback::RollbackArguments;
use self::show::ShowArguments;
use crate::args::{ProgressMode, RegistryOptions, StoreOption};
use crate::command::Command;
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;

/// Publish, look at and choose sets of images
///
/// A channel is all images of a project, built one way, that are chosen as one. Everybody has a channel
/// of their own; channels that kiln.yaml protects are moved under its rules only.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln channel push\n  eval \"$(kiln channel env)\"\n  \
                        kiln channel show stable\n  kiln channel promote kevin stable"
)]
pub(crate) struct ChannelArguments {
    #[command(subcommand)]
    verb: ChannelVerb,
}

// The help of a verb is the comment of its arguments, in its file.
/// What to do.
#[derive(Debug, Subcommand)]
enum ChannelVerb {
    Push(Box<PushArguments>),
    List(ListArguments),
    Show(ShowArguments),
    Diff(DiffArguments),
    Promote(PromoteArguments),
    Rollback(RollbackArguments),
    Env(EnvArguments),
    Prune(PruneArguments),
    Protect(ProtectArguments),
}

impl ChannelVerb {
    fn command(&self) -> &dyn Command {
        match self {
            Self::Push(push) => &**push,
            Self::List(list) => list,
            Self::Show(show) => show,
            Self::Diff(diff) => diff,
            Self::Promote(promote) => promote,
            Self::Rollback(rollback) => rollback,
            Self::Env(env) => env,
            Self::Prune(prune) => prune,
            Self::Protect(protect) => protect,
        }
    }
}

impl Command for ChannelArguments {
    fn store(&self) -> Option<&StoreOption> {
        self.verb.command().store()
    }

    fn registry(&self) -> Option<&RegistryOptions> {
        self.verb.command().registry()
    }

    fn progress(&self) -> ProgressMode {
        self.verb.command().progress()
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        self.verb.command().run(settings, presentation)
    }
}
