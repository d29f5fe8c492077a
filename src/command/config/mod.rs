//! `kiln config`: what `kiln.yaml` says, what counts, and what may be in it.

mod check;
mod schema;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::check::CheckArguments;
use self::schema::SchemaArguments;
use self::show::ShowArguments;
use crate::command::Command;
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;

/// Show and check kiln.yaml
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln config show --origin\n  kiln config check")]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    verb: ConfigVerb,
}

// The help of a verb is the comment of its arguments, in its file.
/// What to do.
#[derive(Debug, Subcommand)]
enum ConfigVerb {
    Check(CheckArguments),
    Schema(SchemaArguments),
    Show(ShowArguments),
}

impl Command for ConfigArguments {
    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        match &self.verb {
            ConfigVerb::Check(check) => check.run(settings, presentation),
            ConfigVerb::Schema(schema) => schema.run(settings, presentation),
            ConfigVerb::Show(show) => show.run(settings, presentation),
        }
    }
}
