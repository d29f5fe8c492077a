//! `kiln auth print-token`: an access token of Google's, for scripts.

use std::process::ExitCode;

use clap::Args;

use crate::accounts;
use crate::args::GoogleOptions;
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::ports;
use crate::project::{self, ProjectFlags};
use crate::render::Presentation;
use crate::settings::Settings;

/// Print an access token of Google's
///
/// Whoever has the token is us, for up to an hour. To a terminal it is not shown unless asked for.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  curl -H \"Authorization: Bearer $(kiln auth print-token)\" \
                        https://artifactregistry.googleapis.com/v1/projects/P/locations"
)]
pub(super) struct PrintTokenArguments {
    /// What the token is to be good for [default: everything that the account may do]
    #[arg(long = "scope", value_name = "URL")]
    scopes: Vec<String>,

    /// Show it on a terminal
    #[arg(long)]
    show: bool,

    #[command(flatten)]
    google: GoogleOptions,
}

impl Command for PrintTokenArguments {
    fn google(&self) -> Option<&GoogleOptions> {
        Some(&self.google)
    }

    fn run(&self, settings: &Settings, _: Presentation) -> Result<ExitCode, ProgramError> {
        if settings.stdout_is_terminal && !self.show {
            return Err(ProgramError::input(
                "a token is not shown on a terminal, where others may see it",
            )
            .hint("pipe it to who needs it, or give --show"));
        }
        // What kiln.yaml says of our account counts here too.
        project::find(settings, ProjectFlags::default())?;
        let google = accounts::google(settings);
        let default = [google::SCOPE_CLOUD_PLATFORM];
        let scopes: Vec<&str> = match self.scopes.is_empty() {
            true => default.to_vec(),
            false => self.scopes.iter().map(String::as_str).collect(),
        };
        let token = ports::block_on(google.access_token(&scopes))?
            .map_err(|error| accounts::google_error("there is no token", &error))?;
        print_product(&format!("{}\n", token.expose()))?;
        Ok(ExitCode::SUCCESS)
    }
}
