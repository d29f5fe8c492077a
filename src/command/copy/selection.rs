//! What is copied: one image, or all of a repository, each with what belongs to it.

use std::collections::HashSet;

use futures_util::{StreamExt as _, stream};
use oci::{Digest, Document, Reference, Tag};
use publish::source::{self, Attached, Part, Sources};
use publish::{Address, Content};

use crate::command::image_places::unread;
use crate::error::ProgramError;

/// Tags that are looked at at once.
const TAGS_AT_ONCE: usize = 4;

/// What is copied.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) images: Vec<Image>,
    /// What the user should know: sentences.
    pub(super) notes: Vec<String>,
}

/// One image or index.
pub(super) struct Image {
    /// How messages call it.
    pub(super) name: String,
    pub(super) content: Content,
    /// Its tags, where all tags are copied; else the one that the user wrote.
    pub(super) tags: Vec<Tag>,
    pub(super) attached: Vec<Attached>,
}

impl Image {
    pub(super) fn digest(&self) -> &Digest {
        &self.content.root.digest
    }
}

impl Selection {
    /// What an address stands for.
    pub(super) async fn one(
        address: &Address,
        part: &Part,
        with_referrers: bool,
        sources: &Sources,
    ) -> Result<Self, ProgramError> {
        let content = open(address, part, sources).await?;
        let tags = match address {
            Address::Registry(name) | Address::Store(publish::StoreName::Reference(name)) => {
                name.tag().iter().copied().cloned().collect()
            }
            Address::Store(publish::StoreName::Digest(_))
            | Address::Layout { .. }
            | Address::LayoutArchive { .. }
            | Address::DockerArchive { .. } => Vec::new(),
        };
        let mut selection = Self::default();
        selection.images.push(Image {
            name: address.to_string(),
            content,
            tags,
            attached: Vec::new(),
        });
        if with_referrers {
            selection.attach(address, sources).await?;
        }
        Ok(selection)
    }

    /// All tags of a repository. Tags that are made from digests come with what they are about.
    pub(super) async fn all_tags(
        address: &Address,
        part: &Part,
        with_referrers: bool,
        sources: &Sources,
    ) -> Result<Self, ProgramError> {
        let Some(repository) = address.reference().map(Reference::repository) else {
            return Ok(Self::default());
        };
        let failed = |error: &registry::Error| {
            let program_error =
                ProgramError::failed(format!("could not list the tags of {repository}"))
                    .because(error);
            match error.advice() {
                Some(advice) => program_error.hint(advice),
                None => program_error,
            }
        };
        let tags = sources
            .client
            .tags(repository)
            .await
            .map_err(|error| failed(&error))?;
        let tags: Vec<Tag> = tags
            .into_iter()
            .filter(|tag| !source::is_derived_tag(tag.as_str()))
            .collect();
        if tags.is_empty() {
            return Err(ProgramError::failed(format!("{repository} has no tags")));
        }
        let opened = stream::iter(tags).map(async |tag| {
            let address = Address::Registry(repository.at_tag(tag.clone()));
            let content = open(&address, part, sources).await;
            (tag, content)
        });
        let opened: Vec<_> = opened.buffered(TAGS_AT_ONCE).collect().await;
        let mut selection = Self::default();
        for (tag, content) in opened {
            let content = content?;
            let known = selection
                .images
                .iter_mut()
                .find(|image| *image.digest() == content.root.digest);
            match known {
                Some(image) => image.tags.push(tag),
                None => selection.images.push(Image {
                    name: repository.at_tag(tag.clone()).to_string(),
                    content,
                    tags: vec![tag],
                    attached: Vec::new(),
                }),
            }
        }
        if with_referrers {
            selection.attach(address, sources).await?;
        }
        Ok(selection)
    }

    /// Finds what belongs to the images, each thing once.
    async fn attach(&mut self, address: &Address, sources: &Sources) -> Result<(), ProgramError> {
        let mut seen: HashSet<Digest> = HashSet::new();
        for image in &mut self.images {
            let found = source::attached(address, &image.content, sources).await;
            let found = found.map_err(|error| unread(address, &error))?;
            self.notes.extend(found.notes);
            let new = found
                .found
                .into_iter()
                .filter(|attached| seen.insert(attached.content.root.digest.clone()));
            image.attached.extend(new);
        }
        Ok(())
    }

    /// Everything that is copied.
    pub(super) fn contents(&self) -> Vec<&Content> {
        let mut contents: Vec<&Content> = Vec::new();
        for image in &self.images {
            contents.push(&image.content);
            contents.extend(image.attached.iter().map(|attached| &attached.content));
        }
        contents
    }

    /// Manifests and indices, and the distinct blobs that they name with their sizes together.
    pub(super) fn amounts(&self) -> (usize, usize, u64) {
        let (mut documents, mut blobs, mut bytes) = (HashSet::new(), HashSet::new(), 0);
        for document in self
            .contents()
            .iter()
            .flat_map(|content| &content.documents)
        {
            documents.insert(document.descriptor().digest);
            if let Document::Manifest(manifest) = document {
                let manifest = manifest.value();
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    if blobs.insert(blob.digest.clone()) {
                        bytes += blob.size;
                    }
                }
            }
        }
        (documents.len(), blobs.len(), bytes)
    }
}

async fn open(address: &Address, part: &Part, sources: &Sources) -> Result<Content, ProgramError> {
    let opened = source::open(address, part, sources).await;
    opened.map_err(|error| unread(address, &error))
}

/// All tags of what? Of a repository.
pub(super) fn check_all_tags(source: &Address, text: &str) -> Result<(), ProgramError> {
    let Some(reference) = source.reference() else {
        return Err(ProgramError::input(format!(
            "--all-tags copies a repository of a registry, and {source} is none"
        )));
    };
    // A name without a tag has got one when it was parsed.
    let is_bare = text
        .strip_prefix("docker://")
        .unwrap_or(text)
        .parse::<oci::Repository>()
        .is_ok_and(|repository| repository == *reference.repository());
    match is_bare {
        true => Ok(()),
        false => Err(ProgramError::input(format!(
            "--all-tags copies all tags, and {text} names one"
        ))
        .hint(format!("write {}", reference.repository()))),
    }
}
