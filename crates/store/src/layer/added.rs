//! What a layer adds to a tree, found by name until it is sorted in.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::{NodeId, Tree};

/// Nodes by the hash of their parent and name: eight bytes for each, and nothing to own.
#[derive(Default)]
pub(super) struct Added {
    /// Hash above, number of the node from 1 on below; 0 where there is nothing. A power of two.
    slots: Vec<u64>,
    count: usize,
    hasher: RandomState,
}

impl Added {
    pub(super) fn hash(&self, parent: NodeId, name: &[u8]) -> u32 {
        // The lower half of a good hash is one.
        self.hasher.hash_one((parent.0, name)) as u32
    }

    /// The one that `is_it` among those of that hash.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            let node = NodeId((slot as u32).checked_sub(1)?);
            if slot >> 32 == u64::from(hash) && is_it(node) {
                return Some(node);
            }
            at = (at + 1) & mask;
        }
    }

    pub(super) fn insert(&mut self, hash: u32, node: NodeId) {
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            let more = vec![0; (self.slots.len() * 2).max(64)];
            for slot in std::mem::replace(&mut self.slots, more) {
                if slot != 0 {
                    self.fill((slot >> 32) as u32, slot);
                }
            }
        }
        self.count += 1;
        self.fill(hash, u64::from(hash) << 32 | u64::from(node.0 + 1));
    }

    fn fill(&mut self, hash: u32, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}

/// Puts the nodes from `first` on into their directories, and takes out of the `thinned` ones what
/// is there no more.
pub(super) fn sort_in(tree: &mut Tree, first: u32, thinned: &HashSet<NodeId>) {
    let Tree {
        records,
        directories,
        ..
    } = &mut *tree;
    for directory in thinned {
        let more = records[directory.0 as usize].more as usize;
        let children = &mut directories[more].children;
        children.retain(|child| records[child.0 as usize].live);
    }
    let new = || records.iter().enumerate().skip(first as usize);
    let mut counts = vec![0_usize; directories.len()];
    for (_, record) in new().filter(|(_, record)| record.live) {
        counts[records[record.parent.0 as usize].more as usize] += 1;
    }
    for (directory, count) in directories.iter_mut().zip(&counts) {
        directory.children.reserve_exact(*count);
    }
    for (id, record) in new().filter(|(_, record)| record.live) {
        let more = records[record.parent.0 as usize].more as usize;
        // Nodes were counted when they were made.
        directories[more].children.push(NodeId(id as u32));
    }
    for (more, _) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let mut children = std::mem::take(&mut tree.directories[more].children);
        children.sort_unstable_by(|a, b| tree.name(*a).cmp(tree.name(*b)));
        tree.directories[more].children = children;
    }
}
