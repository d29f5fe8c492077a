//! Reads a file and hashes what is read: whether an archive that was unpacked is the one that was
//! fingerprinted.

use std::io::{self, Read};

use store::layer::{ContentHash, ContentHasher};

/// Bytes read at once behind the end of an archive.
const REST_BYTES: usize = 128 * 1024;

/// A reader that keeps the hash of what it gave.
pub(crate) struct Hashed<R> {
    inner: R,
    hash: ContentHasher,
}

impl<R: Read> Hashed<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            hash: ContentHasher::default(),
        }
    }

    /// Reads what is left, and gives the hash of everything.
    ///
    /// # Errors
    ///
    /// The reader's.
    pub(crate) fn finish(mut self) -> io::Result<ContentHash> {
        let mut rest = vec![0; REST_BYTES];
        loop {
            match self.read(&mut rest) {
                Ok(0) => return Ok(self.hash.finish()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}
