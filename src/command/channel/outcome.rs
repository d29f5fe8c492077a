//! What moving a channel came to, or would come to.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use engine::Ports;
use publish::TagChange;
use publish::channel::KeptRecord;
use serde_json::{Value, json};

use super::appearance::{commit, image_name, images, record_json, who};
use super::ground::Ground;
use super::moving::{self, Plan};
use crate::args::Format;
use crate::command::print_product;
use crate::error::ProgramError;
use crate::render::Presentation;

/// How a channel is moved.
#[derive(Args, Debug)]
pub(super) struct MoveOptions {
    /// Move the channel even when somebody else has moved it meanwhile
    #[arg(long)]
    pub(super) take: bool,

    /// Override the rules of a protected channel: its name has to be spelled
    #[arg(long, value_name = "CHANNEL", require_equals = true)]
    force_protected: Option<String>,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl MoveOptions {
    /// The name that was spelled to override rules.
    pub(super) fn spelled(&self) -> Option<&str> {
        self.force_protected.as_deref()
    }
}

/// What was done.
pub(super) enum Moved {
    /// The channel has something new.
    Done {
        /// Its record.
        kept: Box<KeptRecord>,
        /// What became of tags.
        report: Box<publish::Report>,
    },
    /// The channel has all of it already.
    Nothing(Box<KeptRecord>),
    /// Nothing was done: this is what would be.
    Planned(Value),
}

/// Moves the channel, unless only the plan is wanted.
pub(super) async fn reach(
    plan: Plan,
    options: &MoveOptions,
    ground: &Ground,
    ports: &Ports,
) -> Result<Moved, ProgramError> {
    if options.dry_run {
        return Ok(Moved::Planned(planned(&plan)));
    }
    let (kept, outcome) = moving::carry_out(plan, ground, ports).await?;
    Ok(Moved::Done {
        kept: Box::new(kept),
        report: Box::new(outcome.report),
    })
}

fn planned(plan: &Plan) -> Value {
    let images: Vec<Value> = plan
        .moved
        .iter()
        .map(|moved| (&moved.image, true))
        .chain(plan.kept.iter().map(|image| (image, false)))
        .map(|(image, is_moved)| {
            json!({
                "name": image.name,
                "variant": image.variant,
                "repository": image.repository,
                "digest": image.digest,
                "moved": is_moved,
            })
        })
        .collect();
    json!({
        "channel": plan.channel.as_str(),
        "commit": plan.commit,
        "dirty": plan.dirty,
        "mixed": plan.mixed,
        "who": plan.admitted.who,
        "override": plan.admitted.overridden,
        "previous": plan.current,
        "images": images,
    })
}

/// Shows it.
pub(super) fn report(
    moved: &Moved,
    format: Format,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    let text = match format {
        Format::Json => {
            let value = match moved {
                Moved::Done { kept, report } => json!({
                    "schema": 1, "done": true, "record": record_json(kept), "report": report,
                }),
                Moved::Nothing(kept) => json!({
                    "schema": 1, "done": false, "record": record_json(kept),
                }),
                Moved::Planned(plan) => json!({"schema": 1, "done": false, "plan": plan}),
            };
            format!("{value:#}\n")
        }
        Format::Text => match moved {
            Moved::Done { kept, report } => done(kept, report),
            Moved::Nothing(kept) => {
                presentation.note(&format!(
                    "the channel {} has all of it already: nothing was moved",
                    kept.record.channel
                ));
                let mut out = String::new();
                images(&mut out, &kept.record);
                out
            }
            Moved::Planned(plan) => would(plan),
        },
    };
    print_product(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn done(kept: &KeptRecord, report: &publish::Report) -> String {
    let record = &kept.record;
    let tags = report.images.iter().flat_map(|image| &image.tags);
    let moved = tags.filter(|tag| tag.floating && tag.change != TagChange::Unchanged);
    let mut out = format!(
        "{} is {}{} by {}, {} tags moved, record {}\n\n",
        record.channel,
        commit(record.commit.as_deref(), record.dirty),
        if record.mixed { " (mixed)" } else { "" },
        who(&record.who),
        moved.count(),
        kept.digest.short()
    );
    images(&mut out, record);
    out
}

fn would(plan: &Value) -> String {
    let text = |key: &str| plan[key].as_str().unwrap_or("-").to_owned();
    let mut out = format!("{} would be {}:\n", text("channel"), text("commit"));
    let none = Vec::new();
    for image in plan["images"].as_array().unwrap_or(&none) {
        let of = |key: &str| image[key].as_str().unwrap_or("-");
        let verb = match image["moved"].as_bool() {
            Some(true) => "move",
            _ => "keep",
        };
        let digest = match of("digest") {
            "-" => String::new(),
            digest => format!("@{digest}"),
        };
        let _ = writeln!(
            out,
            "  {verb}  {}  {}{digest}",
            image_name(of("name"), of("variant")),
            of("repository"),
        );
    }
    out
}
