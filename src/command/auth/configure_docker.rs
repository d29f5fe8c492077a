//! `kiln auth configure-docker`: docker asks a helper for the accounts of some registries.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use registry::CredentialProvider as _;

use crate::accounts;
use crate::command::login::{keeper, not_kept};
use crate::command::registry_host::registry_host;
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;

/// Have docker ask a credential helper for the accounts of registries
///
/// Writes the registries into credHelpers of docker's config.json and leaves everything else there as
/// it is. kiln itself needs none of this for Google's registries.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln auth configure-docker us-docker.pkg.dev,europe-docker.pkg.dev\n  \
                        kiln auth configure-docker gcr.io --helper gcloud --yes"
)]
pub(super) struct ConfigureDockerArguments {
    /// Registries: HOST or HOST:PORT
    #[arg(value_name = "HOST", value_delimiter = ',', required = true)]
    hosts: Vec<String>,

    /// Program that docker asks: docker-credential-NAME
    #[arg(long, value_enum, value_name = "NAME", default_value = "kiln")]
    helper: Helper,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Helper {
    /// This program, under the name docker-credential-kiln
    Kiln,
    /// That of the Google Cloud SDK
    Gcloud,
    /// That of GoogleCloudPlatform/docker-credential-gcr
    Gcr,
}

impl Helper {
    fn name(self) -> &'static str {
        match self {
            Self::Kiln => "kiln",
            Self::Gcloud => "gcloud",
            Self::Gcr => "gcr",
        }
    }
}

impl Command for ConfigureDockerArguments {
    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let hosts: Vec<String> = self
            .hosts
            .iter()
            .map(|text| registry_host(text))
            .collect::<Result<_, _>>()?;
        for host in &hosts {
            if matches!(host.as_str(), "pkg.dev" | "rep.pkg.dev") {
                return Err(ProgramError::input(format!(
                    "docker looks for helpers by the whole name of a registry: `{host}` would never \
                     be used"
                ))
                .hint("name each registry, such as us-west1-docker.pkg.dev"));
            }
        }
        let keeper = keeper(settings)?;
        let servers: Vec<&str> = hosts
            .iter()
            .map(|host| registry::server_key(host))
            .collect();
        let helper = self.helper.name();
        let plan = keeper.plan_helpers(&servers, helper).map_err(not_kept)?;
        for note in &plan.notes {
            presentation.warn(note);
        }
        let provider = accounts::provider(settings);
        for host in hosts.iter().filter(|host| !provider.covers(host)) {
            presentation.warn(&format!(
                "`{host}` is no registry of Google's: docker-credential-{helper} has no account for it"
            ));
        }
        let program = format!("docker-credential-{helper}");
        if !is_program(settings, &program) {
            let how = match self.helper {
                Helper::Kiln => ": make it a link to kiln, in a directory of PATH",
                Helper::Gcloud => ": it comes with the Google Cloud SDK",
                Helper::Gcr => ", and would have to be installed",
            };
            presentation.warn(&format!("{program} is not in PATH{how}"));
        }
        let path = keeper.path().display().to_string();
        if !plan.changes {
            print_product(&format!("{path} names {helper} already\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        for (host, old) in &plan.replaced {
            presentation.warn(&format!("{host} is now asked of docker-credential-{old}"));
        }
        presentation.print(&format!("{path} will have:\n{}\n", plan.json));
        if !self.yes {
            if !settings.stdin_is_terminal {
                return Err(ProgramError::input(
                    "there is no terminal to ask whether that is right",
                )
                .hint("say so beforehand with --yes"));
            }
            if !presentation.confirm("write it?") {
                return Err(ProgramError::failed("nothing was written"));
            }
        }
        keeper.name_helpers(&servers, helper).map_err(not_kept)?;
        print_product(&format!("{path} names {helper} for {}\n", hosts.join(", ")))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn is_program(settings: &Settings, name: &str) -> bool {
    std::env::split_paths(&settings.program_path)
        .filter(|directory| directory.is_absolute())
        .any(|directory| directory.join(name).is_file())
}
