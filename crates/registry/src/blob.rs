//! Blobs as they come in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

use crate::Error;

/// The bytes of a blob, verified: the stream ends without an error only when
/// digest and size were right. Dropping it stops the download.
pub struct BlobStream {}

/// A [`BlobStream`] for plain threads. An `io::Error` of its own carries the
/// [`Error`] as its source; end of file means that the blob is right.
pub struct BlobReader {}

/// Why [`crate::Client::consume_blob`] failed.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError<E> {
    /// The blob could not be fetched, or is not what it should be.
    #[error(transparent)]
    Wire(Error),
    /// The blob is right, but the consumer failed.
    #[error("the consumer of the blob failed")]
    Consumer(E),
}

impl BlobStream {
    /// The next bytes; `None` when all have come and are right.
    ///
    /// # Errors
    ///
    /// Once, as the last item.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        todo!()
    }

    /// For reading on a thread that is not part of the runtime (or one for
    /// blocking work); must not be read inside async code.
    pub fn into_reader(self) -> BlobReader {
        todo!()
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        todo!()
    }
}

impl BlobReader {
    /// The error behind the last failed read, taken out.
    pub fn take_error(&mut self) -> Option<Error> {
        todo!()
    }
}

impl io::Read for BlobReader {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        todo!()
    }
}
