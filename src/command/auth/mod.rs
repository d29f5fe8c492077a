//! `kiln auth`: who we are to registries, and by whose word.

mod configure_docker;
mod print_token;
pub(super) mod whoami;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::configure_docker::ConfigureDockerArguments;
use self::print_token::PrintTokenArguments;
use self::whoami::WhoamiArguments;
use crate::args::{GoogleOptions, RegistryOptions};
use crate::command::Command;
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;

/// See and set up who we are to registries
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln auth whoami us-docker.pkg.dev/project/repository/image\n  kiln auth \
                        configure-docker us-docker.pkg.dev"
)]
pub(crate) struct AuthArguments {
    #[command(subcommand)]
    verb: AuthVerb,
}

// The help of a verb is the comment of its arguments, in its file.
/// What to do.
#[derive(Debug, Subcommand)]
enum AuthVerb {
    Whoami(WhoamiArguments),
    ConfigureDocker(ConfigureDockerArguments),
    PrintToken(PrintTokenArguments),
}

impl AuthVerb {
    fn command(&self) -> &dyn Command {
        match self {
            Self::Whoami(whoami) => whoami,
            Self::ConfigureDocker(configure) => configure,
            Self::PrintToken(print) => print,
        }
    }
}

impl Command for AuthArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        self.verb.command().registry()
    }

    fn google(&self) -> Option<&GoogleOptions> {
        self.verb.command().google()
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        self.verb.command().run(settings, presentation)
    }
}
