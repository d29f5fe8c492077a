//! The blobs of several images as those of one.

use std::collections::HashMap;
use std::sync::Arc;

use oci::{Descriptor, Digest, Document, Repository};
use registry::BlobSource;

use crate::{Blobs, Content};

/// Blobs of several images: each is asked of the first that has it.
pub fn joined(contents: &[&Content]) -> Arc<dyn Blobs> {
    let mut holders: HashMap<Digest, Arc<dyn Blobs>> = HashMap::new();
    for content in contents {
        for document in &content.documents {
            if let Document::Manifest(manifest) = document {
                let manifest = manifest.value();
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    holders
                        .entry(blob.digest.clone())
                        .or_insert_with(|| Arc::clone(&content.blobs));
                }
            }
        }
    }
    Arc::new(Joined(holders))
}

struct Joined(HashMap<Digest, Arc<dyn Blobs>>);

impl Blobs for Joined {
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>> {
        self.0.get(&blob.digest)?.source(blob)
    }

    fn repositories(&self, blob: &Descriptor) -> Vec<Repository> {
        let holder = self.0.get(&blob.digest);
        holder.map_or_else(Vec::new, |holder| holder.repositories(blob))
    }
}
