//! `kiln channel prune`: channels that nobody has moved for long are removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use oci::{Digest, Repository};
use policy::ChannelName;
use publish::channel::{HISTORY_MAX, History, HistoryEnd, current_record, history};
use registry::{Client, ErrorKind};
use serde_json::{Value, json};

use super::appearance::{age, commit, table};
use super::fleet;
use super::ground::{Ground, GroundOptions, unreadable};
use super::list::{Found, Survey, survey};
use super::needed;
use super::rollback::own_repository;
use crate::args::{Format, FormatOption, RegistryOptions};
use crate::command::{Command, amount, print_product};
use crate::error::{EXIT_MOVED, ProgramError};
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Remove channels that nobody has moved for long
///
/// Shows what would be removed, and asks; without a terminal, --yes removes it. Protected channels stay,
/// and so does every image that the record of a channel that stays has ever named, or that has a tag
/// which no channel gave it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln channel prune --older-than 30d\n  \
                        kiln channel prune kevin --older-than 1h --yes")]
pub(super) struct PruneArguments {
    /// Only these channels
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,

    /// How long ago a channel was moved last, such as 30d or 12h
    #[arg(long, value_name = "TIME", value_parser = amount::time)]
    older_than: Duration,

    /// Remove without asking
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    ground: GroundOptions,
}

/// A channel that goes.
struct Victim {
    found: Found,
    past: History,
    /// Manifests and indices of its images, by repository.
    images: BTreeMap<Repository, BTreeSet<Digest>>,
}

/// What became of the removal.
#[derive(Default)]
struct Removed {
    manifests: usize,
    kept: usize,
}

impl Command for PruneArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.ground.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let ground = Ground::read(&self.ground, settings)?;
        let mut only = BTreeSet::new();
        for name in &self.channels {
            only.insert(ground.channel(Some(name))?);
        }
        ports::converse(settings, presentation, async |client| {
            let survey = survey(&ground, client).await?;
            for note in &survey.notes {
                presentation.warn(note);
            }
            let cutoff = SystemTime::now().checked_sub(self.older_than);
            let (victims, named) = judge(&ground, client, survey, &only, cutoff).await?;
            let may = !victims.is_empty() && (self.yes || self.asked(&victims, presentation));
            let removed = match may {
                true => Some(remove(client, &victims, &named).await?),
                false => None,
            };
            print_product(&match self.format.format {
                Format::Text => text(&victims, removed.as_ref()),
                Format::Json => json(&victims, removed.as_ref()),
            })
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl PruneArguments {
    /// Whether somebody says that they may go.
    fn asked(&self, victims: &[Victim], presentation: Presentation) -> bool {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return false;
        }
        presentation.print(&text(victims, None));
        presentation.confirm("Remove them?")
    }
}

/// Which channels go, and everything that records of the others name.
async fn judge(
    ground: &Ground,
    client: &Client,
    survey: Survey,
    only: &BTreeSet<ChannelName>,
    cutoff: Option<SystemTime>,
) -> Result<(Vec<Victim>, BTreeSet<(String, Digest)>), ProgramError> {
    for name in only {
        let found = survey.channels.iter().find(|found| found.name == *name);
        match found {
            Some(found) if found.is_protected => {
                return Err(ProgramError::input(format!(
                    "the channel `{name}` is protected: it is not removed"
                )));
            }
            Some(found) if found.current.is_some() => {}
            _ => return Err(ProgramError::input(format!("there is no channel `{name}`"))),
        }
    }
    if survey.is_blind {
        return Err(ProgramError::failed(
            "what a channel names whose record cannot be read is not known, so nothing is removed",
        ));
    }
    let known: Vec<Found> = survey
        .channels
        .into_iter()
        .filter(|found| found.current.is_some())
        .collect();
    let pasts = fleet::ask(known, async |found: Found| {
        let past = history(client, &found.repository, found.name.as_str(), HISTORY_MAX).await;
        past.map(|past| (found, past)).map_err(unreadable)
    })
    .await;
    let mut victims = Vec::new();
    let mut named = BTreeSet::new();
    for answer in pasts {
        let (found, past) = answer?;
        let is_meant = only.is_empty() || only.contains(&found.name);
        if is_meant && !found.is_protected && is_older(&past, cutoff) {
            let images = images(ground, &found, &past)?;
            victims.push(Victim {
                found,
                past,
                images,
            });
            continue;
        }
        if past.end == HistoryEnd::Bound {
            return Err(ProgramError::failed(format!(
                "the channel `{}` has more than {HISTORY_MAX} states: what they name is not known, so \
                 nothing is removed",
                found.name
            )));
        }
        for image in past.records.iter().flat_map(|kept| &kept.record.images) {
            named.insert((image.repository.clone(), image.digest.clone()));
        }
    }
    Ok((victims, named))
}

/// Whether the last move was before. What is not a time is not old.
fn is_older(past: &History, cutoff: Option<SystemTime>) -> bool {
    let moved = past.records.first().and_then(|kept| {
        let time = kept.record.when.parse::<jiff::Timestamp>().ok()?;
        Some(SystemTime::from(time))
    });
    matches!((moved, cutoff), (Some(moved), Some(cutoff)) if moved < cutoff)
}

/// What the records of a channel name in repositories of its own. Whoever wrote a record must not
/// choose what else is deleted.
fn images(
    ground: &Ground,
    found: &Found,
    past: &History,
) -> Result<BTreeMap<Repository, BTreeSet<Digest>>, ProgramError> {
    let mut images: BTreeMap<Repository, BTreeSet<Digest>> = BTreeMap::new();
    for image in past.records.iter().flat_map(|kept| &kept.record.images) {
        let repository = own_repository(ground, &found.name, image)?;
        images
            .entry(repository)
            .or_default()
            .insert(image.digest.clone());
    }
    Ok(images)
}

/// Removes images, and then the records that named them, so that a removal that was cut off can be
/// repeated.
async fn remove(
    client: &Client,
    victims: &[Victim],
    named: &BTreeSet<(String, Digest)>,
) -> Result<Removed, ProgramError> {
    let mut removed = Removed::default();
    for victim in victims {
        still_old(client, victim).await?;
        for (repository, digests) in &victim.images {
            let needed = needed::needed(client, repository, &victim.past, named).await?;
            for digest in digests {
                if needed.contains(digest) {
                    removed.kept += 1;
                    continue;
                }
                remove_image(client, repository, digest, &needed, &mut removed).await?;
            }
        }
        // The record that the channel has now leads to the others: it goes last.
        for kept in victim.past.records.iter().rev() {
            delete(client, &victim.found.repository, &kept.digest, &mut removed).await?;
        }
    }
    Ok(removed)
}

/// Nobody has moved the channel since it was judged: somebody may have thought about the question
/// for long.
async fn still_old(client: &Client, victim: &Victim) -> Result<(), ProgramError> {
    let Found {
        name, repository, ..
    } = &victim.found;
    let current = current_record(client, repository, name.as_str())
        .await
        .map_err(unreadable)?;
    let current = current.map(|kept| kept.digest);
    if current.as_ref() == victim.past.records.first().map(|kept| &kept.digest) {
        return Ok(());
    }
    Err(ProgramError::failed(format!(
        "the channel `{name}` was moved by somebody else meanwhile: nothing of it is removed"
    ))
    .code(EXIT_MOVED)
    .hint("run it again: channels that are old all the same are removed then"))
}

/// An image with what is below it and what refers to it.
async fn remove_image(
    client: &Client,
    repository: &Repository,
    digest: &Digest,
    needed: &BTreeSet<Digest>,
    removed: &mut Removed,
) -> Result<(), ProgramError> {
    let failed = |error: registry::Error| {
        ProgramError::registry(format!("could not look at {repository}@{digest}"), &error)
    };
    let below = match client.manifest(&repository.at_digest(digest.clone())).await {
        Ok(document) => needed::below(&document),
        Err(error) if *error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let about = client
        .referrers(repository, digest, None)
        .await
        .map_err(failed)?;
    for referrer in about {
        // A list of referrers can be written by anybody, and name anything.
        let is_about = needed::is_about(client, repository, &referrer.digest, digest).await;
        if !needed.contains(&referrer.digest) && is_about.map_err(failed)? {
            delete(client, repository, &referrer.digest, removed).await?;
        }
    }
    // What lists goes before what is listed: some registries keep what is still listed.
    delete(client, repository, digest, removed).await?;
    for digest in below {
        if !needed.contains(&digest) {
            delete(client, repository, &digest, removed).await?;
        }
    }
    Ok(())
}

async fn delete(
    client: &Client,
    repository: &Repository,
    digest: &Digest,
    removed: &mut Removed,
) -> Result<(), ProgramError> {
    match client.delete_manifest(repository, digest).await {
        Ok(()) => removed.manifests += 1,
        Err(error) if *error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            let said = ProgramError::registry(
                format!(
                    "could not remove {repository}@{digest}: {} manifests were removed before",
                    removed.manifests
                ),
                &error,
            );
            return Err(match error.kind() {
                ErrorKind::Unsupported => said.hint(
                    "this registry does not delete over its API: use its own clean-up rules, such as \
                     clean-up policies of Artifact Registry, or switch deleting on in its configuration",
                ),
                ErrorKind::Denied | ErrorKind::Unauthorized => said.hint(
                    "deleting needs more than pushing: at Google, the role \
                     roles/artifactregistry.repoAdmin",
                ),
                _ => said,
            });
        }
    }
    Ok(())
}

fn text(victims: &[Victim], removed: Option<&Removed>) -> String {
    let mut out = String::new();
    if victims.is_empty() {
        return "Nothing to remove.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = victims
        .iter()
        .map(|victim| {
            let record = victim.past.records.first().map(|kept| &kept.record);
            let digests: usize = victim.images.values().map(BTreeSet::len).sum();
            vec![
                victim.found.name.to_string(),
                record.map_or_else(String::new, |record| {
                    commit(record.commit.as_deref(), record.dirty)
                }),
                record.map_or_else(String::new, |record| age(&record.when)),
                victim.past.records.len().to_string(),
                digests.to_string(),
            ]
        })
        .collect();
    let heads = ["CHANNEL", "COMMIT", "MOVED", "STATES", "IMAGES"];
    table(&mut out, &heads, &rows);
    let _ = match removed {
        Some(removed) => writeln!(
            out,
            "\nRemoved {} manifests; {} images stay, because another channel or a tag has them.",
            removed.manifests, removed.kept
        ),
        None => writeln!(out, "\nNothing was removed. --yes removes them."),
    };
    out
}

fn json(victims: &[Victim], removed: Option<&Removed>) -> String {
    let channels: Vec<Value> = victims
        .iter()
        .map(|victim| {
            let record = victim.past.records.first().map(|kept| &kept.record);
            let images = victim.images.iter().flat_map(|(repository, digests)| {
                digests
                    .iter()
                    .map(move |digest| format!("{repository}@{digest}"))
            });
            json!({
                "name": victim.found.name.as_str(),
                "moved": record.map(|record| &record.when),
                "records": victim.past.records.iter().map(|kept| &kept.digest).collect::<Vec<_>>(),
                "images": images.collect::<Vec<_>>(),
            })
        })
        .collect();
    let value = json!({
        "schema": 1,
        "channels": channels,
        "removed": removed.map(|removed| removed.manifests),
        "kept": removed.map(|removed| removed.kept),
    });
    format!("{value:#}\n")
}
