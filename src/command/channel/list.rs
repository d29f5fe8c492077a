//! `kiln channel list`: which channels there are.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use oci::Repository;
use policy::{ChannelName, ChannelPlace};
use publish::channel::{ChannelError, KeptRecord, RecordError, current_record};
use registry::{Client, ErrorKind};
use serde_json::{Value, json};

use super::appearance::{age, commit, record_json, table};
use super::fleet;
use super::ground::{Ground, GroundOptions, unreadable};
use crate::args::{Format, FormatOption, RegistryOptions};
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// The most repositories that are looked into for records.
const CANDIDATES_MAX: usize = 2000;

/// Show which channels there are
///
/// Those that kiln.yaml declares, your own, and those whose records are found below the prefix where
/// the registry lists its repositories.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln channel list\n  kiln channel list --format json")]
pub(super) struct ListArguments {
    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    ground: GroundOptions,
}

/// A channel that there is, or should be.
pub(super) struct Found {
    /// Its name.
    pub(super) name: ChannelName,
    /// Where its record is, or would be.
    pub(super) repository: Repository,
    /// Whether its rules must hold.
    pub(super) is_protected: bool,
    /// What it has.
    pub(super) current: Option<KeptRecord>,
}

impl Command for ListArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.ground.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let ground = Ground::read(&self.ground, settings)?;
        let survey = ports::converse(settings, presentation, async |client| {
            survey(&ground, client).await
        })?;
        for note in &survey.notes {
            presentation.warn(note);
        }
        print_product(&match self.format.format {
            Format::Text => text(&survey.channels),
            Format::Json => json(&survey),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// All channels that could be found.
pub(super) struct Survey {
    /// The channels, by name.
    pub(super) channels: Vec<Found>,
    /// What keeps the list from being complete.
    pub(super) notes: Vec<String>,
    /// Whether a channel has a record that cannot be read: what it names is not known.
    pub(super) is_blind: bool,
}

/// Looks for channels.
pub(super) async fn survey(ground: &Ground, client: &Client) -> Result<Survey, ProgramError> {
    let mut names: BTreeMap<ChannelName, bool> = BTreeMap::new();
    for name in ground.project.channels.keys() {
        if let Ok(name) = name.parse() {
            names.insert(name, true);
        }
    }
    // Nobody has to have a channel in order to see others'.
    if let Ok(own) = ground.channel(None) {
        names.insert(own, true);
    }
    let mut notes = Vec::new();
    for name in listed(ground, client, &mut notes).await? {
        names.entry(name).or_insert(false);
    }
    let questions: Vec<(ChannelName, bool)> = names.into_iter().collect();
    // What cannot be read, and whether it is a record.
    let unread: Mutex<Vec<(String, bool)>> = Mutex::default();
    let answers = fleet::ask(questions, async |(name, is_expected)| {
        let repository = ground.record_repository(&name)?;
        let (is_protected, _) = ground.rules(&name)?;
        let current = match current_record(client, &repository, name.as_str()).await {
            Ok(current) => current,
            // An image that somebody called `current`; where a channel is expected, it is wrong.
            Err(ChannelError::Record {
                source: RecordError::NotARecord(_),
                ..
            }) if !is_expected => None,
            // What cannot be read of one must not hide the others.
            Err(error) if !is_expected && is_its_own(&error) => {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                let note = format!(
                    "the channel `{name}` is left out: {error}: {}",
                    why.unwrap_or_default()
                );
                let is_record = matches!(error, ChannelError::Record { .. });
                let mut unread = unread.lock().unwrap_or_else(PoisonError::into_inner);
                unread.push((note, is_record));
                None
            }
            Err(error) => return Err(unreadable(error)),
        };
        let is_there = is_expected || current.is_some();
        Ok(is_there.then_some(Found {
            name,
            repository,
            is_protected,
            current,
        }))
    })
    .await;
    let channels = answers
        .into_iter()
        .collect::<Result<Vec<_>, ProgramError>>()?;
    let unread = unread.into_inner().unwrap_or_else(PoisonError::into_inner);
    let is_blind = unread.iter().any(|(_, is_record)| *is_record);
    notes.extend(unread.into_iter().map(|(note, _)| note));
    Ok(Survey {
        channels: channels.into_iter().flatten().collect(),
        notes,
        is_blind,
    })
}

/// Whether an error is about one channel, and not about the registry.
fn is_its_own(error: &ChannelError) -> bool {
    match error {
        ChannelError::Record { .. } => true,
        ChannelError::Wire { source, .. } => {
            matches!(source.kind(), ErrorKind::Denied | ErrorKind::Unauthorized)
        }
    }
}

/// Names of channels whose records could be in repositories that the registry lists.
async fn listed(
    ground: &Ground,
    client: &Client,
    notes: &mut Vec<String>,
) -> Result<Vec<ChannelName>, ProgramError> {
    let mark: ChannelName = "x".parse().expect("a name");
    let place = ground.place(&mark)?;
    let root = ground.record_repository(&mark)?;
    let repositories = match client.repositories(&root).await {
        Ok(repositories) => repositories,
        Err(error) => {
            notes.push(format!(
                "{} does not list its repositories to you: only declared channels and your own are \
                 shown ({error})",
                root.registry()
            ));
            return Ok(Vec::new());
        }
    };
    let mut names: Vec<ChannelName> = repositories
        .iter()
        .filter_map(|repository| channel_of(ground, &place, &root, repository))
        .collect();
    if names.len() > CANDIDATES_MAX {
        notes.push(format!(
            "of {} repositories that could be of channels, only {CANDIDATES_MAX} were looked into",
            names.len()
        ));
        names.truncate(CANDIDATES_MAX);
    }
    Ok(names)
}

/// The channel whose record would be in a repository. `root` is where that of `x` would be.
fn channel_of(
    ground: &Ground,
    place: &ChannelPlace,
    root: &Repository,
    repository: &Repository,
) -> Option<ChannelName> {
    let (root, name) = (root.to_string(), repository.to_string());
    // The mark is at one of its places; the layout says at which.
    root.match_indices('x').find_map(|(at, _)| {
        let text = name
            .strip_prefix(&root[..at])?
            .strip_suffix(&root[at + 1..])?;
        let channel: ChannelName = text.parse().ok()?;
        let there = ChannelPlace {
            channel: channel.clone(),
            ..place.clone()
        };
        let expected = ground.layout.record_repository(&there).ok()?;
        (expected == *repository).then_some(channel)
    })
}

fn text(channels: &[Found]) -> String {
    let rows: Vec<Vec<String>> = channels
        .iter()
        .map(|found| {
            let protected = if found.is_protected { "yes" } else { "" };
            let mut row = vec![found.name.to_string()];
            match &found.current {
                Some(kept) => {
                    let record = &kept.record;
                    row.push(commit(record.commit.as_deref(), record.dirty));
                    row.push(age(&record.when));
                    row.push(record.images.len().to_string());
                    row.push(if record.mixed { "yes" } else { "" }.to_owned());
                    row.push(protected.to_owned());
                    row.push(record.who.name.clone());
                }
                None => {
                    row.extend(["-", "never", "0", ""].map(str::to_owned));
                    row.push(protected.to_owned());
                    row.push("-".to_owned());
                }
            }
            row
        })
        .collect();
    let mut out = String::new();
    let heads = [
        "CHANNEL",
        "COMMIT",
        "MOVED",
        "IMAGES",
        "MIXED",
        "PROTECTED",
        "BY",
    ];
    table(&mut out, &heads, &rows);
    out
}

fn json(survey: &Survey) -> String {
    let channels: Vec<Value> = survey
        .channels
        .iter()
        .map(|found| {
            json!({
                "name": found.name.as_str(),
                "repository": found.repository.to_string(),
                "protected": found.is_protected,
                "record": found.current.as_ref().map(record_json),
            })
        })
        .collect();
    let value = json!({
        "schema": 1,
        "channels": channels,
        "complete": survey.notes.is_empty(),
    });
    format!("{value:#}\n")
}
