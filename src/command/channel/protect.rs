//! `kiln channel protect`: what has to be done so that a channel is moved by few.

use std::process::ExitCode;

use clap::Args;
use policy::ChannelName;
use serde_json::json;

use super::ground::{Ground, GroundOptions};
use crate::args::{Format, FormatOption};
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;

/// The branch, where git does not say which the remote's is.
const BRANCH: &str = "main";

/// Say how to protect a channel
///
/// Prints what belongs into kiln.yaml, and the commands that give only a CI system the right to write.
/// Nothing is changed: kiln's rules are a guard rail on the machine of whoever pushes, and only the
/// registry can keep others out.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln channel protect stable\n  kiln channel protect stable \
                        --member serviceAccount:ci@p1.iam.gserviceaccount.com"
)]
pub(super) struct ProtectArguments {
    /// Channel
    #[arg(value_name = "CHANNEL")]
    channel: String,

    /// Who may move it, as Google's IAM writes it [default: made from `google` in kiln.yaml]
    #[arg(long, value_name = "MEMBER")]
    member: Option<String>,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    ground: GroundOptions,
}

impl Command for ProtectArguments {
    fn run(&self, settings: &Settings, _: Presentation) -> Result<ExitCode, ProgramError> {
        let ground = Ground::read(&self.ground, settings)?;
        let channel = ground.channel(Some(&self.channel))?;
        let place = ground.place(&channel)?;
        let branch = ground.git.default_branch();
        let advice = Advice::new(
            &channel,
            &place.registry,
            branch.as_deref().unwrap_or(BRANCH),
            self.member.clone().or_else(|| member(&ground)),
            ground.rules(&channel)?.0,
        );
        print_product(&match self.format.format {
            Format::Text => advice.text(),
            Format::Json => advice.json(),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The CI system's account, as far as kiln.yaml says it.
fn member(ground: &Ground) -> Option<String> {
    let google = ground.project.google.as_ref()?;
    if let Some(account) = &google.service_account {
        return Some(format!("serviceAccount:{account}"));
    }
    let provider = google.workload_identity_provider.as_deref()?;
    let (pool, _) = provider.split_once("/providers/")?;
    let source = ground.git.source_path()?;
    Some(format!(
        "principalSet://iam.googleapis.com/{pool}/attribute.repository/{source}"
    ))
}

/// What is to be done.
struct Advice {
    channel: ChannelName,
    declaration: String,
    commands: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Advice {
    fn new(
        channel: &ChannelName,
        registry: &str,
        branch: &str,
        member: Option<String>,
        is_protected: bool,
    ) -> Self {
        let mut notes = Vec::new();
        if is_protected {
            notes.push("kiln.yaml protects this channel already".to_owned());
        }
        let mut declaration = format!(
            "channels:\n  {channel}:\n    protected: true\n    require: [clean, \"branch:{branch}\", \
             all-images, ci, not-older]\n"
        );
        let commands = match google(registry) {
            Some(at) => {
                let own = format!("{}-{channel}", at.repository.replace('.', "-"));
                let name = match at.is_own_of(channel) {
                    true => at.repository.to_owned(),
                    false => own,
                };
                let (location, project) = (at.location, at.project);
                let host = format!("{location}-docker.pkg.dev/{project}/{name}");
                declaration += &format!("    registry: {host}\n");
                notes.push(
                    "whoever may write to a repository of Artifact Registry may move every channel \
                     in it: a repository of its own is what keeps others out"
                        .to_owned(),
                );
                if member.is_none() {
                    notes.push("replace MEMBER by the account of your CI system".to_owned());
                }
                let member = member.unwrap_or_else(|| "MEMBER".to_owned());
                let at = [
                    format!("--location={location}"),
                    format!("--project={project}"),
                ];
                let of = |verb: &[&str], more: &[String]| {
                    let words = ["gcloud", "artifacts", "repositories"].iter().chain(verb);
                    let words = words.map(|word| (*word).to_owned());
                    words
                        .chain(at.clone())
                        .chain(more.iter().cloned())
                        .collect()
                };
                vec![
                    of(
                        &["create", &name],
                        &["--repository-format=docker".to_owned()],
                    ),
                    of(
                        &["add-iam-policy-binding", &name],
                        &[
                            format!("--member={member}"),
                            "--role=roles/artifactregistry.writer".to_owned(),
                        ],
                    ),
                    of(&["get-iam-policy", &name], &[]),
                ]
            }
            None => {
                notes.push(format!(
                    "{registry} is not a repository of Artifact Registry: in the registry's own \
                     settings, give only your CI system the right to push below this channel"
                ));
                Vec::new()
            }
        };
        Self {
            channel: channel.clone(),
            declaration,
            commands,
            notes,
        }
    }

    fn text(&self) -> String {
        let mut out = format!("In kiln.yaml:\n\n{}", self.declaration);
        if !self.commands.is_empty() {
            out += "\nOnce, by somebody who administers the project:\n\n";
        }
        for command in &self.commands {
            let words: Vec<String> = command.iter().map(|word| shown(word)).collect();
            out += &format!("{}\n", words.join(" "));
        }
        for note in &self.notes {
            out += &format!("\nNote: {note}.\n");
        }
        out
    }

    fn json(&self) -> String {
        let value = json!({
            "schema": 1,
            "channel": self.channel.as_str(),
            "declaration": self.declaration,
            "commands": self.commands,
            "notes": self.notes,
        });
        format!("{value:#}\n")
    }
}

/// A word for a shell, in quotes where it needs them.
fn shown(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@".contains(letter);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A repository of Artifact Registry.
struct AtGoogle<'r> {
    location: &'r str,
    project: &'r str,
    repository: &'r str,
}

impl AtGoogle<'_> {
    /// Whether it was made for this channel.
    fn is_own_of(&self, channel: &ChannelName) -> bool {
        self.repository == channel.as_str() || self.repository.ends_with(&format!("-{channel}"))
    }
}

/// `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY`, and `gcr.io/PROJECT`, which is the repository
/// `gcr.io` in `us`.
fn google(registry: &str) -> Option<AtGoogle<'_>> {
    let mut parts = registry.split('/');
    let host = parts.next()?;
    let project = parts.next()?;
    if let Some(location) = host.strip_suffix("-docker.pkg.dev") {
        return Some(AtGoogle {
            location,
            project,
            repository: parts.next()?,
        });
    }
    let location = match host {
        "gcr.io" | "us.gcr.io" => "us",
        "eu.gcr.io" => "europe",
        "asia.gcr.io" => "asia",
        _ => return None,
    };
    Some(AtGoogle {
        location,
        project,
        repository: host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(registry: &str, member: Option<&str>) -> Advice {
        let stable = "stable".parse().unwrap();
        Advice::new(&stable, registry, "main", member.map(str::to_owned), false)
    }

    #[test]
    fn artifact_registry_gets_a_repository_of_its_own() {
        let advice = advice("us-central1-docker.pkg.dev/p1/lattice", Some("user:a@b.c"));
        assert_eq!(
            advice.declaration,
            "channels:\n  stable:\n    protected: true\n    require: [clean, \"branch:main\", \
             all-images, ci, not-older]\n    registry: \
             us-central1-docker.pkg.dev/p1/lattice-stable\n"
        );
        let commands: Vec<String> = advice
            .commands
            .iter()
            .map(|words| words.join(" "))
            .collect();
        assert_eq!(
            commands[1],
            "gcloud artifacts repositories add-iam-policy-binding lattice-stable \
             --location=us-central1 --project=p1 --member=user:a@b.c \
             --role=roles/artifactregistry.writer"
        );
    }

    #[test]
    fn other_registries_get_a_sentence() {
        let advice = advice("registry.example/team", None);
        assert!(advice.commands.is_empty());
        assert!(!advice.declaration.contains("registry:"));
        assert!(advice.text().contains("right to push"));
    }

    #[test]
    fn old_hosts_are_repositories_too() {
        let check = |registry: &str, expected: Option<(&str, &str, &str)>| {
            let found = google(registry).map(|at| (at.location, at.project, at.repository));
            assert_eq!(found, expected, "{registry}");
        };
        check("gcr.io/lattice-dev", Some(("us", "lattice-dev", "gcr.io")));
        check("europe-docker.pkg.dev/p/r/more", Some(("europe", "p", "r")));
        check("europe-docker.pkg.dev/p", None);
        check("docker.io/library", None);
    }
}
