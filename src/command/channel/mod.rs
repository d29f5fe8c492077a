//! `kiln channel`: sets of images that are chosen as one.

mod appearance;
mod diff;
mod env;
mod fleet;
mod git;
mod ground;
mod helm;
mod list;
mod protect;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::diff::DiffArguments;
use self::env::EnvArguments;
use self::list::ListArguments;
use self::protect::ProtectArguments;
use self::show::ShowArguments;
use crate::args::RegistryOptions;
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
    List(ListArguments),
    Show(ShowArguments),
    Diff(DiffArguments),
    Env(EnvArguments),
    Protect(ProtectArguments),
}

impl ChannelVerb {
    fn command(&self) -> &dyn Command {
        match self {
            Self::List(list) => list,
            Self::Show(show) => show,
            Self::Diff(diff) => diff,
            Self::Env(env) => env,
            Self::Protect(protect) => protect,
        }
    }
}

impl Command for ChannelArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        self.verb.command().registry()
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        self.verb.command().run(settings, presentation)
    }
}
