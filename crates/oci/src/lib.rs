//! The words of OCI: digests, descriptors, manifests, image configurations,
//! references and platforms, as the image and distribution specifications name
//! them.
//!
//! This crate touches no file, socket, clock, thread or runtime. It reads bytes
//! that others fetched and writes bytes that others store. What it promises is
//! that a value of one of its types is well-formed: a [`Digest`] cannot be
//! malformed, a [`Reference`] has its defaults applied, and a document travels
//! as [`Raw`] together with the very bytes that its digest names.

mod attachment;
mod config;
mod descriptor;
mod digest;
mod manifest;
mod media_type;
mod platform;
mod raw;
mod reference;

pub use attachment::{AttachedBlob, Attachment, AttachmentPlace, EMPTY_CONFIG};
pub use config::{ContainerConfig, Empty, HealthcheckConfig, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, ChainId, DiffId, Digest, DigestError, Hasher};
pub use manifest::{Document, DocumentError, Index, Manifest};
pub use media_type::{Compression, MediaType};
pub use platform::{Platform, PlatformError};
pub use raw::{Raw, RawError};
pub use reference::{Reference, ReferenceError, Repository, Tag};

/// The largest manifest, index or configuration that is read, in bytes.
///
/// The distribution specification asks registries to accept manifests of at
/// least 4 MiB ("Pushing Manifests"); nobody needs larger ones.
pub const DOCUMENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
