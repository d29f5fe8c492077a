//! The shelf: blobs by digest and small documents by name, kept where other
//! machines find them: in a registry, a directory, a bucket, a CI's cache.
//!
//! It does not know what is in a blob or a document, nor what a build is. It
//! believes nothing that it reads: what a blob's reader gives until its end has
//! the digest that was asked for, or the reader fails.

mod address;
mod bucket;
mod directory;
mod document;
mod error;
mod form;
mod gha;
mod open;
mod registry_shelf;
mod sealed;
mod shelf;

pub use address::{
    Address, AzblobAddress, BLOBS_PREFIX, BucketPaths, DOCUMENTS_PREFIX, DirectoryAddress,
    GcsAddress, GhaAddress, NAME, S3Address, S3Credentials,
};
pub use document::{Document, DocumentName, DocumentNameError, NAME_BYTES_MAX};
pub use error::{ShelfError, ShelfErrorKind};
pub use open::{Network, open};
pub use sealed::{KEY_BYTES_MAX, KEY_BYTES_MIN, SealKey, SealKeyError};
pub use shelf::{BlobReader, Shelf};
