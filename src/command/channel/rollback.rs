//! `kiln channel rollback`: a channel gets what it had before.

use std::process::ExitCode;

use clap::Args;
use oci::Repository;
use policy::Member;
use publish::channel::{
    ChannelImage, ChannelOrigin, HISTORY_MAX, History, HistoryEnd, KeptRecord, history,
};
use publish::source::{Part, Sources, open};
use publish::{Address, Content};
use registry::Client;

use super::appearance::{commit, image_name};
use super::fleet;
use super::gate::{self, Wish};
use super::ground::{Ground, GroundOptions, unreadable};
use super::moving::{MovedImage, Plan};
use super::outcome::{self, MoveOptions};
use super::signed::Signed;
use crate::args::{FormatOption, ProgressMode, ProgressOptions, RegistryOptions, StoreOption};
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Give a channel what it had before
///
/// Tags are moved back by digest; nothing is built. The record says where it went back to, and going
/// back is a state of its own: it can be undone in the same way. The rule `not-older` does not count,
/// all others do.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln channel rollback\n  kiln channel rollback stable --to \
                        3f2c91d\n  kiln channel rollback stable --to 2 --dry-run"
)]
pub(super) struct RollbackArguments {
    /// Channel [default: your own]
    #[arg(value_name = "CHANNEL")]
    channel: Option<String>,

    /// Where to: the beginning of a commit or of a record's digest, or how many states back; 0 puts
    /// tags where the record of now says
    #[arg(long, value_name = "COMMIT|RECORD|COUNT", default_value = "1")]
    to: String,

    #[command(flatten)]
    moving: MoveOptions,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    progress: ProgressOptions,

    #[command(flatten)]
    store: StoreOption,

    #[command(flatten)]
    ground: GroundOptions,
}

impl Command for RollbackArguments {
    fn store(&self) -> Option<&StoreOption> {
        Some(&self.store)
    }

    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.ground.registry)
    }

    fn progress(&self) -> ProgressMode {
        self.progress.mode()
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let ground = Ground::read(&self.ground, settings)?;
        let channel = ground.channel(self.channel.as_deref())?;
        let repository = ground.record_repository(&channel)?;
        let moved = ports::serve(settings, presentation, settings.processors, async |ports| {
            let client = &ports.client;
            let current = ground.present(client, &channel).await?;
            let past = history(client, &repository, channel.as_str(), HISTORY_MAX)
                .await
                .map_err(unreadable)?;
            let target = find(&past, &self.to)?;
            let record = &target.record;
            // Before anything is asked of repositories that a record names.
            for image in &record.images {
                own_repository(&ground, &channel, image)?;
            }
            let admitted = gate::pass(
                Wish {
                    channel: &channel,
                    current: Some(&current),
                    source: record
                        .commit
                        .as_deref()
                        .map(|commit| ground.git.facts_of(commit, record.dirty)),
                    left_out: ground.left_out(&record.images),
                    signed: Signed::There(&channel, &record.images),
                    spelled: self.moving.spelled(),
                    goes_back: true,
                },
                &ground,
                client,
                settings,
                presentation,
            )
            .await?;
            let mut images = Vec::new();
            let opened = fleet::ask(record.images.iter().collect(), async |image| {
                contents(client, image)
                    .await
                    .map(|content| (image, content))
            })
            .await;
            for opened in opened {
                let (image, content) = opened?;
                images.push(MovedImage {
                    image: image.clone(),
                    content,
                    attachments: Vec::new(),
                    seals: Vec::new(),
                    immutable_tags: Vec::new(),
                });
            }
            let plan = Plan {
                channel: channel.clone(),
                current: Some(current.digest.clone()),
                take: self.moving.take,
                retag: false,
                commit: record.commit.clone(),
                dirty: record.dirty,
                mixed: record.mixed,
                origin: Some(ChannelOrigin::Restored {
                    record: target.digest.clone(),
                }),
                admitted,
                companions: Vec::new(),
                moved: images,
                kept: Vec::new(),
            };
            outcome::reach(plan, &self.moving, &ground, ports).await
        })?;
        outcome::report(&moved, self.format.format, presentation)
    }
}

/// The state that was asked for.
fn find<'p>(past: &'p History, to: &str) -> Result<&'p KeptRecord, ProgramError> {
    let gone = |error: ProgramError| match &past.end {
        HistoryEnd::Gone(_) => error.hint("earlier states are no longer in the registry"),
        HistoryEnd::First | HistoryEnd::Bound => {
            error.hint("`kiln channel show --history 20` lists them")
        }
    };
    // A short number counts; the beginning of a commit has more digits.
    if to.len() < 4
        && let Ok(count) = to.parse::<usize>()
    {
        return past.records.get(count).ok_or_else(|| {
            gone(ProgramError::input(format!(
                "the channel has {} earlier states, not {count}",
                past.records.len() - 1
            )))
        });
    }
    let wanted = to
        .strip_prefix("sha256:")
        .unwrap_or(to)
        .to_ascii_lowercase();
    if wanted.len() < 4 || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ProgramError::input(format!(
            "--to {to}: expected a number, or at least four digits of a commit or a record"
        )));
    }
    let begins = |kept: &&KeptRecord| {
        let of = kept.record.commit.as_deref();
        kept.digest.hex().starts_with(&wanted) || of.is_some_and(|of| of.starts_with(&wanted))
    };
    let mut found = past.records.iter().filter(begins);
    let first = found.next().ok_or_else(|| {
        gone(ProgramError::input(format!(
            "the channel never had `{to}`, as far as its records tell"
        )))
    })?;
    // The newest of several states of one commit; of several commits, none.
    match found.find(|other| other.record.commit != first.record.commit) {
        None => Ok(first),
        Some(other) => Err(ProgramError::input(format!(
            "`{to}` could be {} or {}",
            commit(first.record.commit.as_deref(), first.record.dirty),
            commit(other.record.commit.as_deref(), other.record.dirty)
        ))
        .hint("give more digits")),
    }
}

/// The repository of an image of a record, if it is one of the channel's: whoever wrote the record
/// must not choose where else tags are moved.
pub(super) fn own_repository(
    ground: &Ground,
    channel: &policy::ChannelName,
    image: &ChannelImage,
) -> Result<Repository, ProgramError> {
    let member = Member {
        path: image.path.clone(),
        variant: image.variant.clone(),
    };
    let own = ground.repository(channel, &member)?;
    if own.to_string() == image.repository {
        return Ok(own);
    }
    Err(ProgramError::failed(format!(
        "the record of the channel `{channel}` has {} at {}, and the layout of channels at {own}",
        image_name(&image.name, &image.variant),
        image.repository
    ))
    .hint("when the layout was changed on purpose, push the channel anew"))
}

/// An image of a record, as its registry has it.
pub(super) async fn contents(
    client: &Client,
    image: &ChannelImage,
) -> Result<Content, ProgramError> {
    let what = image_name(&image.name, &image.variant);
    let repository: Repository = image
        .repository
        .parse()
        .map_err(|error: oci::ReferenceError| ProgramError::input(error.to_string()))?;
    let address = Address::Registry(repository.at_digest(image.digest.clone()));
    let sources = Sources {
        client: client.clone(),
        store: None,
        origins: None,
    };
    let content = open(&address, &Part::Whole, &sources)
        .await
        .map_err(|error| {
            ProgramError::failed(format!(
                "{what} cannot be read: {}@{}",
                image.repository, image.digest
            ))
            .because(&error)
        })?;
    let mut content = content;
    if let ([platform], None) = (&image.platforms[..], &content.root.platform) {
        content.root.platform = Some(platform.clone());
    }
    Ok(content)
}
