//! One pass over a layer blob: its digest, its diff id, what is in it, and, where
//! asked, its files on a disk.
//!
//! A helper thread reads, hashes and decompresses; the caller's thread hashes the
//! tar, reads it and writes files. What is in memory at any time does not depend
//! on the size of the layer, only the index does on the number of its entries.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::admit::{EntryError, Gate};
use super::archive::{ArchiveEntry, ArchiveKind};
use super::decompress::{self, DecompressError};
use super::extent::{ExtentPart, SPARSE_PARTS_MAX};
use super::limits::Limits;
use super::merge::{Merge, PlaceError};
use super::restart::Start;
use super::seek::{SeekTable, Span};
use super::tar_reader::{Chunk, TarReadError, TarReader};
use super::unpack::{Unpack, UnpackError, UnpackTarget};
use super::whiteout::{self, WhiteoutError};
use super::{
    ContentHash, ContentHasher, Entry, EntryKind, EntryPath, Extents, LayerIndex,
    SMALL_FILE_BYTES_MAX,
};
use oci::{Compression, Descriptor, DiffId, Digest, Hasher};

/// Bytes of tar that go from thread to thread at once.
const PART_BYTES: usize = 256 * 1024;
/// How many such parts wait between the threads.
const PARTS: usize = 4;

/// What a scan is told.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions<'a> {
    /// How the blob is compressed, from its media type.
    pub compression: Compression,
    /// The blob: its digest and size are verified to the last byte. `None` where
    /// the input verifies itself, and ends without an error only when it was
    /// right: hashing twice would cost a tenth of the whole scan.
    pub expected_blob: Option<&'a Descriptor>,
    /// The diff id that the image's config promises, where one does.
    pub expected_diff_id: Option<&'a DiffId>,
    /// Bounds.
    pub limits: Limits,
    /// Where to write the layer's files in the same pass.
    pub unpack: Option<UnpackTarget<'a>>,
}

/// Why a layer was refused.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The source of the bytes failed.
    #[error("cannot read the layer")]
    Read(#[source] io::Error),
    /// Too many or too few bytes. Worth fetching again.
    #[error("the layer should have {expected} bytes and has {actual}{}", if *.actual > *.expected { " or more" } else { "" })]
    Size {
        /// By its descriptor.
        expected: u64,
        /// Read.
        actual: u64,
    },
    /// Other bytes than promised. Worth fetching again.
    #[error("the layer should have the digest {expected} and has {actual}")]
    Digest {
        /// By its descriptor.
        expected: Digest,
        /// Of its bytes.
        actual: Digest,
    },
    /// The bytes are those promised, but not those the image's config speaks of.
    #[error("the layer should decompress to {expected} and decompresses to {actual}")]
    DiffId {
        /// By the image's config.
        expected: DiffId,
        /// Of the tar.
        actual: DiffId,
    },
    /// Wrong label, or a decompression bomb.
    #[error("the layer is refused: {0}")]
    Refused(DecompressError),
    /// The compressed stream is damaged.
    #[error("the layer cannot be decompressed")]
    Damaged(#[source] io::Error),
    /// Not a tar that has one meaning.
    #[error(transparent)]
    Tar(TarReadError),
    /// An entry that no root can have.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A whiteout of nothing that can be.
    #[error(transparent)]
    Whiteout(#[from] WhiteoutError),
    /// An entry without a place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Writing.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// Not what its index says, which was made elsewhere or by another kiln. Worth a scan that
    /// believes no index.
    #[error("the layer is not what its index says")]
    Index,
}

impl ScanError {
    /// Whether the bytes were not those that the descriptor promises, so that
    /// another copy may be good.
    pub fn is_wrong_copy(&self) -> bool {
        matches!(self, Self::Size { .. } | Self::Digest { .. })
    }
}

/// What one pass over a layer has found out.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// What is in it.
    pub index: LayerIndex,
    /// How to read parts of the blob from now on.
    pub table: SeekTable,
}

/// Reads a layer blob to its end, once.
///
/// # Errors
///
/// Anything that is not exactly the layer promised. Of damage inside and a
/// wrong digest the digest is reported, because it says what to do: fetch
/// again. What was unpacked until then stays where it is, for the caller to
/// remove.
pub fn scan(input: impl Read + Send, options: ScanOptions<'_>) -> Result<Scanned, ScanError> {
    pass(input, options, None)
}

/// The same for a layer whose index is at hand, of which no second one is made: what comes is
/// compared with it.
///
/// # Errors
///
/// As [`scan`], and [`ScanError::Index`].
pub fn scan_again(
    input: impl Read + Send,
    options: ScanOptions<'_>,
    index: &Arc<LayerIndex>,
) -> Result<SeekTable, ScanError> {
    Ok(pass(input, options, Some(index))?.table)
}

/// Of a layer that is `known`, the index lacks the entries.
fn pass(
    input: impl Read + Send,
    options: ScanOptions<'_>,
    known: Option<&Arc<LayerIndex>>,
) -> Result<Scanned, ScanError> {
    let blob = Verified::new(input, options.expected_blob);
    let (full_sender, full) = sync_channel(PARTS);
    let (empty_sender, empty) = channel();
    let (read, mut blob, decompressed) = std::thread::scope(|scope| {
        let helper = scope.spawn(move || {
            let mut blob = blob;
            let result = decompress_parts(&mut blob, options, &full_sender, &empty);
            (blob, result)
        });
        // Dropped at the end of the statement, so that the helper stops too.
        let read = read_layer(Parts::new(full, empty_sender), options, known);
        let (blob, decompressed) = match helper.join() {
            Ok(joined) => joined,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        (read, blob, decompressed)
    });
    let failed = match (decompressed, read) {
        (Err(error), _) => Some(match downcast(error) {
            Ok(refused) => ScanError::Refused(refused),
            Err(error) => ScanError::Damaged(error),
        }),
        (Ok(_), Err(error)) => Some(error),
        (Ok((starts, blob_bytes)), Ok((index, hashes))) => {
            blob.finish()?;
            let index = verified_index(index, options)?;
            if known.is_some_and(|known| !is_of(known, &index)) {
                return Err(ScanError::Index);
            }
            let table = SeekTable {
                diff_id: index.diff_id.clone(),
                compression: options.compression,
                tar_bytes: index.tar_bytes,
                blob_bytes,
                spans: spans(starts, hashes, index.tar_bytes),
            };
            return Ok(Scanned { index, table });
        }
    };
    let failed = failed.expect("every other arm returned");
    if may_be_a_wrong_copy(&failed) {
        blob.finish()?;
    }
    Err(failed)
}

/// Whether it is worth reading to the end to learn if these are the right bytes.
fn may_be_a_wrong_copy(error: &ScanError) -> bool {
    match error {
        ScanError::Damaged(_) | ScanError::Tar(_) | ScanError::Entry(_) => true,
        ScanError::Whiteout(_) | ScanError::Place(_) | ScanError::Index => true,
        ScanError::Refused(refused) => matches!(refused, DecompressError::Mismatch { .. }),
        ScanError::Read(_)
        | ScanError::Size { .. }
        | ScanError::Digest { .. }
        | ScanError::DiffId { .. }
        | ScanError::Unpack(_) => false,
    }
}

/// Whether an index without its entries, each of which was compared, is the one that is known.
fn is_of(known: &LayerIndex, index: &LayerIndex) -> bool {
    let LayerIndex {
        diff_id,
        entries: _,
        tar_bytes,
        small_files,
        implicit_parents,
        extents,
    } = index;
    extents.starts.len() == known.entries.len()
        && *diff_id == known.diff_id
        && *tar_bytes == known.tar_bytes
        && *small_files == known.small_files
        && *implicit_parents == known.implicit_parents
        && *extents == known.extents
}

fn verified_index(index: LayerIndex, options: ScanOptions<'_>) -> Result<LayerIndex, ScanError> {
    match options.expected_diff_id {
        Some(expected) if *expected != index.diff_id => Err(ScanError::DiffId {
            expected: expected.clone(),
            actual: index.diff_id,
        }),
        Some(_) | None => Ok(index),
    }
}

/// Where spans begin, and what is in them.
fn spans(starts: Vec<Start>, hashes: Vec<ContentHash>, tar_bytes: u64) -> Vec<Span> {
    // A span that would begin at the end has nothing in it, and no hash.
    let starts = starts.into_iter().filter(|start| start.tar < tar_bytes);
    starts
        .zip(hashes)
        .map(|(start, hash)| Span { start, hash })
        .collect()
}

/// A part of the tar, and where spans begin in it.
struct Part {
    bytes: Vec<u8>,
    cuts: Vec<u64>,
}

/// The helper's work: fills parts until the blob or the reader ends. Returns where spans begin, and
/// how long the blob is.
fn decompress_parts<R: Read + Send>(
    blob: &mut Verified<R>,
    options: ScanOptions<'_>,
    full: &SyncSender<Part>,
    empty: &Receiver<Vec<u8>>,
) -> io::Result<(Vec<Start>, u64)> {
    let mut tar = decompress::labelled(blob, options.compression, options.limits)?;
    loop {
        let mut part = empty.try_recv().unwrap_or_else(|_| vec![0; PART_BYTES]);
        part.resize(PART_BYTES, 0);
        let mut filled = 0;
        let mut outcome = Ok(());
        while filled < PART_BYTES {
            match tar.read(&mut part[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        part.truncate(filled);
        // A reader that is gone has its own error to tell.
        let cuts = tar.news();
        let gone = filled > 0 && full.send(Part { bytes: part, cuts }).is_err();
        outcome?;
        if gone || filled < PART_BYTES {
            return Ok(tar.into_starts());
        }
    }
}

/// The caller's work: tar to index, and to disk.
fn read_layer(
    parts: Parts,
    options: ScanOptions<'_>,
    known: Option<&Arc<LayerIndex>>,
) -> Result<(LayerIndex, Vec<ContentHash>), ScanError> {
    let mut tar = TarReader::new(parts, options.limits);
    let mut gate = Gate::new(options.limits);
    let lower = options.unpack.and_then(|target| target.lower);
    let mut merge = match known {
        Some(index) => Merge::again(lower, Arc::clone(index)),
        None => Merge::growing(lower),
    };
    let mut unpack = options.unpack.map(Unpack::new).transpose()?;
    let mut small_files = BTreeMap::new();
    let mut extents = Extents::default();
    let mut sparse_parts = 0;
    let mut hasher = ContentHasher::default();
    while let Some(raw) = tar.next_entry().map_err(ScanError::Tar)? {
        let admitted = gate.admit(raw)?;
        let entry = layer_entry(admitted)?;
        if !merge.expects(&entry) {
            return Err(ScanError::Index);
        }
        let path = entry.path.clone();
        let size = match &entry.kind {
            EntryKind::File { size, .. } => Some(*size),
            _ => None,
        };
        let metadata = unpack.is_some().then(|| entry.metadata.clone());
        let kind = unpack.is_some().then(|| entry.kind.clone());
        let effect = merge.apply(entry)?;
        let mut file = match (&mut unpack, &kind, &metadata) {
            (Some(unpack), Some(kind), Some(metadata)) => {
                unpack.apply(&mut merge, effect, &path, kind, metadata)?
            }
            _ => None,
        };
        let Some(size) = size else {
            extents.push(None);
            continue;
        };
        let entry = extents.starts.len();
        let start = tar.bytes_read();
        // Of a file with holes, what the tar has of it.
        let mut parts: Option<Vec<ExtentPart>> = None;
        let (mut in_file, mut in_tar) = (0, start);
        let keeps = is_small_file(&path) && size <= SMALL_FILE_BYTES_MAX;
        let mut kept = Vec::new();
        hasher.reset();
        while let Some(chunk) = tar.next_chunk().map_err(ScanError::Tar)? {
            match chunk {
                Chunk::Data(bytes) => {
                    hasher.update(bytes);
                    let count = bytes.len() as u64;
                    if let Some(parts) = &mut parts {
                        append(parts, in_file, in_tar, count);
                    }
                    in_file += count;
                    in_tar += count;
                    if keeps {
                        kept.extend_from_slice(bytes);
                    }
                    if let Some(file) = &mut file {
                        file.write(bytes)?;
                    }
                }
                Chunk::Hole(bytes) => {
                    if parts.is_none() {
                        let mut before = Vec::new();
                        append(&mut before, 0, start, in_file);
                        parts = Some(before);
                    }
                    in_file += bytes;
                    zeros(bytes, |part| {
                        hasher.update(part);
                        if keeps {
                            kept.extend_from_slice(part);
                        }
                    });
                    if let Some(file) = &mut file {
                        file.skip(bytes)?;
                    }
                }
            }
        }
        match parts {
            None => extents.push((size > 0).then_some(start)),
            Some(parts) => {
                extents.push(None);
                sparse_parts += parts.len();
                if let Ok(entry) = u32::try_from(entry)
                    && sparse_parts <= SPARSE_PARTS_MAX
                {
                    extents.sparse.insert(entry, parts.into());
                }
            }
        }
        let content = hasher.finish();
        if !merge.expects_content(content) {
            return Err(ScanError::Index);
        }
        merge.amend_last(EntryKind::File { size, content });
        if let (Some(file), Some(metadata)) = (file, &metadata) {
            file.finish(metadata)?;
        }
        if keeps {
            small_files.insert(path, kept.into());
        } else if is_small_file(&path) {
            // A later one of the same path, too long to keep.
            small_files.remove(&path);
        }
    }
    if let Some(unpack) = unpack {
        unpack.finish(&merge)?;
    }
    let tar_bytes = tar.bytes_read();
    let (diff_id, hashes) = tar.into_inner().finish();
    let (entries, implicit_parents) = merge.into_entries();
    let index = LayerIndex {
        diff_id,
        entries,
        tar_bytes,
        small_files,
        implicit_parents,
        extents,
    };
    Ok((index, hashes))
}

/// What an entry of a tar is in a layer: itself, or a mark.
fn layer_entry(admitted: ArchiveEntry) -> Result<Entry, ScanError> {
    let ArchiveEntry {
        path,
        kind,
        metadata,
    } = admitted;
    if let Some((path, kind)) = whiteout::of(&path, &kind)? {
        return Ok(Entry {
            path,
            kind,
            metadata,
        });
    }
    let kind = match kind {
        ArchiveKind::Directory => EntryKind::Directory,
        ArchiveKind::File { size } => EntryKind::File {
            size,
            // Known once it was read.
            content: ContentHash([0; 32]),
        },
        ArchiveKind::Symlink { target } => EntryKind::Symlink { target },
        ArchiveKind::HardLink { target } => EntryKind::HardLink { target },
        ArchiveKind::CharacterDevice { major, minor } => {
            EntryKind::CharacterDevice { major, minor }
        }
        ArchiveKind::BlockDevice { major, minor } => EntryKind::BlockDevice { major, minor },
        ArchiveKind::Fifo => EntryKind::Fifo,
    };
    Ok(Entry {
        path,
        kind,
        metadata,
    })
}

/// User databases: their names are asked for by COPY --chown and USER.
fn is_small_file(path: &EntryPath) -> bool {
    matches!(path.name(), b"passwd" | b"group")
}

/// Adds bytes to the parts of a file, to the last one where they continue it.
fn append(parts: &mut Vec<ExtentPart>, file_offset: u64, tar_offset: u64, bytes: u64) {
    match parts.last_mut() {
        _ if bytes == 0 => {}
        Some(last) if last.file_offset + last.bytes == file_offset => last.bytes += bytes,
        Some(_) | None => parts.push(ExtentPart {
            file_offset,
            tar_offset,
            bytes,
        }),
    }
}

fn zeros(mut bytes: u64, mut each: impl FnMut(&[u8])) {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    while bytes > 0 {
        let count = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(ZEROS.len());
        each(&ZEROS[..count]);
        bytes -= count as u64;
    }
}

fn downcast(error: io::Error) -> Result<DecompressError, io::Error> {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<DecompressError>())
    {
        Some(refused) => Ok(refused.clone()),
        None => Err(error),
    }
}

/// The tar as the helper hands it over, hashed on arrival.
struct Parts {
    full: Receiver<Part>,
    empty: Sender<Vec<u8>>,
    part: Vec<u8>,
    consumed: usize,
    hasher: Hasher,
    /// Bytes that arrived.
    arrived: u64,
    /// Where spans begin that have not arrived yet.
    cuts: VecDeque<u64>,
    span: ContentHasher,
    spans: Vec<ContentHash>,
}

impl Parts {
    fn new(full: Receiver<Part>, empty: Sender<Vec<u8>>) -> Self {
        Self {
            full,
            empty,
            part: Vec::new(),
            consumed: 0,
            hasher: Hasher::default(),
            arrived: 0,
            cuts: VecDeque::new(),
            span: ContentHasher::default(),
            spans: Vec::new(),
        }
    }

    /// Hashes what has arrived.
    fn take_note(&mut self, part: &Part) {
        self.hasher.update(&part.bytes);
        self.cuts.extend(&part.cuts);
        let mut rest = &part.bytes[..];
        while let Some(cut) = self.cuts.front() {
            let before = usize::try_from(cut - self.arrived).unwrap_or(usize::MAX);
            let Some((ends, begins)) = rest.split_at_checked(before) else {
                break;
            };
            self.span.update(ends);
            self.spans.push(self.span.finish());
            self.span.reset();
            self.arrived = *cut;
            rest = begins;
            self.cuts.pop_front();
        }
        self.span.update(rest);
        self.arrived += rest.len() as u64;
    }

    /// The diff id of everything that arrived, and the hashes of its spans.
    fn finish(mut self) -> (DiffId, Vec<ContentHash>) {
        self.spans.push(self.span.finish());
        (DiffId(self.hasher.finish()), self.spans)
    }
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Parts {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // Hung up means the end, or an error that the helper returns itself.
        if self.consumed == self.part.len()
            && let Ok(next) = self.full.recv()
        {
            self.take_note(&next);
            let spent = std::mem::replace(&mut self.part, next.bytes);
            self.consumed = 0;
            // The helper may be done and want no more.
            let _ = self.empty.send(spent);
        }
        Ok(&self.part[self.consumed..])
    }

    fn consume(&mut self, count: usize) {
        self.consumed += count;
    }
}

/// The blob, hashed and counted as it is read where its input does not do that.
struct Verified<R> {
    input: R,
    check: Option<Check>,
    /// The source's own failure, which decoders would wrap beyond recognition.
    failed: Option<io::Error>,
}

/// What is known of a blob so far, and what it should come to.
struct Check {
    hasher: Hasher,
    count: u64,
    expected: Descriptor,
}

impl Check {
    fn new(expected: &Descriptor) -> Self {
        Self {
            hasher: Hasher::new(expected.digest.algorithm()),
            count: 0,
            expected: expected.clone(),
        }
    }

    fn is_too_long(&self) -> bool {
        self.count > self.expected.size
    }

    fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.count += bytes.len() as u64;
    }

    fn finish(&self) -> Result<(), ScanError> {
        if self.count != self.expected.size {
            return Err(ScanError::Size {
                expected: self.expected.size,
                actual: self.count,
            });
        }
        let actual = self.hasher.clone().finish();
        if actual != self.expected.digest {
            return Err(ScanError::Digest {
                expected: self.expected.digest.clone(),
                actual,
            });
        }
        Ok(())
    }
}

impl<R: Read> Verified<R> {
    fn new(input: R, expected: Option<&Descriptor>) -> Self {
        Self {
            input,
            check: expected.map(Check::new),
            failed: None,
        }
    }

    fn is_too_long(&self) -> bool {
        self.check.as_ref().is_some_and(Check::is_too_long)
    }

    /// Reads what a decoder left over, and says whether it all was the blob.
    fn finish(&mut self) -> Result<(), ScanError> {
        let mut rest = vec![0; 64 * 1024];
        while self.failed.is_none() && !self.is_too_long() {
            // Errors end the loop by its conditions, or were a signal.
            if let Ok(0) = self.read(&mut rest) {
                break;
            }
        }
        if let Some(error) = self.failed.take() {
            return Err(ScanError::Read(error));
        }
        self.check.as_ref().map_or(Ok(()), Check::finish)
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_too_long() {
            return Err(io::Error::other("more bytes than the descriptor says"));
        }
        match self.input.read(buffer) {
            Ok(count) => {
                if let Some(check) = &mut self.check {
                    check.update(&buffer[..count]);
                }
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}
