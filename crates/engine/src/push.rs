//! Sends an image of the store to registries, in the same transaction as a build
//! does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use oci::{Descriptor, Digest, Reference};
use publish::source::{self, Part, SourceError, Sources};
use publish::{Address, Content, StoreName};

use crate::error::BuildError;
use crate::export::registry;
use crate::ports::Ports;
use crate::provenance;
use crate::publishing::Publishing;
use crate::report::{OutputReport, Traffic};

/// What is to be sent, and where to.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// The image in the store.
    pub image: ImageName,
    /// The tags to move to it. None has a digest.
    pub destinations: Vec<Reference>,
    /// Those of them that are never moved to another digest.
    pub immutable_tags: BTreeSet<Reference>,
    /// How.
    pub publishing: Publishing,
}

/// An image of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageName {
    /// By a name that a build gave it; or by the digest in the reference.
    Reference(Reference),
    /// By the digest of its manifest or index.
    Digest(Digest),
}

/// What a push came to.
#[derive(Clone, Debug)]
pub struct PushReport {
    /// The manifest or index.
    pub manifest: Descriptor,
    /// What was moved.
    pub traffic: Traffic,
    /// The tags.
    pub outputs: Vec<OutputReport>,
    /// What was published.
    pub published: publish::Report,
    /// Wall time.
    pub duration: Duration,
}

/// Sends an image of the store to registries.
///
/// # Errors
///
/// Everything that keeps the image from being everywhere it should be; then no
/// tag has been moved to it that was not moved before the error.
pub async fn push(request: &PushRequest, ports: &Ports) -> Result<PushReport, BuildError> {
    let began = Instant::now();
    check(&request.destinations)?;
    let content = content(&request.image, ports).await?;
    let manifest = Descriptor {
        platform: None,
        ..content.root.clone()
    };
    let tags = &request.destinations;
    let immutable = &request.immutable_tags;
    let item = request
        .publishing
        .item("", content, Vec::new(), tags, immutable);
    let uploads = registry::uploads(ports);
    let publishing = registry::publish_all(vec![item], request.publishing.retag, uploads, ports);
    let outcome = tokio::select! {
        outcome = publishing => outcome?,
        () = ports.interrupt.triggered() => return Err(BuildError::Interrupted),
    };
    let moved = ports.client.traffic();
    Ok(PushReport {
        manifest,
        traffic: Traffic {
            down_bytes: moved.down_bytes,
            up_bytes: moved.up_bytes,
            requests: moved.requests,
            ..registry::traffic(&outcome)
        },
        outputs: registry::outputs(&outcome, tags),
        published: outcome.report,
        duration: began.elapsed(),
    })
}

/// Everything that belongs to an image of the store: its documents from there, the rest from there or
/// from where it came. Its blobs must be asked for on a runtime.
///
/// # Errors
///
/// When it is not in the store, or cannot be read.
pub async fn content(image: &ImageName, ports: &Ports) -> Result<Content, BuildError> {
    let digest = find(image, ports)?;
    let origins = provenance::recall(&ports.store, &digest);
    let sources = Sources {
        client: ports.client.clone(),
        store: Some(ports.store.clone()),
        origins: None,
    };
    let address = Address::Store(StoreName::Digest(digest));
    let opened = source::open(&address, &Part::Whole, &sources).await;
    let content = opened.map_err(|error| match error {
        SourceError::Absent { .. } => absent(image, ports),
        error => {
            let message = format!("{} cannot be pushed", shown(image));
            let hint = Some("build or pull it again".to_owned());
            let is_input = error.is_input();
            let source = Some(error.into());
            match is_input {
                true => BuildError::Input {
                    message,
                    hint,
                    source,
                },
                false => BuildError::Failed {
                    message,
                    hint,
                    source,
                },
            }
        }
    })?;
    Ok(Content {
        blobs: registry::blobs(ports, origins),
        ..content
    })
}

fn check(destinations: &[Reference]) -> Result<(), BuildError> {
    if destinations.is_empty() {
        return Err(BuildError::input("there is no destination to push to"));
    }
    match destinations
        .iter()
        .find(|name| name.digest().is_some() || name.tag().is_none())
    {
        Some(name) => Err(BuildError::input(format!(
            "{name} cannot be pushed to: a destination is a tag"
        ))),
        None => Ok(()),
    }
}

/// The digest of the manifest that a name stands for.
fn find(name: &ImageName, ports: &Ports) -> Result<Digest, BuildError> {
    match name {
        ImageName::Digest(digest) => Ok(digest.clone()),
        ImageName::Reference(reference) => match reference.digest() {
            Some(digest) => Ok(digest.clone()),
            None => {
                let target = ports.store.images().get(&reference.to_string());
                target
                    .map(|target| target.digest)
                    .ok_or_else(|| absent(name, ports))
            }
        },
    }
}

fn absent(name: &ImageName, ports: &Ports) -> BuildError {
    let names = ports.store.images().list();
    let known: Vec<&str> = names
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|image| &*image.name)
        .collect();
    let more = names.len().saturating_sub(NAMES_SHOWN_MAX);
    BuildError::Input {
        message: format!("{} is not in the store", shown(name)),
        hint: Some(match (known.is_empty(), more) {
            (true, _) => "build it first, with --tag".to_owned(),
            (false, 0) => format!("the store has {}", known.join(", ")),
            (false, more) => format!("the store has {} and {more} more", known.join(", ")),
        }),
        source: None,
    }
}

/// Names of images that a hint lists.
const NAMES_SHOWN_MAX: usize = 10;

fn shown(name: &ImageName) -> String {
    match name {
        ImageName::Reference(reference) => reference.to_string(),
        ImageName::Digest(digest) => digest.to_string(),
    }
}
