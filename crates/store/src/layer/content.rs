//! Names of file contents that never leave this machine's caches: BLAKE3, because more than half
//! of the time for a large layer would go into SHA-256 otherwise, and no specification asks for it
//! here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// BLAKE3 of a file's content, raw.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Of bytes that are all at hand.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Makes a [`ContentHash`] of bytes that come bit by bit.
#[derive(Clone, Default)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all that was taken in.
    pub fn finish(&self) -> ContentHash {
        ContentHash(self.0.finalize().into())
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

impl fmt::Debug for ContentHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHasher({} bytes)", self.0.count())
    }
}
