//! How to read parts of a layer's blob: where decompression can begin, and the hash of what comes
//! out until the next such place.
//!
//! A table is made in the pass that verifies the digest of the blob and the diff id. Whoever has
//! fetched a part of the blob decompresses it here and gets bytes that have the hashes of that pass,
//! or an error: a part that was changed on the way is never used.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

use oci::{Compression, DiffId, Digest};

use super::ContentHash;
use super::compress::BLOCK_BYTES;
use super::gunzip::{Gunzip, from_block};
use super::restart::{SPAN_BYTES_MAX, Start, StartKind, WINDOW_BYTES};
use super::unzstd::Unzstd;

/// Where spans of a layer's tar begin in its blob, and their hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeekTable {
    pub(super) diff_id: DiffId,
    pub(super) compression: Compression,
    pub(super) tar_bytes: u64,
    pub(super) blob_bytes: u64,
    /// In order; the first begins at 0.
    pub(super) spans: Vec<Span>,
}

/// A stretch of tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: Start,
    pub(super) hash: ContentHash,
}

/// Why a part of a blob is not what the table says.
#[derive(Debug, thiserror::Error)]
pub enum SeekError {
    /// The part cannot be read or decompressed.
    #[error("a part of the layer cannot be decompressed")]
    Damaged(#[source] io::Error),
    /// Other bytes than in the pass that made the table.
    #[error("a part of the layer is not what it was: bytes {} to {} of the tar have another hash", .0.start, .0.end)]
    Hash(Range<u64>),
}

/// Why bytes are no table: the caller treats it as absent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Not the first bytes of a table.
    #[error("this is not the seek table of a layer")]
    Magic,
    /// Written by another kiln.
    #[error("the seek table has version {0}, this kiln reads version {VERSION}")]
    Version(u32),
    /// Other bytes than were written, or nonsense that was written.
    #[error("the seek table is damaged")]
    Damaged,
}

const MAGIC: &[u8; 8] = b"kilnskt\n";
/// Changes with anything below.
const VERSION: u32 = 1;
const HEAD_BYTES: usize = MAGIC.len() + 4 + 32;
/// Spans of one layer: as many as 64 GiB have at 1 MiB each, four times over.
const SPANS_MAX: u64 = 1 << 18;
/// A window that zstd could not make smaller has a few bytes more than it would have by itself.
const WINDOW_COMPRESSED_BYTES_MAX: usize = WINDOW_BYTES + 1024;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

impl SeekTable {
    /// Of a layer whose blocks are members, frames or nothing of the kind, each with
    /// [`BLOCK_BYTES`] of tar but the last. `bytes`: of the tar and of the blob.
    pub(super) fn of_blocks(
        diff_id: DiffId,
        compression: Compression,
        bytes: (u64, u64),
        starts: Vec<u64>,
        hashes: Vec<ContentHash>,
    ) -> Self {
        let starts = starts
            .into_iter()
            .zip(0_u64..)
            .map(|(compressed, number)| Start {
                tar: number * BLOCK_BYTES as u64,
                compressed,
                kind: StartKind::Whole,
            });
        let spans = starts.zip(hashes);
        Self {
            diff_id,
            compression,
            tar_bytes: bytes.0,
            blob_bytes: bytes.1,
            spans: spans.map(|(start, hash)| Span { start, hash }).collect(),
        }
    }

    /// The layer.
    pub fn diff_id(&self) -> &DiffId {
        &self.diff_id
    }

    /// Bytes of the blob that it is of.
    pub fn blob_bytes(&self) -> u64 {
        self.blob_bytes
    }

    /// Bytes of tar.
    pub fn tar_bytes(&self) -> u64 {
        self.tar_bytes
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none, which only a table of nothing has.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The bytes of tar of one span.
    ///
    /// # Panics
    ///
    /// Where there is no such span.
    pub fn tar_range(&self, span: usize) -> Range<u64> {
        let next = self.spans.get(span + 1);
        let end = next.map_or(self.tar_bytes, |next| next.start.tar);
        self.spans[span].start.tar..end
    }

    /// The hash of one span.
    ///
    /// # Panics
    ///
    /// Where there is no such span.
    pub fn hash(&self, span: usize) -> ContentHash {
        self.spans[span].hash
    }

    /// The spans that hold a range of the tar; `None` where it goes beyond its end.
    pub fn spans_of(&self, tar: &Range<u64>) -> Option<Range<usize>> {
        if tar.start >= tar.end {
            return Some(0..0);
        }
        if tar.end > self.tar_bytes {
            return None;
        }
        let first = self
            .spans
            .partition_point(|span| span.start.tar <= tar.start);
        let end = self.spans.partition_point(|span| span.start.tar < tar.end);
        Some(first.checked_sub(1)?..end)
    }

    /// The span at which decompression has to begin to get to `span`: itself or an earlier one.
    pub fn begins_at(&self, span: usize) -> usize {
        (0..=span)
            .rev()
            .find(|at| self.spans[*at].start.kind != StartKind::Later)
            .unwrap_or(0)
    }

    /// The bytes of the blob that it takes to get these spans.
    pub fn blob_range(&self, spans: &Range<usize>) -> Range<u64> {
        if spans.is_empty() {
            return 0..0;
        }
        let start = &self.spans[self.begins_at(spans.start)].start;
        let begin = match &start.kind {
            // The byte that it shares with the block in front.
            StartKind::Block { .. } => start.compressed.saturating_sub(1),
            StartKind::Whole | StartKind::Later => start.compressed,
        };
        let next = self.spans.get(spans.end);
        begin..next.map_or(self.blob_bytes, |next| next.start.compressed)
    }

    /// Decompresses what [`Self::blob_range`] says for `spans`, and gives `each` of them, with its
    /// number, once it is verified. At most one span is held in memory.
    ///
    /// # Errors
    ///
    /// [`SeekError`], after any number of good spans.
    pub fn decode(
        &self,
        spans: Range<usize>,
        compressed: impl Read,
        each: &mut dyn FnMut(usize, Vec<u8>),
    ) -> Result<(), SeekError> {
        if spans.is_empty() {
            return Ok(());
        }
        let first = self.begins_at(spans.start);
        let input = BufReader::with_capacity(READ_BYTES, compressed);
        let mut tar = self.unwrap(first, input).map_err(SeekError::Damaged)?;
        let skipped = self.spans[spans.start].start.tar - self.spans[first].start.tar;
        let copied = io::copy(&mut (&mut tar).take(skipped), &mut io::sink());
        if copied.map_err(SeekError::Damaged)? != skipped {
            return Err(SeekError::Damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        for span in spans {
            let range = self.tar_range(span);
            let bytes = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let mut content = vec![0; bytes];
            tar.read_exact(&mut content).map_err(SeekError::Damaged)?;
            if ContentHash::of(&content) != self.spans[span].hash {
                return Err(SeekError::Hash(range));
            }
            each(span, content);
        }
        Ok(())
    }

    fn unwrap<'r>(&self, span: usize, input: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match (&self.spans[span].start.kind, self.compression) {
            (StartKind::Block { bits, window }, _) => {
                let window = zstd::bulk::decompress(window, WINDOW_BYTES)?;
                Box::new(from_block(input, *bits, &window)?)
            }
            (_, Compression::None) => Box::new(input),
            (_, Compression::Gzip) => Box::new(Gunzip::from_member(input)),
            (_, Compression::Zstd) => Box::new(Unzstd::new(input, None)?),
        })
    }

    /// The table as bytes, with version and checksum. `blob` is the name that it will have: a
    /// table under another name is no table.
    pub fn encode(&self, blob: &Digest) -> Vec<u8> {
        let Self {
            diff_id,
            compression,
            tar_bytes,
            blob_bytes,
            spans,
        } = self;
        let mut out = Vec::with_capacity(HEAD_BYTES + spans.len() * 64);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 32]);
        let mut word = |bytes: &[u8]| {
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        word(blob.as_str().as_bytes());
        word(diff_id.0.as_str().as_bytes());
        out.push(match compression {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Zstd => 2,
        });
        for number in [*tar_bytes, *blob_bytes, spans.len() as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for Span { start, hash } in spans {
            let Start {
                tar,
                compressed,
                kind,
            } = start;
            out.extend_from_slice(&tar.to_le_bytes());
            out.extend_from_slice(&compressed.to_le_bytes());
            out.extend_from_slice(&hash.0);
            match kind {
                StartKind::Whole => out.push(0xff),
                StartKind::Later => out.push(0xfe),
                StartKind::Block { bits, window } => {
                    out.push(*bits);
                    out.extend_from_slice(&(window.len() as u32).to_le_bytes());
                    out.extend_from_slice(window);
                }
            }
        }
        let checksum = blake3::hash(&out[HEAD_BYTES..]);
        out[HEAD_BYTES - 32..HEAD_BYTES].copy_from_slice(checksum.as_bytes());
        out
    }

    /// Reads [`SeekTable::encode`]d bytes. What is returned may be wrong, when somebody else made
    /// it, but nothing in it overlaps, is out of order or beyond the end, or takes more than a
    /// bounded amount of memory: `blob` is the descriptor's digest, `blob_bytes` its size.
    ///
    /// # Errors
    ///
    /// Damage, a version that this one does not know, or a table of another blob.
    pub fn decode_table(bytes: &[u8], blob: &Digest, blob_bytes: u64) -> Result<Self, TableError> {
        let table = Self::parse(bytes, blob)?;
        if table.blob_bytes != blob_bytes || !table.is_sound() {
            return Err(TableError::Damaged);
        }
        Ok(table)
    }

    /// Whether bytes are a table of `blob`, whose size is not known.
    pub(crate) fn check(bytes: &[u8], blob: &Digest) -> Result<(), TableError> {
        match Self::parse(bytes, blob)?.is_sound() {
            true => Ok(()),
            false => Err(TableError::Damaged),
        }
    }

    fn parse(bytes: &[u8], blob: &Digest) -> Result<Self, TableError> {
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(TableError::Magic)?;
        if magic != MAGIC {
            return Err(TableError::Magic);
        }
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(TableError::Damaged)?;
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(TableError::Version(version));
        }
        let (checksum, body) = rest.split_first_chunk::<32>().ok_or(TableError::Damaged)?;
        if blake3::hash(body).as_bytes() != checksum {
            return Err(TableError::Damaged);
        }
        Words(body).table(blob).ok_or(TableError::Damaged)
    }

    /// Whether the spans can be those of some layer.
    fn is_sound(&self) -> bool {
        let Some(first) = self.spans.first() else {
            return self.tar_bytes == 0;
        };
        let origin = (first.start.tar, &first.start.kind) == (0, &StartKind::Whole);
        let in_order = self.spans.windows(2).all(|pair| {
            pair[0].start.tar < pair[1].start.tar
                && pair[0].start.compressed <= pair[1].start.compressed
        });
        let bounded = (0..self.spans.len()).all(|span| {
            let range = self.tar_range(span);
            let start = &self.spans[span].start;
            let kind = match (&start.kind, self.compression) {
                (StartKind::Block { bits, window }, Compression::Gzip) => {
                    *bits < 8 && start.compressed > 0 && window.len() <= WINDOW_COMPRESSED_BYTES_MAX
                }
                (StartKind::Block { .. }, Compression::None | Compression::Zstd) => false,
                (StartKind::Whole, Compression::None) => start.tar == start.compressed,
                (StartKind::Later, Compression::None) => false,
                (StartKind::Whole | StartKind::Later, Compression::Gzip | Compression::Zstd) => {
                    true
                }
            };
            kind && range.start < range.end
                && range.end - range.start <= SPAN_BYTES_MAX
                && start.compressed <= self.blob_bytes
        });
        origin && in_order && bounded
    }
}

/// What is left of a table. `None` anywhere is damage.
struct Words<'b>(&'b [u8]);

impl<'b> Words<'b> {
    fn table(mut self, blob: &Digest) -> Option<SeekTable> {
        if self.word()? != blob.as_str().as_bytes() {
            return None;
        }
        let diff_id: Digest = std::str::from_utf8(self.word()?).ok()?.parse().ok()?;
        let compression = match self.array()? {
            [0] => Compression::None,
            [1] => Compression::Gzip,
            [2] => Compression::Zstd,
            _ => return None,
        };
        let (tar_bytes, blob_bytes, count) = (self.number()?, self.number()?, self.number()?);
        if count > SPANS_MAX {
            return None;
        }
        let mut spans = Vec::new();
        for _ in 0..count {
            let (tar, compressed) = (self.number()?, self.number()?);
            let hash = ContentHash(self.array()?);
            let kind = match self.array()? {
                [0xff] => StartKind::Whole,
                [0xfe] => StartKind::Later,
                [bits] => StartKind::Block {
                    bits,
                    window: self.word()?.into(),
                },
            };
            let start = Start {
                tar,
                compressed,
                kind,
            };
            spans.push(Span { start, hash });
        }
        self.0.is_empty().then_some(SeekTable {
            diff_id: DiffId(diff_id),
            compression,
            tar_bytes,
            blob_bytes,
            spans,
        })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn word(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(u32::from_le_bytes(self.array()?)).ok()?;
        let (word, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(word)
    }
}
