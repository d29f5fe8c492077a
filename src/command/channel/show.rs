//! `kiln channel show`: what a channel has.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use oci::{Digest, Repository, Tag};
use publish::channel::{ChannelRecord, HISTORY_MAX, History, HistoryEnd, KeptRecord, history};
use registry::Client;
use serde_json::{Value, json};

use super::appearance::{age, commit, image_name, images, record_json, who};
use super::fleet;
use super::ground::{Ground, GroundOptions, unreadable};
use crate::args::{Format, FormatOption, RegistryOptions};
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Show what a channel has
///
/// The channel's tags are compared with its record: a push that was cut off shows as tags that point
/// elsewhere, and pushing again repairs it.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln channel show\n  kiln channel show stable --history 10\n  \
                        kiln channel show stable --format json | jq -r '.record.commit'"
)]
pub(super) struct ShowArguments {
    /// Channel [default: your own]
    #[arg(value_name = "CHANNEL")]
    channel: Option<String>,

    /// Show this many earlier states too
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    history: usize,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    ground: GroundOptions,
}

impl Command for ShowArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.ground.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let ground = Ground::read(&self.ground, settings)?;
        let channel = ground.channel(self.channel.as_deref())?;
        let repository = ground.record_repository(&channel)?;
        let records_max = self.history.saturating_add(1).min(HISTORY_MAX);
        let (past, strays) = ports::converse(settings, presentation, async |client| {
            ground.present(client, &channel).await?;
            let past = history(client, &repository, channel.as_str(), records_max)
                .await
                .map_err(unreadable)?;
            let strays = match past.records.first() {
                Some(kept) => strays(client, &repository, &kept.record).await?,
                None => Vec::new(),
            };
            Ok((past, strays))
        })?;
        let Some(current) = past.records.first() else {
            return Err(ProgramError::failed(format!(
                "the channel `{channel}` went away while it was read"
            )));
        };
        print_product(&match self.format.format {
            Format::Text => text(&repository, current, &past, &strays),
            Format::Json => json(&repository, current, &past, &strays),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A tag of a channel that does not point at what the record says.
pub(super) struct Stray {
    name: String,
    reference: String,
    wanted: Digest,
    found: Option<Digest>,
}

/// The tags that do not point at what the record says. Whoever wrote it must not choose which hosts
/// are asked.
async fn strays(
    client: &Client,
    place: &Repository,
    record: &ChannelRecord,
) -> Result<Vec<Stray>, ProgramError> {
    let questions = record.images.iter().collect();
    let answers = fleet::ask(questions, async |image: &publish::channel::ChannelImage| {
        // A record that was read has repositories and a tag that can be read.
        let repository = image.repository.parse::<Repository>();
        let (Ok(repository), Ok(tag)) = (repository, record.tag.parse::<Tag>()) else {
            return Ok(None);
        };
        if repository.registry() != place.registry() {
            return Err(ProgramError::failed(format!(
                "the record of the channel `{}` names {repository}, which is at another host than the \
                 record: it is not asked",
                record.channel
            )));
        }
        let reference = repository.at_tag(tag);
        let found = client.tag_points_at(&reference).await.map_err(|error| {
            ProgramError::registry(format!("could not look at {reference}"), &error)
        })?;
        Ok((found.as_ref() != Some(&image.digest)).then(|| Stray {
            name: image_name(&image.name, &image.variant),
            reference: reference.to_string(),
            wanted: image.digest.clone(),
            found,
        }))
    })
    .await;
    let strays = answers
        .into_iter()
        .collect::<Result<Vec<_>, ProgramError>>()?;
    Ok(strays.into_iter().flatten().collect())
}

fn text(repository: &Repository, current: &KeptRecord, past: &History, strays: &[Stray]) -> String {
    let record = &current.record;
    let mut out = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "{:<10} {value}", format!("{key}:"));
    };
    line("Channel", &record.channel);
    let mixed = match record.mixed {
        true => " (mixed: its images come from several pushes)",
        false => "",
    };
    let of = commit(record.commit.as_deref(), record.dirty);
    line("Commit", &format!("{of}{mixed}"));
    let by = who(&record.who);
    line(
        "Moved",
        &format!("{} ({}) by {by}", record.when, age(&record.when)),
    );
    match &record.origin {
        Some(publish::channel::ChannelOrigin::Promoted { channel, record }) => {
            line(
                "From",
                &format!("the channel {channel}, its record {}", record.short()),
            );
        }
        Some(publish::channel::ChannelOrigin::Restored { record }) => {
            line("From", &format!("its earlier record {}", record.short()));
        }
        None => {}
    }
    if let Some(forced) = &record.overridden {
        line("Overrode", &forced.rules.join(", "));
    }
    line("Record", &format!("{repository}@{}", current.digest));
    match strays.len() {
        0 => line("State", "consistent"),
        count => line(
            "State",
            &format!(
                "not consistent: {count} of {} tags do not point at what the record says",
                record.images.len()
            ),
        ),
    }
    out.push('\n');
    images(&mut out, record);
    if !strays.is_empty() {
        out.push_str("\nTags that point elsewhere:\n");
    }
    for stray in strays {
        let found = match &stray.found {
            Some(digest) => digest.short(),
            None => "nothing",
        };
        let _ = writeln!(
            out,
            "  {} is at {found} and not at {}",
            stray.reference,
            stray.wanted.short()
        );
    }
    if past.records.len() > 1 {
        out.push_str("\nBefore:\n");
    }
    for kept in past.records.iter().skip(1) {
        let record = &kept.record;
        let of = commit(record.commit.as_deref(), record.dirty);
        let _ = writeln!(
            out,
            "  {}  {of}  {} by {}",
            kept.digest.short(),
            record.when,
            who(&record.who)
        );
    }
    if let HistoryEnd::Gone(digest) = &past.end {
        let _ = writeln!(out, "  {}  (no longer in the registry)", digest.short());
    }
    out
}

fn json(repository: &Repository, current: &KeptRecord, past: &History, strays: &[Stray]) -> String {
    let strays: Vec<Value> = strays
        .iter()
        .map(|stray| {
            json!({
                "image": stray.name,
                "reference": stray.reference,
                "recorded": stray.wanted,
                "found": stray.found,
            })
        })
        .collect();
    let earlier: Vec<Value> = past.records.iter().skip(1).map(record_json).collect();
    let gone = match &past.end {
        HistoryEnd::Gone(digest) => Some(digest),
        HistoryEnd::First | HistoryEnd::Bound => None,
    };
    let value = json!({
        "schema": 1,
        "channel": current.record.channel,
        "repository": repository.to_string(),
        "consistent": strays.is_empty(),
        "strays": strays,
        "record": record_json(current),
        "history": earlier,
        "gone": gone,
    });
    format!("{value:#}\n")
}
