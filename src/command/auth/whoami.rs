//! `kiln auth whoami`: which account is used for a repository, why, and what it may do there.

use std::process::ExitCode;

use clap::Args;
use oci::{Reference, Repository};
use registry::{Access, Client, Credential, Lookup, Provided};
use serde_json::{Value, json};

use crate::args::{Format, FormatOption, RegistryOptions};
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::ports;
use crate::project::{self, ProjectFlags};
use crate::render::Presentation;
use crate::settings::Settings;

/// Show which account is used for a repository, and what it may do there
///
/// Nothing is changed: an upload is opened and cancelled again in order to see whether it may be.
/// Nothing secret is shown.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln auth whoami ghcr.io/team/app\n  kiln auth whoami \
                        us-docker.pkg.dev/p/r/app:1 --format json"
)]
pub(super) struct WhoamiArguments {
    /// Repository, or an image in it
    #[arg(value_name = "REF")]
    reference: String,

    /// Do not ask the registry
    #[arg(long)]
    offline: bool,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    registry: RegistryOptions,
}

/// What was found.
struct Answer {
    reference: Reference,
    lookup: Lookup,
    /// To pull and to push; `None` when nobody was asked.
    access: Option<(Outcome, Outcome)>,
}

/// What the registry says.
enum Outcome {
    Allowed,
    Missing,
    Refused(String),
    Unknown(String),
}

impl Command for WhoamiArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let reference: Reference = self
            .reference
            .parse()
            .map_err(|error: oci::ReferenceError| ProgramError::input(format!("REF: {error}")))?;
        // What kiln.yaml says of our account counts here too.
        project::find(settings, ProjectFlags::default())?;
        let answer = ports::converse(settings, presentation, async |client| {
            ask(client, reference, self.offline).await
        })?;
        print_product(&match self.format.format {
            Format::Text => text(&answer),
            Format::Json => format!("{:#}\n", document(&answer)),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn ask(client: &Client, reference: Reference, offline: bool) -> Result<Answer, ProgramError> {
    let repository = reference.repository();
    let lookup = look_up(client, repository).await?;
    let access = match offline {
        true => None,
        false => {
            let pull = client.may_pull(&reference).await;
            let push = client.may_push(repository).await;
            Some((outcome(pull), outcome(push)))
        }
    };
    Ok(Answer {
        reference,
        lookup,
        access,
    })
}

/// The account that is used for a repository.
pub(in crate::command) async fn look_up(
    client: &Client,
    repository: &Repository,
) -> Result<Lookup, ProgramError> {
    client.account(repository).await.map_err(|error| {
        let said = ProgramError::failed(format!("the account for {repository} cannot be used"))
            .because(&error);
        match error.advice() {
            Some(advice) => said.hint(advice),
            None => said,
        }
    })
}

fn outcome(access: Result<Access, registry::Error>) -> Outcome {
    match access {
        Ok(Access::Allowed) => Outcome::Allowed,
        Ok(Access::Missing) => Outcome::Missing,
        Ok(Access::Refused(error)) => Outcome::Refused(error.to_string()),
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

fn text(answer: &Answer) -> String {
    let mut lines = vec![
        (
            "registry",
            answer.reference.repository().registry().to_owned(),
        ),
        ("repository", answer.reference.repository().to_string()),
    ];
    match &answer.lookup.found {
        None => lines.push(("account", "none: as anybody".to_owned())),
        Some(found) => {
            lines.push(("account", found.account.name.clone()));
            if let Some(user) = user(found) {
                lines.push(("user name", user.to_owned()));
            }
            lines.push(("kind", kind(found).to_owned()));
            lines.push(("source", found.account.source.clone()));
            if let Some(left) = found.time_left {
                lines.push(("expires", format!("in {} min", left.as_secs() / 60)));
            }
        }
    }
    if let Some((pull, push)) = &answer.access {
        lines.push(("pull", pull.words()));
        lines.push(("push", push.words()));
    }
    for (at, step) in answer.lookup.trail.iter().enumerate() {
        lines.push((if at == 0 { "looked in" } else { "" }, step.clone()));
    }
    lines
        .iter()
        .map(|(name, value)| format!("{name:<11} {value}\n"))
        .collect()
}

fn document(answer: &Answer) -> Value {
    let account = answer.lookup.found.as_ref().map(|found| {
        json!({
            "name": found.account.name,
            "user-name": user(found),
            "kind": kind(found),
            "source": found.account.source,
            "expires-in-seconds": found.time_left.map(|left| left.as_secs()),
        })
    });
    let access = answer.access.as_ref();
    json!({
        "schema": 1,
        "registry": answer.reference.repository().registry(),
        "repository": answer.reference.repository().to_string(),
        "account": account,
        "looked-in": answer.lookup.trail,
        "pull": access.map(|(pull, _)| pull.document()),
        "push": access.map(|(_, push)| push.document()),
    })
}

/// The name that is shown to the registry.
fn user(found: &Provided) -> Option<&str> {
    match &found.credential {
        Credential::Password { username, .. } => Some(username),
        Credential::IdentityToken(_) | Credential::RegistryToken(_) => None,
    }
}

/// What kind of proof an account has.
pub(in crate::command) fn kind(found: &Provided) -> &'static str {
    match &found.credential {
        Credential::Password { .. } => "password",
        Credential::IdentityToken(_) => "identity-token",
        Credential::RegistryToken(_) => "registry-token",
    }
}

impl Outcome {
    fn words(&self) -> String {
        match self {
            Self::Allowed => "allowed".to_owned(),
            Self::Missing => "nothing of that name is there, or may be seen".to_owned(),
            Self::Refused(reason) => format!("refused: {reason}"),
            Self::Unknown(reason) => format!("unknown: {reason}"),
        }
    }

    fn document(&self) -> Value {
        match self {
            Self::Allowed => json!({ "outcome": "allowed" }),
            Self::Missing => json!({ "outcome": "missing" }),
            Self::Refused(reason) => json!({ "outcome": "refused", "reason": reason }),
            Self::Unknown(reason) => json!({ "outcome": "unknown", "reason": reason }),
        }
    }
}
