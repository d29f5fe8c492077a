//! Where the layers of an image came from, kept beside it: an image that stays
//! in the store does not hold the bytes of its base, and can still be sent.

use std::collections::BTreeMap;

use oci::{Digest, Repository};
use store::Store;

use crate::image_set::ImageSet;
use crate::origins::{Origin, Origins};
use crate::output::LayerRef;

/// Remembers the origins of those layers of images that the store lacks: for each image, and for
/// the index that they are in.
pub(crate) fn remember(store: &Store, images: &ImageSet, origins: &Origins) {
    for image in images.images() {
        remember_of(
            store,
            image.manifest.digest(),
            image.output.stack.iter(),
            origins,
        );
    }
    if let Some(index) = images.index() {
        remember_of(store, index.digest(), images.layers(), origins);
    }
}

fn remember_of<'l>(
    store: &Store,
    document: &Digest,
    layers: impl Iterator<Item = &'l LayerRef>,
    origins: &Origins,
) {
    let needed: BTreeMap<&str, String> = layers
        .filter_map(|layer| {
            let origin = origins.get(&layer.blob.digest)?;
            let repository = origin.repository()?;
            Some((layer.blob.digest.as_str(), repository.to_string()))
        })
        .collect();
    let bytes = serde_json::to_vec(&needed).expect("a map of texts is JSON");
    store.records().put(&key(document), &bytes);
}

/// What was remembered of an image or index; nothing when nothing was.
pub(crate) fn recall(store: &Store, document: &Digest) -> Origins {
    let origins = Origins::default();
    for (digest, repository) in layer_origins(store, document) {
        origins.add(digest, Origin::Registry(repository));
    }
    origins
}

/// The repositories that layers of an image in the store came from, where that is known.
pub fn layer_origins(store: &Store, document: &Digest) -> BTreeMap<Digest, Repository> {
    let Some(bytes) = store.records().get(&key(document)) else {
        return BTreeMap::new();
    };
    let texts: BTreeMap<String, String> = serde_json::from_slice(&bytes).unwrap_or_default();
    let parsed = texts
        .iter()
        .filter_map(|(digest, repository)| Some((digest.parse().ok()?, repository.parse().ok()?)));
    parsed.collect()
}

fn key(document: &Digest) -> Digest {
    Digest::of(format!("origins of the layers of {document}").as_bytes())
}
