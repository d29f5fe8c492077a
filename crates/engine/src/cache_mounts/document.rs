//! The document of a mount in a scope: which snapshots there are, the newest first, and the packs
//! that they need.

use oci::{Descriptor, MediaType};
use serde::{Deserialize, Serialize};
use shelf::Document;

/// What the document is, so that something else under its name is not taken for one.
const KIND: &str = "cache mount";

/// Goes up when an older kiln would misread it.
const FORMAT: u32 = 1;

/// Snapshots that are kept: the newest, and the one before it for when that is damaged.
pub(super) const GENERATIONS_MAX: usize = 2;

/// The most of a document that is read, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most packs of one snapshot: each is a blob of some 32 MiB.
pub(super) const PACKS_MAX: usize = 4096;

pub(super) const SNAPSHOT: &str = "application/vnd.kiln.cache-mount.snapshot.v1+zstd";
pub(super) const PACK: &str = "application/vnd.kiln.cache-mount.pack.v1";

/// What is known of a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MountDocument {
    kind: String,
    format: u32,
    /// The id of the mount, for people.
    pub id: String,
    /// The scope, for people.
    pub scope: String,
    /// The newest first.
    pub generations: Vec<Generation>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Generation {
    pub snapshot: Descriptor,
    pub packs: Vec<Descriptor>,
    /// When it was made, in nanoseconds since 1970: builds may follow each other within a second.
    pub saved: u64,
}

/// Why a document says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("it is too large")]
    TooLarge,
    #[error("it is not about a cache mount")]
    Foreign,
    #[error("it is from a newer kiln (format {0})")]
    Newer(u32),
    #[error("it cannot be understood")]
    Json(#[from] serde_json::Error),
}

impl MountDocument {
    pub(super) fn new(id: &str, scope: &str, generations: Vec<Generation>) -> Self {
        Self {
            kind: KIND.to_owned(),
            format: FORMAT,
            id: id.to_owned(),
            scope: scope.to_owned(),
            generations,
        }
    }

    pub(super) fn read(document: &Document) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            kind: String,
            #[serde(default)]
            format: u32,
        }

        if document.body.len() > BODY_BYTES_MAX {
            return Err(DocumentError::TooLarge);
        }
        let head: Head = serde_json::from_slice(&document.body)?;
        match (head.kind.as_str(), head.format) {
            (KIND, FORMAT) => {}
            (KIND, newer) => return Err(DocumentError::Newer(newer)),
            _ => return Err(DocumentError::Foreign),
        }
        let read: Self = serde_json::from_slice(&document.body)?;
        let too_many = read.generations.len() > 64
            || read
                .generations
                .iter()
                .any(|one| one.packs.len() > PACKS_MAX);
        match too_many {
            true => Err(DocumentError::TooLarge),
            false => Ok(read),
        }
    }

    pub(super) fn write(&self) -> Document {
        let mut blobs: Vec<Descriptor> = Vec::new();
        for generation in &self.generations {
            for blob in std::iter::once(&generation.snapshot).chain(&generation.packs) {
                if !blobs.iter().any(|known| known.digest == blob.digest) {
                    blobs.push(blob.clone());
                }
            }
        }
        let body = serde_json::to_vec(self).expect("texts, numbers and descriptors are JSON");
        Document {
            body: body.into(),
            blobs,
        }
    }
}

pub(super) fn media_type(text: &str) -> MediaType {
    MediaType::Other(text.into())
}
