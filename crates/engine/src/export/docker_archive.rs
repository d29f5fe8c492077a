//! `type=docker`: an archive that `docker load` and `podman load` take. It is an
//! OCI image layout with one file more, as Docker has written since version 25:
//! old readers look at `manifest.json`, new ones at `index.json`.
//!
//! Layers stay compressed. Every reader looks for compression by content, and
//! the digests of the image survive.

use oci::Reference;
use serde::Serialize;

use super::image_files::{ImageFiles, blob_name};
use crate::assemble::Image;
use crate::image_set::ImageSet;

/// An image in `manifest.json`. Docker's names (moby,
/// `image/tarexport/tarexport.go`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    layers: Vec<String>,
    repo_tags: Vec<String>,
}

/// The files of the archive.
pub(crate) fn files(images: &ImageSet, tags: &[Reference]) -> ImageFiles {
    let mut files = ImageFiles::layout(images, tags);
    let item = |image: &Image| Item {
        config: blob_name(image.config.digest()),
        layers: (image.output.stack.iter())
            .map(|layer| blob_name(&layer.blob.digest))
            .collect(),
        // In full: podman would put `localhost/` in front of a short name.
        repo_tags: tags.iter().map(ToString::to_string).collect(),
    };
    // Only one: an index was refused before the build.
    let items: Vec<Item> = images.images().iter().map(item).collect();
    let bytes = serde_json::to_vec(&items).expect("a list of texts is JSON");
    files.add("manifest.json", &bytes);
    files
}
