//! Turns: work that several processes may do at the same time, but need not.
//!
//! A turn saves work and keeps nothing right: who cannot have one, because the file system has no
//! locks, goes on without. There is a fixed number of them, so that there is nothing to clean up,
//! and different work may share one.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oci::Digest;

use crate::disk::DiskError;
use crate::lock::{self, Mode};
use crate::scratch::make_directories;

/// The directory of turns.
pub(crate) const TURNS: &str = "turns";

/// The turns of a store.
#[derive(Debug)]
pub struct Turns {
    root: Arc<Path>,
}

/// A turn, until it is dropped or its process dies.
#[derive(Debug)]
pub struct Turn {
    _lock: File,
}

impl Turns {
    pub(crate) fn new(root: Arc<Path>) -> Self {
        Self { root }
    }

    /// Takes the turn of what has this digest; `None` while somebody else has it.
    ///
    /// # Errors
    ///
    /// The disk's, and that it knows no locks.
    pub fn take(&self, digest: &Digest) -> Result<Option<Turn>, DiskError> {
        let directory = self.root.join(TURNS);
        make_directories(&directory)?;
        let path = directory.join(&digest.hex()[..2]);
        let file = lock::open(&path)?;
        let taken = lock::acquire(&file, &path, Mode::Exclusive, Duration::ZERO)?;
        Ok(taken.then_some(Turn { _lock: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn a_turn_is_one_process_s_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let (one, other) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        let digest = Digest::of(b"a layer");
        let turn = one.turns().take(&digest).unwrap();
        assert!(turn.is_some());
        assert!(other.turns().take(&digest).unwrap().is_none());
        drop(turn);
        assert!(other.turns().take(&digest).unwrap().is_some());
    }
}
