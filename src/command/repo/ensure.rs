//! `kiln repo ensure`: the repository is there, and as it should be.

use std::process::ExitCode;
use std::time::Duration;

use artifact_registry::{Drift, Ensured, Outcome, Place, Wanted};
use clap::Args;
use project::Project;
use serde_json::json;

use super::{failed, place};
use crate::accounts;
use crate::args::{Format, FormatOption, ProjectOptions, RegistryOptions};
use crate::command::build::values;
use crate::command::{Command, amount, print_product};
use crate::error::ProgramError;
use crate::ports;
use crate::project as loading;
use crate::render::Presentation;
use crate::settings::Settings;

/// The version of the JSON form.
const SCHEMA: u32 = 1;

/// Make a repository of Artifact Registry when it is missing
///
/// One that is there is success. Where it is not what the flags ask for, that is said, and the exit
/// code is 1; --fix changes it.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln repo ensure us-central1-docker.pkg.dev/p1/gie\n  kiln repo ensure \
                  us-central1-docker.pkg.dev/p1/gie --immutable-tags --delete-untagged-after 30d --fix"
)]
pub(super) struct EnsureArguments {
    /// The repository, or an image in it
    #[arg(value_name = "REPOSITORY")]
    repository: String,

    /// What people are told about it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Label of the repository, can be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,

    /// Whether tags can never be moved or removed
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", action = clap::ArgAction::Set)]
    immutable_tags: Option<bool>,

    /// Images of each name that clean-up keeps, whatever else it removes
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,

    /// Have clean-up remove what has no tag after this time, such as 30d
    #[arg(long, value_name = "TIME", value_parser = amount::time)]
    delete_untagged_after: Option<Duration>,

    /// Change what is not as it should be
    #[arg(long)]
    fix: bool,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    project: ProjectOptions,

    #[command(flatten)]
    registry: RegistryOptions,
}

impl Command for EnsureArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let (_, place) = place(&self.repository)?;
        let wanted = self.wanted()?;
        self.warn_of_tags_that_move(&place, settings, presentation)?;
        let client = accounts::artifact_registry(settings)?;
        let ensured = ports::runtime(settings.processors)?
            .block_on(client.ensure(&place, &wanted, self.fix))
            .map_err(|error| failed(format!("{place} is not sure to be there"), &error))?;
        print_product(&match self.format.format {
            Format::Text => text(&place, &ensured),
            Format::Json => json(&place, &ensured),
        })?;
        if ensured.drift.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let mut error = ProgramError::failed(format!("{place} is not what it should be"));
        for drift in &ensured.drift {
            error.causes.push(told(drift));
        }
        Err(match ensured.drift.iter().all(Drift::can_be_mended) {
            true => error.hint("--fix changes it"),
            false => error.hint("format, mode and location never change: make another repository"),
        })
    }
}

impl EnsureArguments {
    fn wanted(&self) -> Result<Wanted, ProgramError> {
        let labels = self.labels.iter().map(|label| values::label(label));
        Ok(Wanted {
            description: self.description.clone(),
            labels: labels.collect::<Result<_, _>>()?,
            immutable_tags: self.immutable_tags,
            keep_last: self.keep_last,
            delete_untagged_after_seconds: self.delete_untagged_after.map(|time| time.as_secs()),
        })
    }

    /// A repository either keeps all of its tags where they are, or none.
    fn warn_of_tags_that_move(
        &self,
        place: &Place,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<(), ProgramError> {
        let project = loading::find(settings, (&self.project).into())?;
        let Some(project) = project else {
            return Ok(());
        };
        if let Some(account) = &project.values().google {
            settings.declare_google(account);
        }
        if self.immutable_tags != Some(true) {
            return Ok(());
        }
        if let Some(moves) = tags_that_move(project.values(), place) {
            presentation.warn(&format!(
                "{} has {moves}, and with --immutable-tags none can be moved in {place}: give them \
                 another repository",
                project.declared.name
            ));
        }
        Ok(())
    }
}

/// What a project moves in a place, where it does.
pub(in crate::command) fn tags_that_move(project: &Project, place: &Place) -> Option<&'static str> {
    let registry = project.registry.as_deref()?;
    let rest = registry.strip_prefix(&place.to_string())?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    match (
        project.tags.floating.is_empty(),
        project.channels.is_empty(),
    ) {
        (false, _) => Some("tags that move (`tags.floating`)"),
        (true, false) => Some("channels, whose tags move"),
        (true, true) => None,
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Existed => "exists",
        Outcome::Mended => "changed",
    }
}

fn told(drift: &Drift) -> String {
    format!(
        "{}: {}, should be {}",
        drift.what, drift.found, drift.wanted
    )
}

fn text(place: &Place, ensured: &Ensured) -> String {
    format!("{}: {place}\n", word(ensured.outcome))
}

fn json(place: &Place, ensured: &Ensured) -> String {
    let drift = ensured.drift.iter().map(|drift| {
        json!({
            "what": drift.what,
            "found": drift.found,
            "wanted": drift.wanted,
            "can_be_changed": drift.can_be_mended(),
        })
    });
    let document = json!({
        "schema": SCHEMA,
        "repository": place.to_string(),
        "resource": place.resource(),
        "outcome": word(ensured.outcome),
        "drift": drift.collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}
