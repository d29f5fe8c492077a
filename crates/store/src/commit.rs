//! The write protocol: objects first, durable; then the records that name them.
//!
//! Objects (blobs, unpacked trees) get their final name by rename but are not
//! synced one by one: that costs thirteen times as much. A record that names
//! them is kept in memory, where the process that made it sees it at once. From
//! time to time, and when [`Committer::flush`] is called, one `syncfs` makes all
//! objects durable, and only then the waiting records are written. So a record
//! on disk never names an object that a power cut can take away, and whoever
//! dies before a commit has lost work, never made anything wrong.
//!
//! Two consequences are worth knowing. A record that was overtaken by a later
//! one of the same name before it was written is never written. And after a
//! failed `syncfs` nothing can be promised any more about what this process
//! wrote (the kernel forgets the error and keeps the page): the committer
//! refuses everything from then on, and the next process starts from what is
//! known to be good.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::{DiskError, On as _};
use crate::scratch::Process;

/// Why records could not be made durable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// A record could not be written; it is tried again at the next flush.
    #[error("could not write the records of this build")]
    Write(#[source] Arc<DiskError>),
    /// The file system could not make its data durable. What this process
    /// wrote counts as lost.
    #[error("the disk under the store failed: nothing of this run was recorded")]
    Sync(#[source] Arc<DiskError>),
}

/// Makes records visible after what they name is durable. One per store and
/// process; its thread starts with the first record.
#[derive(Debug)]
pub struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// How long records gather before the thread commits them unasked. Longer
/// means fewer syncs; what is lost with a killed process is the work of this
/// time.
const GATHER: Duration = Duration::from_secs(1);

/// What happens to a name: new bytes, or none.
type Change = Option<Arc<[u8]>>;

#[derive(Debug)]
struct Shared {
    /// Any file on the file system of the store.
    root: File,
    root_path: PathBuf,
    process: Arc<Process>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Waiting for the next commit, by path below the store.
    waiting: BTreeMap<PathBuf, Change>,
    /// Being committed.
    writing: BTreeMap<PathBuf, Change>,
    /// Writes so far, and how many of them are known to be durable.
    written: u64,
    durable: u64,
    closing: bool,
    write_error: Option<Arc<DiskError>>,
    sync_error: Option<Arc<DiskError>>,
}

impl Committer {
    pub(crate) fn new(root_path: &Path, process: Arc<Process>) -> Result<Self, DiskError> {
        Ok(Self {
            shared: Arc::new(Shared {
                root: File::open(root_path).on("open", root_path)?,
                root_path: root_path.to_owned(),
                process,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
            thread: Mutex::default(),
        })
    }

    /// Lets the file at `path` (below the store) have `bytes`, from the next
    /// commit on. [`Committer::pending`] answers with them until then.
    pub(crate) fn queue(&self, path: PathBuf, bytes: Vec<u8>) {
        self.change(path, Some(bytes.into()));
    }

    /// Lets the file at `path` be gone.
    pub(crate) fn queue_removal(&self, path: PathBuf) {
        self.change(path, None);
    }

    fn change(&self, path: PathBuf, change: Change) {
        let mut state = self.shared.lock();
        state.written += 1;
        state.waiting.insert(path, change);
        drop(state);
        self.shared.changed.notify_all();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            // Without a thread the flush does the work.
            *thread = std::thread::Builder::new()
                .name("store-commit".into())
                .spawn(move || shared.run())
                .ok();
        }
    }

    /// What waits for the file at `path`: `None` when nothing does and the disk
    /// knows, `Some(None)` when it is about to go.
    pub(crate) fn pending(&self, path: &Path) -> Option<Option<Arc<[u8]>>> {
        let state = self.shared.lock();
        state
            .waiting
            .get(path)
            .or_else(|| state.writing.get(path))
            .cloned()
    }

    /// All that waits below `directory`.
    pub(crate) fn pending_below(&self, directory: &Path) -> BTreeMap<PathBuf, Option<Arc<[u8]>>> {
        let state = self.shared.lock();
        let below = |(path, _): &(&PathBuf, &Change)| path.starts_with(directory);
        let writing = state.writing.iter().filter(below);
        let waiting = state.waiting.iter().filter(below);
        writing
            .chain(waiting)
            .map(|(path, change)| (path.clone(), change.clone()))
            .collect()
    }

    /// Something was written that has no record: the next flush syncs for it.
    pub(crate) fn note_write(&self) {
        self.shared.lock().written += 1;
    }

    /// Makes everything durable that this process put into the store so far,
    /// records included. Does nothing when there is nothing.
    ///
    /// # Errors
    ///
    /// [`CommitError`]. After [`CommitError::Write`] the records still wait.
    pub fn flush(&self) -> Result<(), CommitError> {
        let mut state = self.shared.lock();
        // Whoever commits now commits what waited before this call, or leaves
        // it waiting for us.
        while !state.writing.is_empty() {
            state = self.shared.wait(state);
        }
        if let Some(error) = &state.sync_error {
            return Err(CommitError::Sync(Arc::clone(error)));
        }
        if state.durable == state.written {
            return Ok(());
        }
        let written = state.written;
        // An earlier attempt may have found the disk full; this one is new.
        state.write_error = None;
        let had_records = !state.waiting.is_empty();
        state = self.shared.commit(state);
        // The records themselves: small, and their objects are down already.
        if had_records && state.sync_error.is_none() && state.write_error.is_none() {
            state = self.shared.sync(state);
        }
        if let Some(error) = &state.sync_error {
            return Err(CommitError::Sync(Arc::clone(error)));
        }
        match state.write_error.take() {
            Some(error) => Err(CommitError::Write(error)),
            None => {
                state.durable = state.durable.max(written);
                Ok(())
            }
        }
    }

    /// Whether something would be lost if the power went now.
    pub(crate) fn is_clean(&self) -> bool {
        let state = self.shared.lock();
        state.durable == state.written && state.sync_error.is_none()
    }
}

impl Drop for Committer {
    /// Flushes. Errors are lost here: whoever reports success has called
    /// [`Committer::flush`] before.
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        let _ = self.flush();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: gather, commit, repeat.
    fn run(&self) {
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() && !state.closing {
                state = self.wait(state);
            }
            if state.closing {
                return;
            }
            state = self
                .changed
                .wait_timeout_while(state, GATHER, |state| !state.closing)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.closing || state.sync_error.is_some() {
                return;
            }
            if state.writing.is_empty() && !state.waiting.is_empty() && state.write_error.is_none()
            {
                state = self.commit(state);
            } else if state.write_error.is_some() {
                // A full disk: whoever flushes hears of it and decides.
                return;
            }
        }
    }

    /// Syncs the objects and writes the records that waited when it began.
    fn commit<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.writing = std::mem::take(&mut state.waiting);
        state = self.sync(state);
        if state.sync_error.is_none() {
            let batch = state.writing.clone();
            drop(state);
            let written = self.write(&batch);
            state = self.lock();
            if let Err(error) = written {
                state.write_error = Some(Arc::new(error));
            }
        }
        let batch = std::mem::take(&mut state.writing);
        if state.write_error.is_some() || state.sync_error.is_some() {
            // Still visible to this process, and still to be written; what came
            // in meanwhile is newer.
            for (path, change) in batch {
                state.waiting.entry(path).or_insert(change);
            }
        }
        self.changed.notify_all();
        state
    }

    fn sync<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        drop(state);
        let synced = rustix::fs::syncfs(&self.root).on("make durable", &self.root_path);
        let mut state = self.lock();
        if let Err(error) = synced {
            state.sync_error = Some(Arc::new(error));
        }
        state
    }

    fn write(&self, batch: &BTreeMap<PathBuf, Change>) -> Result<(), DiskError> {
        for (name, change) in batch {
            let path = self.root_path.join(name);
            match change {
                Some(bytes) => {
                    let file = self.process.file()?;
                    let temporary = file.path().to_owned();
                    file.file().write_all(bytes).on("write", &temporary)?;
                    file.move_to(&path)?;
                }
                None => match std::fs::remove_file(&path) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    other => other.on("remove", &path)?,
                },
            }
        }
        Ok(())
    }
}
