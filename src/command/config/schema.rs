//! `kiln config schema`: the form of the file, for editors.

use std::process::ExitCode;

use clap::Args;

use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;

/// Print the form of kiln.yaml as a JSON Schema
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln config schema > kiln.schema.json")]
pub(super) struct SchemaArguments {}

impl Command for SchemaArguments {
    fn run(&self, _: &Settings, _: Presentation) -> Result<ExitCode, ProgramError> {
        print_product(&format!("{:#}\n", project::schema()))?;
        Ok(ExitCode::SUCCESS)
    }
}
