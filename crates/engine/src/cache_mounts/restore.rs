//! From a shelf to a mount: the newest snapshot that can be had, if it is newer than what is here.

use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use oci::Descriptor;
use shelf::{Shelf, ShelfErrorKind};
use store::cache_mounts::Refill;
use store::snapshot::{Filler, Known, Pack, Snapshot, decode};

use super::document::{Generation, MountDocument, PACK, media_type};
use super::{KeptMounts, MoveError, PARALLEL, Place, RESTORE_PATIENCE};

/// The most bytes of a compressed snapshot that are read.
const SNAPSHOT_BLOB_BYTES_MAX: u64 = store::snapshot::SNAPSHOT_BYTES_MAX;

/// Frames closer than this are read at once, in bytes.
const GAP_BYTES: u64 = 64 * 1024;

/// The most that is read at once, in bytes.
const RUN_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What became of a mount.
enum Outcome {
    /// The fresh directory has it.
    Filled,
    /// What is here is as new.
    Kept,
    /// Nothing is there.
    Absent,
}

impl KeptMounts {
    pub(super) fn restore(&self, id: &str, cache: &Refill<'_>) -> bool {
        let deadline = Instant::now() + RESTORE_PATIENCE;
        let known = Known::load(cache.known);
        for place in &self.from {
            if place.given_up.load(Ordering::Relaxed) {
                continue;
            }
            match self.restore_from(place, id, cache, known.as_ref(), deadline) {
                Ok(Outcome::Filled) => return true,
                Ok(Outcome::Kept) => return false,
                Ok(Outcome::Absent) => {}
                Err(error) => {
                    let what = format!("the cache `{id}` is not taken from {}", named(place));
                    self.warn(place, &what, &error);
                    // What was begun is of no use to the next.
                    if empty(cache.fresh).is_err() {
                        return false;
                    }
                }
            }
        }
        false
    }

    fn restore_from(
        &self,
        place: &Place,
        id: &str,
        cache: &Refill<'_>,
        known: Option<&Known>,
        deadline: Instant,
    ) -> Result<Outcome, MoveError> {
        let name = place.scope.document(id);
        let Some(document) = self.wait(deadline, place.shelf.document(&name))? else {
            return Ok(Outcome::Absent);
        };
        let document = MountDocument::read(&document)?;
        let mut trouble = None;
        for generation in &document.generations {
            if let Some(present) = cache.present
                && is_kept(present, cache.used, known, generation)
            {
                return Ok(Outcome::Kept);
            }
            match self.fill(place, id, cache, known, generation, deadline) {
                Ok(()) => return Ok(Outcome::Filled),
                Err(MoveError::Cancelled) => return Err(MoveError::Cancelled),
                // The one before it may be whole.
                Err(error) => {
                    empty(cache.fresh).map_err(|source| store::snapshot::FillError::Make {
                        path: cache.fresh.display().to_string(),
                        source,
                    })?;
                    trouble.get_or_insert(error);
                }
            }
        }
        match trouble {
            Some(error) => Err(error),
            None => Ok(Outcome::Absent),
        }
    }

    fn fill(
        &self,
        place: &Place,
        id: &str,
        cache: &Refill<'_>,
        known: Option<&Known>,
        generation: &Generation,
        deadline: Instant,
    ) -> Result<(), MoveError> {
        let snapshot = self.snapshot(&*place.shelf, &generation.snapshot, deadline)?;
        let files = snapshot.tree.files().count();
        let packs = snapshot.packs.clone();
        let present = cache.present.zip(known);
        let filler = Filler::begin(cache.fresh, present, snapshot, self.store.free_bytes()?)?;
        let fetched = self.fetch(&*place.shelf, &filler, deadline)?;
        let filled = filler.finish()?;
        let known = Known {
            snapshot: Some(generation.snapshot.digest.clone()),
            ..filled.known
        };
        // Without it the next build reads everything once.
        let _ = self
            .store
            .scratch()
            .and_then(|scratch| known.save(cache.known, &scratch));
        let address = place.shelf.address().to_owned();
        self.mounts()
            .entry(id.to_owned())
            .or_default()
            .packs
            .push((address, packs));
        self.note(format!(
            "cache `{id}`: {files} files from {}, {fetched} bytes fetched, {} files were here",
            named(place),
            filled.linked
        ));
        Ok(())
    }

    /// Reads a snapshot.
    pub(super) fn snapshot(
        &self,
        shelf: &dyn Shelf,
        blob: &Descriptor,
        deadline: Instant,
    ) -> Result<Snapshot, MoveError> {
        let failed = |source| MoveError::Pack {
            digest: blob.digest.to_string(),
            source,
        };
        if blob.size > SNAPSHOT_BLOB_BYTES_MAX {
            return Err(failed(io::Error::other("it is too large")));
        }
        let reader = self.wait(deadline, shelf.open(blob))?;
        let mut bytes = Vec::new();
        reader
            .take(SNAPSHOT_BLOB_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        decode(&bytes).map_err(|source| MoveError::Format {
            digest: blob.digest.to_string(),
            source,
        })
    }

    /// Brings all frames that are wanted; says how many bytes that were.
    fn fetch(
        &self,
        shelf: &dyn Shelf,
        filler: &Filler,
        deadline: Instant,
    ) -> Result<u64, MoveError> {
        let work = Mutex::new(filler.wanted().into_iter());
        let trouble: Mutex<Option<MoveError>> = Mutex::new(None);
        let fetched = AtomicU64::new(0);
        let fetch_all = || {
            while trouble
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_none()
            {
                let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((pack, frames)) = next else { return };
                match self.fetch_pack(shelf, filler, pack, &frames, deadline) {
                    Ok(bytes) => fetched.fetch_add(bytes, Ordering::Relaxed),
                    Err(error) => {
                        let mut trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner);
                        trouble.get_or_insert(error);
                        return;
                    }
                };
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..PARALLEL {
                scope.spawn(fetch_all);
            }
            fetch_all();
        });
        match trouble.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(fetched.into_inner()),
        }
    }

    fn fetch_pack(
        &self,
        shelf: &dyn Shelf,
        filler: &Filler,
        place: usize,
        frames: &[usize],
        deadline: Instant,
    ) -> Result<u64, MoveError> {
        let pack = &filler.snapshot().packs[place];
        let blob = Descriptor::new(media_type(PACK), pack.digest.clone(), pack.size);
        let wanted = frames
            .iter()
            .map(|frame| u64::from(pack.frames[*frame].stored));
        // Of most of it the whole costs least.
        if wanted.sum::<u64>() * 2 < pack.size {
            match self.fetch_ranges(shelf, filler, place, frames, &blob, deadline) {
                Err(MoveError::Shelf(error)) if error.kind() == ShelfErrorKind::Ranges => {}
                fetched => return fetched,
            }
        }
        let failed = |source| MoveError::Pack {
            digest: pack.digest.to_string(),
            source,
        };
        let mut reader = self.wait(deadline, shelf.open(&blob))?;
        let mut at = 0;
        let mut stored = Vec::new();
        for number in frames {
            self.go_on(deadline)?;
            let frame = &pack.frames[*number];
            let gap = frame.offset - at;
            io::copy(&mut (&mut reader).take(gap), &mut io::sink()).map_err(failed)?;
            stored.resize(frame.stored as usize, 0);
            reader.read_exact(&mut stored).map_err(failed)?;
            at = frame.offset + u64::from(frame.stored);
            filler.frame(place, *number, &stored)?;
        }
        Ok(at)
    }

    fn fetch_ranges(
        &self,
        shelf: &dyn Shelf,
        filler: &Filler,
        place: usize,
        frames: &[usize],
        blob: &Descriptor,
        deadline: Instant,
    ) -> Result<u64, MoveError> {
        let pack = &filler.snapshot().packs[place];
        let mut fetched = 0;
        for (range, frames) in runs(pack, frames) {
            let bytes = self.wait(deadline, shelf.range(blob, range.clone()))?;
            fetched += bytes.len() as u64;
            for number in frames {
                let frame = &pack.frames[number];
                let start = usize::try_from(frame.offset - range.start).unwrap_or(usize::MAX);
                let end = start.saturating_add(frame.stored as usize);
                // What is too short is not what the frame says.
                filler.frame(place, number, bytes.get(start..end).unwrap_or_default())?;
            }
        }
        Ok(fetched)
    }
}

/// Frames that are read at once.
fn runs(pack: &Pack, frames: &[usize]) -> Vec<(Range<u64>, Vec<usize>)> {
    let mut runs: Vec<(Range<u64>, Vec<usize>)> = Vec::new();
    for number in frames {
        let frame = &pack.frames[*number];
        let end = frame.offset + u64::from(frame.stored);
        match runs.last_mut() {
            Some((range, of))
                if frame.offset - range.end <= GAP_BYTES && end - range.start <= RUN_BYTES_MAX =>
            {
                range.end = end;
                of.push(*number);
            }
            Some(_) | None => runs.push((frame.offset..end, vec![*number])),
        }
    }
    runs
}

/// Whether what is here stays: it is that very snapshot, or was used after it was made.
fn is_kept(
    present: &Path,
    used: SystemTime,
    known: Option<&Known>,
    generation: &Generation,
) -> bool {
    let digest = &generation.snapshot.digest;
    if known.is_some_and(|known| known.snapshot.as_ref() == Some(digest)) {
        return true;
    }
    let saved = Duration::from_nanos(generation.saved);
    let is_newer = SystemTime::UNIX_EPOCH
        .checked_add(saved)
        .is_none_or(|saved| used > saved);
    let is_empty = store::dir::Dir::open(present)
        .and_then(|dir| dir.is_empty())
        .unwrap_or(true);
    is_newer && !is_empty
}

fn empty(directory: &Path) -> io::Result<()> {
    let dir = store::dir::Dir::open(directory)?;
    for entry in dir.read_dir()? {
        dir.remove_tree(entry.name.to_bytes())
            .map_err(io::Error::other)?;
    }
    Ok(())
}

/// A scope on a shelf, as messages call it.
pub(super) fn named(place: &Place) -> String {
    format!("{} (scope {})", place.shelf.address(), place.scope)
}
