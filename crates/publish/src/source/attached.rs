//! What belongs to an image without being a part of it: what refers to it, and what stands under
//! tags made from its digests, as cosign has it.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use ::registry::{Client, ErrorKind};
use futures_util::{StreamExt as _, stream};
use oci::{Descriptor, Digest, Document, Repository, Tag};

use super::layout::{self, Layout};
use super::{Part, SourceError, Sources, registry};
use crate::{Address, Content};

/// The most that is read of what belongs to one image (D17).
const ATTACHED_MAX: usize = 1000;
/// Signatures of signatures, and so on.
const GENERATIONS_MAX: usize = 4;
/// Questions at once.
const QUESTIONS_MAX: usize = 8;
/// What cosign puts behind `sha256-…`: signatures, attestations, lists of contents.
const SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// Something that belongs to an image.
#[derive(Clone)]
pub struct Attached {
    /// What it is about.
    pub subject: Digest,
    /// What it is.
    pub content: Content,
    /// The tag that it is found by; `None` for what is found as a referrer.
    pub tag: Option<Tag>,
}

/// All that belongs to an image.
#[derive(Clone, Default)]
pub struct AttachedSet {
    /// Each once, what was found first first: what is about the image before what is about that.
    pub found: Vec<Attached>,
    /// What should be there and is not: sentences.
    pub notes: Vec<String>,
}

/// Finds what belongs to an image that was opened at `address`. Neither the store nor an archive of
/// docker has such things. Must be called on a runtime.
///
/// # Errors
///
/// [`SourceError`]; not for what is listed and gone, which is noted.
pub async fn attached(
    address: &Address,
    content: &Content,
    sources: &Sources,
) -> Result<AttachedSet, SourceError> {
    let place = match address {
        Address::Registry(reference) => Place::Registry {
            client: sources.client.clone(),
            repository: reference.repository().clone(),
        },
        Address::Layout { path, .. } => Place::layout(Layout::Directory(path.clone()))?,
        Address::LayoutArchive { path, .. } => {
            Place::layout(Layout::Tar(Arc::new(layout::tar_file(path).await?)))?
        }
        Address::Store(_) | Address::DockerArchive { .. } => return Ok(AttachedSet::default()),
    };
    let mut set = AttachedSet::default();
    let mut seen: HashSet<Digest> = documents(content).into_iter().collect();
    let mut generation: VecDeque<Digest> = subjects(content).into();
    for _ in 0..GENERATIONS_MAX {
        let mut next = VecDeque::new();
        let asked = stream::iter(generation).map(async |subject| {
            let found = place.about(&subject).await;
            (subject, found)
        });
        let answers: Vec<_> = asked.buffered(QUESTIONS_MAX).collect().await;
        for (subject, found) in answers {
            let found = found?;
            set.notes.extend(found.notes);
            for (content, tag) in found.contents {
                if !seen.insert(content.root.digest.clone()) {
                    continue;
                }
                next.extend(documents(&content));
                set.found.push(Attached {
                    subject: subject.clone(),
                    content,
                    tag,
                });
                if set.found.len() > ATTACHED_MAX {
                    return Err(SourceError::Bound(format!(
                        "more than {ATTACHED_MAX} things refer to it"
                    )));
                }
            }
        }
        if next.is_empty() {
            break;
        }
        generation = next;
    }
    Ok(set)
}

/// The digests of all documents of an image.
fn documents(content: &Content) -> Vec<Digest> {
    let descriptors = content.documents.iter().map(Document::descriptor);
    descriptors.map(|descriptor| descriptor.digest).collect()
}

/// The documents that somebody may have signed or described: not the attestations inside of an
/// index, which BuildKit lists for no platform.
fn subjects(content: &Content) -> Vec<Digest> {
    let mut inner = HashSet::new();
    for document in &content.documents {
        if let Document::Index(index) = document {
            let entries = index.value().manifests.iter();
            inner.extend(
                entries
                    .filter(|entry| is_inner(entry))
                    .map(|entry| &entry.digest),
            );
        }
    }
    let all = documents(content).into_iter();
    all.filter(|digest| !inner.contains(digest)).collect()
}

fn is_inner(entry: &Descriptor) -> bool {
    entry
        .platform
        .as_ref()
        .is_some_and(|platform| platform.os == "unknown")
}

/// Whether a tag is one of those made from a digest: a list of referrers, or one of cosign's.
pub fn is_derived_tag(tag: &str) -> bool {
    const HEX_CHARS: usize = 64;
    let Some((algorithm, rest)) = tag.split_once('-') else {
        return false;
    };
    let (hex, suffix) = match rest.split_once('.') {
        Some((hex, suffix)) => (hex, Some(suffix)),
        None => (rest, None),
    };
    matches!(algorithm, "sha256" | "sha512")
        && hex.len() == HEX_CHARS
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        && suffix.is_none_or(|suffix| SUFFIXES.contains(&suffix))
}

/// cosign's tags for a digest.
fn derived_tags(digest: &Digest) -> Vec<Tag> {
    let base = ::registry::referrers_tag(digest);
    let tags = SUFFIXES.iter().map(|suffix| format!("{base}.{suffix}"));
    tags.filter_map(|tag| tag.parse().ok()).collect()
}

enum Place {
    Registry {
        client: Client,
        repository: Repository,
    },
    Layout {
        layout: Box<Layout>,
        /// What the index of the layout lists, by what it is about.
        about: BTreeMap<Digest, Vec<Listed>>,
    },
}

#[derive(Clone)]
struct Listed {
    descriptor: Descriptor,
    tag: Option<Tag>,
}

#[derive(Default)]
struct Found {
    contents: Vec<(Content, Option<Tag>)>,
    notes: Vec<String>,
}

impl Place {
    /// Reads what the index of a layout lists beside images.
    fn layout(layout: Layout) -> Result<Self, SourceError> {
        let mut about: BTreeMap<Digest, Vec<Listed>> = BTreeMap::new();
        for entry in layout.entries()? {
            if let Some((tag, subject)) = layout::derived(&entry) {
                about.entry(subject).or_default().push(Listed {
                    descriptor: entry,
                    tag: Some(tag),
                });
                continue;
            }
            let document = layout.read_document(&entry)?;
            if let Some(subject) = subject_of(&document) {
                about.entry(subject.clone()).or_default().push(Listed {
                    descriptor: entry,
                    tag: None,
                });
            }
        }
        Ok(Self::Layout {
            layout: Box::new(layout),
            about,
        })
    }

    async fn about(&self, subject: &Digest) -> Result<Found, SourceError> {
        match self {
            Self::Registry { client, repository } => {
                about_in_registry(client, repository, subject).await
            }
            Self::Layout { layout, about } => {
                let mut found = Found::default();
                for listed in about.get(subject).into_iter().flatten() {
                    let part = Part::Whole;
                    let layout = layout.again();
                    let content = layout::open_entry(layout, &listed.descriptor, &part).await?;
                    found.contents.push((content, listed.tag.clone()));
                }
                Ok(found)
            }
        }
    }
}

async fn about_in_registry(
    client: &Client,
    repository: &Repository,
    subject: &Digest,
) -> Result<Found, SourceError> {
    let mut found = Found::default();
    for referrer in client.referrers(repository, subject, None).await? {
        let reference = repository.at_digest(referrer.digest.clone());
        let content = match registry::open(&reference, &Part::Whole, client).await {
            Ok(content) => content,
            Err(SourceError::Registry(error)) if *error.kind() == ErrorKind::NotFound => {
                found.notes.push(format!(
                    "{reference} is listed as a referrer of {subject} and does not exist: it is left out"
                ));
                continue;
            }
            Err(error) => return Err(error),
        };
        // A list can say anything; what counts is what the document says.
        match content.documents.last().and_then(subject_of) {
            Some(about) if about == subject => found.contents.push((content, None)),
            Some(_) | None => found.notes.push(format!(
                "{reference} is listed as a referrer of {subject} and does not say so itself: it is left out"
            )),
        }
    }
    for tag in derived_tags(subject) {
        let reference = repository.at_tag(tag.clone());
        match registry::open(&reference, &Part::Whole, client).await {
            Ok(content) => found.contents.push((content, Some(tag))),
            Err(SourceError::Registry(error)) if *error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What a document is about.
fn subject_of(document: &Document) -> Option<&Digest> {
    let subject = match document {
        Document::Manifest(manifest) => &manifest.value().subject,
        Document::Index(index) => &index.value().subject,
    };
    subject.as_ref().map(|subject| &subject.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_made_from_digests() {
        let hex = "a".repeat(64);
        assert!(is_derived_tag(&format!("sha256-{hex}")));
        assert!(is_derived_tag(&format!("sha256-{hex}.sig")));
        assert!(!is_derived_tag(&format!("sha256-{hex}.tar")));
        assert!(!is_derived_tag(&format!("sha256-{}", &hex[1..])));
        assert!(!is_derived_tag("v1"));
    }
}
