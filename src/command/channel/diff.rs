//! `kiln channel diff`: what two channels, or two states of one, do not have in common.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use oci::Digest;
use publish::channel::{ChannelImage, ChannelRecord, KeptRecord};
use serde_json::{Value, json};

use super::appearance::{commit, record_json, table};
use super::ground::{Ground, GroundOptions};
use crate::args::{Format, FormatOption, RegistryOptions};
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Compare two channels
///
/// Images are compared by digest: what was promoted is equal, whatever it is called.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kiln channel diff kevin stable\n  \
                        kiln channel diff kevin stable --exit-code || echo different")]
pub(super) struct DiffArguments {
    /// Channel
    #[arg(value_name = "CHANNEL")]
    one: String,

    /// Channel to compare it with
    #[arg(value_name = "CHANNEL")]
    other: String,

    /// Exit with 1 when they differ
    #[arg(long)]
    exit_code: bool,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    ground: GroundOptions,
}

/// How an image of one channel is in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Same,
    Changed,
    OnlyInOne,
    OnlyInOther,
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Changed => "changed",
            Self::OnlyInOne => "removed",
            Self::OnlyInOther => "added",
        }
    }
}

/// One image in both channels.
struct Row<'r> {
    name: &'r str,
    variant: &'r str,
    one: Option<&'r ChannelImage>,
    other: Option<&'r ChannelImage>,
    change: Change,
}

impl Command for DiffArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.ground.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let ground = Ground::read(&self.ground, settings)?;
        let one = ground.channel(Some(&self.one))?;
        let other = ground.channel(Some(&self.other))?;
        let (one, other) = ports::converse(settings, presentation, async |client| {
            let one = ground.present(client, &one).await?;
            Ok((one, ground.present(client, &other).await?))
        })?;
        let rows = rows(&one.record, &other.record);
        let differ = rows.iter().any(|row| row.change != Change::Same);
        print_product(&match self.format.format {
            Format::Text => text(&one, &other, &rows),
            Format::Json => json(&one, &other, &rows),
        })?;
        Ok(match differ && self.exit_code {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        })
    }
}

fn rows<'r>(one: &'r ChannelRecord, other: &'r ChannelRecord) -> Vec<Row<'r>> {
    let both = one.images.iter().chain(&other.images);
    let members: BTreeSet<(&str, &str)> = both
        .map(|image| (image.name.as_str(), image.variant.as_str()))
        .collect();
    let row = |(name, variant)| {
        let (one, other) = (one.image(name, variant), other.image(name, variant));
        let change = match (one, other) {
            (Some(one), Some(other)) if one.digest == other.digest => Change::Same,
            (Some(_), Some(_)) => Change::Changed,
            (Some(_), None) => Change::OnlyInOne,
            (None, _) => Change::OnlyInOther,
        };
        Row {
            name,
            variant,
            one,
            other,
            change,
        }
    };
    members.into_iter().map(row).collect()
}

fn text(one: &KeptRecord, other: &KeptRecord, rows: &[Row<'_>]) -> String {
    let mut out = String::new();
    let short = |image: Option<&ChannelImage>| match image {
        Some(image) => image.digest.short().to_owned(),
        None => "-".to_owned(),
    };
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.name.to_owned(),
                row.variant.to_owned(),
                row.change.word().to_owned(),
                short(row.one),
                short(row.other),
            ]
        })
        .collect();
    let head = |kept: &KeptRecord| {
        let record = &kept.record;
        let of = commit(record.commit.as_deref(), record.dirty);
        format!("{} ({of})", record.channel)
    };
    let heads = (head(one), head(other));
    table(
        &mut out,
        &["IMAGE", "VARIANT", "STATE", &heads.0, &heads.1],
        &lines,
    );
    out
}

fn json(one: &KeptRecord, other: &KeptRecord, rows: &[Row<'_>]) -> String {
    let digest = |image: Option<&ChannelImage>| -> Option<Digest> {
        image.map(|image| image.digest.clone())
    };
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "variant": row.variant,
                "state": row.change.word(),
                "from": digest(row.one),
                "to": digest(row.other),
            })
        })
        .collect();
    let value = json!({
        "schema": 1,
        "from": record_json(one),
        "to": record_json(other),
        "images": rows,
    });
    format!("{value:#}\n")
}
