//! Reads a tar stream: ustar, PAX, GNU long names, GNU and PAX sparse files.
//!
//! One header has one meaning here. Where two readers of the world disagree —
//! a size said twice, an extension header that is broken or repeated, a link
//! with content — an attacker could show one thing to a scanner and another to
//! a runtime (CVE-2025-62518), so such archives are refused. Where PAX and the
//! fixed header differ in a way that writers really produce, PAX holds, and of
//! two records with one keyword the last (POSIX pax, "pax Extended Header").
//!
//! It does not know layers: `.wh.` is a name like any other, paths and ids are
//! as written.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use super::limits::Limits;
use super::sparse::{self, Segment, SparseError};
use super::tar_header::{BLOCK, Block, Format, NumberError};
use super::tar_pax::{PaxError, Records};

/// Bytes of one metadata header (PAX, long name, sparse map): 1 MiB. Linux
/// takes 4 KiB of path and 64 KiB of attribute names; a 3 GiB long name fits in
/// 3 MB of gzip.
pub const METADATA_BYTES_MAX: u64 = 1 << 20;

/// One entry as it stands in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarEntry {
    /// Name, as written.
    pub path: Vec<u8>,
    /// Type.
    pub kind: TarKind,
    /// Target of a link, as written; else empty.
    pub link: Vec<u8>,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Owner, as written.
    pub uid: u64,
    /// Group, as written.
    pub gid: u64,
    /// Seconds since 1970, fractions dropped.
    pub mtime: i64,
    /// Bytes of content with holes filled; 0 for all but files.
    pub size: u64,
    /// Major and minor number of a device; else zero.
    pub device: (u32, u32),
    /// `SCHILY.xattr` records by attribute name.
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// The types of entries that a layer can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TarKind {
    /// `0`, NUL, `7`, or a sparse file.
    File,
    /// `1`
    HardLink,
    /// `2`
    Symlink,
    /// `3`
    CharacterDevice,
    /// `4`
    BlockDevice,
    /// `5`, or an old-style file whose name ends in a slash.
    Directory,
    /// `6`
    Fifo,
}

/// A part of a file's content.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// Bytes, at least one.
    Data(&'a [u8]),
    /// So many zero bytes that are not in the archive.
    Hole(u64),
}

/// Why a stream is not a tar that kiln reads.
#[derive(Debug, thiserror::Error)]
pub enum TarReadError {
    /// The stream behind it failed.
    #[error(transparent)]
    Io(io::Error),
    /// It ends inside an entry.
    #[error("the archive ends in the middle of {0}")]
    Truncated(String),
    /// It ends where a header or the end marker should be.
    #[error("the archive ends without an end marker after {0} bytes: it was cut off")]
    NoEndMarker(u64),
    /// One zero block, then something else.
    #[error(
        "the archive has a single zero block at byte {0} and entries behind it: readers disagree where it ends"
    )]
    SingleZeroBlock(u64),
    /// A header that does not add up.
    #[error(
        "the header at byte {0} has a wrong checksum: this is no tar archive, or it is damaged"
    )]
    Checksum(u64),
    /// A field of a header that is no number, or an impossible one.
    #[error("entry `{path}`: {source}")]
    Number {
        /// The entry.
        path: String,
        /// Which field, and what it says.
        source: NumberError,
    },
    /// A PAX header that does not follow its grammar.
    #[error("the PAX header at byte {offset}: {source}")]
    Pax {
        /// Of the header in the archive.
        offset: u64,
        /// What is wrong.
        source: PaxError,
    },
    /// A sparse file whose map does not describe a file.
    #[error("sparse file `{path}`: {source}")]
    Sparse {
        /// The entry.
        path: String,
        /// What is wrong.
        source: SparseError,
    },
    /// A metadata header beyond [`METADATA_BYTES_MAX`].
    #[error(
        "the metadata header at byte {offset} claims {bytes} bytes, at most {METADATA_BYTES_MAX}"
    )]
    Metadata {
        /// Of the header in the archive.
        offset: u64,
        /// Claimed size.
        bytes: u64,
    },
    /// Two metadata headers of one type for one entry, or one for none.
    #[error("the metadata header at byte {0} is repeated or belongs to no entry")]
    Stray(u64),
    /// A type letter that kiln does not know.
    #[error("entry `{path}` has the type `{letter}`, which no layer can hold")]
    Type {
        /// The entry.
        path: String,
        /// The letter.
        letter: char,
    },
    /// A link, node or directory that claims content.
    #[error("entry `{path}` claims {size} bytes of content, which its type cannot have")]
    Content {
        /// The entry.
        path: String,
        /// Claimed size.
        size: u64,
    },
    /// More entries than the limit.
    #[error("more than {0} entries")]
    Entries(u64),
    /// More bytes of content, holes filled, than the limit.
    #[error("`{path}` makes the contents exceed {limit} bytes")]
    Bytes {
        /// The entry.
        path: String,
        /// The limit.
        limit: u64,
    },
}

impl From<io::Error> for TarReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A tar stream being read; see the module.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    limits: Limits,
    /// Bytes consumed from `input`.
    offset: u64,
    entries: u64,
    content_bytes: u64,
    global: Records,
    /// Bytes that the last chunk lent out, to be consumed before going on.
    lent: usize,
    /// Bytes of the current entry still in the archive, without padding.
    packed: u64,
    /// Padding behind them.
    padding: u64,
    /// Where in the (dense) content the reader stands.
    position: u64,
    /// Dense size of the current content.
    size: u64,
    /// The part being read, and the parts behind it.
    segment: Segment,
    segments: std::vec::IntoIter<Segment>,
    /// The current entry, for messages.
    path: String,
    ended: bool,
}

/// Metadata headers collected for the next entry.
#[derive(Default)]
struct Extensions {
    pax: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    /// Of the last of them.
    offset: u64,
}

impl Extensions {
    fn any(&self) -> bool {
        self.pax.is_some() || self.long_name.is_some() || self.long_link.is_some()
    }
}

impl<R: BufRead> TarReader<R> {
    /// Reads `input` from its first header.
    pub fn new(input: R, limits: Limits) -> Self {
        Self {
            input,
            limits,
            offset: 0,
            entries: 0,
            content_bytes: 0,
            global: Records::default(),
            lent: 0,
            packed: 0,
            padding: 0,
            position: 0,
            size: 0,
            segment: Segment {
                offset: 0,
                bytes: 0,
            },
            segments: Vec::new().into_iter(),
            path: String::new(),
            ended: false,
        }
    }

    /// The stream, wherever it stands.
    pub fn into_inner(mut self) -> R {
        self.input.consume(std::mem::take(&mut self.lent));
        self.input
    }

    /// The next entry, skipping what is left of the current one. `None` at the
    /// end marker, once everything behind it was read too and thrown away.
    ///
    /// # Errors
    ///
    /// See [`TarReadError`]; nothing can be read after one.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>, TarReadError> {
        if self.ended {
            return Ok(None);
        }
        self.settle();
        self.skip(self.packed + self.padding)?;
        (self.packed, self.padding) = (0, 0);
        let mut extensions = Extensions::default();
        loop {
            let at = self.offset;
            let Some(block) = self.block()? else {
                return Err(TarReadError::NoEndMarker(self.offset));
            };
            if block.is_zero() {
                if extensions.any() {
                    return Err(TarReadError::Stray(extensions.offset));
                }
                match self.block()? {
                    Some(second) if !second.is_zero() => {
                        return Err(TarReadError::SingleZeroBlock(at));
                    }
                    Some(_) | None => {}
                }
                self.drain()?;
                self.ended = true;
                return Ok(None);
            }
            if !block.checksum_holds() {
                return Err(TarReadError::Checksum(at));
            }
            self.path = String::from_utf8_lossy(&block.name()).into_owned();
            let number = |source| TarReadError::Number {
                path: String::from_utf8_lossy(&block.name()).into_owned(),
                source,
            };
            let letter = block.type_letter();
            match letter {
                b'x' | b'g' | b'L' | b'K' => {
                    let bytes = block.size().map_err(number)?;
                    let body = self.metadata(at, bytes)?;
                    self.extend(&mut extensions, letter, body, at)?;
                }
                _ => return self.entry(&block, extensions).map(Some),
            }
        }
    }

    fn extend(
        &mut self,
        extensions: &mut Extensions,
        letter: u8,
        body: Vec<u8>,
        at: u64,
    ) -> Result<(), TarReadError> {
        let pax = |source| TarReadError::Pax { offset: at, source };
        let once = |slot_is_taken: bool| {
            if slot_is_taken {
                return Err(TarReadError::Stray(at));
            }
            Ok(())
        };
        if letter == b'g' {
            // It applies to what follows, not to an entry whose headers have begun.
            once(extensions.any())?;
            let records = Records::parse(&body).map_err(pax)?;
            return self.global.add_global(records).map_err(pax);
        }
        extensions.offset = at;
        if letter == b'x' {
            once(extensions.pax.is_some())?;
            extensions.pax = Some(Records::parse(&body).map_err(pax)?);
            return Ok(());
        }
        // A long name ends at its first zero byte, as GNU tar reads it.
        let end = body
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(body.len());
        let name = body[..end].to_vec();
        let slot = if letter == b'L' {
            &mut extensions.long_name
        } else {
            &mut extensions.long_link
        };
        once(slot.is_some())?;
        *slot = Some(name);
        Ok(())
    }

    fn entry(&mut self, block: &Block, extensions: Extensions) -> Result<TarEntry, TarReadError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(TarReadError::Entries(self.limits.entries));
        }
        let pax = extensions.pax.unwrap_or_default();
        let path = pax
            .path
            .or(extensions.long_name)
            .unwrap_or_else(|| block.name());
        self.path = String::from_utf8_lossy(&path).into_owned();
        let shown = self.path.clone();
        let number = |source| TarReadError::Number {
            path: shown.clone(),
            source,
        };
        let packed = match pax.size {
            Some(size) => size,
            None => block.size().map_err(number)?,
        };
        let letter = block.type_letter();
        let mut kind = match letter {
            b'0' | 0 | b'7' | b'S' => TarKind::File,
            b'1' => TarKind::HardLink,
            b'2' => TarKind::Symlink,
            b'3' => TarKind::CharacterDevice,
            b'4' => TarKind::BlockDevice,
            b'5' => TarKind::Directory,
            b'6' => TarKind::Fifo,
            _ => {
                return Err(TarReadError::Type {
                    path: self.path.clone(),
                    letter: char::from(letter),
                });
            }
        };
        let old_sparse = letter == b'S';
        if kind == TarKind::File && !old_sparse && path.ends_with(b"/") {
            kind = TarKind::Directory;
        }
        if kind != TarKind::File && packed != 0 {
            return Err(TarReadError::Content {
                path: self.path.clone(),
                size: packed,
            });
        }
        let mut path = path;
        self.packed = packed;
        self.padding = packed.next_multiple_of(BLOCK as u64) - packed;
        self.position = 0;
        self.size = packed;
        self.segment = Segment {
            offset: 0,
            bytes: packed,
        };
        self.segments = Vec::new().into_iter();
        if old_sparse && pax.sparse.is_some() {
            return Err(self.sparse_error(SparseError::Twice));
        }
        if old_sparse {
            if block.format() != Format::Gnu {
                return Err(self.sparse_error(SparseError::Format));
            }
            let (mut segments, mut more) = block.sparse_map().map_err(number)?;
            let mut read = 0;
            while more {
                read += BLOCK as u64;
                if read > METADATA_BYTES_MAX {
                    return Err(self.sparse_error(SparseError::Long(METADATA_BYTES_MAX)));
                }
                let Some(extension) = self.block()? else {
                    return Err(TarReadError::Truncated(self.path.clone()));
                };
                more = extension.extend_sparse_map(&mut segments).map_err(number)?;
            }
            self.sparse(segments, block.sparse_size().map_err(number)?)?;
        } else if let Some(described) = pax.sparse {
            if kind != TarKind::File {
                return Err(self.sparse_error(SparseError::Format));
            }
            if let Some(name) = described.name {
                self.path = String::from_utf8_lossy(&name).into_owned();
                path = name;
            }
            let segments = match described.map {
                Some(segments) => segments,
                None => self.sparse_map_in_content()?,
            };
            self.sparse(segments, described.size)?;
        }
        let mut content = self.content_bytes;
        if kind == TarKind::File {
            content = content.saturating_add(self.size);
        }
        if content > self.limits.tar_bytes {
            return Err(TarReadError::Bytes {
                path: self.path.clone(),
                limit: self.limits.tar_bytes,
            });
        }
        self.content_bytes = content;
        let is_link = matches!(kind, TarKind::HardLink | TarKind::Symlink);
        let is_device = matches!(kind, TarKind::CharacterDevice | TarKind::BlockDevice);
        let link = if is_link {
            pax.link
                .or(extensions.long_link)
                .unwrap_or_else(|| block.link())
        } else {
            Vec::new()
        };
        let global = &self.global;
        let or_global = |own: Option<u64>, global: Option<u64>| own.or(global);
        let mut xattrs = global.xattrs.clone();
        xattrs.extend(pax.xattrs);
        Ok(TarEntry {
            kind,
            link,
            mode: block.mode().map_err(number)?,
            uid: match or_global(pax.uid, global.uid) {
                Some(uid) => uid,
                None => block.uid().map_err(number)?,
            },
            gid: match or_global(pax.gid, global.gid) {
                Some(gid) => gid,
                None => block.gid().map_err(number)?,
            },
            mtime: match pax.mtime.or(global.mtime) {
                Some(mtime) => mtime,
                None => block.mtime().map_err(number)?,
            },
            size: if kind == TarKind::File { self.size } else { 0 },
            device: if is_device {
                let (major, minor) = block.device().map_err(number)?;
                (
                    pax.device_major.unwrap_or(major),
                    pax.device_minor.unwrap_or(minor),
                )
            } else {
                (0, 0)
            },
            xattrs,
            path,
        })
    }

    /// The next part of the current file's content; `None` at its end.
    ///
    /// # Errors
    ///
    /// A stream that fails or ends.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>, TarReadError> {
        self.settle();
        while self.segment.bytes == 0 {
            match self.segments.next() {
                Some(next) => self.segment = next,
                None if self.position < self.size => {
                    let hole = self.size - self.position;
                    self.position = self.size;
                    return Ok(Some(Chunk::Hole(hole)));
                }
                None => return Ok(None),
            }
        }
        if self.position < self.segment.offset {
            let hole = self.segment.offset - self.position;
            self.position = self.segment.offset;
            return Ok(Some(Chunk::Hole(hole)));
        }
        let available = fill(&mut self.input)?;
        if available.is_empty() {
            return Err(TarReadError::Truncated(self.path.clone()));
        }
        let bytes = usize::try_from(self.segment.bytes)
            .unwrap_or(usize::MAX)
            .min(available.len());
        self.lent = bytes;
        self.offset += bytes as u64;
        self.packed -= bytes as u64;
        self.position += bytes as u64;
        self.segment.offset += bytes as u64;
        self.segment.bytes -= bytes as u64;
        Ok(Some(Chunk::Data(&available[..bytes])))
    }

    fn settle(&mut self) {
        self.input.consume(std::mem::take(&mut self.lent));
    }

    fn sparse(&mut self, segments: Vec<Segment>, size: u64) -> Result<(), TarReadError> {
        let segments = sparse::check(segments, size, self.packed)
            .map_err(|source| self.sparse_error(source))?;
        self.size = size;
        self.segment = Segment {
            offset: 0,
            bytes: 0,
        };
        self.segments = segments.into_iter();
        Ok(())
    }

    fn sparse_error(&self, source: SparseError) -> TarReadError {
        TarReadError::Sparse {
            path: self.path.clone(),
            source,
        }
    }

    /// The map of a PAX 1.0 sparse file: decimal lines in whole blocks before
    /// the content.
    fn sparse_map_in_content(&mut self) -> Result<Vec<Segment>, TarReadError> {
        let mut map = sparse::MapReader::default();
        let mut read = 0;
        loop {
            if read + BLOCK as u64 > METADATA_BYTES_MAX {
                return Err(self.sparse_error(SparseError::Long(METADATA_BYTES_MAX)));
            }
            if self.packed < BLOCK as u64 {
                return Err(self.sparse_error(SparseError::Map));
            }
            let Some(block) = self.block()? else {
                return Err(TarReadError::Truncated(self.path.clone()));
            };
            read += BLOCK as u64;
            self.packed -= BLOCK as u64;
            if let Some(segments) = map
                .push(block.bytes())
                .map_err(|source| self.sparse_error(source))?
            {
                return Ok(segments);
            }
        }
    }

    /// Reads the body of a metadata header, padding included.
    fn metadata(&mut self, at: u64, bytes: u64) -> Result<Vec<u8>, TarReadError> {
        if bytes > METADATA_BYTES_MAX {
            return Err(TarReadError::Metadata { offset: at, bytes });
        }
        let padded = bytes.next_multiple_of(BLOCK as u64);
        let mut body = Vec::new();
        (&mut self.input).take(padded).read_to_end(&mut body)?;
        self.offset += body.len() as u64;
        if (body.len() as u64) < padded {
            return Err(TarReadError::Truncated(format!(
                "a metadata header at byte {at}"
            )));
        }
        body.truncate(usize::try_from(bytes).expect("at most a megabyte"));
        Ok(body)
    }

    /// The next 512 bytes; `None` at the end of the stream.
    fn block(&mut self) -> Result<Option<Block>, TarReadError> {
        let mut bytes = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let available = fill(&mut self.input)?;
            if available.is_empty() {
                break;
            }
            let count = available.len().min(BLOCK - filled);
            bytes[filled..filled + count].copy_from_slice(&available[..count]);
            self.input.consume(count);
            filled += count;
        }
        self.offset += filled as u64;
        match filled {
            0 => Ok(None),
            BLOCK => Ok(Some(Block::new(bytes))),
            _ => Err(TarReadError::Truncated(format!(
                "the block at byte {}",
                self.offset - filled as u64
            ))),
        }
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), TarReadError> {
        while bytes > 0 {
            let available = fill(&mut self.input)?;
            if available.is_empty() {
                return Err(TarReadError::Truncated(self.path.clone()));
            }
            let count = usize::try_from(bytes)
                .unwrap_or(usize::MAX)
                .min(available.len());
            self.input.consume(count);
            self.offset += count as u64;
            bytes -= count as u64;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), TarReadError> {
        loop {
            let count = fill(&mut self.input)?.len();
            if count == 0 {
                return Ok(());
            }
            self.input.consume(count);
            self.offset += count as u64;
        }
    }

    /// Bytes of the archive read so far; all of them once `next_entry` said
    /// `None`.
    pub fn bytes_read(&self) -> u64 {
        self.offset
    }
}

/// `fill_buf` that does not give up when a signal arrives.
fn fill<R: BufRead>(input: &mut R) -> io::Result<&[u8]> {
    // Asked twice, because a loop that returns what it borrowed is beyond the
    // borrow checker; the second call only hands out the buffer.
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    input.fill_buf()
}
