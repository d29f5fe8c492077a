//! `kiln doctor`: whether everything that builds and pushes stand on is right here.
//!
//! Every check is a function that gives findings. One that cannot be made says so, and keeps no other
//! from being made.

mod chart;
mod context;
mod declaration;
mod docker;
mod finding;
mod google_account;
mod machine;
mod place;
mod reference;
mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use oci::Reference;
use project::Project;
use registry::CredentialStore;

use self::finding::{Finding, Level};
use self::reference::Extent;
use crate::accounts;
use crate::args::{Format, FormatOption, ProjectOptions, RegistryOptions, StoreOption};
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// How long one question may take.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(20);

/// The most images that are looked at.
const REFERENCES_MAX: usize = 100;

/// Look for what keeps builds and pushes from working
///
/// Nothing is changed: an upload is opened and cancelled again to see whether it may be. Nothing
/// secret is shown. Exit code 0: no problem, perhaps warnings; 1: a problem.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln doctor\n  kiln doctor us-central1-docker.pkg.dev/p1/gie/epp\n  \
                  kiln doctor --offline --chart charts/pool --format json"
)]
pub(crate) struct DoctorArguments {
    /// Images or repositories to look at [default: where kiln.yaml sends images]
    #[arg(value_name = "REF")]
    references: Vec<String>,

    /// Ask no registry and no service
    #[arg(long)]
    offline: bool,

    /// Do not ask whether images may be pushed
    #[arg(long)]
    pull_only: bool,

    /// Check that this chart reads the values of the images in kiln.yaml
    #[arg(long, value_name = "DIR")]
    chart: Option<PathBuf>,

    /// Try the sandbox, and emulators for these platforms, in a process of its own
    #[arg(long, value_name = "PLATFORMS", hide = true)]
    machine_trial: Option<String>,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    project: ProjectOptions,

    #[command(flatten)]
    registry: RegistryOptions,

    #[command(flatten)]
    store: StoreOption,
}

impl Command for DoctorArguments {
    fn store(&self) -> Option<&StoreOption> {
        Some(&self.store)
    }

    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        if let Some(platforms) = &self.machine_trial {
            return machine::run_trials(settings, platforms);
        }
        let given = self.given()?;
        let mut findings = Vec::new();
        let project = declaration::check(settings, (&self.project).into(), &mut findings);
        let values = project.as_ref().map(|project| project.values());
        let here = project.as_ref().map(|project| project.directory.as_path());
        let rules = values.map(|values| values.tags.clone()).unwrap_or_default();
        findings.extend(sources::check(
            settings,
            here.unwrap_or(Path::new(".")),
            &rules,
        ));
        findings.extend(context::check(project.as_ref()));
        if let Some(chart) = &self.chart {
            findings.extend(chart::check(chart, values));
        }
        findings.extend(machine::check(settings, project.as_ref()));
        let credentials = docker::check(settings, &mut findings);
        let references = match (given.is_empty(), values) {
            (true, Some(values)) => declaration::repositories(values, &mut findings),
            (_, _) => given,
        };
        self.ask(
            settings,
            presentation,
            values,
            (credentials, references),
            &mut findings,
        )?;
        print_product(&match self.format.format {
            Format::Text => finding::text(&findings),
            Format::Json => format!("{:#}\n", finding::document(&findings)),
        })?;
        let is_well = findings.iter().all(|found| found.level != Level::Problem);
        Ok(if is_well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

impl DoctorArguments {
    /// The images that were named.
    fn given(&self) -> Result<Vec<Reference>, ProgramError> {
        if self.references.len() > REFERENCES_MAX {
            return Err(ProgramError::input(format!(
                "{} images are more than the {REFERENCES_MAX} that can be looked at at once",
                self.references.len()
            )));
        }
        let parse = |text: &String| {
            text.parse().map_err(|error: oci::ReferenceError| {
                ProgramError::input(format!("REF {text}: {error}"))
            })
        };
        self.references.iter().map(parse).collect()
    }

    /// What others have to be asked for.
    fn ask(
        &self,
        settings: &Settings,
        presentation: Presentation,
        project: Option<&Project>,
        (credentials, mut references): (Option<CredentialStore>, Vec<Reference>),
        findings: &mut Vec<Finding>,
    ) -> Result<(), ProgramError> {
        if references.len() > REFERENCES_MAX {
            references.truncate(REFERENCES_MAX);
            findings.push(Finding::warning(
                "account",
                format!("only the first {REFERENCES_MAX} repositories are looked at"),
            ));
        }
        let is_google = |reference: &Reference| {
            let host = reference.repository().registry();
            google::is_registry_host(host) || settings.google.hosts.iter().any(|one| one == host)
        };
        let any_google = references.iter().any(is_google);
        let amiss = google_account::check_settings(settings);
        let is_token_worth_asking = amiss.is_empty() && !self.offline;
        findings.extend(amiss);
        let provider = accounts::provider(settings);
        // Without a network Google's accounts are nobody's.
        let is_asked = |reference: &&Reference| !self.offline || !is_google(reference);
        let asked: Vec<Reference> = references.iter().filter(is_asked).cloned().collect();
        let credentials = match self.offline {
            true => credentials,
            false => credentials.map(|known| known.with_provider(Arc::new(provider))),
        };
        if self.offline && any_google {
            findings.push(Finding::ok("google", "not asked (--offline)"));
        }
        let around = google_account::is_around(settings);
        if is_token_worth_asking && (any_google || around) {
            let found = google_account::check_token(settings, any_google);
            findings.push(ports::runtime(1)?.block_on(found));
        }
        if !self.offline {
            findings.extend(places(settings, &references, project)?);
        }
        let (Some(credentials), false) = (credentials, asked.is_empty()) else {
            return Ok(());
        };
        let extent = Extent {
            offline: self.offline,
            pull_only: self.pull_only,
        };
        let found = ports::converse_as(settings, presentation, credentials, async |client| {
            Ok(reference::check(client, &asked, extent).await)
        });
        match found {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(Finding::of_error(Level::Problem, "registries", &error)),
        }
        Ok(())
    }
}

/// Repositories of Artifact Registry, each once.
fn places(
    settings: &Settings,
    references: &[Reference],
    project: Option<&Project>,
) -> Result<Vec<Finding>, ProgramError> {
    let mut findings = Vec::new();
    let mut known = BTreeSet::new();
    let mut places = Vec::new();
    for reference in references {
        match place::of(reference.repository()) {
            None => {}
            Some(Err(finding)) => findings.push(finding),
            Some(Ok(place)) if known.insert(place.to_string()) => places.push(place),
            Some(Ok(_)) => {}
        }
    }
    if places.is_empty() {
        return Ok(findings);
    }
    let client = match accounts::artifact_registry(settings) {
        Ok(client) => client,
        Err(error) => {
            findings.push(Finding::of_error(Level::Warning, "repository", &error));
            return Ok(findings);
        }
    };
    let asked = async {
        for place in &places {
            findings.extend(place::check(&client, place, project).await);
        }
    };
    ports::runtime(1)?.block_on(asked);
    Ok(findings)
}

/// The answer to a question, unless it takes too long.
async fn bounded<T>(question: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(QUESTION_TIME_MAX, question).await.ok()
}
