//! How to read parts of layers, by the digest of the blob: on disk as
//! [`SeekTable::encode`] writes it, in memory once per process.
//!
//! As an index, a table carries its own checksum and names no object.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use oci::{Descriptor, Digest};

use crate::disk::{DiskError, On as _};
use crate::layer::SeekTable;
use crate::record::{RecordFiles, open_regular};
use crate::scratch::Process;

/// The seek tables of a store.
#[derive(Debug)]
pub struct SeekTables {
    files: RecordFiles,
    process: Arc<Process>,
    loaded: Mutex<HashMap<Digest, Arc<SeekTable>>>,
}

/// The directory of seek tables.
pub(crate) const SEEK_TABLES: &str = "seek";

/// The largest table that is read, in bytes: 64 GiB of layer have less than half of it.
pub const SEEK_TABLE_BYTES_MAX: u64 = 256 << 20;

impl SeekTables {
    pub(crate) fn new(files: RecordFiles, process: Arc<Process>) -> Self {
        Self {
            files,
            process,
            loaded: Mutex::default(),
        }
    }

    /// The table of a layer's blob. What is damaged or of a later version is absent.
    pub fn get(&self, blob: &Descriptor) -> Option<Arc<SeekTable>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = loaded.get(&blob.digest) {
            return Some(Arc::clone(table));
        }
        let path = self.files.root.join(seek_table_path(&blob.digest));
        let file = open_regular(&path).ok()??;
        let mut bytes = Vec::new();
        file.take(SEEK_TABLE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .ok()?;
        let table = SeekTable::decode_table(&bytes, &blob.digest, blob.size).ok()?;
        let table = Arc::new(table);
        loaded.insert(blob.digest.clone(), Arc::clone(&table));
        Some(table)
    }

    /// Whether a table is there, read or not.
    pub fn contains(&self, blob: &Digest) -> bool {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.contains_key(blob)
            || std::fs::symlink_metadata(self.files.root.join(seek_table_path(blob)))
                .is_ok_and(|metadata| metadata.is_file())
    }

    /// Stores the table of a layer's blob.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn put(&self, blob: &Digest, table: Arc<SeekTable>) -> Result<(), DiskError> {
        let path = self.files.root.join(seek_table_path(blob));
        let file = self.process.file()?;
        file.file()
            .write_all(&table.encode(blob))
            .on("write", file.path())?;
        file.move_to(&path)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.insert(blob.clone(), table);
        Ok(())
    }

    /// Forgets a table that has proved wrong.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn remove(&self, blob: &Digest) -> Result<(), DiskError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.remove(blob);
        let path = self.files.root.join(seek_table_path(blob));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.on("remove", &path),
        }
    }

    /// Forgets what is in memory, because the disk has changed.
    pub(crate) fn forget(&self) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.clear();
    }
}

/// Where a table is, below the store.
pub(crate) fn seek_table_path(blob: &Digest) -> PathBuf {
    let mut path = PathBuf::from(SEEK_TABLES);
    path.push(blob.algorithm().name());
    path.push(&blob.hex()[..2]);
    path.push(blob.hex());
    path
}
