//! Small blobs that are in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use oci::{Descriptor, Digest, Repository};
use registry::BlobSource;

use crate::Blobs;

/// The blobs of an artifact.
pub(super) struct Held(BTreeMap<Digest, Bytes>);

impl Held {
    /// Blobs by their digests.
    pub(super) fn new(blobs: impl IntoIterator<Item = (Digest, Bytes)>) -> Self {
        Self(blobs.into_iter().collect())
    }
}

impl Blobs for Held {
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>> {
        let bytes = self.0.get(&blob.digest)?.clone();
        Some(Arc::new(bytes))
    }

    fn repositories(&self, _: &Descriptor) -> Vec<Repository> {
        Vec::new()
    }
}
