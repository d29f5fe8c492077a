//! What is asked of caches elsewhere.

use shelf::{Address, SealKey};

/// Where a build looks for what it needs not do, and where it puts what it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheRequest {
    /// Asked in this order, after the store.
    pub from: Vec<Address>,
    /// Filled.
    pub to: Vec<CacheTarget>,
    /// What all that is read must be sealed with, and all that is put there is (E03).
    pub key: Option<SealKey>,
}

/// One place that is filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheTarget {
    /// A shelf.
    Shelf {
        /// Where it is.
        address: Box<Address>,
        /// Which steps it gets.
        mode: CacheMode,
    },
    /// The image itself, which holds its own layers.
    Inline,
}

/// Which steps a cache gets (`mode=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Those whose layers are in the image.
    #[default]
    Min,
    /// All.
    Max,
}
