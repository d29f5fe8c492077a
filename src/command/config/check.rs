//! `kiln config check`: is the file understood?

use std::process::ExitCode;

use clap::Args;

use crate::args::ProjectOptions;
use crate::command::Command;
use crate::error::ProgramError;
use crate::project::{self, LoadedProject};
use crate::render::Presentation;
use crate::settings::Settings;

/// Check kiln.yaml and what is put above it
///
/// Everything that is wrong is said at once, with its line. Exit code 0: nothing; 2: something.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln config check\n  kiln config check --config ci/kiln.yaml")]
pub(super) struct CheckArguments {
    #[command(flatten)]
    project: ProjectOptions,
}

impl Command for CheckArguments {
    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let loaded = project::load(settings, (&self.project).into())?;
        presentation.print(&summary(&loaded));
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(loaded: &LoadedProject) -> String {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let project = loaded.values();
    format!(
        "{}: {}, {}, {}\n",
        loaded.declared.name,
        counted(project.images.len(), "image"),
        counted(project.channels.len(), "channel"),
        counted(project.destinations.len(), "destination"),
    )
}
