//! Journals: what a piece of work on other machines has come to, so that it can be gone on with
//! after its process died. Whose work it is, is a digest; what is in a journal is its owner's.
//!
//! A journal belongs to one process at a time, which holds its lock. It is durable as soon as it is
//! written, and gone when the work is finished. One that is never taken up again is swept.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oci::Digest;

use crate::disk::{DiskError, On as _};
use crate::lock::{self, Mode};
use crate::record::{open_regular, read_bounded, seal, unseal};
use crate::scratch::{Process, is_at, make_directories};

/// The directory of journals.
pub(crate) const JOURNALS: &str = "journals";

/// How long a journal is kept that nobody goes on with.
const ABANDONED_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The most files that one sweep looks at.
const SWEEP_FILES_MAX: usize = 1024;

/// What follows the name of a journal in the name of its lock.
const LOCK_SUFFIX: &str = ".lock";

/// The journals of a store.
#[derive(Debug)]
pub struct Journals {
    root: Arc<Path>,
    process: Arc<Process>,
}

/// A journal that this process owns, until it is dropped.
#[derive(Debug)]
pub struct Journal {
    root: Arc<Path>,
    process: Arc<Process>,
    /// Below the root.
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Journals {
    pub(crate) fn new(root: Arc<Path>, process: Arc<Process>) -> Self {
        Self { root, process }
    }

    /// Takes the journal of what has this digest; `None` while another process has it.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn take(&self, work: &Digest) -> Result<Option<Journal>, DiskError> {
        let directory = self.root.join(JOURNALS);
        make_directories(&directory)?;
        let path = Path::new(JOURNALS).join(work.hex());
        let lock_path = directory.join(format!("{}{LOCK_SUFFIX}", work.hex()));
        Ok(locked(&lock_path)?.map(|lock| Journal {
            root: Arc::clone(&self.root),
            process: Arc::clone(&self.process),
            path,
            lock_path,
            _lock: lock,
        }))
    }

    /// Removes journals that nobody has written for a month and nobody owns. What cannot be removed
    /// stays until the next time.
    pub fn sweep(&self) {
        self.sweep_older_than(ABANDONED_AGE);
    }

    fn sweep_older_than(&self, age: Duration) {
        let directory = self.root.join(JOURNALS);
        let Ok(items) = std::fs::read_dir(&directory) else {
            return;
        };
        for item in items.flatten().take(SWEEP_FILES_MAX) {
            let path = item.path();
            let written = item.metadata().and_then(|metadata| metadata.modified());
            let is_old = written.is_ok_and(|written| {
                let now = SystemTime::now();
                now.duration_since(written).is_ok_and(|since| since >= age)
            });
            let name = item.file_name();
            let Some(name) = name.to_str().filter(|_| is_old) else {
                continue;
            };
            let journal = name.strip_suffix(LOCK_SUFFIX).unwrap_or(name);
            let journal = directory.join(journal);
            // A lock is as old as the first run, so the journal itself decides, where there is one.
            if path != journal && journal.exists() {
                continue;
            }
            let lock_path = directory.join(format!(
                "{}{LOCK_SUFFIX}",
                name.strip_suffix(LOCK_SUFFIX).unwrap_or(name)
            ));
            if let Ok(Some(_lock)) = locked(&lock_path) {
                let _ = std::fs::remove_file(&journal);
                let _ = std::fs::remove_file(&lock_path);
            }
        }
    }
}

impl Journal {
    /// What was written last; `None` when nothing was, or when it is damaged.
    pub fn read(&self) -> Option<Vec<u8>> {
        let file = open_regular(&self.root.join(&self.path)).ok()??;
        let bytes = read_bounded(file)?;
        unseal(&self.path, &bytes).map(<[u8]>::to_vec)
    }

    /// Replaces the content. When this returns, it survives a power cut.
    ///
    /// # Errors
    ///
    /// The disk's; then the old content stays.
    pub fn write(&self, content: &[u8]) -> Result<(), DiskError> {
        let scratch = self.process.file()?;
        let sealed = seal(&self.path, content);
        scratch
            .file()
            .write_all(&sealed)
            .and_then(|()| scratch.file().sync_data())
            .on("write", scratch.path())?;
        let path = self.root.join(&self.path);
        scratch.move_to(&path)?;
        let directory = self.root.join(JOURNALS);
        File::open(&directory)
            .and_then(|directory| directory.sync_all())
            .on("make durable", &directory)
    }

    /// The work is finished: the journal goes.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn finish(self) -> Result<(), DiskError> {
        for path in [&self.root.join(&self.path), &self.lock_path] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(DiskError::new("remove", path, error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Opens and locks the file at `path`, if nobody else has it. Whoever finishes removes the file, so
/// the lock counts only while the file still has its name.
fn locked(path: &Path) -> Result<Option<File>, DiskError> {
    loop {
        let file = lock::open(path)?;
        if !lock::acquire(&file, path, Mode::Exclusive, Duration::ZERO)? {
            return Ok(None);
        }
        if is_at(&file, path) {
            return Ok(Some(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    fn names(store: &Store) -> Vec<String> {
        let directory = std::fs::read_dir(store.path().join(JOURNALS)).unwrap();
        let mut names: Vec<String> = directory
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_journal_has_one_owner_and_survives_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let (one, other) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        let (work, more) = (Digest::of(b"work"), Digest::of(b"more work"));
        let journal = one.journals().take(&work).unwrap().unwrap();
        assert_eq!(journal.read(), None);
        journal.write(b"half").unwrap();
        journal.write(b"nearly").unwrap();
        assert!(other.journals().take(&work).unwrap().is_none());
        assert!(other.journals().take(&more).unwrap().is_some());
        drop(journal);
        let journal = other.journals().take(&work).unwrap().unwrap();
        assert_eq!(journal.read().as_deref(), Some(&b"nearly"[..]));
        journal.finish().unwrap();
        let journal = one.journals().take(&work).unwrap().unwrap();
        assert_eq!(journal.read(), None);
    }

    #[test]
    fn what_is_damaged_was_never_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let work = Digest::of(b"work");
        let journal = store.journals().take(&work).unwrap().unwrap();
        journal.write(b"half").unwrap();
        let path = store.path().join(JOURNALS).join(work.hex());
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(journal.read(), None);
    }

    #[test]
    fn only_old_journals_without_an_owner_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let (owned, left) = (Digest::of(b"owned"), Digest::of(b"left"));
        let journal = store.journals().take(&owned).unwrap().unwrap();
        journal.write(b"mine").unwrap();
        let abandoned = store.journals().take(&left).unwrap().unwrap();
        abandoned.write(b"whose").unwrap();
        drop(abandoned);
        store.journals().sweep();
        assert_eq!(names(&store).len(), 4);
        store.journals().sweep_older_than(Duration::ZERO);
        let hex = owned.hex();
        assert_eq!(names(&store), [hex.to_owned(), format!("{hex}.lock")]);
        assert_eq!(journal.read().as_deref(), Some(&b"mine"[..]));
    }
}
