//! The shelf: blobs by digest and small documents by name, kept where other
//! machines find them: in a registry, a directory, a bucket, a CI's cache.
//!
//! It does not know what is in a blob or a document, nor what a build is. It
//! believes nothing that it reads: what a blob's reader gives until its end has
//! the digest that was asked for, or the reader fails.

mod document;
mod error;
mod shelf;

pub use document::{Document, DocumentName, DocumentNameError, NAME_BYTES_MAX};
pub use error::{ShelfError, ShelfErrorKind};
pub use shelf::{BlobReader, Shelf};
