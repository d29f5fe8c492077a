//! Where the layers of an image came from, kept beside it: an image that stays
//! in the store does not hold the bytes of its base, and can still be sent.

use std::collections::BTreeMap;

use oci::{Digest, Repository};
use store::Store;

use crate::assemble::Image;

/// Remembers the origins of those layers of an image that the store lacks.
pub(crate) fn remember(store: &Store, image: &Image, origins: &BTreeMap<Digest, Repository>) {
    let needed: BTreeMap<&str, String> = image
        .output
        .stack
        .iter()
        .filter_map(|layer| {
            let origin = origins.get(&layer.blob.digest)?;
            Some((layer.blob.digest.as_str(), origin.to_string()))
        })
        .collect();
    let bytes = serde_json::to_vec(&needed).expect("a map of texts is JSON");
    store.records().put(&key(image.manifest.digest()), &bytes);
}

/// What was remembered of an image; nothing when nothing was.
pub(crate) fn recall(store: &Store, manifest: &Digest) -> BTreeMap<Digest, Repository> {
    let Some(bytes) = store.records().get(&key(manifest)) else {
        return BTreeMap::new();
    };
    let texts: BTreeMap<String, String> = serde_json::from_slice(&bytes).unwrap_or_default();
    texts
        .into_iter()
        .filter_map(|(digest, origin)| Some((digest.parse().ok()?, origin.parse().ok()?)))
        .collect()
}

fn key(manifest: &Digest) -> Digest {
    Digest::of(format!("origins of the layers of {manifest}").as_bytes())
}
