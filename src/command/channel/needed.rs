//! What has to stay in a repository when a channel goes: images of other channels, images with a tag
//! that somebody else gave them, and what is below them.

use std::collections::BTreeSet;

use oci::{Digest, Document, Repository, Tag};
use publish::channel::History;
use publish::source::is_derived_tag;
use registry::{Client, Error, ErrorKind};

use super::fleet;
use crate::error::ProgramError;

/// The most tags of one repository that are no channel's and are looked at.
const FOREIGN_TAGS_MAX: usize = 1000;

/// The digests that stay. `past` is the channel that goes; `named` is what records of the others name.
pub(super) async fn needed(
    client: &Client,
    repository: &Repository,
    past: &History,
    named: &BTreeSet<(String, Digest)>,
) -> Result<BTreeSet<Digest>, ProgramError> {
    let name = repository.to_string();
    let failed = |error: Error| {
        ProgramError::failed(format!("could not look at what else {repository} has"))
            .because(&error)
    };
    let tags = match client.tags(repository).await {
        Ok(tags) => tags,
        Err(error) if *error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    let foreign: Vec<Tag> = tags
        .into_iter()
        .filter(|tag| !is_derived_tag(tag.as_str()) && !is_own(past, &name, tag))
        .collect();
    if foreign.len() > FOREIGN_TAGS_MAX {
        return Err(ProgramError::failed(format!(
            "{repository} has {} tags that are no channel's, more than the {FOREIGN_TAGS_MAX} that are \
             looked at: nothing there is removed",
            foreign.len()
        )));
    }
    let of_tags = foreign.into_iter().map(|tag| repository.at_tag(tag));
    let of_others = named
        .iter()
        .filter(|(of, _)| *of == name)
        .map(|(_, digest)| repository.at_digest(digest.clone()));
    let references = of_tags.chain(of_others).collect();
    let answers = fleet::ask(references, async |reference| {
        match client.manifest(&reference).await {
            Ok(document) => Ok(Some(document)),
            Err(error) if *error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    })
    .await;
    let mut needed = BTreeSet::new();
    for answer in answers {
        if let Some(document) = answer? {
            needed.extend(below(&document));
            needed.insert(document.descriptor().digest);
        }
    }
    Ok(needed)
}

/// Whether the channel itself gave a repository this tag.
fn is_own(past: &History, repository: &str, tag: &Tag) -> bool {
    past.records.iter().any(|kept| {
        kept.record.images.iter().any(|image| {
            image.repository == repository
                && (kept.record.tag == tag.as_str()
                    || image.tags.iter().any(|own| own == tag.as_str()))
        })
    })
}

/// What an index lists.
pub(super) fn below(document: &Document) -> Vec<Digest> {
    match document {
        Document::Index(index) => {
            let entries = index.value().manifests.iter();
            entries.map(|entry| entry.digest.clone()).collect()
        }
        Document::Manifest(_) => Vec::new(),
    }
}

/// Whether a document says itself that it is about another one. What is gone says nothing.
pub(super) async fn is_about(
    client: &Client,
    repository: &Repository,
    document: &Digest,
    subject: &Digest,
) -> Result<bool, Error> {
    let document = match client
        .manifest(&repository.at_digest(document.clone()))
        .await
    {
        Ok(document) => document,
        Err(error) if *error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let about = match &document {
        Document::Manifest(manifest) => &manifest.value().subject,
        Document::Index(index) => &index.value().subject,
    };
    Ok(about.as_ref().is_some_and(|about| about.digest == *subject))
}
