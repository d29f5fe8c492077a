//! Sends an image of the store to registries, in the same transaction as a build
//! does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use oci::{
    DOCUMENT_BYTES_MAX, Descriptor, Digest, Document, ImageConfig, Manifest, MediaType, Raw,
    Reference,
};
use publish::source::{self, Part, SourceError, Sources};
use publish::{Address, Content, StoreName};
use store::blob::BlobError;

use crate::assemble::Image;
use crate::error::BuildError;
use crate::export::registry;
use crate::image_set::ImageSet;
use crate::output::{LayerRef, StepOutput};
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
pub(crate) fn find(name: &ImageName, ports: &Ports) -> Result<Digest, BuildError> {
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

/// Reads the documents of an image, or of an index and all of its images.
pub(crate) fn open(
    digest: &Digest,
    name: &ImageName,
    ports: &Ports,
) -> Result<ImageSet, BuildError> {
    let index = match document(digest, name, ports)? {
        Document::Manifest(manifest) => {
            let image = image(*manifest, name, ports)?;
            return Ok(ImageSet::read(vec![image], None, BTreeMap::new()));
        }
        Document::Index(index) => index,
    };
    match &index.value().media_type {
        None | Some(MediaType::OciIndex) => {}
        Some(other) => return Err(unsuitable(name, &format!("of the type {other}"))),
    }
    let mut images = Vec::new();
    for entry in &index.value().manifests {
        match document(&entry.digest, name, ports)? {
            Document::Manifest(manifest) => images.push(image(*manifest, name, ports)?),
            Document::Index(_) => return Err(unsuitable(name, "a list of lists of images")),
        }
    }
    Ok(ImageSet::read(images, Some(*index), BTreeMap::new()))
}

fn document(digest: &Digest, name: &ImageName, ports: &Ports) -> Result<Document, BuildError> {
    let bytes = ports
        .store
        .blobs()
        .read(digest, DOCUMENT_BYTES_MAX)
        .map_err(|error| match error {
            BlobError::Absent(_) => absent(name, ports),
            other => BuildError::failed(format!("could not read the manifest {digest}"), other),
        })?;
    Document::read(bytes, None).map_err(|_| unsuitable(name, "not an image"))
}

fn unsuitable(name: &ImageName, what: &str) -> BuildError {
    BuildError::input(format!(
        "{} is {what}: kiln pushes images that it built",
        shown(name)
    ))
}

/// Reads what a manifest names.
fn image(manifest: Raw<Manifest>, name: &ImageName, ports: &Ports) -> Result<Image, BuildError> {
    let blobs = ports.store.blobs();
    match &manifest.value().media_type {
        None | Some(MediaType::OciManifest) => {}
        Some(other) => return Err(unsuitable(name, &format!("of the type {other}"))),
    }
    let wanted = manifest.value().config.digest.clone();
    let incomplete = |source: Box<dyn std::error::Error + Send + Sync>| BuildError::Failed {
        message: format!("the configuration of {} cannot be used", shown(name)),
        hint: Some("build the image again".to_owned()),
        source: Some(source),
    };
    let bytes = blobs
        .read(&wanted, DOCUMENT_BYTES_MAX)
        .map_err(|error| incomplete(error.into()))?;
    let config: Raw<ImageConfig> = Raw::read(bytes).map_err(|error| incomplete(error.into()))?;
    let layers = &manifest.value().layers;
    let diff_ids = &config.value().rootfs.diff_ids;
    if layers.len() != diff_ids.len() {
        let (layers, diff_ids) = (layers.len(), diff_ids.len());
        return Err(incomplete(
            format!("it lists {diff_ids} layers, and the manifest {layers}").into(),
        ));
    }
    let stack = layers
        .iter()
        .zip(diff_ids)
        .map(|(blob, diff_id)| LayerRef {
            diff_id: diff_id.clone(),
            blob: blob.clone(),
        })
        .collect();
    Ok(Image {
        config,
        manifest,
        output: StepOutput { stack },
    })
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
