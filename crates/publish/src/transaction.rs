//! The transaction: the phases in their order, over all images and all repositories. Each is
//! finished everywhere before the next one begins.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use oci::{Digest, Document, Platform, Reference};
use registry::Client;
use store::{DiskError, Store};

use crate::journal::{Journal, KeptTag};
use crate::plan::{Destination, InvalidPublication, Plan};
use crate::report::{Kept, REPORT_SCHEMA};
use crate::standing::{DestinationError, PutBack, Reached, Standing, Unfinished};
use crate::tags::{self, TagConflict, TagState};
use crate::{
    Counts, Publication, PublishedImage, PublishedTag, Report, Uploads, Watcher, company, documents,
};

/// Destinations whose manifests, attachments and seals are worked on at once.
const DESTINATIONS_AT_ONCE: usize = 8;

/// What a publication works with.
pub struct Context<'c> {
    /// All registries.
    pub client: &'c Client,
    /// Where the journal and the report are kept.
    pub store: &'c Store,
    /// Blobs that are on their way already, perhaps.
    pub uploads: Uploads,
    /// Hears what happens.
    pub watcher: &'c dyn Watcher,
}

/// What a publication came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was published. The store has it too.
    pub report: Report,
    /// What was done with blobs.
    pub counts: Counts,
}

/// Why a publication did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It cannot be meant.
    #[error(transparent)]
    Invalid(#[from] InvalidPublication),
    /// Immutable tags point at other digests. Where that was found first, nothing was sent.
    #[error("{}", lines(.0))]
    Conflict(Vec<TagConflict>),
    /// A tag is not where it was seen when the publication was planned: somebody else published
    /// meanwhile. No floating tag was moved.
    #[error("{reference} was moved meanwhile: it {}", seen(.found.as_ref(), .expected.as_ref()))]
    Moved {
        /// The tag.
        reference: Reference,
        /// Where it was seen.
        expected: Option<Digest>,
        /// Where it is.
        found: Option<Digest>,
    },
    /// A tag that has to be where it was seen cannot be looked at.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Not everything arrived, or not every tag could be moved.
    #[error(transparent)]
    Unfinished(Box<Unfinished>),
    /// Another process publishes the same, and does not come to an end.
    #[error("another process publishes the same and does not come to an end")]
    Busy,
    /// The journal cannot be kept.
    #[error("could not keep the journal of the publication")]
    Journal(#[from] DiskError),
    /// What was published could not be made durable. It is published.
    #[error("everything is published, but the store could not keep the report")]
    Report(#[from] store::commit::CommitError),
}

impl PublishError {
    /// Whether a tag that never moves is in the way, here or by the registry's own rule.
    pub fn is_tag_conflict(&self) -> bool {
        match self {
            Self::Conflict(_) => true,
            Self::Unfinished(unfinished) => unfinished.failures().any(|failure| {
                matches!(failure, DestinationError::Registry(error)
                    if *error.kind() == registry::ErrorKind::TagImmutable)
            }),
            Self::Invalid(_)
            | Self::Moved { .. }
            | Self::Registry(_)
            | Self::Busy
            | Self::Journal(_)
            | Self::Report(_) => false,
        }
    }

    /// What the user can do about it.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Conflict(_) => Some(
                "publish under a new tag; `--retag` moves an immutable tag all the same".to_owned(),
            ),
            Self::Moved { .. } => {
                Some("look at what was published there, and publish again".to_owned())
            }
            Self::Unfinished(unfinished) => {
                let advice = unfinished.failures().find_map(DestinationError::advice);
                match (advice, unfinished.destinations.len()) {
                    (Some(advice), _) => Some(advice),
                    (None, 0..=1) => None,
                    (None, _) => Some("repeat it: what has arrived is not sent again".to_owned()),
                }
            }
            Self::Registry(error) => error.advice(),
            Self::Busy => Some("end the other process, or wait for it".to_owned()),
            Self::Invalid(_) | Self::Journal(_) | Self::Report(_) => None,
        }
    }
}

fn lines(conflicts: &[TagConflict]) -> String {
    let texts: Vec<String> = conflicts.iter().map(TagConflict::to_string).collect();
    texts.join("\n")
}

fn seen(found: Option<&Digest>, expected: Option<&Digest>) -> String {
    match (found, expected) {
        (Some(found), Some(expected)) => format!("points at {found}, and pointed at {expected}"),
        (Some(found), None) => format!("points at {found}, and did not exist"),
        (None, Some(expected)) => format!("is gone, and pointed at {expected}"),
        (None, None) => "does not exist".to_owned(),
    }
}

/// Publishes: everything becomes visible, or nothing does.
///
/// A run that died is repeated without harm, and converges. When a floating tag cannot be moved,
/// those that were moved before are put back. What was published already costs one request for
/// each tag.
///
/// # Errors
///
/// [`PublishError`]. Immutable tags that were set before a floating tag failed stay: what they
/// point at is complete.
pub async fn publish(
    publication: &Publication,
    context: &Context<'_>,
) -> Result<Outcome, PublishError> {
    let plan = Plan::of(publication)?;
    let journal = Journal::open(context.store, &plan.digest).await?;
    let mut run = Run {
        publication,
        context,
        standings: plan.destinations.iter().map(standing).collect(),
        tags: tags::of_plan(&plan),
        plan,
        journal,
    };
    run.look().await?;
    let open = run.open_destinations();
    if !open.is_empty() {
        run.bring(&open).await?;
        run.set_immutable_tags(&open).await?;
        run.move_floating_tags().await?;
    }
    run.conclude()
}

fn standing(destination: &Destination<'_>) -> Standing {
    Standing {
        name: destination.item.name.clone(),
        repository: destination.target.repository.clone(),
        digest: destination.digest().clone(),
        reached: Reached::Nothing,
        failure: None,
    }
}

/// A publication under way.
struct Run<'p> {
    publication: &'p Publication,
    context: &'p Context<'p>,
    plan: Plan<'p>,
    /// One for each destination.
    standings: Vec<Standing>,
    tags: Vec<TagState<'p>>,
    journal: Journal,
}

impl Run<'_> {
    /// Looks at all tags. A conflict ends the run; what cannot be looked at fails its destination.
    async fn look(&mut self) -> Result<(), PublishError> {
        let looked = tags::look(self.context.client, &self.tags, |_| true).await;
        for (place, found) in looked {
            let tag = &mut self.tags[place];
            match found {
                Ok(found) => {
                    tag.before.clone_from(&found);
                    tag.found = found;
                }
                Err(error) => fail(&mut self.standings[tag.destination], error),
            }
        }
        for tag in &mut self.tags {
            // A run that died may have moved it here.
            if tag.floating
                && tag.stands()
                && let Some(previous) = self.journal.previous(&tag.reference)
            {
                tag.before = previous;
            }
        }
        self.no_conflicts()?;
        self.as_expected().await
    }

    fn no_conflicts(&self) -> Result<(), PublishError> {
        let retag = self.publication.retag;
        let conflicts: Vec<TagConflict> = self
            .tags
            .iter()
            .filter_map(|tag| tag.conflict(retag))
            .collect();
        match conflicts.is_empty() {
            true => Ok(()),
            false => Err(PublishError::Conflict(conflicts)),
        }
    }

    /// Nobody else has published since this was planned.
    async fn as_expected(&self) -> Result<(), PublishError> {
        let (client, expected) = (self.context.client, &self.publication.expected);
        match tags::unexpected(client, expected, &self.tags).await {
            Ok(None) => Ok(()),
            Ok(Some((tag, found))) => Err(PublishError::Moved {
                reference: tag.reference.clone(),
                expected: tag.digest.clone(),
                found,
            }),
            Err(error) => Err(PublishError::Registry(error)),
        }
    }

    /// The destinations where something is to be done: a tag is not where it should be, or is, and
    /// nobody knows whether what belongs to it is there.
    fn open_destinations(&mut self) -> Vec<usize> {
        let store = self.context.store;
        let is_known = Kept::of(store, &self.plan.digest).is_some();
        let is_finished = is_known && !self.journal.is_begun();
        let mut open = Vec::new();
        for (number, destination) in self.plan.destinations.iter().enumerate() {
            let mut tags = self
                .tags
                .iter()
                .filter(|tag| tag.destination == number)
                .peekable();
            let has_tags = tags.peek().is_some();
            let stands = has_tags && tags.all(TagState::stands);
            let failed = self.standings[number].failure.is_some();
            match stands && !failed && (is_finished || !destination.has_company()) {
                true => self.standings[number].reached = Reached::Tags,
                false => open.push(number),
            }
        }
        open
    }

    /// Brings everything that no tag points at: blobs everywhere, then manifests, then what stands
    /// beside them.
    async fn bring(&mut self, open: &[usize]) -> Result<(), PublishError> {
        let (client, uploads) = (self.context.client, &self.context.uploads);
        let (plan, journal) = (&self.plan, &self.journal);
        let standings = &mut self.standings;
        let is_sound = |standings: &[Standing], number: usize| standings[number].failure.is_none();

        for &number in open {
            if is_sound(standings, number) {
                documents::start_blobs(&plan.destinations[number], uploads);
            }
        }
        for &number in open {
            if is_sound(standings, number) {
                let arrived = documents::blobs_arrived(&plan.destinations[number], uploads).await;
                settle(&mut standings[number], Reached::Blobs, arrived);
            }
        }

        let sound = |standings: &[Standing]| -> Vec<usize> {
            let open = open.iter().copied();
            open.filter(|number| is_sound(standings, *number)).collect()
        };
        let put = stream::iter(sound(standings)).map(async |number| {
            let destination = &plan.destinations[number];
            (
                number,
                documents::put_documents(destination, client, uploads).await,
            )
        });
        let put: Vec<_> = put.buffer_unordered(DESTINATIONS_AT_ONCE).collect().await;
        for (number, outcome) in put {
            settle(&mut standings[number], Reached::Image, outcome);
        }

        // One repository at a time: two images with one digest there are sealed once.
        let mut by_repository: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for number in sound(standings) {
            let repository = &plan.destinations[number].target.repository;
            by_repository.entry(repository).or_default().push(number);
        }
        let accompanied = stream::iter(by_repository.into_values()).map(async |numbers| {
            let mut outcomes = Vec::new();
            for number in numbers {
                let destination = &plan.destinations[number];
                let outcome = company::accompany(destination, client, journal).await;
                outcomes.push((number, outcome));
            }
            outcomes
        });
        let accompanied: Vec<_> = accompanied
            .buffer_unordered(DESTINATIONS_AT_ONCE)
            .collect()
            .await;
        for (number, outcome) in accompanied.into_iter().flatten() {
            settle(&mut standings[number], Reached::Sealed, outcome);
        }
        self.all_sound(Vec::new())
    }

    /// Sets the tags that never move, each looked at right before.
    async fn set_immutable_tags(&mut self, open: &[usize]) -> Result<(), PublishError> {
        let client = self.context.client;
        let is_wanted = |tag: &TagState<'_>| !tag.floating && !tag.stands();
        for (place, found) in tags::look(client, &self.tags, is_wanted).await {
            let tag = &mut self.tags[place];
            match found {
                Ok(found) => {
                    tag.before.clone_from(&found);
                    tag.found = found;
                }
                Err(error) => fail(&mut self.standings[tag.destination], error),
            }
        }
        self.all_sound(Vec::new())?;
        self.no_conflicts()?;
        let places = self.places(is_wanted);
        for (place, outcome) in tags::set_all(client, &self.plan, &self.tags, &places).await {
            let tag = &mut self.tags[place];
            match outcome {
                Ok(()) => tag.found = Some(tag.wanted.clone()),
                Err(error) => fail(&mut self.standings[tag.destination], error),
            }
        }
        for &number in open {
            let standing = &mut self.standings[number];
            if standing.failure.is_none() {
                standing.reached = Reached::ImmutableTags;
            }
        }
        self.all_sound(Vec::new())
    }

    /// Moves floating tags, image after image, in the order of the publication.
    async fn move_floating_tags(&mut self) -> Result<(), PublishError> {
        let client = self.context.client;
        let is_wanted = |tag: &TagState<'_>| tag.floating && !tag.stands();
        // They may have been moved while everything was sent, and it is where they are now that
        // they would be put back to.
        for (place, found) in tags::look(client, &self.tags, is_wanted).await {
            let tag = &mut self.tags[place];
            match found {
                Ok(found) => {
                    tag.before.clone_from(&found);
                    tag.found = found;
                }
                Err(error) => fail(&mut self.standings[tag.destination], error),
            }
        }
        self.all_sound(Vec::new())?;
        self.as_expected().await?;
        let places = self.places(is_wanted);
        let moved_before = |tag: &&TagState<'_>| tag.floating && tag.before != tag.found;
        let kept: Vec<KeptTag> = (self.tags.iter())
            .filter(|tag| is_wanted(tag) || moved_before(tag))
            .map(keep)
            .collect();
        // One tag is moved or is not.
        if kept.len() > 1 {
            self.journal.begin_to_move(kept)?;
        }
        let mut places = places.as_slice();
        while let [first, ..] = places {
            let image = |place: usize| self.plan.destinations[self.tags[place].destination].number;
            let first = image(*first);
            let count = places
                .iter()
                .take_while(|place| image(**place) == first)
                .count();
            let (together, rest) = places.split_at(count);
            places = rest;
            for (place, outcome) in tags::set_all(client, &self.plan, &self.tags, together).await {
                let tag = &mut self.tags[place];
                match outcome {
                    Ok(()) => tag.found = Some(tag.wanted.clone()),
                    Err(error) => fail(&mut self.standings[tag.destination], error),
                }
            }
            if self
                .standings
                .iter()
                .any(|standing| standing.failure.is_some())
            {
                let put_back = self.put_back().await?;
                return Err(self.unfinished(put_back));
            }
        }
        Ok(())
    }

    /// Puts back the floating tags that this publication moved, an earlier run of it included. The
    /// one that failed may have been moved all the same.
    async fn put_back(&mut self) -> Result<Vec<PutBack>, PublishError> {
        let mut put_back = Vec::new();
        let mut astray = Vec::new();
        for tag in self.tags.iter().rev() {
            if !tag.floating || tag.before.as_ref() == Some(tag.wanted) {
                continue;
            }
            if let Some(outcome) = tags::put_back(self.context.client, tag).await {
                if outcome.failure.is_some() {
                    astray.push(keep(tag));
                }
                put_back.push(outcome);
            }
        }
        if !put_back.is_empty() {
            self.journal.have_put_back(astray)?;
        }
        Ok(put_back)
    }

    fn places(&self, chosen: impl Fn(&TagState<'_>) -> bool) -> Vec<usize> {
        let tags = self.tags.iter().enumerate();
        tags.filter(|(_, tag)| chosen(tag))
            .map(|(place, _)| place)
            .collect()
    }

    /// Goes on only where no destination failed.
    fn all_sound(&mut self, put_back: Vec<PutBack>) -> Result<(), PublishError> {
        match self
            .standings
            .iter()
            .any(|standing| standing.failure.is_some())
        {
            false => Ok(()),
            true => Err(self.unfinished(put_back)),
        }
    }

    fn unfinished(&mut self, put_back: Vec<PutBack>) -> PublishError {
        PublishError::Unfinished(Box::new(Unfinished {
            destinations: std::mem::take(&mut self.standings),
            put_back,
        }))
    }

    /// Everything is published: says so, and forgets how it came about.
    fn conclude(self) -> Result<Outcome, PublishError> {
        let kept = Kept {
            report: self.report(),
            seals: self.journal.seals(),
        };
        kept.keep(self.context.store);
        let Kept { report, seals } = kept;
        for (image, destination) in report.images.iter().zip(&self.plan.destinations) {
            for tag in &image.tags {
                self.context.watcher.published(tag, destination.digest());
            }
        }
        // The journal is forgotten only when it is durable that all is done: nothing is sealed
        // twice.
        if !seals.is_empty() {
            self.context.store.flush()?;
        }
        self.journal.finish()?;
        Ok(Outcome {
            report,
            counts: self.context.uploads.counts(),
        })
    }

    fn report(&self) -> Report {
        let images = self
            .plan
            .destinations
            .iter()
            .enumerate()
            .map(|(number, destination)| {
                let tags = self.tags.iter().filter(|tag| tag.destination == number);
                PublishedImage {
                    name: destination.item.name.clone(),
                    repository: destination.target.repository.to_string(),
                    digest: destination.digest().clone(),
                    platforms: platforms(destination),
                    tags: tags
                        .map(|tag| PublishedTag {
                            reference: tag.reference.clone(),
                            floating: tag.floating,
                            change: tag.change(),
                        })
                        .collect(),
                    sealed_by: (destination.seals())
                        .map(|seal| seal.name().to_owned())
                        .collect(),
                }
            });
        Report {
            schema: REPORT_SCHEMA,
            publication: self.plan.digest.clone(),
            finished: jiff::Timestamp::now()
                .round(jiff::Unit::Second)
                .map_or_else(
                    |_| jiff::Timestamp::UNIX_EPOCH.to_string(),
                    |now| now.to_string(),
                ),
            images: images.collect(),
        }
    }
}

fn keep(tag: &TagState<'_>) -> KeptTag {
    KeptTag {
        reference: tag.reference.clone(),
        previous: tag.before.clone(),
    }
}

fn fail(standing: &mut Standing, error: impl Into<DestinationError>) {
    // The first one is the one that led to all others.
    standing.failure.get_or_insert_with(|| error.into());
}

fn settle(standing: &mut Standing, reached: Reached, outcome: Result<(), DestinationError>) {
    match outcome {
        Ok(()) => standing.reached = reached,
        Err(error) => fail(standing, error),
    }
}

fn platforms(destination: &Destination<'_>) -> Vec<Platform> {
    match destination.root() {
        Document::Index(index) => index.value().platforms().into_iter().cloned().collect(),
        Document::Manifest(_) => destination
            .item
            .content
            .root
            .platform
            .iter()
            .cloned()
            .collect(),
    }
}
