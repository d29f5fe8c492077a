//! Images into the store, with all of their blobs, so that they can be sent on without the place
//! that they came from.

use std::io;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use oci::{Descriptor, Digest, Document};
use store::blob::BlobError;
use store::{DiskError, Store};

use super::image_files::open_blob;
use crate::{Content, Watcher};

/// Blobs that are brought at once.
const BLOBS_MAX: usize = 4;
/// Bytes moved at once.
const PIECE_BYTES: usize = 128 * 1024;

/// Why an image was not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A blob cannot be had.
    #[error("could not read the blob {digest}")]
    Read {
        /// Which.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// The store does not take it.
    #[error("could not keep the blob {digest} in the store")]
    Keep {
        /// Which.
        digest: Digest,
        /// Why.
        source: BlobError,
    },
    /// The store does not take a manifest.
    #[error("could not keep a manifest in the store")]
    Document(#[from] DiskError),
}

/// Puts an image into the store, without a name. What is there already is not read. Must be called
/// on a runtime.
///
/// # Errors
///
/// [`KeepError`]; what was kept before stays, and is not read again.
pub async fn keep(
    content: &Content,
    store: &Store,
    watcher: &dyn Watcher,
) -> Result<(), KeepError> {
    let mut seen = std::collections::HashSet::new();
    let manifests = content
        .documents
        .iter()
        .filter_map(|document| match document {
            Document::Manifest(manifest) => Some(manifest.value()),
            Document::Index(_) => None,
        });
    let blobs = manifests.flat_map(|manifest| manifest.layers.iter().chain([&manifest.config]));
    let missing: Vec<Descriptor> = blobs
        .filter(|blob| seen.insert(blob.digest.clone()) && !store.blobs().has(blob))
        .cloned()
        .collect();
    stream::iter(missing)
        .map(async |blob| {
            let (content, store) = (content.clone(), store.clone());
            let progress = watcher.upload(&blob);
            tokio::task::spawn_blocking(move || bring(&content, &blob, &store, progress))
                .await
                .expect("copying a blob does not panic")
        })
        .buffer_unordered(BLOBS_MAX)
        .try_collect::<()>()
        .await?;
    for document in &content.documents {
        store.blobs().put(document.bytes())?;
    }
    Ok(())
}

fn bring(
    content: &Content,
    blob: &Descriptor,
    store: &Store,
    progress: Option<registry::Progress>,
) -> Result<(), KeepError> {
    let digest = || blob.digest.clone();
    let unread = |source| KeepError::Read {
        digest: digest(),
        source,
    };
    let unkept = |source| KeepError::Keep {
        digest: digest(),
        source,
    };
    let mut reader = open_blob(&*content.blobs, blob).map_err(unread)?;
    let writer = store.blobs().writer_for(blob.digest.algorithm());
    let mut writer = writer.map_err(|error| unkept(error.into()))?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut done = 0;
    loop {
        let count = match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unread(error)),
        };
        let appended = writer.append(&piece[..count]);
        appended.map_err(|error| unkept(error.into()))?;
        done += count as u64;
        if let Some(progress) = &progress {
            progress(done);
        }
    }
    writer.finish_as(blob).map_err(unkept)?;
    Ok(())
}
