//! Manifests and indices, coming and going.

use oci::{Digest, Tag};

/// Under which name a manifest is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A tag, which is moved if it exists.
    Tag(Tag),
    /// Its own digest.
    Digest(Digest),
}
