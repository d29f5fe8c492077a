//! One pass over the bytes of a layer: to an index, and to files where they are wanted.

use std::path::PathBuf;
use std::sync::Arc;

use oci::{Descriptor, DiffId};
use store::dir::Dir;
use store::layer::{
    DecompressError, LayerIndex, Limits, Ownership, ScanError, ScanOptions, SeekTable,
    TarReadError, Tree, UnpackTarget, scan, scan_again,
};
use store::scratch::Scratch;

use super::LayerError;
use crate::footing::RoomError;
use crate::output::LayerRef;

/// What one pass over a layer gave: its index unless it was known, how to read parts of it, and its
/// files if they were asked for.
pub(super) type Passed = (Option<LayerIndex>, SeekTable, Option<PathBuf>);

/// What one pass over a layer is to do.
pub(super) struct Pass {
    pub(super) blob: Descriptor,
    compression: oci::Compression,
    diff_id: DiffId,
    unpack_in: Option<Arc<Scratch>>,
    lower: Option<Arc<Tree>>,
    /// What is in it, where that is known.
    pub(super) known: Option<Arc<LayerIndex>>,
    /// Where reading stops.
    pub(super) tar_bytes_max: u64,
    /// What made it stop there, if it was that.
    pub(super) budget: Option<u64>,
}

impl Pass {
    pub(super) fn new(
        layer: &LayerRef,
        unpack_in: Option<Arc<Scratch>>,
        lower: Option<Arc<Tree>>,
    ) -> Result<Self, LayerError> {
        let compression =
            layer
                .blob
                .media_type
                .layer_compression()
                .ok_or_else(|| LayerError::MediaType {
                    media_type: layer.blob.media_type.to_string(),
                })?;
        Ok(Self {
            blob: layer.blob.clone(),
            compression,
            diff_id: layer.diff_id.clone(),
            unpack_in,
            lower,
            known: None,
            tar_bytes_max: Limits::default().tar_bytes,
            budget: None,
        })
    }

    /// `input` verifies that it is the blob. May be called again: each time
    /// into a directory of its own.
    pub(super) fn read(
        &self,
        input: &mut (impl std::io::Read + Send),
    ) -> Result<Passed, LayerError> {
        let path = self
            .unpack_in
            .as_ref()
            .map(|scratch| scratch.directory())
            .transpose()?;
        let root = path
            .as_deref()
            .map(Dir::open)
            .transpose()
            .map_err(|source| LayerError::Directory {
                digest: self.blob.digest.clone(),
                source,
            })?;
        let unpack = root.as_ref().map(|root| UnpackTarget {
            root,
            lower: self.lower.as_deref(),
            ownership: Ownership::Apply,
        });
        let options = ScanOptions {
            compression: self.compression,
            // Both readers verify: the store's and the registry's.
            expected_blob: None,
            expected_diff_id: Some(&self.diff_id),
            limits: Limits {
                tar_bytes: self.tar_bytes_max,
                ..Limits::default()
            },
            unpack,
        };
        let scanned = match &self.known {
            Some(known) => scan_again(input, options, known).map(|table| (None, table)),
            None => scan(input, options).map(|scanned| (Some(scanned.index), scanned.table)),
        };
        let (index, table) = scanned.map_err(|source| match (&source, self.budget) {
            // It was only likely before that it would not fit.
            (
                ScanError::Refused(DecompressError::Bytes(left))
                | ScanError::Tar(TarReadError::Bytes { limit: left, .. }),
                Some(budget),
            ) => LayerError::Room(RoomError::Budget {
                need: left.saturating_add(1),
                left: *left,
                budget,
            }),
            _ => LayerError::Scan {
                digest: self.blob.digest.clone(),
                source,
            },
        })?;
        Ok((index, table, path))
    }
}
