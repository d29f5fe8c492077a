//! A publication, looked at before anything is asked: whether it can be meant, which repositories
//! it goes to, and its identity.

use std::collections::{HashMap, HashSet};

use oci::{AttachmentPlace, Digest, Document, Reference, Repository, Tag};
use serde_json::json;

use crate::{Item, Publication, Seal, Target};

/// The most pairs of an image and a repository in one publication.
pub const DESTINATIONS_MAX: usize = 4096;

/// The most tags in one publication.
pub const TAGS_MAX: usize = 16_384;

/// The version of [`Plan::digest`]'s preimage.
const IDENTITY_VERSION: u32 = 1;

/// Why a publication cannot be meant. Nothing was asked or sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPublication {
    /// There is nothing to do.
    #[error("there is nothing to publish")]
    Empty,
    /// An image that goes nowhere.
    #[error("{0} has no destination")]
    Nowhere(String),
    /// Two images would get one tag, or one image one tag twice, as an immutable and as a floating
    /// one.
    #[error("{tag} is given to {one} and to {other}")]
    TagTwice {
        /// The tag.
        tag: Reference,
        /// Who has it first.
        one: String,
        /// Who has it too.
        other: String,
    },
    /// A repository stands twice in one image's list.
    #[error("{name} goes to {repository} twice")]
    RepositoryTwice {
        /// The image.
        name: String,
        /// The repository.
        repository: Repository,
    },
    /// The documents do not end with the root, or something is listed that is not there before.
    #[error("{name} is incomplete: {digest} is missing among its manifests, or in the wrong place")]
    Incomplete {
        /// The image.
        name: String,
        /// What is not where it should be.
        digest: Digest,
    },
    /// More than is reasonable.
    #[error("more than {max} {what} in one publication")]
    TooMany {
        /// Destinations, or tags.
        what: &'static str,
        /// The bound.
        max: usize,
    },
}

/// One image in one repository: what can fail on its own.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'p> {
    /// The place of the image in the publication.
    pub number: usize,
    pub item: &'p Item,
    pub target: &'p Target,
}

/// A publication that can be meant.
pub(crate) struct Plan<'p> {
    pub destinations: Vec<Destination<'p>>,
    /// The identity: equal for equal publications.
    pub digest: Digest,
}

impl<'p> Destination<'p> {
    /// The digest that the tags are to point at.
    pub(crate) fn digest(&self) -> &'p Digest {
        &self.item.content.root.digest
    }

    /// The root.
    pub(crate) fn root(&self) -> &'p Document {
        let documents = &self.item.content.documents;
        documents.last().expect("plans have documents")
    }

    /// Whether something must be beside the image before a tag may point at it.
    pub(crate) fn has_company(&self) -> bool {
        self.seals().next().is_some() || !self.item.attachments.is_empty()
    }

    /// Who has to seal the image here.
    pub(crate) fn seals(&self) -> impl Iterator<Item = &'p dyn Seal> {
        let repository = &self.target.repository;
        let seals = self.item.seals.iter().map(|seal| &**seal);
        seals.filter(move |seal| seal.seals(repository))
    }

    /// The tags, those that never move first, and whether each may be moved.
    pub(crate) fn tags(&self) -> impl Iterator<Item = (&'p Tag, bool)> {
        let target = self.target;
        let immutable = target.immutable_tags.iter().map(|tag| (tag, false));
        immutable.chain(target.floating_tags.iter().map(|tag| (tag, true)))
    }
}

impl<'p> Plan<'p> {
    /// Checks a publication.
    pub(crate) fn of(publication: &'p Publication) -> Result<Self, InvalidPublication> {
        let mut destinations = Vec::new();
        let mut owners: HashMap<(&Repository, &Tag), &str> = HashMap::new();
        for (number, item) in publication.items.iter().enumerate() {
            if item.targets.is_empty() {
                return Err(InvalidPublication::Nowhere(item.name.clone()));
            }
            complete(item)?;
            let mut repositories = HashSet::new();
            for target in &item.targets {
                if !repositories.insert(&target.repository) {
                    return Err(InvalidPublication::RepositoryTwice {
                        name: item.name.clone(),
                        repository: target.repository.clone(),
                    });
                }
                let destination = Destination {
                    number,
                    item,
                    target,
                };
                for (tag, _) in destination.tags() {
                    if let Some(one) = owners.insert((&target.repository, tag), &item.name) {
                        return Err(InvalidPublication::TagTwice {
                            tag: target.repository.at_tag(tag.clone()),
                            one: one.to_owned(),
                            other: item.name.clone(),
                        });
                    }
                }
                destinations.push(destination);
            }
        }
        let too_many = |what, max| Err(InvalidPublication::TooMany { what, max });
        if destinations.is_empty() {
            return Err(InvalidPublication::Empty);
        }
        if destinations.len() > DESTINATIONS_MAX {
            return too_many("destinations", DESTINATIONS_MAX);
        }
        if owners.len() > TAGS_MAX {
            return too_many("tags", TAGS_MAX);
        }
        Ok(Self {
            digest: identity(publication),
            destinations,
        })
    }
}

/// Every index finds what it lists before itself, and the last document is the root.
fn complete(item: &Item) -> Result<(), InvalidPublication> {
    let incomplete = |digest: &Digest| InvalidPublication::Incomplete {
        name: item.name.clone(),
        digest: digest.clone(),
    };
    let root = &item.content.root.digest;
    let mut seen = HashSet::new();
    for document in &item.content.documents {
        if let Document::Index(index) = document {
            let mut listed = index.value().manifests.iter();
            if let Some(missing) = listed.find(|entry| !seen.contains(&entry.digest)) {
                return Err(incomplete(&missing.digest));
            }
        }
        seen.insert(document.descriptor().digest);
    }
    match item.content.documents.last() {
        Some(last) if last.descriptor().digest == *root => Ok(()),
        Some(_) | None => Err(incomplete(root)),
    }
}

fn identity(publication: &Publication) -> Digest {
    let items: Vec<_> = publication
        .items
        .iter()
        .map(|item| {
            let attachments = item.attachments.iter().map(|attachment| {
                let tag = match &attachment.place {
                    AttachmentPlace::Referrer => None,
                    AttachmentPlace::Tag(tag) => Some(tag.as_str()),
                };
                json!([attachment.manifest.digest().as_str(), tag])
            });
            let targets = item.targets.iter().map(|target| {
                let names = |tags: &[Tag]| {
                    tags.iter()
                        .map(|tag| tag.as_str().to_owned())
                        .collect::<Vec<_>>()
                };
                json!({
                    "repository": target.repository.to_string(),
                    "immutable": names(&target.immutable_tags),
                    "floating": names(&target.floating_tags),
                })
            });
            json!({
                "name": item.name,
                "digest": item.content.root.digest.as_str(),
                "attachments": attachments.collect::<Vec<_>>(),
                "seals": item.seals.iter().map(|seal| seal.identity()).collect::<Vec<_>>(),
                "targets": targets.collect::<Vec<_>>(),
            })
        })
        .collect();
    let whole = json!({ "version": IDENTITY_VERSION, "items": items });
    Digest::of(whole.to_string().as_bytes())
}
