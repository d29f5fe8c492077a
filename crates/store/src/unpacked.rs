//! Layers and stacks of layers as directories, for mounting. A directory is
//! seen only through the record that it is complete; two processes that unpack
//! the same make two directories, and the record picks one.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use oci::{ChainId, DiffId, Digest};

use crate::disk::{DiskError, On as _};
use crate::record::RecordFiles;
use crate::scratch::{Process, make_directories};
use crate::trash::Trash;

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnpackedKey {
    /// One layer that is the same on any stack.
    Layer(DiffId),
    /// The topmost layer of a stack, its whiteouts as overlayfs wants them, as
    /// it lies on the layers below: for a layer that depends on those
    /// ([`crate::layer::LayerIndex::needs_lower`]), and for the upper directory
    /// of a step that was kept.
    Top(ChainId),
    /// A whole stack, merged.
    Stack(ChainId),
}

impl UnpackedKey {
    fn digest(&self) -> &Digest {
        match self {
            Self::Layer(diff_id) => &diff_id.0,
            Self::Top(chain_id) | Self::Stack(chain_id) => &chain_id.0,
        }
    }

    /// Of the record, below the store.
    fn mark(&self) -> PathBuf {
        let prefix = match self {
            Self::Layer(_) => "layer",
            Self::Top(_) => "top",
            Self::Stack(_) => "stack",
        };
        let hex = self.digest().hex();
        let mut path = PathBuf::from(UNPACKED);
        path.push(&hex[..2]);
        path.push(format!("{prefix}-{hex}"));
        path
    }
}

/// The directory of unpacked layers.
pub(crate) const UNPACKED: &str = "unpacked";

/// The unpacked layers of a store.
#[derive(Debug)]
pub struct Unpacked {
    files: RecordFiles,
    process: Arc<Process>,
    trash: Arc<Trash>,
    /// What this process uses, so that it keeps using it whatever others do.
    used: Mutex<BTreeMap<UnpackedKey, PathBuf>>,
}

impl Unpacked {
    pub(crate) fn new(files: RecordFiles, process: Arc<Process>, trash: Arc<Trash>) -> Self {
        Self {
            files,
            process,
            trash,
            used: Mutex::default(),
        }
    }

    /// The directory of `key`, if a complete one is there. It stays there as
    /// long as this process has the store open, and must not be changed.
    pub fn get(&self, key: &UnpackedKey) -> Option<PathBuf> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = used.get(key) {
            return Some(path.clone());
        }
        let path = self.marked(key)?;
        used.insert(key.clone(), path.clone());
        Some(path)
    }

    /// Makes the finished directory `tree` (inside a [`crate::scratch::Scratch`])
    /// the one of `key` and says where it is now. Who comes second gets the
    /// directory of the first; its own goes to the trash.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn adopt(&self, tree: &Path, key: UnpackedKey) -> Result<PathBuf, DiskError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = used.get(&key).cloned().or_else(|| self.marked(&key)) {
            used.insert(key, path.clone());
            self.trash.take(tree)?;
            return Ok(path);
        }
        let mark = key.mark();
        let directory = self.files.root.join(&mark);
        let directory = directory.parent().unwrap_or(&self.files.root);
        make_directories(directory)?;
        let (name, path) = loop {
            let name = format!("{}.{}", key.digest().hex(), self.process.fresh_name());
            let path = directory.join(&name);
            match std::fs::rename(tree, &path) {
                // Of a process of our number that died before its record was
                // written: in containers every process may have it.
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                renamed => {
                    break (
                        name,
                        renamed.on("move into the store", tree).map(|()| path)?,
                    );
                }
            }
        };
        self.files.put(mark, name.as_bytes());
        used.insert(key, path.clone());
        Ok(path)
    }

    /// Forgets the directory of `key`, because it is damaged: the next one that
    /// is made takes its place. The directory itself stays until the store is
    /// pruned, since it may be mounted right now, here or in another process.
    pub fn remove(&self, key: &UnpackedKey) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.remove(key);
        self.files.remove(key.mark());
    }

    /// Forgets what is in memory, because the disk has changed.
    pub(crate) fn forget(&self) {
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn marked(&self, key: &UnpackedKey) -> Option<PathBuf> {
        let mark = key.mark();
        let name = String::from_utf8(self.files.get(&mark)?).ok()?;
        let path = self.files.root.join(mark.parent()?).join(name);
        path.symlink_metadata().ok()?.is_dir().then_some(path)
    }
}
