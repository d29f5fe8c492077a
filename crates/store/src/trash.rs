//! The way out: whatever is removed is renamed here first, which costs the same
//! for a file and for a tree of a million, and deleted when nobody waits.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::dir::{Dir, RemoveError};
use crate::disk::{DiskError, On as _};

/// The directory `trash/`.
#[derive(Debug)]
pub(crate) struct Trash {
    path: PathBuf,
    counter: AtomicU64,
}

impl Trash {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            counter: AtomicU64::new(0),
        }
    }

    /// Moves a file or a directory here; what is not there is fine.
    pub(crate) fn take(&self, path: &Path) -> Result<(), DiskError> {
        loop {
            let number = self.counter.fetch_add(1, Ordering::Relaxed);
            let target = self.path.join(format!("{}-{number}", std::process::id()));
            match rustix::fs::renameat_with(CWD, path, CWD, &target, RenameFlags::NOREPLACE) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // Named by an earlier process of this number.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(DiskError::new("move to the trash", path, errno)),
            }
        }
    }

    /// Whether nothing waits here.
    pub(crate) fn is_empty(&self) -> bool {
        Dir::open(&self.path)
            .and_then(|dir| dir.is_empty())
            .unwrap_or(true)
    }

    /// Deletes what is here, thing by thing, beginning none after `patience` is
    /// over. A mount that somebody forgot in here is an error and not emptied.
    pub(crate) fn empty(&self, patience: Duration) -> Result<(), DiskError> {
        let start = Instant::now();
        let root = Dir::open(&self.path).on("open", &self.path)?;
        for item in root.read_dir().on("list", &self.path)? {
            if start.elapsed() >= patience {
                break;
            }
            match root.remove_tree(item.name.to_bytes()) {
                Ok(()) => {}
                Err(RemoveError::MountPoint { path }) => {
                    let cause = std::io::Error::other("something is mounted there");
                    return Err(DiskError::new("delete", &self.path.join(path), cause));
                }
                Err(RemoveError::Io { path, source }) => {
                    return Err(DiskError::new("delete", &self.path.join(path), source));
                }
            }
        }
        Ok(())
    }
}
