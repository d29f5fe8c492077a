//! The images of a build as [`ImageFiles`]: files of a layout or an archive.

use oci::{Descriptor, Reference};
use publish::Content;
use publish::sink::{ImageFiles, LayoutName, entries};

use crate::image_set::ImageSet;

/// The layout of a build's images with its names.
pub(crate) fn layout(content: &Content, images: &ImageSet, tags: &[Reference]) -> ImageFiles {
    let names: Vec<LayoutName> = tags.iter().map(LayoutName::of).collect();
    let described = images.descriptor().annotations;
    // What the user says of the descriptor stands beside the names.
    let entries = entries(&content.root, &names).into_iter().map(|entry| {
        let mut annotations = described.clone();
        annotations.extend(entry.annotations);
        Descriptor {
            annotations,
            ..entry
        }
    });
    ImageFiles::layout_of(&[content], entries.collect())
}
