//! What is in layers, by diff id: on disk as [`LayerIndex::encode`] writes it,
//! in memory once per process.
//!
//! An index carries its own checksum and names no object, so it needs no commit:
//! what a power cut leaves of it either decodes or is absent.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use oci::DiffId;

use crate::disk::{DiskError, On as _};
use crate::layer::LayerIndex;
use crate::record::{RecordFiles, open_regular};
use crate::scratch::Process;

/// The indexes of a store.
#[derive(Debug)]
pub struct Indexes {
    files: RecordFiles,
    process: Arc<Process>,
    loaded: Mutex<HashMap<DiffId, Arc<LayerIndex>>>,
}

/// The directory of indexes.
pub(crate) const INDEXES: &str = "indexes";

/// The largest index that is read, in bytes: what `layer::Limits` lets into one
/// layer, and room for the numbers beside the names.
const INDEX_BYTES_MAX: u64 = 4 << 30;

impl Indexes {
    pub(crate) fn new(files: RecordFiles, process: Arc<Process>) -> Self {
        Self {
            files,
            process,
            loaded: Mutex::default(),
        }
    }

    /// The index of a layer. What is damaged or of a later version is absent.
    pub fn get(&self, diff_id: &DiffId) -> Option<Arc<LayerIndex>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = loaded.get(diff_id) {
            return Some(Arc::clone(index));
        }
        let path = self.files.root.join(index_path(diff_id));
        let file = open_regular(&path).ok()??;
        let mut bytes = Vec::new();
        file.take(INDEX_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let index = LayerIndex::decode(&bytes).ok()?;
        // A file under another layer's name is damage, too.
        if index.diff_id != *diff_id {
            return None;
        }
        let index = Arc::new(index);
        loaded.insert(diff_id.clone(), Arc::clone(&index));
        Some(index)
    }

    /// Stores the index of a layer.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn put(&self, index: Arc<LayerIndex>) -> Result<(), DiskError> {
        let path = self.files.root.join(index_path(&index.diff_id));
        let file = self.process.file()?;
        file.file()
            .write_all(&index.encode())
            .on("write", file.path())?;
        file.move_to(&path)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.insert(index.diff_id.clone(), index);
        Ok(())
    }

    /// Forgets what is in memory, because the disk has changed.
    pub(crate) fn forget(&self) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.clear();
    }
}

/// Where an index is, below the store.
pub(crate) fn index_path(diff_id: &DiffId) -> PathBuf {
    let mut path = PathBuf::from(INDEXES);
    path.push(diff_id.0.algorithm().name());
    path.push(&diff_id.0.hex()[..2]);
    path.push(diff_id.0.hex());
    path
}
