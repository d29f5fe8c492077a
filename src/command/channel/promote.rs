//! `kiln channel promote`: a channel gets what another one has, by digest.

use std::process::ExitCode;

use clap::Args;
use oci::{Attachment, Repository, Tag};
use policy::{ChannelName, Member};
use publish::channel::{ChannelImage, ChannelOrigin, KeptRecord};
use publish::source::{SourceError, Sources, attached, joinable};
use publish::{Address, Content, Item, Target};
use registry::Client;

use super::appearance::image_name;
use super::fleet;
use super::gate::{self, Wish};
use super::ground::{Ground, GroundOptions};
use super::moving::{MovedImage, Plan};
use super::outcome::{self, MoveOptions, Moved};
use super::rollback::{contents, own_repository};
use super::signed::Signed;
use crate::args::{FormatOption, ProgressMode, ProgressOptions, RegistryOptions, StoreOption};
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Give a channel what another one has
///
/// Images are copied by digest with all platforms, signatures and attestations; nothing is built. The
/// rules of the channel that gets them count, and what they ask about is what was built: its commit,
/// whether it was clean, whether all images are there.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln channel promote kevin stable\n  kiln channel promote staging \
                        stable --dry-run"
)]
pub(super) struct PromoteArguments {
    /// Channel that has the images
    #[arg(value_name = "FROM")]
    from: String,

    /// Channel that gets them
    #[arg(value_name = "TO")]
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

impl Command for PromoteArguments {
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
        let from = ground.channel(Some(&self.from))?;
        let to = ground.channel(Some(&self.to))?;
        if from == to {
            return Err(ProgramError::input(
                "a channel cannot be promoted to itself",
            ));
        }
        let moved = ports::serve(settings, presentation, settings.processors, async |ports| {
            let client = &ports.client;
            let source = ground.present(client, &from).await?;
            let current = ground.current(client, &to).await?;
            let record = &source.record;
            // Before anything is asked of repositories that a record names.
            for image in &record.images {
                own_repository(&ground, &from, image)?;
            }
            let admitted = gate::pass(
                Wish {
                    channel: &to,
                    current: current.as_ref(),
                    source: record
                        .commit
                        .as_deref()
                        .map(|commit| ground.git.facts_of(commit, record.dirty)),
                    left_out: ground.left_out(&record.images),
                    signed: Signed::There(&from, &record.images),
                    spelled: self.moving.spelled(),
                    goes_back: false,
                },
                &ground,
                client,
                settings,
                presentation,
            )
            .await?;
            if let Some(current) = current.as_ref().filter(|current| has_all(current, &source)) {
                return Ok(Moved::Nothing(Box::new(current.clone())));
            }
            let opened = fleet::ask(
                record.images.iter().collect(),
                async |image: &ChannelImage| {
                    let content = contents(client, image).await?;
                    let destined = destined(&ground, &to, image)?;
                    let about = about(client, image, &content, &destined).await?;
                    let moved = MovedImage {
                        image: destined,
                        content,
                        attachments: about.joined.clone(),
                        seals: Vec::new(),
                        immutable_tags: own_tags(image),
                    };
                    Ok::<_, ProgramError>((moved, about))
                },
            )
            .await;
            let (mut images, mut companions) = (Vec::new(), Vec::new());
            for opened in opened {
                let (image, about) = opened?;
                images.push(image);
                for note in about.notes {
                    presentation.warn(&note);
                }
                companions.extend(about.items);
            }
            let plan = Plan {
                channel: to.clone(),
                current: current.map(|current| current.digest),
                take: self.moving.take,
                retag: false,
                commit: record.commit.clone(),
                dirty: record.dirty,
                mixed: record.mixed,
                origin: Some(ChannelOrigin::Promoted {
                    channel: from.to_string(),
                    record: source.digest.clone(),
                }),
                admitted,
                companions,
                moved: images,
                kept: Vec::new(),
            };
            outcome::reach(plan, &self.moving, &ground, ports).await
        })?;
        outcome::report(&moved, self.format.format, presentation)
    }
}

/// An image, in the channel that gets it.
fn destined(
    ground: &Ground,
    to: &ChannelName,
    image: &ChannelImage,
) -> Result<ChannelImage, ProgramError> {
    let member = Member {
        path: image.path.clone(),
        variant: image.variant.clone(),
    };
    Ok(ChannelImage {
        repository: ground.repository(to, &member)?.to_string(),
        ..image.clone()
    })
}

/// What goes with an image.
struct About {
    items: Vec<Item>,
    /// What joins the signatures that others made of it.
    joined: Vec<Attachment>,
    notes: Vec<String>,
}

/// Signatures, attestations and whatever else refers to an image, as they are.
async fn about(
    client: &Client,
    image: &ChannelImage,
    content: &Content,
    destined: &ChannelImage,
) -> Result<About, ProgramError> {
    let parsed = |repository: &str| {
        repository
            .parse::<Repository>()
            .map_err(|error| ProgramError::input(error.to_string()))
    };
    let address = Address::Registry(parsed(&image.repository)?.at_digest(image.digest.clone()));
    let sources = Sources {
        client: client.clone(),
        store: None,
        origins: None,
    };
    let name = image_name(&image.name, &image.variant);
    let failed = |error: &SourceError| {
        ProgramError::failed(format!("what refers to {name} cannot be read")).because(error)
    };
    let set = attached(&address, content, &sources)
        .await
        .map_err(|error| failed(&error))?;
    let to = parsed(&destined.repository)?;
    let (mut items, mut joined) = (Vec::new(), Vec::new());
    for attached in set.found {
        let joinable = joinable(&attached).await.map_err(|error| failed(&error))?;
        if let Some(attachment) = joinable {
            joined.push(attachment);
            continue;
        }
        items.push(Item {
            name: format!("what is about {name}"),
            content: attached.content,
            attachments: Vec::new(),
            seals: Vec::new(),
            targets: vec![Target {
                repository: to.clone(),
                immutable_tags: Vec::new(),
                floating_tags: attached.tag.into_iter().collect(),
            }],
        });
    }
    Ok(About {
        items,
        joined,
        notes: set.notes,
    })
}

/// The tags of an image that never move. A record that was read has nothing else there.
fn own_tags(image: &ChannelImage) -> Vec<Tag> {
    image
        .tags
        .iter()
        .filter_map(|tag| tag.parse().ok())
        .collect()
}

/// Whether a channel has all that is promoted already, and nothing else.
fn has_all(current: &KeptRecord, source: &KeptRecord) -> bool {
    let (current, source) = (&current.record, &source.record);
    current.commit == source.commit
        && current.dirty == source.dirty
        && current.mixed == source.mixed
        && current.images.len() == source.images.len()
        && source.images.iter().all(|image| {
            let there = current.image(&image.name, &image.variant);
            there.is_some_and(|there| there.digest == image.digest)
        })
}
