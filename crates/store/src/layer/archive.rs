//! Archives that ADD unpacks: a tar in any of five wrappings, known by content
//! and not by name.

use std::io::{self, BufReader, Read};

use super::admit::{EntryError, Gate};
use super::decompress::{self, DecompressError, Wrapping};
use super::limits::Limits;
use super::tar_reader::{Chunk, TarEntry, TarReadError, TarReader};
use super::{EntryPath, Metadata};

/// Bytes of tar read at once.
const PART_BYTES: usize = 128 * 1024;

/// An archive being read, entry by entry. [`Read`] gives the content of the
/// current entry, holes filled.
pub struct Archive<'r> {
    wrapping: Wrapping,
    tar: TarReader<BufReader<Box<dyn Read + Send + 'r>>>,
    gate: Gate,
    /// Read by [`Archive::open`] to learn whether there is one.
    first: Option<TarEntry>,
    /// Zero bytes of a hole not yet handed out.
    hole: u64,
    /// Bytes of a chunk not yet handed out.
    rest: Vec<u8>,
    rest_at: usize,
}

/// One thing in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveEntry {
    /// Where it stands.
    pub path: EntryPath,
    /// What it is.
    pub kind: ArchiveKind,
    /// Owner, permissions, time, attributes.
    pub metadata: Metadata,
}

/// What an entry of an archive is; as `EntryKind`, before content was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes of content, holes included.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// As written.
        target: Box<[u8]>,
    },
    /// Another name of an earlier entry.
    HardLink {
        /// Relative to the archive's root.
        target: EntryPath,
    },
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The source of the bytes failed, or the compressed stream is damaged.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// A decompression bomb.
    #[error("the archive is refused: {0}")]
    Refused(DecompressError),
    /// Not a tar that has one meaning.
    #[error(transparent)]
    Tar(TarReadError),
    /// An entry that no root can have.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A name that means something else in a layer.
    #[error(
        "`{0}` cannot be in an image: in a layer, names that begin with `.wh.` delete the files of other layers"
    )]
    Whiteout(EntryPath),
}

impl From<TarReadError> for ArchiveError {
    fn from(error: TarReadError) -> Self {
        let TarReadError::Io(error) = error else {
            return Self::Tar(error);
        };
        let refused = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<DecompressError>())
            .cloned();
        match refused {
            Some(refused) => Self::Refused(refused),
            None => Self::Read(error),
        }
    }
}

impl<'r> Archive<'r> {
    /// Looks at what `input` is; `None` when it is not an archive with at least
    /// one readable entry: such a file is copied as it is, from its beginning.
    ///
    /// # Errors
    ///
    /// Failures of the source itself.
    pub fn open(
        input: impl Read + Send + 'r,
        limits: Limits,
    ) -> Result<Option<Self>, ArchiveError> {
        let of_source = |error: &io::Error| error.raw_os_error().is_some();
        let (wrapping, tar) = match decompress::detected(input, limits) {
            Ok(opened) => opened,
            Err(error) if of_source(&error) => return Err(ArchiveError::Read(error)),
            Err(_) => return Ok(None),
        };
        let mut tar = TarReader::new(BufReader::with_capacity(PART_BYTES, tar), limits);
        let first = match tar.next_entry() {
            Ok(Some(first)) => first,
            Ok(None) => return Ok(None),
            Err(TarReadError::Io(error)) if of_source(&error) => {
                return Err(ArchiveError::Read(error));
            }
            Err(_) => return Ok(None),
        };
        Ok(Some(Self {
            wrapping,
            tar,
            gate: Gate::new(limits),
            first: Some(first),
            hole: 0,
            rest: Vec::new(),
            rest_at: 0,
        }))
    }

    /// How the archive is compressed.
    pub fn wrapping(&self) -> Wrapping {
        self.wrapping
    }

    /// The next entry; `None` at the end, when everything was read to the last
    /// byte. Content of the current entry that was not read is skipped.
    ///
    /// # Errors
    ///
    /// Damage, limits, and entries that no image can hold.
    pub fn next_entry(&mut self) -> Result<Option<ArchiveEntry>, ArchiveError> {
        (self.hole, self.rest_at) = (0, 0);
        self.rest.clear();
        let next = match self.first.take() {
            Some(first) => Some(first),
            None => self.tar.next_entry()?,
        };
        let Some(next) = next else { return Ok(None) };
        let entry = self.gate.admit(next)?;
        if entry
            .path
            .components()
            .any(|name| name.starts_with(b".wh."))
        {
            return Err(ArchiveError::Whiteout(entry.path));
        }
        Ok(Some(entry))
    }
}

impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.hole == 0 && self.rest_at == self.rest.len() {
            match self.tar.next_chunk().map_err(io::Error::other)? {
                None => return Ok(0),
                Some(Chunk::Hole(bytes)) => self.hole = bytes,
                Some(Chunk::Data(bytes)) => {
                    let count = bytes.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&bytes[..count]);
                    self.rest.clear();
                    self.rest.extend_from_slice(&bytes[count..]);
                    self.rest_at = 0;
                    return Ok(count);
                }
            }
        }
        if self.hole > 0 {
            let count = usize::try_from(self.hole)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            buffer[..count].fill(0);
            self.hole -= count as u64;
            return Ok(count);
        }
        let count = (self.rest.len() - self.rest_at).min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[self.rest_at..self.rest_at + count]);
        self.rest_at += count;
        Ok(count)
    }
}

impl std::fmt::Debug for Archive<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archive ({})", self.wrapping.name())
    }
}
