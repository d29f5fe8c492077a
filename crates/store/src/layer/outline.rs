//! The index of a layer that nobody read: what is in it is known from elsewhere, where its
//! contents lie is not.

use std::collections::BTreeMap;

use oci::DiffId;

use super::{Entry, EntryPath, LayerIndex};

impl LayerIndex {
    /// An index for trees in which names, owners and attributes are looked up, and nothing else:
    /// its hashes of contents are whatever `entries` say. Not to be kept in a store, whose indexes
    /// are made from the layers.
    pub fn outline(
        diff_id: DiffId,
        entries: Vec<Entry>,
        small_files: BTreeMap<EntryPath, Box<[u8]>>,
    ) -> Self {
        Self {
            diff_id,
            small_files,
            ..super::tree::unfinished(entries.into())
        }
    }
}
