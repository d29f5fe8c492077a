//! A document and the bytes that its digest names.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Descriptor, Digest, MediaType};

/// A value together with the exact bytes it was read from or written as.
///
/// A digest names bytes, not values: reading a document and writing it again
/// may move a key or a blank and so change the digest. Anything that has a
/// digest therefore travels as `Raw`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw<T> {
    value: T,
    bytes: Box<[u8]>,
    digest: Digest,
}

/// Why bytes are not the document that they should be.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// Not JSON, or not of the document's form.
    #[error("the document is not valid: {0}")]
    Json(#[from] serde_json::Error),
}

impl<T: Serialize> Raw<T> {
    /// Writes `value` as canonical JSON (RFC 8785): sorted keys, no blanks, so
    /// that equal values have equal digests.
    ///
    /// # Panics
    ///
    /// Never for the types of this crate: they have string keys and finite
    /// numbers only.
    pub fn write(value: T) -> Self {
        let bytes = serde_json_canonicalizer::to_vec(&value)
            .expect("documents of this crate have string keys and finite numbers");
        let digest = Digest::of(&bytes);
        Self {
            value,
            bytes: bytes.into(),
            digest,
        }
    }
}

impl<T: DeserializeOwned> Raw<T> {
    /// Reads a document and keeps its bytes.
    ///
    /// # Errors
    ///
    /// When the bytes are not JSON of the expected form. Bytes behind the
    /// document are refused.
    pub fn read(bytes: impl Into<Box<[u8]>>) -> Result<Self, RawError> {
        let bytes = bytes.into();
        let value = serde_json::from_slice(&bytes)?;
        let digest = Digest::of(&bytes);
        Ok(Self {
            value,
            bytes,
            digest,
        })
    }
}

impl<T> Raw<T> {
    /// A value that was parsed from exactly these bytes.
    pub(crate) fn from_parts(value: T, bytes: Box<[u8]>) -> Self {
        let digest = Digest::of(&bytes);
        Self {
            value,
            bytes,
            digest,
        }
    }

    /// The document.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The bytes as stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The SHA-256 digest of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// A descriptor that points at the bytes.
    pub fn descriptor(&self, media_type: MediaType) -> Descriptor {
        Descriptor::new(media_type, self.digest.clone(), self.bytes.len() as u64)
    }
}
