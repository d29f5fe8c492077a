//! Parts of layers that were fetched and verified, so that the next one who reads there need not
//! fetch them again. A file is the hash of the bytes and the bytes; whatever does not fit the hash
//! that is asked for is absent. The oldest go when there are more bytes than the caller allows.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use oci::Digest;

use crate::disk::{DiskError, On as _};
use crate::layer::ContentHash;
use crate::record::open_regular;
use crate::scratch::Process;

/// The directory of spans.
pub(crate) const SPANS: &str = "spans";
const HASH_BYTES: usize = 32;
/// How much of the budget is left when the oldest have gone: going through the directory for each
/// new span would cost more than the span.
const KEPT_OF_EIGHT: u64 = 7;

/// The spans of a store.
#[derive(Debug)]
pub struct Spans {
    root: Arc<Path>,
    process: Arc<Process>,
    /// Bytes that are there, as far as this process knows; counted before the first is put.
    bytes: AtomicU64,
    counted: Mutex<bool>,
}

impl Spans {
    pub(crate) fn new(root: Arc<Path>, process: Arc<Process>) -> Self {
        Self {
            root,
            process,
            bytes: AtomicU64::new(0),
            counted: Mutex::new(false),
        }
    }

    /// The bytes from `start` on of the tar of the layer with this blob, `bytes` of them, if they
    /// are there and have this hash.
    pub fn get(
        &self,
        blob: &Digest,
        start: u64,
        bytes: u64,
        hash: &ContentHash,
    ) -> Option<Vec<u8>> {
        let path = self.root.join(span_path(blob, start));
        let mut file = open_regular(&path).ok()??;
        let length = file.metadata().ok()?.len();
        if length != bytes + HASH_BYTES as u64 {
            return None;
        }
        let mut head = [0; HASH_BYTES];
        file.read_exact(&mut head).ok()?;
        if head != hash.0 {
            return None;
        }
        let mut content = vec![0; usize::try_from(bytes).ok()?];
        file.read_exact(&mut content).ok()?;
        (ContentHash::of(&content) == *hash).then_some(content)
    }

    /// Keeps verified bytes. `budget`: of all spans, in bytes; the oldest go first, and what is
    /// larger than the budget is not kept.
    ///
    /// # Errors
    ///
    /// The disk's. Nothing is lost but time.
    pub fn put(
        &self,
        blob: &Digest,
        start: u64,
        content: &[u8],
        hash: &ContentHash,
        budget: u64,
    ) -> Result<(), DiskError> {
        let more = (content.len() + HASH_BYTES) as u64;
        if more > budget {
            return Ok(());
        }
        {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            let over = self.bytes.load(Ordering::Relaxed) + more > budget;
            if !*counted || over {
                let keep = (budget - budget / 8 * (8 - KEPT_OF_EIGHT)).saturating_sub(more);
                self.bytes.store(self.evict(keep)?, Ordering::Relaxed);
                *counted = true;
            }
            self.bytes.fetch_add(more, Ordering::Relaxed);
        }
        let file = self.process.file()?;
        file.file()
            .write_all(&hash.0)
            .and_then(|()| file.file().write_all(content))
            .on("write", file.path())?;
        file.move_to(&self.root.join(span_path(blob, start)))
    }

    /// Forgets how much is there, because the disk has changed.
    pub(crate) fn forget(&self) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// Removes the oldest until at most `keep` bytes are left; returns how many there are.
    fn evict(&self, keep: u64) -> Result<u64, DiskError> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        let mut levels = vec![self.root.join(SPANS)];
        while let Some(directory) = levels.pop() {
            let items = match std::fs::read_dir(&directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                items => items.on("list", &directory)?,
            };
            for item in items {
                let item = item.on("list", &directory)?;
                // What disappears meanwhile was removed by another process.
                let Ok(metadata) = item.path().symlink_metadata() else {
                    continue;
                };
                if metadata.is_dir() {
                    levels.push(item.path());
                } else {
                    let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    files.push((used, metadata.len(), item.path()));
                }
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= keep {
                break;
            }
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.on("remove", &path)?,
            }
            total -= bytes;
        }
        Ok(total)
    }
}

/// Where a span is, below the store.
fn span_path(blob: &Digest, start: u64) -> PathBuf {
    let mut path = PathBuf::from(SPANS);
    path.push(&blob.hex()[..2]);
    path.push(blob.hex());
    path.push(start.to_string());
    path
}

/// Whether the file of a span is whole.
pub(crate) fn is_sound(mut file: std::fs::File) -> std::io::Result<bool> {
    let mut head = [0; HASH_BYTES];
    if file.read_exact(&mut head).is_err() {
        return Ok(false);
    }
    let mut hasher = crate::layer::ContentHasher::default();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish().0 == head),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
