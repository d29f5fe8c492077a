//! What a build makes: one image, or the images of several platforms and the index that lists
//! them.

use std::collections::BTreeMap;

use oci::{Descriptor, Index, MediaType, Raw};

use crate::annotations::Annotations;
use crate::assemble::Image;
use crate::output::LayerRef;
use crate::request::{BuildRequest, Shape};

/// The images of a build, and what a tag is to point at.
#[derive(Clone, Debug)]
pub(crate) struct ImageSet {
    /// At least one; exactly one where there is no index.
    images: Vec<Image>,
    index: Option<Raw<Index>>,
    /// Of the descriptor of the top document, wherever something lists it.
    descriptor_annotations: BTreeMap<String, String>,
}

impl ImageSet {
    /// What a request asks for: the one image, or an index of all.
    pub(crate) fn of(mut images: Vec<Image>, request: &BuildRequest) -> Self {
        match &request.shape {
            Shape::Image => {
                let image = images.pop().expect("an image has a target");
                Self::single(image, &request.annotations)
            }
            Shape::Index(_) => {
                let mut annotations = request.annotations.clone();
                if let Some(identity) = &request.graph.identity {
                    annotations.identify_index(identity);
                }
                Self::indexed(images, &annotations)
            }
        }
    }

    /// One image.
    pub(crate) fn single(image: Image, annotations: &Annotations) -> Self {
        let descriptor_annotations = annotations.of_manifest_descriptor(&image.platform());
        Self {
            images: vec![image],
            index: None,
            descriptor_annotations,
        }
    }

    /// Images in an index that lists them in their order.
    pub(crate) fn indexed(images: Vec<Image>, annotations: &Annotations) -> Self {
        let manifests = images
            .iter()
            .map(|image| {
                let platform = image.platform();
                Descriptor {
                    annotations: annotations.of_manifest_descriptor(&platform),
                    platform: Some(platform),
                    ..image.descriptor()
                }
            })
            .collect();
        let index = Raw::write(Index {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: annotations.of_index(),
        });
        Self::read(images, Some(index), annotations.of_index_descriptor())
    }

    /// Images as they were found: the index, if there is one, lists just these.
    pub(crate) fn read(
        images: Vec<Image>,
        index: Option<Raw<Index>>,
        descriptor_annotations: BTreeMap<String, String>,
    ) -> Self {
        Self {
            images,
            index,
            descriptor_annotations,
        }
    }

    /// The images.
    pub(crate) fn images(&self) -> &[Image] {
        &self.images
    }

    /// The index, if there is one.
    pub(crate) fn index(&self) -> Option<&Raw<Index>> {
        self.index.as_ref()
    }

    /// The document that a tag points at: its type, and its bytes.
    pub(crate) fn top(&self) -> (MediaType, &[u8]) {
        match (&self.index, self.images.as_slice()) {
            (Some(index), _) => (MediaType::OciIndex, index.bytes()),
            (None, [image, ..]) => (MediaType::OciManifest, image.manifest.bytes()),
            (None, []) => unreachable!("a set without an index is made from an image"),
        }
    }

    /// A descriptor of that document.
    pub(crate) fn descriptor(&self) -> Descriptor {
        let plain = match (&self.index, self.images.as_slice()) {
            (Some(index), _) => index.descriptor(MediaType::OciIndex),
            (None, [image, ..]) => image.descriptor(),
            (None, []) => unreachable!("a set without an index is made from an image"),
        };
        Descriptor {
            annotations: self.descriptor_annotations.clone(),
            ..plain
        }
    }

    /// The layers of all images, each once.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &LayerRef> {
        let all: BTreeMap<_, _> = self
            .images
            .iter()
            .flat_map(|image| image.output.stack.iter())
            .map(|layer| (&layer.blob.digest, layer))
            .collect();
        all.into_values()
    }

    /// Compressed layers, configurations, manifests and index in bytes, each once.
    pub(crate) fn bytes(&self) -> u64 {
        let layers: u64 = self.layers().map(|layer| layer.blob.size).sum();
        let documents: BTreeMap<_, _> = self
            .images
            .iter()
            .flat_map(|image| {
                [
                    (image.config.digest(), image.config.bytes().len()),
                    (image.manifest.digest(), image.manifest.bytes().len()),
                ]
            })
            .chain(
                self.index
                    .iter()
                    .map(|index| (index.digest(), index.bytes().len())),
            )
            .collect();
        layers
            + documents
                .into_values()
                .map(|bytes| bytes as u64)
                .sum::<u64>()
    }
}
