//! Hashes the blocks of a layer as they are packed: all of them for its diff id, each for its seek
//! table, because each can be read without the others.

use oci::{Algorithm, DiffId, Hasher};

use super::ContentHash;

/// Takes in blocks in their order.
#[derive(Debug)]
pub(super) struct BlockHasher {
    all: Hasher,
    each: Vec<ContentHash>,
}

impl BlockHasher {
    pub(super) fn new() -> Self {
        Self {
            all: Hasher::new(Algorithm::Sha256),
            each: Vec::new(),
        }
    }

    pub(super) fn update(&mut self, block: &[u8]) {
        self.all.update(block);
        self.each.push(ContentHash::of(block));
    }

    pub(super) fn finish(self) -> (DiffId, Vec<ContentHash>) {
        (DiffId(self.all.finish()), self.each)
    }
}
