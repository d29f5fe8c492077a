//! `kiln version`.

use std::process::ExitCode;

use clap::Args;

use super::{Command, print_product};
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;

/// Print the version
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln version")]
pub(crate) struct VersionArguments {}

impl Command for VersionArguments {
    fn run(&self, _: &Settings, _: Presentation) -> Result<ExitCode, ProgramError> {
        print_product(concat!("kiln ", env!("CARGO_PKG_VERSION"), "\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}
