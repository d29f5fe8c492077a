//! A channel is moved: images by digest, then tags, then the record, as one publication.

use std::sync::Arc;

use engine::Ports;
use oci::{Digest, Repository, Tag};
use policy::ChannelName;
use publish::channel::{
    CHANNEL_SCHEMA, CURRENT_TAG, ChannelImage, ChannelOrigin, ChannelRecord, KeptRecord,
};
use publish::{
    Content, Context, ExpectedTag, Item, Outcome, Publication, PublishError, Target, Uploads,
};
use registry::Client;

use super::gate::Admitted;
use super::ground::Ground;
use crate::command::image_places::Reported;
use crate::error::{EXIT_MOVED, EXIT_TAG_CONFLICT, ProgramError};

/// What a channel is going to have.
pub(super) struct Plan {
    /// The channel.
    pub(super) channel: ChannelName,
    /// What it has, as it was seen when this was planned.
    pub(super) current: Option<Digest>,
    /// Whether it is moved even when somebody else has moved it meanwhile.
    pub(super) take: bool,
    /// Whether tags that never move may be moved.
    pub(super) retag: bool,
    /// The commit.
    pub(super) commit: Option<String>,
    /// Whether there is more than was committed.
    pub(super) dirty: bool,
    /// Whether the images come from several pushes.
    pub(super) mixed: bool,
    /// Where the images come from.
    pub(super) origin: Option<ChannelOrigin>,
    /// Who moves it.
    pub(super) admitted: Admitted,
    /// What is about the images, such as signatures, and goes up before them.
    pub(super) companions: Vec<Item>,
    /// Images that are sent, or whose tags are moved.
    pub(super) moved: Vec<MovedImage>,
    /// Images that stay as they are.
    pub(super) kept: Vec<ChannelImage>,
}

/// An image that a channel gets.
pub(super) struct MovedImage {
    /// What the record says of it.
    pub(super) image: ChannelImage,
    /// The image.
    pub(super) content: Content,
    /// Documents about it.
    pub(super) attachments: Vec<oci::Attachment>,
    /// Who seals it.
    pub(super) seals: Vec<Arc<dyn publish::Seal>>,
    /// Tags that never move.
    pub(super) immutable_tags: Vec<Tag>,
}

impl Plan {
    /// The record that will be the channel's.
    fn record(&self, tag: &Tag) -> ChannelRecord {
        let moved = self.moved.iter().map(|moved| &moved.image);
        let mut images: Vec<ChannelImage> = moved.chain(&self.kept).cloned().collect();
        images.sort_by(|one, other| (&one.name, &one.variant).cmp(&(&other.name, &other.variant)));
        ChannelRecord {
            schema: CHANNEL_SCHEMA,
            channel: self.channel.to_string(),
            commit: self.commit.clone(),
            dirty: self.dirty,
            mixed: self.mixed,
            who: self.admitted.who.clone(),
            when: now(),
            tool: concat!("kiln ", env!("CARGO_PKG_VERSION")).to_owned(),
            previous: self.current.clone(),
            origin: self.origin.clone(),
            overridden: self.admitted.overridden.clone(),
            tag: tag.to_string(),
            images,
        }
    }
}

/// The time, as RFC 3339 writes it, to the second.
fn now() -> String {
    crate::render::times::stamp(std::time::SystemTime::now())
}

/// Moves a channel. The record that it has then.
pub(super) async fn carry_out(
    plan: Plan,
    ground: &Ground,
    ports: &Ports,
) -> Result<(KeptRecord, Outcome), ProgramError> {
    let tag = floating_tag(ground)?;
    let record = plan.record(&tag);
    if let Some(fault) = record.fault() {
        return Err(ProgramError::input(format!(
            "the record of the channel `{}` cannot be written: {fault}",
            plan.channel
        )));
    }
    let repository = ground.record_repository(&plan.channel)?;
    let content = record.content();
    let digest = content.root.digest.clone();
    let (own_tags, moving_tags) = record.tags(&digest);
    let mut items = plan.companions;
    for moved in plan.moved {
        let image = &moved.image;
        let place = parsed(&image.repository)?;
        items.push(Item {
            name: super::appearance::image_name(&image.name, &image.variant),
            content: moved.content,
            attachments: moved.attachments,
            seals: moved.seals,
            targets: vec![Target {
                repository: place,
                immutable_tags: moved.immutable_tags,
                floating_tags: vec![tag.clone()],
            }],
        });
    }
    // What readers follow comes last: until then, the channel has what it had.
    items.push(Item {
        name: format!("the record of the channel {}", plan.channel),
        content,
        attachments: Vec::new(),
        seals: Vec::new(),
        targets: vec![Target {
            repository: repository.clone(),
            immutable_tags: own_tags,
            floating_tags: moving_tags,
        }],
    });
    let current = CURRENT_TAG.parse().expect("a constant that is a tag");
    let expected = ExpectedTag {
        reference: repository.at_tag(current),
        digest: plan.current,
    };
    let publication = Publication {
        items,
        expected: match plan.take {
            true => Vec::new(),
            false => vec![expected],
        },
        retag: plan.retag,
    };
    let watcher = Arc::new(Reported(Arc::clone(&ports.reporter)));
    let context = Context {
        client: &ports.client,
        store: &ports.store,
        uploads: Uploads::new(ports.client.clone(), Arc::clone(&watcher) as _),
        watcher: &*watcher,
    };
    // A publication that is stopped leaves its journal, and the next one goes on from there.
    let outcome = tokio::select! {
        outcome = publish::publish(&publication, &context) => outcome,
        () = ports.interrupt.triggered() => return Err(engine::BuildError::Interrupted.into()),
    };
    let outcome = outcome.map_err(|error| failed(&plan.channel, error))?;
    Ok((KeptRecord { digest, record }, outcome))
}

/// The tag that channels move in the repositories of images.
pub(super) fn floating_tag(ground: &Ground) -> Result<Tag, ProgramError> {
    let text = &ground.project.channel_layout.tag;
    text.parse().map_err(|error: oci::ReferenceError| {
        ProgramError::input(format!("channel-layout.tag: {error}"))
    })
}

fn parsed(repository: &str) -> Result<Repository, ProgramError> {
    repository
        .parse()
        .map_err(|error: oci::ReferenceError| ProgramError::input(error.to_string()))
}

fn failed(channel: &ChannelName, error: PublishError) -> ProgramError {
    if let PublishError::Moved { .. } = &error {
        return ProgramError::failed(format!(
            "the channel `{channel}` was moved by somebody else meanwhile"
        ))
        .because(&error)
        .code(EXIT_MOVED)
        .hint(format!(
            "look at it with `kiln channel show {channel}`, and push again; --take moves it whatever it \
             has"
        ));
    }
    let is_conflict = error.is_tag_conflict();
    let headline = format!("the channel `{channel}` is incomplete");
    let (headline, remedy) = match &error {
        PublishError::Unfinished(unfinished) if !unfinished.put_back.is_empty() => {
            let is_astray = unfinished.put_back.iter().any(|tag| tag.failure.is_some());
            match is_astray {
                true => (
                    format!("{headline}: some of its tags were moved, and could not be put back"),
                    format!(
                        "push again, or put them where the record says: kiln channel rollback \
                         {channel} --to 0"
                    ),
                ),
                false => (
                    format!("{headline}: the tags that were moved were put back"),
                    "repeat it: what has arrived is not sent again".to_owned(),
                ),
            }
        }
        _ => (
            format!("{headline}: its tags were not moved"),
            "repeat it: what has arrived is not sent again".to_owned(),
        ),
    };
    let mut said = ProgramError::failed(headline).because(&error).hint(remedy);
    if is_conflict {
        said = said.code(EXIT_TAG_CONFLICT);
    }
    match error.advice() {
        Some(advice) => said.hint(advice),
        None => said,
    }
}

/// Whether the channel's tag is where its record says.
pub(super) async fn stands(
    client: &Client,
    image: &ChannelImage,
    tag: &Tag,
) -> Result<bool, ProgramError> {
    let reference = parsed(&image.repository)?.at_tag(tag.clone());
    let found = client.tag_points_at(&reference).await.map_err(|error| {
        ProgramError::registry(format!("could not look at {reference}"), &error)
    })?;
    Ok(found.as_ref() == Some(&image.digest))
}
