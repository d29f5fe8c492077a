//! Directories that outlive builds (`RUN --mount=type=cache`), used by several processes at once.
//!
//! ```text
//! caches/ab/HASH-OF-THE-ID/
//!   id         the id, for who lists what is there
//!   make       held by who makes a directory that is not there yet
//!   0.lock     held by who uses 0/: by several together, or by one alone
//!   0/         the cache
//!   0.known    what was in it when it was last saved or restored
//!   1.lock 1/  another one, made when somebody wanted one alone and 0 was in use
//! ```
//!
//! A directory appears by rename, with its first content and its owner, so nobody uses half of
//! one. A process that is killed lets go of its locks, and what it wrote stays: half-written files
//! are what every program that keeps a cache is prepared for. What is in a cache is never trusted
//! to be anything, and never part of a key or a layer.

use std::fs::{self, File, FileTimes};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oci::Digest;
use rustix::fs::{CWD, RenameFlags};

use crate::disk::{DiskError, On as _};
use crate::lock;
use crate::record::open_unnoticed;
use crate::scratch::{Process, make_directories, make_directory};
use crate::snapshot::known_path;
use crate::trash::Trash;

/// The directory of caches.
pub(crate) const CACHES: &str = "caches";

/// The file with the id.
const ID_FILE: &str = "id";

/// The most of it that is read, in bytes.
const ID_BYTES_MAX: u64 = 4096;

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

    /// Whether [`CacheMaker::refill`] is to be asked.
    fn wants_refill(&mut self) -> bool {
        false
    }

    /// Fills a new directory that takes the place of the present one when this says so. Nobody
    /// else uses the cache meanwhile.
    fn refill(&mut self, _cache: &Refill<'_>) -> bool {
        false
    }
}

/// A cache that may get another content.
#[derive(Debug)]
pub struct Refill<'r> {
    /// The directory with what is in it now, if there is one.
    pub present: Option<&'r Path>,
    /// When it was used last.
    pub used: SystemTime,
    /// An empty directory of ours.
    pub fresh: &'r Path,
    /// The file of what is known of it, for [`crate::snapshot::Known`].
    pub known: &'r Path,
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
    number: u32,
    _lock: File,
}

impl CacheMount {
    /// The directory. What is written to it stays.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which of the directories of its id it is, for [`CacheMounts::look_at`].
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The file of what is known of it, for [`crate::snapshot::Known`].
    pub fn known(&self) -> PathBuf {
        known_path(&self.path)
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
            let path = place.join(number.to_string());
            if maker.wants_refill()
                && lock::acquire(&lock, &lock_path, lock::Mode::Exclusive, Duration::ZERO)?
            {
                self.refill(id, &place, &path, &lock, maker)?;
            }
            // Where somebody else was in the way nothing is held now.
            if sharing == CacheSharing::Shared
                && !wait(&lock, &lock_path, lock::Mode::Shared, maker)?
            {
                return Err(CacheMountError::Cancelled);
            }
            // When it was used last: what is not used for long may go.
            let times = FileTimes::new().set_modified(SystemTime::now());
            lock.set_times(times).on("write", &lock_path)?;
            self.make(id, &place, &path, maker)?;
            return Ok(CacheMount {
                path,
                number,
                _lock: lock,
            });
        }
        Err(CacheMountError::TooMany { id: id.to_owned() })
    }

    /// Takes a directory of an id to be looked at, without making anything: together with others
    /// who share it, and never while somebody has it alone. Nothing when it is not there, or not
    /// to be had within `patience`.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn look_at(
        &self,
        id: &str,
        number: u32,
        patience: Duration,
    ) -> Result<Option<CacheMount>, DiskError> {
        let place = self.root.join(cache_path(id));
        let lock_path = place.join(format!("{number}.lock"));
        let path = place.join(number.to_string());
        if !path.is_dir() {
            return Ok(None);
        }
        let lock = lock::open_existing(&lock_path)?;
        let taken = lock::acquire(&lock, &lock_path, lock::Mode::Shared, patience)?;
        Ok((taken && path.is_dir()).then_some(CacheMount {
            path,
            number,
            _lock: lock,
        }))
    }

    /// Has a new directory filled, and puts it in the place of the present one.
    fn refill<M: CacheMaker>(
        &self,
        id: &str,
        place: &Path,
        path: &Path,
        lock: &File,
        maker: &mut M,
    ) -> Result<(), DiskError> {
        let used = lock.metadata().and_then(|metadata| metadata.modified());
        let scratch = self.process.scratch()?;
        let fresh = scratch.path().join("cache");
        make_directory(&fresh)?;
        let filled = maker.refill(&Refill {
            present: path.is_dir().then_some(path),
            used: used.unwrap_or(SystemTime::UNIX_EPOCH),
            fresh: &fresh,
            known: &known_path(path),
        });
        if !filled {
            return Ok(());
        }
        let _ = fs::write(place.join(ID_FILE), id);
        // Both at once where the file system can: the old one goes with the scratch directory.
        let flags = RenameFlags::EXCHANGE;
        if rustix::fs::renameat_with(CWD, &fresh, CWD, path, flags).is_ok() {
            return Ok(());
        }
        self.trash.take(path)?;
        fs::rename(&fresh, path).on("create", path)
    }

    /// Makes a directory unless it is there. Of several who share a new one, one makes it and the
    /// others wait.
    fn make<M: CacheMaker>(
        &self,
        id: &str,
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
        // For people alone: without it there is a hash to be shown.
        let _ = fs::write(place.join(ID_FILE), id);
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
    /// As it was asked for, where that is known.
    pub(crate) id: Option<String>,
    /// Its directories, below the store.
    pub(crate) directories: Vec<PathBuf>,
    /// What its other files take, in bytes.
    pub(crate) file_bytes: u64,
    pub(crate) made: SystemTime,
    pub(crate) used: SystemTime,
}

/// All caches.
pub(crate) fn cache_items(root: &Path) -> Result<Vec<CacheItem>, DiskError> {
    let mut items = Vec::new();
    for shard in names(root, Path::new(CACHES))? {
        for path in names(root, &shard)? {
            let mut item = CacheItem {
                id: read_id(&root.join(&path).join(ID_FILE)),
                directories: Vec::new(),
                file_bytes: 0,
                made: SystemTime::now(),
                used: SystemTime::UNIX_EPOCH,
                path: path.clone(),
            };
            for below in names(root, &path)? {
                let Ok(metadata) = fs::symlink_metadata(root.join(&below)) else {
                    continue;
                };
                if metadata.is_dir() {
                    item.directories.push(below);
                    continue;
                }
                item.file_bytes += metadata.len();
                if let Ok(used) = metadata.modified() {
                    item.made = item.made.min(used);
                    item.used = item.used.max(used);
                }
            }
            items.push(item);
        }
    }
    Ok(items)
}

fn read_id(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = open_unnoticed(path).ok()??;
    file.take(ID_BYTES_MAX).read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
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
