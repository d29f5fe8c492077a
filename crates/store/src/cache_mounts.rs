//! Directories that outlive builds (`RUN --mount=type=cache`), used by several processes at once.
//!
//! ```text
//! caches/ab/HASH-OF-THE-ID/
//!   make       held by who makes a directory that is not there yet
//!   0.lock     held by who uses 0/: by several together, or by one alone
//!   0/         the cache
//!   1.lock 1/  another one, made when somebody wanted one alone and 0 was in use
//! ```
//!
//! A directory appears by rename, with its first content and its owner, so nobody uses half of
//! one. A process that is killed lets go of its locks, and what it wrote stays: half-written files
//! are what every program that keeps a cache is prepared for. What is in a cache is never trusted
//! to be anything, and never part of a key or a layer.

use std::fs::{self, File, FileTimes};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oci::Digest;

use crate::disk::{DiskError, On as _};
use crate::lock;
use crate::scratch::{Process, make_directories, make_directory};
use crate::trash::Trash;

/// The directory of caches.
pub(crate) const CACHES: &str = "caches";

/// How many directories one id can have: as many steps can use it alone at the same time.
const DIRECTORIES_MAX: u32 = 256;

/// How long a lock is waited for before the caller is asked whether to go on.
const PATIENCE: Duration = Duration::from_millis(100);

/// Who may use a cache while somebody uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSharing {
    /// Everybody who asks for the same.
    Shared,
    /// Nobody: who asks meanwhile gets another directory.
    Private,
    /// Nobody: who asks meanwhile waits.
    Locked,
}

/// Why a cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheMountError<E: std::error::Error + 'static> {
    /// The caller gave up waiting.
    #[error("cancelled")]
    Cancelled,
    /// More directories of one id are in use than there may be.
    #[error("{DIRECTORIES_MAX} directories of the cache `{id}` are in use")]
    TooMany {
        /// The id.
        id: String,
    },
    /// A new one could not be given its first content.
    #[error(transparent)]
    Make(E),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What the caller has a say in while a cache is looked for.
pub trait CacheMaker {
    /// Why it could not be made.
    type Error: std::error::Error + 'static;

    /// Gives a new directory, which is empty and ours, its first content and its owner.
    ///
    /// # Errors
    ///
    /// The caller's own.
    fn make(&mut self, directory: &Path) -> Result<(), Self::Error>;

    /// Somebody else uses it. Asked several times a second; `false` gives up.
    fn wait(&mut self) -> bool;
}

/// The caches of a store.
#[derive(Debug)]
pub struct CacheMounts {
    root: Arc<Path>,
    process: Arc<Process>,
    trash: Arc<Trash>,
}

/// A cache in use. Others may have it, as far as its sharing allows, when this is dropped.
#[derive(Debug)]
pub struct CacheMount {
    path: PathBuf,
    _lock: File,
}

impl CacheMount {
    /// The directory. What is written to it stays.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl CacheMounts {
    pub(crate) fn new(root: Arc<Path>, process: Arc<Process>, trash: Arc<Trash>) -> Self {
        Self {
            root,
            process,
            trash,
        }
    }

    /// Takes the cache of an id into use, and makes it where there is none.
    ///
    /// Who takes several must take them in the order of their ids, or two who wait for each other
    /// wait for ever.
    ///
    /// # Errors
    ///
    /// [`CacheMountError`].
    pub fn take<M: CacheMaker>(
        &self,
        id: &str,
        sharing: CacheSharing,
        maker: &mut M,
    ) -> Result<CacheMount, CacheMountError<M::Error>> {
        let place = self.root.join(cache_path(id));
        make_directories(&place)?;
        let directories = match sharing {
            CacheSharing::Shared | CacheSharing::Locked => 1,
            CacheSharing::Private => DIRECTORIES_MAX,
        };
        for number in 0..directories {
            let lock_path = place.join(format!("{number}.lock"));
            let lock = lock::open(&lock_path)?;
            let taken = match sharing {
                CacheSharing::Shared => wait(&lock, &lock_path, lock::Mode::Shared, maker)?,
                CacheSharing::Locked => wait(&lock, &lock_path, lock::Mode::Exclusive, maker)?,
                CacheSharing::Private => {
                    lock::acquire(&lock, &lock_path, lock::Mode::Exclusive, Duration::ZERO)?
                }
            };
            if !taken {
                continue;
            }
            // When it was used last: what is not used for long may go.
            let times = FileTimes::new().set_modified(SystemTime::now());
            lock.set_times(times).on("write", &lock_path)?;
            let path = place.join(number.to_string());
            self.make(&place, &path, maker)?;
            return Ok(CacheMount { path, _lock: lock });
        }
        Err(CacheMountError::TooMany { id: id.to_owned() })
    }

    /// Makes a directory unless it is there. Of several who share a new one, one makes it and the
    /// others wait.
    fn make<M: CacheMaker>(
        &self,
        place: &Path,
        path: &Path,
        maker: &mut M,
    ) -> Result<(), CacheMountError<M::Error>> {
        if path.is_dir() {
            return Ok(());
        }
        let make_path = place.join("make");
        let make = lock::open(&make_path)?;
        if !wait(&make, &make_path, lock::Mode::Exclusive, maker)? {
            return Err(CacheMountError::Cancelled);
        }
        if path.is_dir() {
            return Ok(());
        }
        let scratch = self.process.scratch()?;
        let fresh = scratch.path().join("cache");
        make_directory(&fresh)?;
        maker.make(&fresh).map_err(CacheMountError::Make)?;
        match fs::rename(&fresh, path) {
            // Only a vandal puts something else there; without this it would be in the way.
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                self.trash.take(path)?;
                fs::rename(&fresh, path).on("create", path)?;
            }
            renamed => renamed.on("create", path)?,
        }
        Ok(())
    }
}

/// Waits for a lock as long as the caller wants.
fn wait<M: CacheMaker>(
    lock: &File,
    path: &Path,
    mode: lock::Mode,
    maker: &mut M,
) -> Result<bool, CacheMountError<M::Error>> {
    let mut patience = Duration::ZERO;
    while !lock::acquire(lock, path, mode, patience)? {
        if !maker.wait() {
            return Err(CacheMountError::Cancelled);
        }
        patience = PATIENCE;
    }
    Ok(true)
}

fn cache_path(id: &str) -> PathBuf {
    let digest = Digest::of(id.as_bytes());
    let mut path = PathBuf::from(CACHES);
    path.push(&digest.hex()[..2]);
    path.push(digest.hex());
    path
}

/// A cache with all its directories, below the store.
#[derive(Debug)]
pub(crate) struct CacheItem {
    pub(crate) path: PathBuf,
    /// Its directories, below the store.
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) used: SystemTime,
}

/// All caches.
pub(crate) fn cache_items(root: &Path) -> Result<Vec<CacheItem>, DiskError> {
    let mut items = Vec::new();
    for shard in names(root, Path::new(CACHES))? {
        for path in names(root, &shard)? {
            let mut item = CacheItem {
                directories: Vec::new(),
                used: SystemTime::UNIX_EPOCH,
                path: path.clone(),
            };
            for below in names(root, &path)? {
                let Ok(metadata) = fs::symlink_metadata(root.join(&below)) else {
                    continue;
                };
                if metadata.is_dir() {
                    item.directories.push(below);
                } else if let Ok(used) = metadata.modified() {
                    item.used = item.used.max(used);
                }
            }
            items.push(item);
        }
    }
    Ok(items)
}

/// What is in a directory, below the root; nothing when it is none.
fn names(root: &Path, directory: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let full = root.join(directory);
    let listed = match fs::read_dir(&full) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        listed => listed.on("list", &full)?,
    };
    let mut names = Vec::new();
    for item in listed {
        names.push(directory.join(item.on("list", &full)?.file_name()));
    }
    names.sort_unstable();
    Ok(names)
}
