//! `kiln logout`: an account is forgotten.

use std::process::ExitCode;

use clap::Args;
use registry::Kept;

use super::login::{keeper, not_kept};
use super::print_product;
use super::registry_host::registry_host;
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Log out of a registry
///
/// The account is removed from docker's config.json, and from the credential helper that keeps it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln logout ghcr.io")]
pub(crate) struct LogoutArguments {
    /// Registry: HOST or HOST:PORT
    #[arg(value_name = "HOST")]
    host: String,
}

impl Command for LogoutArguments {
    fn run(&self, settings: &Settings, _: Presentation) -> Result<ExitCode, ProgramError> {
        let host = registry_host(&self.host)?;
        let keeper = keeper(settings)?;
        let forgotten = ports::block_on(keeper.forget(&host))?.map_err(not_kept)?;
        let mut text = String::new();
        for place in &forgotten {
            let place = match place {
                Kept::File(path) => path.display().to_string(),
                Kept::Helper { program, .. } => program.clone(),
            };
            text.push_str(&format!("logged out of {host}, removed from {place}\n"));
        }
        if forgotten.is_empty() {
            text = format!("there was no account for {host}\n");
        }
        print_product(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
