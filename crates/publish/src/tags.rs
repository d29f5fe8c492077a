//! Tags: looked at first, moved last, and put back when not all of them can be moved.

use futures_util::{StreamExt as _, stream};
use oci::{Digest, Reference, Tag};
use registry::{Client, Error, ErrorKind, Selector};

use crate::plan::{Destination, Plan};
use crate::standing::PutBack;
use crate::{ExpectedTag, TagChange};

/// Tags that are looked at, or set, at once.
const TAGS_AT_ONCE: usize = 8;

/// A tag of a plan.
#[derive(Debug)]
pub(crate) struct TagState<'p> {
    /// Which destination it belongs to: the place in [`Plan::destinations`].
    pub destination: usize,
    pub reference: Reference,
    pub tag: &'p Tag,
    pub floating: bool,
    /// What it is to point at.
    pub wanted: &'p Digest,
    /// What it pointed at when it was looked at last.
    pub found: Option<Digest>,
    /// What it pointed at before this publication touched it, in an earlier run perhaps.
    pub before: Option<Digest>,
}

/// An immutable tag that points at another digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reference} points at {found}, and this is {wanted}")]
pub struct TagConflict {
    /// The tag.
    pub reference: Reference,
    /// What it points at.
    pub found: Digest,
    /// What was to be published under it.
    pub wanted: Digest,
}

impl TagState<'_> {
    /// Whether it is where it should be.
    pub(crate) fn stands(&self) -> bool {
        self.found.as_ref() == Some(self.wanted)
    }

    /// What was, or will be, done with it.
    pub(crate) fn change(&self) -> TagChange {
        match &self.before {
            None => TagChange::Created,
            Some(before) if before == self.wanted => TagChange::Unchanged,
            Some(before) => TagChange::Moved {
                previous: before.clone(),
            },
        }
    }

    /// It may not be moved, and would have to be.
    pub(crate) fn conflict(&self, retag: bool) -> Option<TagConflict> {
        let found = self.found.as_ref()?;
        (!self.floating && !retag && found != self.wanted).then(|| TagConflict {
            reference: self.reference.clone(),
            found: found.clone(),
            wanted: self.wanted.clone(),
        })
    }
}

/// All tags of a plan, not looked at yet, in its order.
pub(crate) fn of_plan<'p>(plan: &Plan<'p>) -> Vec<TagState<'p>> {
    let mut states = Vec::new();
    for (number, destination) in plan.destinations.iter().enumerate() {
        states.extend(destination.tags().map(|(tag, floating)| TagState {
            destination: number,
            reference: destination.target.repository.at_tag(tag.clone()),
            tag,
            floating,
            wanted: destination.digest(),
            found: None,
            before: None,
        }));
    }
    states
}

/// Looks at those of `tags` that are `chosen`: one request each. Gives the place of each with what
/// it points at, or why that cannot be known.
pub(crate) async fn look(
    client: &Client,
    tags: &[TagState<'_>],
    chosen: impl Fn(&TagState<'_>) -> bool,
) -> Vec<(usize, Result<Option<Digest>, Error>)> {
    let chosen: Vec<_> = (tags.iter().enumerate())
        .filter(|(_, tag)| chosen(tag))
        .map(|(number, tag)| (number, tag.reference.clone()))
        .collect();
    let asked = stream::iter(chosen)
        .map(async |(number, reference)| (number, client.tag_points_at(&reference).await));
    asked.buffer_unordered(TAGS_AT_ONCE).collect().await
}

/// A tag that is not where it was seen, with what it points at now.
pub(crate) async fn unexpected<'e>(
    client: &Client,
    expected: &'e [ExpectedTag],
    tags: &[TagState<'_>],
) -> Result<Option<(&'e ExpectedTag, Option<Digest>)>, Error> {
    for expectation in expected {
        let found = client.tag_points_at(&expectation.reference).await?;
        let is_ours = tags.iter().any(|tag| {
            tag.reference == expectation.reference && found.as_ref() == Some(tag.wanted)
        });
        if found != expectation.digest && !is_ours {
            return Ok(Some((expectation, found)));
        }
    }
    Ok(None)
}

/// Lets a tag point at the root of its destination.
pub(crate) async fn set(
    client: &Client,
    destination: &Destination<'_>,
    tag: &Tag,
) -> Result<(), Error> {
    let root = destination.root();
    let selector = Selector::Tag(tag.clone());
    let repository = &destination.target.repository;
    client
        .push_manifest(repository, &selector, &root.media_type(), root.bytes())
        .await
        .map(drop)
}

/// Sets several tags at once. Gives the place of each, with the error if there was one.
pub(crate) async fn set_all(
    client: &Client,
    plan: &Plan<'_>,
    tags: &[TagState<'_>],
    places: &[usize],
) -> Vec<(usize, Result<(), Error>)> {
    let set = stream::iter(places.to_vec()).map(async |place| {
        let destination = &plan.destinations[tags[place].destination];
        (place, set(client, destination, tags[place].tag).await)
    });
    set.buffer_unordered(TAGS_AT_ONCE).collect().await
}

/// Puts a tag back to where it was, if it is still where this publication moved it. `None` where
/// there is nothing to put back.
pub(crate) async fn put_back(client: &Client, tag: &TagState<'_>) -> Option<PutBack> {
    let outcome = match client.tag_points_at(&tag.reference).await {
        // Somebody else has moved it since, or it was never moved.
        Ok(found) if found.as_ref() != Some(tag.wanted) => return None,
        Ok(_) => restore(client, tag).await,
        Err(error) => Err(error),
    };
    Some(PutBack {
        reference: tag.reference.clone(),
        previous: tag.before.clone(),
        failure: outcome.err(),
    })
}

async fn restore(client: &Client, tag: &TagState<'_>) -> Result<(), Error> {
    let repository = tag.reference.repository();
    let Some(before) = &tag.before else {
        return match client.delete_tag(repository, tag.tag).await {
            Err(error) if *error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        };
    };
    let document = client
        .manifest(&repository.at_digest(before.clone()))
        .await?;
    let selector = Selector::Tag(tag.tag.clone());
    client
        .push_manifest(
            repository,
            &selector,
            &document.media_type(),
            document.bytes(),
        )
        .await
        .map(drop)
}
