//! What a build makes: one image, or the images of several platforms and the index that lists
//! them.

use std::collections::{BTreeMap, BTreeSet};

use oci::{Attachment, Descriptor, Document, Index, Manifest, MediaType, Raw};

use crate::annotations::Annotations;
use crate::assemble::Image;
use crate::attest::Said;
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
    /// What is said of the images, in their order; nothing where nothing was asked for.
    said: Vec<Said>,
    /// The same images where nothing is said of them: those that have no place for it.
    plain: Option<Box<ImageSet>>,
    /// Whether what is said also goes beside the manifests, as referrers.
    referrers: bool,
}

/// A document of a set that is not a layer, and fits into memory.
#[derive(Clone, Debug)]
pub(crate) struct SmallDocument<'s> {
    pub descriptor: Descriptor,
    pub bytes: &'s [u8],
}

impl ImageSet {
    /// What a request asks for: the one image, or an index of all.
    pub(crate) fn of(mut images: Vec<Image>, request: &BuildRequest) -> Self {
        match &request.shape {
            Shape::Image => {
                let image = images.pop().expect("an image has a target");
                Self::single(image, &request.annotations)
            }
            Shape::Index(_) => Self::indexed(images, &of_index(request)),
        }
    }

    /// One image.
    pub(crate) fn single(image: Image, annotations: &Annotations) -> Self {
        let descriptor_annotations = annotations.of_manifest_descriptor(&image.platform());
        Self {
            images: vec![image],
            index: None,
            descriptor_annotations,
            said: Vec::new(),
            plain: None,
            referrers: false,
        }
    }

    /// Images in an index that lists them in their order.
    pub(crate) fn indexed(images: Vec<Image>, annotations: &Annotations) -> Self {
        let index = index(&images, &[], annotations);
        Self::read(images, Some(index), annotations.of_index_descriptor())
    }

    /// The same with what is said of each image: behind the images, in an index, as BuildKit has
    /// it. One image alone gets an index for it.
    pub(crate) fn attested(self, said: Vec<Said>, request: &BuildRequest) -> Self {
        let annotations = of_index(request);
        let index = index(&self.images, &said, &annotations);
        let index_descriptor = annotations.of_index_descriptor();
        Self {
            said,
            referrers: request.attestations.referrers,
            plain: Some(Box::new(self.clone())),
            ..Self::read(self.images, Some(index), index_descriptor)
        }
    }

    /// The same without what is said.
    pub(crate) fn plain(&self) -> &Self {
        self.plain.as_deref().unwrap_or(self)
    }

    /// What is said of the images, in their order.
    pub(crate) fn said(&self) -> &[Said] {
        &self.said
    }

    /// What is to be stored beside manifests, as referrers.
    pub(crate) fn referrers(&self) -> Vec<Attachment> {
        let said = self.said.iter().filter(|_| self.referrers);
        said.flat_map(Said::referrers).collect()
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
            said: Vec::new(),
            plain: None,
            referrers: false,
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

    /// Configurations and statements: the blobs that are not layers.
    pub(crate) fn small_blobs(&self) -> impl Iterator<Item = SmallDocument<'_>> {
        let configs = self.images.iter().map(|image| SmallDocument {
            descriptor: image.config.descriptor(MediaType::OciConfig),
            bytes: image.config.bytes(),
        });
        let said = self.said.iter().flat_map(|said| {
            let manifest = said.manifest.manifest.value();
            let named = manifest.layers.iter().chain([&manifest.config]);
            named.filter_map(|descriptor| {
                let blobs = &said.manifest.blobs;
                let blob = blobs.iter().find(|blob| blob.digest == descriptor.digest)?;
                Some(SmallDocument {
                    descriptor: descriptor.clone(),
                    bytes: &blob.bytes,
                })
            })
        });
        configs.chain(said)
    }

    /// Manifests, without the index.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = SmallDocument<'_>> {
        self.raw_manifests().map(|manifest| SmallDocument {
            descriptor: manifest.descriptor(MediaType::OciManifest),
            bytes: manifest.bytes(),
        })
    }

    /// Manifests and the index, each once, what is listed before what lists it.
    pub(crate) fn documents(&self) -> Vec<Document> {
        let mut known = BTreeSet::new();
        let manifests = self.raw_manifests();
        let manifests = manifests.filter(|manifest| known.insert(manifest.digest().clone()));
        let manifests = manifests.map(|manifest| Document::Manifest(Box::new(manifest.clone())));
        let index = self.index.iter();
        let index = index.map(|index| Document::Index(Box::new(index.clone())));
        manifests.chain(index).collect()
    }

    fn raw_manifests(&self) -> impl Iterator<Item = &Raw<Manifest>> {
        let images = self.images.iter().map(|image| &image.manifest);
        images.chain(self.said.iter().map(|said| &said.manifest.manifest))
    }

    /// Compressed layers, configurations, manifests, index and what is said of the images in
    /// bytes, each once.
    pub(crate) fn bytes(&self) -> u64 {
        let layers: u64 = self.layers().map(|layer| layer.blob.size).sum();
        let index = self.index.iter();
        let index = index.map(|index| (index.digest().clone(), index.bytes().len()));
        let documents: BTreeMap<_, _> = self
            .small_blobs()
            .chain(self.manifests())
            .map(|document| (document.descriptor.digest, document.bytes.len()))
            .chain(index)
            .collect();
        layers
            + documents
                .into_values()
                .map(|bytes| bytes as u64)
                .sum::<u64>()
    }
}

/// The annotations of a build that makes an index.
fn of_index(request: &BuildRequest) -> Annotations {
    let mut annotations = request.annotations.clone();
    if let Some(identity) = &request.graph.identity {
        annotations.identify_index(identity, &request.graph.labels);
    }
    annotations
}

/// An index of images, and of what is said of them.
fn index(images: &[Image], said: &[Said], annotations: &Annotations) -> Raw<Index> {
    let listed = images.iter().map(|image| {
        let platform = image.platform();
        Descriptor {
            annotations: annotations.of_manifest_descriptor(&platform),
            platform: Some(platform),
            ..image.descriptor()
        }
    });
    let said = said.iter().map(|said| said.manifest.descriptor());
    Raw::write(Index {
        schema_version: 2,
        media_type: Some(MediaType::OciIndex),
        artifact_type: None,
        manifests: listed.chain(said).collect(),
        subject: None,
        annotations: annotations.of_index(),
    })
}
