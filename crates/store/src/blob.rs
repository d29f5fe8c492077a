//! Content by digest. A blob that can be opened has its size; one that has been
//! read to its end has its digest; any other is moved out of the way, so that
//! whoever needs it gets it anew.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oci::{Algorithm, Descriptor, Digest, Hasher};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::commit::Committer;
use crate::disk::{DiskError, On as _};
use crate::record::open_regular;
use crate::scratch::{Process, ScratchFile};
use crate::trash::Trash;

/// Why a blob cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It is not in the store.
    #[error("the blob {0} is not in the store")]
    Absent(Digest),
    /// It had another size than its descriptor says, and was removed.
    #[error("the blob {digest} had {found} bytes instead of {expected}; it was removed")]
    Size {
        /// Its name.
        digest: Digest,
        /// Bytes that the descriptor promises.
        expected: u64,
        /// Bytes that were there.
        found: u64,
    },
    /// Its bytes have another digest, and it was removed.
    #[error("the blob {digest} was damaged (its bytes have the digest {found}); it was removed")]
    Damaged {
        /// Its name.
        digest: Digest,
        /// The digest of what was there.
        found: Digest,
    },
    /// It is larger than the caller takes.
    #[error("the blob {digest} has {found} bytes, which is more than {max}")]
    Large {
        /// Its name.
        digest: Digest,
        /// Bytes that are there.
        found: u64,
        /// Bytes that the caller takes.
        max: u64,
    },
    /// What was written is not what was announced; nothing was stored.
    #[error("expected {expected} of {expected_size} bytes, received {found} of {found_size} bytes")]
    Unexpected {
        /// The digest that was announced.
        expected: Digest,
        /// The size that was announced.
        expected_size: u64,
        /// The digest of what came.
        found: Digest,
        /// The size of what came.
        found_size: u64,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The blobs of a store.
#[derive(Debug, Clone)]
pub struct Blobs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    process: Arc<Process>,
    trash: Arc<Trash>,
    committer: Arc<Committer>,
}

impl Blobs {
    pub(crate) fn new(
        directory: PathBuf,
        process: Arc<Process>,
        trash: Arc<Trash>,
        committer: Arc<Committer>,
    ) -> Self {
        Self(Arc::new(Shared {
            directory,
            process,
            trash,
            committer,
        }))
    }

    /// Whether a file of this name is there. Its bytes are checked when they
    /// are read.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.size(digest).is_some()
    }

    /// The size of the blob in bytes, if it is there.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        let path = self.path(digest);
        let metadata = std::fs::symlink_metadata(&path).ok()?;
        if !metadata.is_file() {
            return None;
        }
        note_use(&path, &metadata);
        Some(metadata.len())
    }

    /// Whether a blob of this name and size is there: what a transfer asks
    /// before it begins.
    pub fn has(&self, descriptor: &Descriptor) -> bool {
        self.size(&descriptor.digest) == Some(descriptor.size)
    }

    /// Opens a blob for one reading from its beginning to its end, checked.
    ///
    /// # Errors
    ///
    /// [`BlobError::Absent`], [`BlobError::Size`] and the disk's.
    pub fn open(&self, descriptor: &Descriptor) -> Result<BlobReader, BlobError> {
        let file = self.open_file(descriptor)?;
        Ok(BlobReader {
            file,
            blobs: self.clone(),
            hasher: Some(Hasher::new(descriptor.digest.algorithm())),
            digest: descriptor.digest.clone(),
            left: descriptor.size,
        })
    }

    /// Opens a blob for reading here and there. Only its size is checked.
    ///
    /// # Errors
    ///
    /// As for [`Blobs::open`].
    pub fn open_file(&self, descriptor: &Descriptor) -> Result<File, BlobError> {
        let path = self.path(&descriptor.digest);
        let absent = || BlobError::Absent(descriptor.digest.clone());
        let Some(file) = open_regular(&path).on("open", &path)? else {
            if path.symlink_metadata().is_ok() {
                self.discard(&descriptor.digest)?;
            }
            return Err(absent());
        };
        let found = file.metadata().on("read", &path)?.len();
        if found != descriptor.size {
            self.discard(&descriptor.digest)?;
            return Err(BlobError::Size {
                digest: descriptor.digest.clone(),
                expected: descriptor.size,
                found,
            });
        }
        Ok(file)
    }

    /// The whole of a small blob, checked: a manifest, a configuration.
    ///
    /// # Errors
    ///
    /// [`BlobError::Large`] above `max` bytes, [`BlobError::Damaged`],
    /// [`BlobError::Absent`] and the disk's.
    pub fn read(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let Some(file) = open_regular(&path).on("open", &path)? else {
            if path.symlink_metadata().is_ok() {
                self.discard(digest)?;
            }
            return Err(BlobError::Absent(digest.clone()));
        };
        let found = file.metadata().on("read", &path)?.len();
        if found > max {
            return Err(BlobError::Large {
                digest: digest.clone(),
                found,
                max,
            });
        }
        let mut bytes = Vec::new();
        file.take(max).read_to_end(&mut bytes).on("read", &path)?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != *digest {
            self.discard(digest)?;
            return Err(BlobError::Damaged {
                digest: digest.clone(),
                found,
            });
        }
        Ok(bytes)
    }

    /// Stores a document.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, DiskError> {
        let digest = Digest::of(bytes);
        if self.size(&digest) == Some(bytes.len() as u64) {
            return Ok(digest);
        }
        let file = self.0.process.file()?;
        file.file().write_all(bytes).on("write", file.path())?;
        self.adopt(file, &digest)?;
        Ok(digest)
    }

    /// A blob whose bytes come bit by bit, of whichever digest results.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn writer(&self) -> Result<BlobWriter, DiskError> {
        self.writer_for(Algorithm::Sha256)
    }

    /// A blob whose bytes come bit by bit and should have a digest of
    /// `algorithm`.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn writer_for(&self, algorithm: Algorithm) -> Result<BlobWriter, DiskError> {
        Ok(BlobWriter {
            blobs: self.clone(),
            file: self.0.process.file()?,
            hasher: Hasher::new(algorithm),
            size: 0,
        })
    }

    /// Takes a blob out of the store because its bytes are not what its name
    /// says.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn discard(&self, digest: &Digest) -> Result<(), DiskError> {
        self.0.trash.take(&self.path(digest))
    }

    /// Where the blob of this digest is or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let mut path = self.0.directory.join(digest.algorithm().name());
        path.push(&digest.hex()[..2]);
        path.push(digest.hex());
        path
    }

    /// Gives a finished file its name. Replaces what is there: it may be
    /// damaged, and who reads it keeps reading it.
    fn adopt(&self, file: ScratchFile, digest: &Digest) -> Result<(), DiskError> {
        file.move_to(&self.path(digest))?;
        // Behind the rename: a sync that runs meanwhile may miss it.
        self.0.committer.note_write();
        Ok(())
    }
}

/// Lets a blob that is asked for but not read, because the other side has it,
/// count as used. Once a day is enough, as for the kernel's own `relatime`.
fn note_use(path: &Path, metadata: &std::fs::Metadata) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let recent = metadata
        .accessed()
        .is_ok_and(|used| used.elapsed().is_ok_and(|age| age < DAY));
    if !recent {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            },
            last_modification: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
        };
        // A store on a read-only disk has no ages.
        let _ = rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    }
}

/// Reads a blob once, from its beginning to its end, and checks it: a blob
/// whose bytes do not have its digest ends in an error of the kind
/// [`io::ErrorKind::InvalidData`] with a [`BlobError`] inside, never in an end
/// of file.
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    blobs: Blobs,
    hasher: Option<Hasher>,
    digest: Digest,
    left: u64,
}

impl BlobReader {
    /// Bytes that are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    fn check_end(&mut self) -> io::Result<()> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        let found = hasher.finish();
        if self.left == 0 && found == self.digest {
            return Ok(());
        }
        self.blobs.discard(&self.digest).map_err(io::Error::other)?;
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            BlobError::Damaged {
                digest: self.digest.clone(),
                found,
            },
        ))
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read(&mut buffer[..room])?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        self.left -= count as u64;
        // Checked with the last bytes and not after them: a decompressor or a
        // transfer of known length never asks for more.
        if self.left == 0 || (count == 0 && !buffer.is_empty()) {
            self.check_end()?;
        }
        Ok(count)
    }
}

/// Writes a blob and hashes it as it passes. Dropped unfinished, it was never
/// there.
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Blobs,
    file: ScratchFile,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    /// Where its bytes are until it is finished.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes in more bytes.
    ///
    /// # Errors
    ///
    /// The disk's, with path and room left, which the error of [`Write`] does
    /// not have.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file
            .file()
            .write_all(bytes)
            .on("write", self.file.path())?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Throws away all bytes so far: a transfer that must begin again.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn restart(&mut self) -> Result<(), DiskError> {
        let algorithm = self.hasher.clone().finish().algorithm();
        self.file
            .file()
            .set_len(0)
            .and_then(|()| io::Seek::rewind(&mut self.file.file()))
            .on("empty", self.file.path())?;
        self.hasher = Hasher::new(algorithm);
        self.size = 0;
        Ok(())
    }

    /// Puts the blob in its place.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn finish(self) -> Result<(Digest, u64), DiskError> {
        let digest = self.hasher.finish();
        self.blobs.adopt(self.file, &digest)?;
        Ok((digest, self.size))
    }

    /// Puts the blob in its place if it is what `descriptor` says.
    ///
    /// # Errors
    ///
    /// [`BlobError::Unexpected`], and then nothing was stored; the disk's.
    pub fn finish_as(self, descriptor: &Descriptor) -> Result<(), BlobError> {
        let found = self.hasher.finish();
        if found != descriptor.digest || self.size != descriptor.size {
            return Err(BlobError::Unexpected {
                expected: descriptor.digest.clone(),
                expected_size: descriptor.size,
                found,
                found_size: self.size,
            });
        }
        Ok(self.blobs.adopt(self.file, &found)?)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.file().write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
