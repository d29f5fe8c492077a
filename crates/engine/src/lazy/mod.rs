//! Contents of layers that are not on this disk, read where they lie: of a blob in a registry or on
//! a shelf only those parts are fetched that hold what is asked for.
//!
//! How it is used: [`Lazy::can_read`] says whether a layer can be read so at all, which takes its
//! index and its seek table ([`crate::layers::Layers`] makes both in the one pass that it reads a
//! layer that nobody knows). Whoever is about to read several files tells [`Lazy::prefetch`], from
//! async code. [`Lazy::read`] gives bytes of one file, on threads that may block and are none of the
//! runtime's own workers. Everything that is given out was verified against hashes that were taken
//! in a pass over the layer which had the right digest.
//!
//! When reading fails for good ([`LazyError::wants_whole`]), the caller unpacks the layer instead:
//! [`Lazy::give_up`] remembers that.
//!
//! Parts are kept twice: a few in memory, for readers that go on where they stopped, and more of
//! them in the store, under a budget of bytes.

mod fetch;
mod memory;
mod shared;
mod shelves;
#[cfg(test)]
mod tests;
mod wanted;

pub(crate) use shelves::Shelves;
pub(crate) use wanted::Wanted;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use oci::{Descriptor, Digest};
use registry::{Client, ErrorKind};
use shelf::{ShelfError, ShelfErrorKind};
use store::Store;
use store::layer::{FileExtent, Piece, SeekError, SeekTable};
use tokio::sync::{Notify, Semaphore};

use self::memory::Memory;
use crate::origins::{Origin, Origins};
use crate::output::LayerRef;

/// Bytes of parts that the store keeps, where nobody says anything else: 1 GiB.
const BUDGET_BYTES: u64 = 1 << 30;
/// Bytes of parts that are kept in memory: 24 MiB.
const MEMORY_BYTES: usize = 24 << 20;
/// Spans that memory holds at once, most of them being of 4 MiB.
const SPANS_RECENT: usize = 4;
/// Spans that may be read again without a thought.
const TURNS_FREE: usize = 64;
/// A blob of no more bytes is read in parts whatever is wanted of it: it is one request. 1 MiB.
const SMALL_BLOB_BYTES: u64 = 1 << 20;
/// Requests under way at once.
const REQUESTS_MAX: usize = 4;
/// Spans that a reader gets ahead who reads a file from one span into the next.
const SPANS_AHEAD: usize = 3;

/// Reads parts of layers.
pub(crate) struct Lazy {
    store: Store,
    client: Client,
    origins: Origins,
    /// For threads that are none of its own.
    runtime: tokio::runtime::Handle,
    budget: AtomicU64,
    memory: Mutex<Memory>,
    /// Spans that somebody is fetching.
    flying: Mutex<HashSet<(Digest, usize)>>,
    landed: Notify,
    requests: Semaphore,
    /// Layers that have to be read as a whole.
    given_up: Mutex<HashSet<Digest>>,
    /// What shelves said, for this build alone.
    believed: Mutex<HashMap<Digest, Arc<SeekTable>>>,
    /// Registries and shelves that were asked for a byte, and whether they gave it.
    places: tokio::sync::Mutex<HashMap<String, bool>>,
    /// Nobody is to wait any more.
    stopped: tokio::sync::watch::Sender<bool>,
}

impl std::fmt::Debug for Lazy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lazy").finish_non_exhaustive()
    }
}

/// Why a part of a layer cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LazyError {
    #[error("layer {0} cannot be read in parts")]
    NoTable(Digest),
    #[error("a part of layer {0} is too far from where reading can begin")]
    Far(Digest),
    #[error("layer {0} is neither in the store nor in a registry of this build")]
    Lost(Digest),
    #[error("could not fetch a part of layer {digest}")]
    Registry {
        digest: Digest,
        source: registry::Error,
    },
    #[error("could not fetch a part of layer {digest}")]
    Shelf { digest: Digest, source: ShelfError },
    #[error("a part of layer {digest} is damaged")]
    Damaged { digest: Digest, source: SeekError },
    #[error("could not read layer {digest} in the store")]
    Read { digest: Digest, source: io::Error },
    #[error("the build was stopped")]
    Stopped,
}

impl LazyError {
    /// Whether the layer can perhaps be had as a whole.
    pub(crate) fn wants_whole(&self) -> bool {
        match self {
            Self::NoTable(_) | Self::Far(_) | Self::Damaged { .. } | Self::Read { .. } => true,
            Self::Lost(_) | Self::Stopped => false,
            Self::Registry { source, .. } => {
                matches!(source.kind(), ErrorKind::Ranges | ErrorKind::Corrupted)
            }
            Self::Shelf { source, .. } => matches!(
                source.kind(),
                ShelfErrorKind::Ranges | ShelfErrorKind::Damaged
            ),
        }
    }
}

impl Lazy {
    /// Must be called on the runtime that the client works on.
    pub(crate) fn new(store: Store, client: Client, origins: Origins) -> Self {
        Self {
            store,
            client,
            origins,
            runtime: tokio::runtime::Handle::current(),
            budget: AtomicU64::new(BUDGET_BYTES),
            memory: Mutex::new(Memory::new(MEMORY_BYTES)),
            flying: Mutex::default(),
            landed: Notify::new(),
            requests: Semaphore::new(REQUESTS_MAX),
            given_up: Mutex::default(),
            believed: Mutex::default(),
            places: tokio::sync::Mutex::default(),
            stopped: tokio::sync::watch::Sender::new(false),
        }
    }

    /// Ends every [`Lazy::read`] that waits, and lets no other one wait.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// How many bytes of parts the store keeps from now on.
    pub(crate) fn set_budget(&self, bytes: u64) {
        self.budget.store(bytes, Ordering::Relaxed);
    }

    /// Whether the layer can be read in parts: its table is known, its blob can be had, and nobody
    /// has found out that it does not work.
    pub(crate) fn can_read(&self, layer: &LayerRef) -> bool {
        let given_up = self.given_up.lock().expect("no panics under this lock");
        !given_up.contains(&layer.blob.digest)
            && (self.origins.knows(&layer.blob.digest) || self.store.blobs().has(&layer.blob))
            && self.table(layer).is_ok()
    }

    /// Takes what somebody else says of a layer, where this machine does not know itself.
    pub(crate) fn believe(&self, blob: &Descriptor, table: SeekTable) {
        let mut believed = self.believed.lock().expect("no panics under this lock");
        believed.insert(blob.digest.clone(), Arc::new(table));
    }

    /// Forgets all that somebody else said, and what was read with it.
    pub(crate) fn disbelieve(&self) {
        let mut believed = self.believed.lock().expect("no panics under this lock");
        believed.clear();
        let mut memory = self.memory.lock().expect("no panics under this lock");
        *memory = Memory::new(MEMORY_BYTES);
    }

    /// Whether every part of the layer can be read, also those that decompression has a long way to.
    pub(crate) fn can_read_all(&self, layer: &LayerRef) -> bool {
        let in_reach = |table: &SeekTable| {
            (0..table.len()).all(|span| {
                let range = table.blob_range(&(span..span + 1));
                range.end - range.start <= fetch::REQUEST_BYTES_MAX
            })
        };
        self.can_read(layer) && self.table(layer).is_ok_and(|table| in_reach(&table))
    }

    /// The layer is to be read as a whole from now on. A table that led to wrong bytes is forgotten
    /// for good.
    pub(crate) fn give_up(&self, blob: &Descriptor) {
        let mut given_up = self.given_up.lock().expect("no panics under this lock");
        given_up.insert(blob.digest.clone());
        // What is not removed proves wrong again.
        let _ = self.store.seek_tables().remove(&blob.digest);
    }

    /// Bytes of the blob that it takes to read these ranges of the tar, and of the whole blob.
    pub(crate) fn cost(
        &self,
        layer: &LayerRef,
        ranges: &[Range<u64>],
    ) -> Result<(u64, u64), LazyError> {
        let table = self.table(layer)?;
        let spans = spans_of(&table, ranges, &layer.blob.digest)?;
        let mut bytes = 0;
        // Where a decompressor has to begin at an earlier span, that is read too, once.
        let mut end = 0;
        for run in runs(&spans) {
            let range = table.blob_range(&run);
            bytes += range.end.saturating_sub(range.start.max(end));
            end = end.max(range.end);
        }
        Ok((bytes, table.blob_bytes()))
    }

    /// Fetches these ranges of the tar if that is worth it, and says whether it is: not where most
    /// of the layer would have to come anyway. What is too much for the store is left for
    /// [`Self::read`].
    pub(crate) async fn bring_some(
        &self,
        layer: &LayerRef,
        ranges: &[Range<u64>],
    ) -> Result<bool, LazyError> {
        if self.is_thrashed_by(layer, ranges)? {
            return Ok(false);
        }
        if self.store.blobs().has(&layer.blob) {
            return Ok(true);
        }
        let (part, whole) = self.cost(layer, ranges)?;
        if part > whole / 2 && whole > SMALL_BLOB_BYTES {
            return Ok(false);
        }
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        if bytes <= self.budget.load(Ordering::Relaxed) / 2 {
            self.prefetch(layer, ranges).await?;
        }
        Ok(true)
    }

    /// Whether ranges in this order lead from span to span and back, so that most of them are read
    /// and verified many times: the files of many layers are not in the order of their names.
    fn is_thrashed_by(&self, layer: &LayerRef, ranges: &[Range<u64>]) -> Result<bool, LazyError> {
        let table = self.table(layer)?;
        let mut recent = VecDeque::with_capacity(SPANS_RECENT);
        let (mut seen, mut turns) = (HashSet::new(), 0);
        for range in ranges {
            let found = table.spans_of(range);
            for span in found.ok_or_else(|| LazyError::NoTable(layer.blob.digest.clone()))? {
                seen.insert(span);
                if !recent.contains(&span) {
                    turns += 1;
                    recent.truncate(SPANS_RECENT - 1);
                    recent.push_front(span);
                }
            }
        }
        Ok(turns > TURNS_FREE + 2 * seen.len())
    }

    /// Whether the place where the layer lies gives parts of blobs. Asked for one byte, once for
    /// each place; one that does not answer shows that to whoever asks next.
    pub(crate) async fn gives_parts(&self, layer: &LayerRef) -> bool {
        let Some(origin) = self.origins.get(&layer.blob.digest) else {
            return true;
        };
        let place = match &origin {
            Origin::Registry(repository) => repository.to_string(),
            Origin::Shelf(shelf) => shelf.address().to_owned(),
        };
        let mut places = self.places.lock().await;
        if let Some(gives) = places.get(&place) {
            return *gives;
        }
        let gives = match self.part(layer, 0..layer.blob.size.min(1)).await {
            Ok(_) => true,
            Err(error) => !error.wants_whole(),
        };
        places.insert(place, gives);
        gives
    }

    /// Reads bytes of a file from `offset` on into `buffer`. Returns how many there were: fewer than
    /// asked for only at the end of the file. Blocks, so not for workers of the runtime.
    ///
    /// # Errors
    ///
    /// A [`LazyError`], inside of an [`io::Error`].
    pub(crate) fn read(
        &self,
        layer: &LayerRef,
        file: &FileExtent,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let mut filled = 0;
        for piece in file.pieces(offset, buffer.len() as u64) {
            match piece {
                Piece::Zeros(bytes) => {
                    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                    buffer[filled..filled + bytes].fill(0);
                    filled += bytes;
                }
                Piece::Tar { offset, bytes } => {
                    let count = usize::try_from(bytes).unwrap_or(usize::MAX);
                    let rest = file_end(file, offset);
                    self.tar(layer, offset, rest, &mut buffer[filled..filled + count])
                        .map_err(io::Error::other)?;
                    filled += count;
                }
            }
        }
        Ok(filled)
    }

    /// Fetches what holds these ranges of the tar, neighbours in one request, several requests at
    /// once. What is there already is not fetched.
    pub(crate) async fn prefetch(
        &self,
        layer: &LayerRef,
        ranges: &[Range<u64>],
    ) -> Result<(), LazyError> {
        let table = self.table(layer)?;
        let spans = spans_of(&table, ranges, &layer.blob.digest)?;
        let missing: Vec<usize> = spans
            .into_iter()
            .filter(|span| self.at_hand(layer, &table, *span).is_none())
            .collect();
        self.bring(layer, &table, missing).await
    }

    /// Reads bytes of the tar. `file_end`: where reading ahead has no use any more.
    fn tar(
        &self,
        layer: &LayerRef,
        offset: u64,
        file_end: u64,
        buffer: &mut [u8],
    ) -> Result<(), LazyError> {
        let table = self.table(layer)?;
        let range = offset..offset + buffer.len() as u64;
        let spans = table
            .spans_of(&range)
            .ok_or_else(|| LazyError::NoTable(layer.blob.digest.clone()))?;
        for span in spans {
            let content = match self.at_hand(layer, &table, span) {
                Some(content) => content,
                None => self.runtime.block_on(async {
                    let mut stopped = self.stopped.subscribe();
                    tokio::select! {
                        biased;
                        _ = stopped.wait_for(|stopped| *stopped) => Err(LazyError::Stopped),
                        fetched = self.fetched(layer, &table, span, file_end) => fetched,
                    }
                })?,
            };
            let part = table.tar_range(span);
            let (from, to) = (range.start.max(part.start), range.end.min(part.end));
            let source = &content[(from - part.start) as usize..(to - part.start) as usize];
            buffer[(from - range.start) as usize..(to - range.start) as usize]
                .copy_from_slice(source);
        }
        Ok(())
    }

    /// A span that was not at hand, and some behind it for a reader who comes from the one before.
    async fn fetched(
        &self,
        layer: &LayerRef,
        table: &Arc<SeekTable>,
        span: usize,
        file_end: u64,
    ) -> Result<Arc<[u8]>, LazyError> {
        let goes_on = span > 0 && {
            let memory = self.memory.lock().expect("no panics under this lock");
            memory.contains(&layer.blob.digest, span - 1, table.hash(span - 1))
        };
        let mut wanted = vec![span];
        if goes_on {
            let ahead = (span + 1..table.len()).take(SPANS_AHEAD);
            wanted.extend(ahead.take_while(|ahead| table.tar_range(*ahead).start < file_end));
        }
        loop {
            self.bring(layer, table, wanted.clone()).await?;
            if let Some(content) = self.at_hand(layer, table, span) {
                return Ok(content);
            }
            // Others have pushed it out of memory, and the store does not keep it.
            wanted = vec![span];
        }
    }

    /// A span that somebody has fetched already.
    fn at_hand(&self, layer: &LayerRef, table: &SeekTable, span: usize) -> Option<Arc<[u8]>> {
        let blob = &layer.blob.digest;
        {
            let mut memory = self.memory.lock().expect("no panics under this lock");
            if let Some(content) = memory.get(blob, span, table.hash(span)) {
                return Some(content);
            }
        }
        let range = table.tar_range(span);
        let bytes = range.end - range.start;
        let spans = self.store.spans();
        let content: Arc<[u8]> = spans
            .get(blob, range.start, bytes, &table.hash(span))?
            .into();
        let mut memory = self.memory.lock().expect("no panics under this lock");
        memory.put(blob, span, table.hash(span), Arc::clone(&content));
        Some(content)
    }

    fn table(&self, layer: &LayerRef) -> Result<Arc<SeekTable>, LazyError> {
        let believed = || {
            let believed = self.believed.lock().expect("no panics under this lock");
            believed.get(&layer.blob.digest).cloned()
        };
        let table = self.store.seek_tables().get(&layer.blob);
        table
            .or_else(believed)
            // A table of the right blob that speaks of another tar is of no use.
            .filter(|table| *table.diff_id() == layer.diff_id)
            .ok_or_else(|| LazyError::NoTable(layer.blob.digest.clone()))
    }
}

/// Where the file ends of which `offset` is a place in the tar; a little less for one with holes.
fn file_end(file: &FileExtent, offset: u64) -> u64 {
    offset.saturating_add(file.size())
}

/// The numbers of the spans that hold these ranges, in order, each once.
fn spans_of(
    table: &SeekTable,
    ranges: &[Range<u64>],
    digest: &Digest,
) -> Result<Vec<usize>, LazyError> {
    let mut spans = Vec::new();
    for range in ranges {
        let found = table.spans_of(range);
        spans.extend(found.ok_or_else(|| LazyError::NoTable(digest.clone()))?);
    }
    spans.sort_unstable();
    spans.dedup();
    Ok(spans)
}

/// Numbers that follow one another, as ranges.
fn runs(spans: &[usize]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for span in spans {
        match runs.last_mut() {
            Some(run) if run.end == *span => run.end += 1,
            Some(_) | None => runs.push(*span..*span + 1),
        }
    }
    runs
}
