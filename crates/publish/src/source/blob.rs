//! Blobs as something that can be read again and again: of a registry, of the store, of a file.
//! What is read from its beginning ends without an error only when it has the right digest.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use ::registry::{BlobSource, Client};
use ::store::Store;
use oci::{Descriptor, Digest, Hasher, Repository};
use tokio::runtime::Handle;

/// Why a blob cannot be read, inside of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub enum BlobCause {
    /// Its registry does not give it.
    #[error(transparent)]
    Registry(#[from] ::registry::Error),
    /// Its bytes have another digest.
    #[error("the blob {expected} is damaged: its bytes have the digest {found}")]
    Damaged {
        /// Its name.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// It has another size.
    #[error("the blob {digest} should have {expected} bytes and has {found}")]
    Size {
        /// Its name.
        digest: Digest,
        /// Bytes that its descriptor promises.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
}

/// A blob of a registry, which passes through without touching the disk. Must be called on a
/// runtime, which then fetches it.
pub fn remote_blob(
    client: &Client,
    repository: &Repository,
    blob: &Descriptor,
) -> Arc<dyn BlobSource> {
    Arc::new(Remote {
        client: client.clone(),
        repository: repository.clone(),
        blob: blob.clone(),
        runtime: Handle::current(),
    })
}

/// A blob of the store.
pub fn stored_blob(store: &Store, blob: &Descriptor) -> Arc<dyn BlobSource> {
    Arc::new(Stored {
        store: store.clone(),
        blob: blob.clone(),
    })
}

/// A blob that is a file, or a part of one.
pub(super) fn file_blob(path: PathBuf, offset: u64, blob: &Descriptor) -> Arc<dyn BlobSource> {
    Arc::new(InFile {
        path,
        offset,
        blob: blob.clone(),
    })
}

struct Remote {
    client: Client,
    repository: Repository,
    blob: Descriptor,
    runtime: Handle,
}

impl BlobSource for Remote {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let _runtime = self.runtime.enter();
        let stream = self.client.blob(&self.repository, &self.blob, None);
        Ok(Box::new(RemoteReader {
            reader: stream.into_reader(),
            to_skip: offset,
        }))
    }
}

struct RemoteReader {
    reader: ::registry::BlobReader,
    /// Bytes before those that are wanted: the other side has them.
    to_skip: u64,
}

impl Read for RemoteReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.to_skip > 0 {
            let skipped = io::copy(&mut (&mut self.reader).take(self.to_skip), &mut io::sink());
            skipped.map_err(|error| cause(&mut self.reader, error))?;
            self.to_skip = 0;
        }
        self.reader
            .read(buffer)
            .map_err(|error| cause(&mut self.reader, error))
    }
}

fn cause(reader: &mut ::registry::BlobReader, error: io::Error) -> io::Error {
    match reader.take_error() {
        Some(wire) => io::Error::other(BlobCause::Registry(wire)),
        None => error,
    }
}

struct Stored {
    store: Store,
    blob: Descriptor,
}

impl BlobSource for Stored {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let blobs = self.store.blobs();
        if offset == 0 {
            let reader = blobs.open(&self.blob).map_err(io::Error::other)?;
            return Ok(Box::new(reader));
        }
        let mut file = blobs.open_file(&self.blob).map_err(io::Error::other)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

struct InFile {
    path: PathBuf,
    offset: u64,
    blob: Descriptor,
}

impl BlobSource for InFile {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset + offset))?;
        let left = self.blob.size.saturating_sub(offset);
        if offset > 0 {
            return Ok(Box::new(file.take(left)));
        }
        Ok(Box::new(Checked {
            input: file.take(left),
            left,
            digest: self.blob.digest.clone(),
            size: self.blob.size,
            hasher: Some(Hasher::new(self.blob.digest.algorithm())),
        }))
    }
}

/// Compares size and digest at the end.
struct Checked<R> {
    input: R,
    left: u64,
    size: u64,
    digest: Digest,
    hasher: Option<Hasher>,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        // The last bytes are not handed out before they are known to be right: whoever knows the
        // size may not ask for the end.
        let is_end = count == 0 && !buffer.is_empty() || self.left == 0;
        if is_end && let Some(hasher) = self.hasher.take() {
            if self.left > 0 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    BlobCause::Size {
                        digest: self.digest.clone(),
                        expected: self.size,
                        found: self.size - self.left,
                    },
                ));
            }
            let found = hasher.finish();
            if found != self.digest {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    BlobCause::Damaged {
                        expected: self.digest.clone(),
                        found,
                    },
                ));
            }
        }
        Ok(count)
    }
}
