//! What every shelf can do.

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use oci::{Descriptor, Repository};
use registry::BlobSource;

use crate::{Document, DocumentName, ShelfError};

/// A blob as it comes in, for a thread that may block. It ends without an error
/// only when size and digest were right.
pub type BlobReader = Box<dyn Read + Send>;

/// A place away from this machine. Its futures run on a tokio runtime.
///
/// Several builds fill one shelf at the same time and any of them may die: a
/// document appears as a whole or not at all, after all of its blobs. The last
/// one to put a document wins.
pub trait Shelf: Send + Sync + fmt::Debug {
    /// How people call it, without credentials.
    fn address(&self) -> &str;

    /// The repository that its blobs are in, where there is one: another
    /// repository of the same registry can take them over without their bytes.
    fn repository(&self) -> Option<&Repository> {
        None
    }

    /// The document of a name; `None` where there is none. What another program
    /// put there is [`crate::ShelfErrorKind::Foreign`]: whoever finds that puts no
    /// document there.
    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<Document>, ShelfError>>;

    /// Puts a document, whose blobs are there already, in the place of what has its name.
    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), ShelfError>>;

    /// Whether a blob is there.
    fn has<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, ShelfError>>;

    /// Opens a blob. That it is absent may also show when it is read.
    fn open<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<BlobReader, ShelfError>>;

    /// A part of a blob, as it is there: only whoever knows its hash can believe it.
    /// [`crate::ShelfErrorKind::Ranges`] where blobs come as a whole only.
    fn range<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Bytes, ShelfError>>;

    /// Puts a blob, if it is not there already. `elsewhere` are repositories that this build
    /// used and that may have it: a registry can then do without its bytes.
    fn put<'a>(
        &'a self,
        blob: &'a Descriptor,
        source: Arc<dyn BlobSource>,
        elsewhere: &'a [Repository],
    ) -> BoxFuture<'a, Result<(), ShelfError>>;
}
