//! Blobs as they go out: look, mount, send, look again (distribution
//! specification, "Pushing blobs").

use std::io;

use oci::Repository;

use crate::Progress;

/// Where the bytes of a blob can be read, any number of times.
pub trait BlobSource: Send + Sync {
    /// Opens the blob at `offset` bytes from its start.
    ///
    /// # Errors
    ///
    /// Whatever keeps the source from being read; it ends the push.
    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send>>;
}

impl BlobSource for bytes::Bytes {
    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send>> {
        let offset = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.len());
        Ok(Box::new(io::Cursor::new(self.slice(offset..))))
    }
}

/// How a blob is to be pushed.
#[derive(Clone, Default)]
pub struct PushOptions {
    /// Repositories of the same registry that may hold the blob, most likely
    /// first. Only repositories that this build used: asking for others tells
    /// the registry what we are looking for (D22).
    pub mount_from: Vec<Repository>,
    /// Send in pieces of this many bytes. `None` sends everything in one
    /// request, which is cheapest, unless the registry wants pieces.
    pub chunk_bytes: Option<u64>,
    /// Is told what has been sent.
    pub progress: Option<Progress>,
}

/// How a blob came to be in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// It was taken over from another repository.
    Mounted,
    /// It was sent.
    Uploaded {
        /// Bytes sent, those sent again included.
        bytes: u64,
    },
}

/// The answer to the wish to mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountOutcome {
    /// The blob is there now.
    Mounted,
    /// The registry does not mount it: not there, not allowed, or not offered.
    Refused,
}
