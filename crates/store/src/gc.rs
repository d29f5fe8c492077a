//! What is in the store, whether it is whole, and what may go.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::disk::DiskError;
use crate::store::Store;

/// Bytes and things of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Bytes that they take on the disk.
    pub bytes: u64,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Layers, configurations and manifests.
    pub blobs: Amount,
    /// What is in layers.
    pub indexes: Amount,
    /// Layers as directories; the count is of directories.
    pub unpacked: Amount,
    /// Answers of the build cache.
    pub records: Amount,
    /// Names of images.
    pub images: Amount,
    /// Hashes of context files; the count is of contexts.
    pub stat_caches: Amount,
    /// Unfinished work.
    pub tmp: Amount,
    /// What waits to be deleted.
    pub trash: Amount,
}

impl Usage {
    /// Bytes of all kinds together.
    pub fn bytes(&self) -> u64 {
        let Self {
            blobs,
            indexes,
            unpacked,
            records,
            images,
            stat_caches,
            tmp,
            trash,
        } = self;
        [blobs, indexes, unpacked, records, images, stat_caches, tmp, trash]
            .iter()
            .map(|amount| amount.bytes)
            .sum()
    }
}

/// What kind of thing is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Content by digest.
    Blob,
    /// What is in a layer.
    Index,
    /// The record of an unpacked layer, or its directory.
    Unpacked,
    /// An answer of the build cache.
    Record,
    /// The name of an image.
    Image,
    /// Hashes of context files.
    StatCache,
    /// Something that kiln does not put there.
    Stray,
}

/// One thing that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What kind of thing.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it, as a sentence without a full stop.
    pub reason: String,
}

/// The outcome of [`Store::verify`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Things that were read.
    pub checked: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong, by path.
    pub damage: Vec<Damage>,
    /// Whether the damaged things were moved out of the way.
    pub repaired: bool,
}

/// What [`Store::prune`] may remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct PruneOptions {
    /// Everything that no image name needs.
    pub all: bool,
    /// Only what has not been used for this long.
    pub older_than: Option<Duration>,
    /// The oldest first, until at most this many bytes are left.
    pub keep_bytes: Option<u64>,
    /// How long to wait for other processes to finish.
    pub patience: Duration,
}

/// The outcome of [`Store::prune`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Things removed.
    pub removed: u64,
    /// Bytes that they took.
    pub bytes: u64,
}

/// Why nothing was pruned.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// Others use the store.
    #[error("the store is in use by {}; try again when they are done", holders(.processes))]
    InUse {
        /// The numbers of the processes.
        processes: Vec<String>,
    },
    /// This process still works with the store.
    #[error("the store is in use by this process")]
    InUseHere,
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

fn holders(processes: &[String]) -> String {
    match processes {
        [] => "another process".into(),
        [one] => format!("process {one}"),
        several => format!("processes {}", several.join(", ")),
    }
}

impl Store {
    /// Bytes by kind.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn du(&self) -> Result<Usage, DiskError> {
        todo!("within the hour")
    }

    /// Reads everything and says what is not what its name says; with `repair`,
    /// moves it out of the way, so that it will be made or fetched again.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn verify(&self, repair: bool) -> Result<Verified, DiskError> {
        let _ = repair;
        todo!("within the hour")
    }

    /// Removes what `options` allow. Alone: waits for other processes to
    /// finish, `options.patience` at most.
    ///
    /// # Errors
    ///
    /// [`PruneError`].
    pub fn prune(&self, options: &PruneOptions) -> Result<Pruned, PruneError> {
        let _ = options;
        todo!("within the hour")
    }

    /// Checks the blobs that were written at `since` or later and drops what is
    /// damaged: what a process wrote that died with the machine may be empty
    /// under a correct name.
    pub(crate) fn check_since(&self, since: SystemTime) -> Result<(), DiskError> {
        let _ = since;
        todo!("within the hour")
    }
}
