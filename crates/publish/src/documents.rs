//! An image comes to a repository, and nobody sees it yet: its blobs, and then its manifests and
//! indices by digest, what is listed before what lists it.

use std::collections::HashSet;

use oci::{Descriptor, Document, MediaType};
use registry::{Client, ErrorKind, Selector};

use crate::plan::Destination;
use crate::standing::DestinationError;
use crate::{Item, Uploads};

/// Layers that are never pushed: who runs the image fetches them from their vendor (image
/// specification, "Non-Distributable Layers").
const FOREIGN_LAYERS: [&str; 4] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
];

/// Begins to send the blobs of an image.
pub(crate) fn start_blobs(destination: &Destination<'_>, uploads: &Uploads) {
    let content = &destination.item.content;
    for blob in blobs(destination.item) {
        uploads.start(&destination.target.repository, blob, &content.blobs);
    }
}

/// Waits until the blobs of an image are there.
pub(crate) async fn blobs_arrived(
    destination: &Destination<'_>,
    uploads: &Uploads,
) -> Result<(), DestinationError> {
    let mut outcome = Ok(());
    for blob in blobs(destination.item) {
        let arrived = uploads.arrived(&destination.target.repository, &blob.digest);
        if let Err(error) = arrived.await {
            // All are waited for: what has arrived need not be sent by the next run.
            outcome = outcome.and(Err(DestinationError::Upload(error)));
        }
    }
    outcome
}

/// Stores the manifests and indices of an image by their digests. A registry that has forgotten a
/// blob since it said that it has it says so here; then the blobs are brought there once more.
pub(crate) async fn put_documents(
    destination: &Destination<'_>,
    client: &Client,
    uploads: &Uploads,
) -> Result<(), DestinationError> {
    let mut is_first = true;
    for document in &destination.item.content.documents {
        match put(destination, client, document).await {
            Ok(()) => {}
            Err(error) if is_first && matches!(error.kind(), ErrorKind::BlobUnknown { .. }) => {
                is_first = false;
                for blob in blobs(destination.item) {
                    let repository = &destination.target.repository;
                    uploads.forget(repository, &blob.digest).await;
                }
                start_blobs(destination, uploads);
                blobs_arrived(destination, uploads).await?;
                put(destination, client, document).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn put(
    destination: &Destination<'_>,
    client: &Client,
    document: &Document,
) -> Result<(), registry::Error> {
    let Descriptor {
        digest, media_type, ..
    } = document.descriptor();
    let repository = &destination.target.repository;
    let subject = match document {
        Document::Manifest(manifest) => &manifest.value().subject,
        Document::Index(index) => &index.value().subject,
    };
    if subject.is_some() {
        // Where the registry does not list it by itself, it has to be entered in the list.
        return client.add_referrer(repository, document).await.map(drop);
    }
    let selector = Selector::Digest(digest);
    client
        .push_manifest(repository, &selector, &media_type, document.bytes())
        .await
        .map(drop)
}

/// The configurations and layers of all manifests, each once: layers first, because they take
/// longest.
fn blobs(item: &Item) -> Vec<&Descriptor> {
    let manifests = item
        .content
        .documents
        .iter()
        .filter_map(|document| match document {
            Document::Manifest(manifest) => Some(manifest.value()),
            Document::Index(_) => None,
        });
    let mut seen = HashSet::new();
    let mut blobs = Vec::new();
    let mut configs = Vec::new();
    for manifest in manifests {
        let layers = manifest
            .layers
            .iter()
            .filter(|layer| !is_foreign(&layer.media_type));
        for layer in layers {
            if seen.insert(&layer.digest) {
                blobs.push(layer);
            }
        }
        if seen.insert(&manifest.config.digest) {
            configs.push(&manifest.config);
        }
    }
    blobs.append(&mut configs);
    blobs
}

fn is_foreign(media_type: &MediaType) -> bool {
    FOREIGN_LAYERS.contains(&media_type.as_str())
}
