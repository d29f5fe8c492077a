//! `kiln login`: an account is shown to its registry, and kept when it is accepted.

use std::process::ExitCode;

use clap::Args;
use registry::{
    AccountKeeper, Credential, CredentialStore, Error as RegistryError, KeepError, Kept, Secret,
};

use super::print_product;
use super::registry_host::registry_host;
use crate::args::{GoogleOptions, RegistryOptions};
use crate::command::Command;
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;
use crate::{ports, prompt};

/// Log in to a registry
///
/// The account is shown to the registry first, and kept only when it is accepted: in docker's
/// config.json, or with the credential helper that this file names. docker and podman see it too.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln login ghcr.io -u kevin\n  printenv TOKEN | kiln login \
                        registry.example:5000 -u ci --password-stdin"
)]
pub(crate) struct LoginArguments {
    /// Registry: HOST or HOST:PORT
    #[arg(value_name = "HOST")]
    host: String,

    /// Name of the user
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,

    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,

    /// A password among the arguments is refused: everybody on the machine can see it
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        hide = true,
        conflicts_with = "password_stdin"
    )]
    password: Option<String>,

    #[command(flatten)]
    registry: RegistryOptions,
}

impl Command for LoginArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let host = registry_host(&self.host)?;
        if self.password.is_some() {
            return Err(ProgramError::input(
                "a password among the arguments can be seen by everybody on this machine, and stays \
                 in the history of the shell: it is not used",
            )
            .hint("pipe it in with --password-stdin, or leave it out to be asked for it"));
        }
        if self.registry.google != GoogleOptions::default() {
            return Err(ProgramError::input(
                "Google's accounts need no login: their tokens end within the hour",
            )
            .hint("give these flags to the command that pulls or pushes"));
        }
        let keeper = keeper(settings)?;
        let (username, password) = self.ask(settings, presentation)?;
        let is_key = username == "_json_key" || username == "_json_key_base64";
        let credential = match username.as_str() {
            "<token>" => Credential::IdentityToken(Secret::new(password)),
            _ => Credential::Password {
                username: username.clone(),
                password: Secret::new(password),
            },
        };
        let only = CredentialStore::default().with(&host, credential.clone(), "this login");
        let kept = ports::converse_as(settings, presentation, only, async |client| {
            let checked = client.check_login(&host).await;
            checked.map_err(|error| not_accepted(&host, &error))?;
            keeper.keep(&host, &credential).await.map_err(not_kept)
        })?;
        match &kept {
            Kept::File(path) => {
                presentation.warn(&format!(
                    "the password is in {} for all who can read that file: a credential helper, \
                     named there in credsStore, keeps it better",
                    path.display()
                ));
            }
            Kept::Helper { .. } => {}
        }
        if is_key {
            presentation.warn(
                "the key of an account stays good until it is deleted; jobs of a CI need none with \
                 --gcp-workload-identity-provider (docs/credentials.md)",
            );
        }
        let place = match &kept {
            Kept::File(path) => path.display().to_string(),
            Kept::Helper { program, .. } => program.clone(),
        };
        print_product(&format!(
            "logged in to {host} as {username}, kept in {place}\n"
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl LoginArguments {
    /// Name and password, from wherever they come.
    fn ask(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<(String, String), ProgramError> {
        let can_ask = settings.stdin_is_terminal;
        let username = match &self.username {
            Some(username) => username.clone(),
            None if can_ask && !self.password_stdin => prompt::line(presentation, "user name")?,
            None => {
                return Err(ProgramError::input("the name of the user is missing")
                    .hint("give it with --username"));
            }
        };
        if username.is_empty() || username.contains(':') || username.chars().any(char::is_control) {
            return Err(ProgramError::input(
                "the name of the user is empty, or holds a colon or control characters",
            ));
        }
        let password = if self.password_stdin {
            prompt::stdin()?
        } else if can_ask {
            prompt::hidden_line(presentation, "password")?
        } else {
            return Err(
                ProgramError::input("there is no terminal to ask for the password")
                    .hint("pipe it in with --password-stdin"),
            );
        };
        if password.is_empty() {
            return Err(ProgramError::input("the password is empty"));
        }
        Ok((username, password))
    }
}

/// Where accounts are kept.
pub(super) fn keeper(settings: &Settings) -> Result<AccountKeeper, ProgramError> {
    // A file of podman's may be the one that is read; docker's is the one that is written.
    AccountKeeper::new(&settings.credentials).ok_or_else(|| {
        ProgramError::input(
            "there is no place for accounts: HOME is not set, or REGISTRY_AUTH_FILE is",
        )
        .hint("name a directory with DOCKER_CONFIG")
    })
}

/// Nothing was kept or forgotten.
pub(super) fn not_kept(error: KeepError) -> ProgramError {
    ProgramError::failed("could not change the accounts").because(&error)
}

fn not_accepted(host: &str, error: &RegistryError) -> ProgramError {
    let said = ProgramError::failed(format!("could not log in to {host}: nothing was kept"))
        .because(error);
    match error.advice() {
        Some(advice) if *error.kind() != registry::ErrorKind::Unauthorized => said.hint(advice),
        _ => {
            said.hint("check the name and the password; many registries want a token in its place")
        }
    }
}
