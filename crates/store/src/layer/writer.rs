//! Writes a layer into the store in one pass: entries in, tar, diff id,
//! compression, digest and index out.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::sync::Arc;

use oci::{Compression, Descriptor, DiffId};

use super::{ContentHash, Entry, EntryPath, LayerIndex, Metadata};
use crate::disk::DiskError;
use crate::store::Store;

/// How a layer is written. Every field but `threads` decides the bytes of the
/// blob, so they belong into the key of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerOptions {
    /// The compression, which decides the media type.
    pub compression: Compression,
    /// Its level: 1 to 12 for gzip, 1 to 19 for zstd; `None` is the default (4
    /// and 3).
    pub level: Option<i32>,
    /// Threads that compress. Never changes a byte.
    pub threads: NonZeroUsize,
}

/// A layer that is in the store: blob and index.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Of the blob, with its OCI media type.
    pub descriptor: Descriptor,
    /// Of the tar.
    pub diff_id: DiffId,
    /// What is in it.
    pub index: Arc<LayerIndex>,
}

/// Why an entry or a layer could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Writes one layer. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct LayerWriter {
    _todo: (),
}

impl LayerWriter {
    /// Begins a layer.
    ///
    /// # Errors
    ///
    /// A level that the compression does not have; the disk's.
    pub fn create(store: &Store, options: LayerOptions) -> Result<Self, LayerError> {
        let _ = (store, options);
        todo!("within the hour")
    }

    /// Adds anything but a regular file, in strictly ascending order of paths
    /// ([`EntryPath`]'s order; an opaque mark follows its directory).
    ///
    /// # Errors
    ///
    /// Out of order, twice, a name that only a whiteout may have, the root, a
    /// regular file with content; the disk's.
    pub fn add(&mut self, entry: Entry) -> Result<(), LayerError> {
        let _ = entry;
        todo!("within the hour")
    }

    /// Adds a regular file of `size` bytes; `content` must give exactly those.
    /// `known` is its hash where the caller is certain of it: then it is not
    /// computed.
    ///
    /// # Errors
    ///
    /// As for [`LayerWriter::add`]; a file that has more or fewer bytes.
    pub fn add_file(
        &mut self,
        path: EntryPath,
        metadata: Metadata,
        size: u64,
        known: Option<ContentHash>,
        content: &mut dyn Read,
    ) -> Result<ContentHash, LayerError> {
        let _ = (path, metadata, size, known, content);
        todo!("within the hour")
    }

    /// Ends the layer: the blob gets its name, the index is stored.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn finish(self) -> Result<Layer, LayerError> {
        todo!("within the hour")
    }
}

#[allow(dead_code)]
fn unused(_: File) {}
