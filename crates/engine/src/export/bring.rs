//! Layers that an image in the store cannot be without: those that were found in a directory or a
//! bucket. Of a registry it is enough to know which one it is, as for base images; of other places
//! nothing is written down that would lead there again, credentials least of all.

use std::io::{self, Read as _};

use oci::Descriptor;
use store::Store;
use store::blob::BlobError;

use super::supply::{Supply, SupplyError};
use crate::image_set::ImageSet;
use crate::layers::Layers;
use crate::origins::Origin;

/// Bytes read at once: 128 KiB.
const READ_BYTES: usize = 128 * 1024;

/// Why they cannot be brought.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BringError {
    /// The blob cannot be had.
    #[error(transparent)]
    Supply(#[from] SupplyError),
    /// The store does not take it.
    #[error("could not keep a layer in the store")]
    Keep(#[source] BlobError),
}

/// The layers of images that are neither in the store nor in a registry.
pub(crate) fn wanted(images: &ImageSet, layers: &Layers) -> Vec<Descriptor> {
    let is_on_shelf = |blob: &&Descriptor| {
        let origin = layers.origins().get(&blob.digest);
        matches!(origin, Some(Origin::Shelf(_))) && !layers.store.blobs().has(blob)
    };
    let blobs = images.layers().map(|layer| &layer.blob);
    blobs.filter(is_on_shelf).cloned().collect()
}

/// Puts them into the store, each verified. Blocks.
pub(crate) fn bring(
    store: &Store,
    supply: &Supply,
    wanted: &[Descriptor],
) -> Result<(), BringError> {
    let mut buffer = vec![0; READ_BYTES];
    for blob in wanted {
        let writer = store.blobs().writer_for(blob.digest.algorithm());
        let mut writer = writer.map_err(|error| BringError::Keep(error.into()))?;
        let mut reader = supply.open(blob)?;
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(reader.failure(error).into()),
            };
            let appended = writer.append(&buffer[..count]);
            appended.map_err(|error| BringError::Keep(error.into()))?;
        }
        writer.finish_as(blob).map_err(BringError::Keep)?;
    }
    Ok(())
}
