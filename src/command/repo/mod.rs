//! `kiln repo`: repositories of Artifact Registry.

mod ensure;
mod show;

use std::process::ExitCode;

use artifact_registry::{ApiError, Place};
use clap::{Args, Subcommand};

use self::ensure::EnsureArguments;
pub(super) use self::ensure::tags_that_move;
use self::show::ShowArguments;
use crate::args::RegistryOptions;
use crate::command::Command;
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;

/// Make and look at repositories of Google's Artifact Registry
///
/// Other registries make a repository when something is pushed to it.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln repo ensure us-central1-docker.pkg.dev/p1/gie --immutable-tags\n  \
                  kiln repo show us-central1-docker.pkg.dev/p1/gie/epp:v1"
)]
pub(crate) struct RepoArguments {
    #[command(subcommand)]
    verb: RepoVerb,
}

// The help of a verb is the comment of its arguments, in its file.
/// What to do.
#[derive(Debug, Subcommand)]
enum RepoVerb {
    Ensure(EnsureArguments),
    Show(ShowArguments),
}

impl RepoVerb {
    fn command(&self) -> &dyn Command {
        match self {
            Self::Ensure(ensure) => ensure,
            Self::Show(show) => show,
        }
    }
}

impl Command for RepoArguments {
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

/// A reference, and the place that it is in.
fn place(text: &str) -> Result<(oci::Reference, Place), ProgramError> {
    let wrong = |error: &dyn std::fmt::Display| ProgramError::input(error.to_string());
    let reference: oci::Reference = text
        .parse()
        .map_err(|error: oci::ReferenceError| wrong(&error))?;
    let repository = reference.repository();
    let place = Place::of(repository.registry(), repository.path()).map_err(|error| {
        let said = wrong(&error);
        match error {
            artifact_registry::PlaceError::Foreign(_) => {
                said.hint("other registries make a repository when something is pushed to it")
            }
            artifact_registry::PlaceError::NoProject(_)
            | artifact_registry::PlaceError::NoRepository(_)
            | artifact_registry::PlaceError::Name(_) => said,
        }
    })?;
    Ok((reference, place))
}

fn failed(headline: String, error: &ApiError) -> ProgramError {
    let said = ProgramError::failed(headline).because(error);
    match error.advice() {
        Some(advice) => said.hint(advice),
        None => said,
    }
}
