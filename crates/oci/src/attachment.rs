//! What is attached to an image: a signature, a provenance, a list of contents.

use std::collections::BTreeMap;

use crate::{Descriptor, Digest, Manifest, MediaType, Raw, Tag};

/// The bytes of [`Attachment::empty_config`] (image specification, "Guidance for an empty
/// descriptor").
pub const EMPTY_CONFIG: &[u8] = b"{}";

/// A document about an image, complete: its manifest, and the bytes of the blobs that the manifest
/// names. Small enough for memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its manifest.
    pub manifest: Raw<Manifest>,
    /// The configuration and the layers, each once.
    pub blobs: Vec<AttachedBlob>,
    /// How it is found.
    pub place: AttachmentPlace,
}

/// A blob of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// How an attachment is found by whoever knows the digest of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachmentPlace {
    /// As a referrer: the manifest has a subject (distribution specification 1.1, "Listing
    /// Referrers"; where the registry has no such list, the tag made from the digest).
    Referrer,
    /// Under a tag made from the digest, as cosign has it: layers of those who signed before stay.
    Tag(Tag),
}

impl Attachment {
    /// A referrer without a configuration of its own: `blobs` as its layers, each with its media
    /// type and annotations.
    pub fn referrer(
        artifact_type: &str,
        subject: Descriptor,
        blobs: Vec<(MediaType, Vec<u8>, BTreeMap<String, String>)>,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        let config = Self::empty_config();
        let mut attached = vec![AttachedBlob {
            digest: config.digest.clone(),
            bytes: EMPTY_CONFIG.to_vec(),
        }];
        let mut layers = Vec::new();
        for (media_type, bytes, annotations) in blobs {
            let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
            attached.push(AttachedBlob {
                digest: descriptor.digest.clone(),
                bytes,
            });
            layers.push(Descriptor {
                annotations,
                ..descriptor
            });
        }
        let manifest = Raw::write(Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            artifact_type: Some(artifact_type.to_owned()),
            config,
            layers,
            subject: Some(Descriptor {
                annotations: BTreeMap::new(),
                platform: None,
                ..subject
            }),
            annotations,
        });
        Self {
            manifest,
            blobs: attached,
            place: AttachmentPlace::Referrer,
        }
    }

    /// The descriptor of the empty configuration that referrers have.
    pub fn empty_config() -> Descriptor {
        Descriptor::new(
            MediaType::Other("application/vnd.oci.empty.v1+json".into()),
            Digest::of(EMPTY_CONFIG),
            EMPTY_CONFIG.len() as u64,
        )
    }
}
