//! What there is in a store, thing by thing, and how some of it is named.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// A kind of thing that is kept between builds and can be made or fetched again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Layers, configurations and manifests.
    Blob,
    /// What is in layers.
    Index,
    /// How to read parts of layers.
    SeekTable,
    /// Parts of layers that were fetched.
    Span,
    /// Layers as directories.
    Unpacked,
    /// Answers of the build cache.
    Record,
    /// Content hashes of the files of a context.
    StatCache,
    /// A directory of `RUN --mount=type=cache`.
    CacheMount,
}

impl Part {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Record,
        Self::Blob,
        Self::Unpacked,
        Self::Index,
        Self::SeekTable,
        Self::Span,
        Self::CacheMount,
        Self::StatCache,
    ];
}

/// One thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What kind of thing.
    pub part: Part,
    /// The hex digits of its key or digest; of a cache mount its id, where that is known.
    pub name: String,
    /// Bytes that it takes on the disk.
    pub bytes: u64,
    /// When it was made.
    pub made: SystemTime,
    /// When it was used last, to the day where the file system does not keep more.
    pub used: SystemTime,
    /// An image with a name needs it: it is never pruned.
    pub needed: bool,
}

impl Item {
    /// How long it has not been used. A use in the future, by a clock that was set back, is one
    /// now.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.used).unwrap_or(Duration::ZERO)
    }
}

/// Some of what there is: everything, unless something is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Among {
    /// Of these kinds.
    pub parts: Option<BTreeSet<Part>>,
    /// Not used for this long.
    pub unused_for: Option<Duration>,
    /// With a name that begins so.
    pub name: Option<String>,
}

impl Among {
    /// Whether nothing is said.
    pub fn is_everything(&self) -> bool {
        let Self {
            parts,
            unused_for,
            name,
        } = self;
        parts.is_none() && unused_for.is_none() && name.is_none()
    }

    /// Whether a thing belongs to it.
    pub fn has(&self, item: &Item, now: SystemTime) -> bool {
        let Self {
            parts,
            unused_for,
            name,
        } = self;
        parts
            .as_ref()
            .is_none_or(|parts| parts.contains(&item.part))
            && unused_for.is_none_or(|least| item.age(now) >= least)
            && name
                .as_ref()
                .is_none_or(|name| item.name.starts_with(name.as_str()))
    }
}
