//! The store as a whole: its directory, who has it open, and the parts.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::blob::Blobs;
use crate::cache_mounts::{CACHES, CacheMounts};
use crate::commit::{CommitError, Committer};
use crate::disk::{DiskError, On as _};
use crate::image::{IMAGES, Images};
use crate::indexes::{INDEXES, Indexes};
use crate::journal::{JOURNALS, Journals};
use crate::layer::Pool;
use crate::lock;
use crate::publication::{PUBLICATIONS, Publications};
use crate::record::{RECORDS, RecordFiles, Records};
use crate::scratch::{Process, Scratch, make_directory};
use crate::seek_tables::{SEEK_TABLES, SeekTables};
use crate::spans::{SPANS, Spans};
use crate::stat_cache::{STAT, StatCache};
use crate::trash::Trash;
use crate::turns::{TURNS, Turns};
use crate::unpacked::{UNPACKED, Unpacked};

/// Why a directory cannot serve as the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Others could change what is in it, or run set-uid programs of images
    /// from it (CVE-2021-41091).
    #[error("the store `{}` can be reached by other users (mode {mode:o}); run `chmod 700` on it or choose another directory", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("the store `{}` belongs to user {owner}, and this is user {user}; choose a directory of your own", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The effective user of this process.
        user: u32,
    },
    /// It holds something else.
    #[error("`{}` is neither a kiln store nor empty; choose another directory", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// It was made by a version of kiln with another layout.
    #[error("the store `{}` has the format `{found}`, and this kiln knows `{FORMAT}`; choose another directory or remove it", path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// Another process removes things from it, and went on doing so.
    #[error("the store `{}` is being pruned by another process", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// All local state that outlives a step. Cheap to clone; the last clone flushes
/// on drop, without telling of errors ([`Store::flush`] does).
#[derive(Debug, Clone)]
pub struct Store(Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) blobs: Blobs,
    pub(crate) indexes: Indexes,
    pub(crate) seek_tables: SeekTables,
    pub(crate) spans: Spans,
    pub(crate) unpacked: Unpacked,
    pub(crate) records: Records,
    pub(crate) images: Images,
    pub(crate) cache_mounts: CacheMounts,
    pub(crate) turns: Turns,
    pub(crate) journals: Journals,
    pub(crate) publications: Publications,
    pub(crate) committer: Arc<Committer>,
    pub(crate) process: Arc<Process>,
    pub(crate) trash: Arc<Trash>,
    pub(crate) root: Arc<Path>,
    pool: Pool,
    /// Held shared by every process, alone by the one that removes.
    pub(crate) lock: File,
}

/// The content of the format file. The number goes up with every change of the
/// layout that an older kiln would misread.
const FORMAT: &str = "kiln store 1";
const FORMAT_BYTES_MAX: u64 = 256;
const FORMAT_FILE: &str = "format";
/// Held by the one process that cleans up behind the dead.
const SWEEP_FILE: &str = "sweep";
pub(crate) const LOCK_FILE: &str = "lock";
pub(crate) const BLOBS: &str = "blobs";
pub(crate) const TMP: &str = "tmp";
pub(crate) const TRASH: &str = "trash";

/// How long opening waits for a process that prunes. Renames, so seconds.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);

impl Store {
    /// Opens the store at `path`; makes it where nothing or an empty directory
    /// is.
    ///
    /// Sweeps what dead processes left, begins to delete what was thrown away, and if one of them died with the
    /// machine, re-reads what it may have written and drops what is damaged.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        prepare(path)?;
        let root: Arc<Path> = std::path::absolute(path).on("find", path)?.into();
        let lock_path = root.join(LOCK_FILE);
        let lock = lock::open(&lock_path)?;
        if !lock::acquire(&lock, &lock_path, lock::Mode::Shared, OPEN_PATIENCE)? {
            return Err(StoreError::Busy {
                path: root.to_path_buf(),
            });
        }
        let trash = Arc::new(Trash::new(root.join(TRASH)));
        let tmp = root.join(TMP);
        // Held until what the dead left is checked: nobody sees it before.
        let sweep_path = root.join(SWEEP_FILE);
        let sweep = lock::open(&sweep_path)?;
        lock::acquire(&sweep, &sweep_path, lock::Mode::Exclusive, Duration::MAX)?;
        let dead = Process::sweep(&tmp, &trash)?;
        let process = Arc::new(Process::register(&tmp, Arc::clone(&trash))?);
        let committer = Arc::new(Committer::new(&root, Arc::clone(&process))?);
        let files = RecordFiles {
            root: Arc::clone(&root),
            committer: Arc::clone(&committer),
        };
        let store = Self(Arc::new(Parts {
            blobs: Blobs::new(
                root.join(BLOBS),
                Arc::clone(&process),
                Arc::clone(&trash),
                Arc::clone(&committer),
            ),
            indexes: Indexes::new(files.clone(), Arc::clone(&process)),
            seek_tables: SeekTables::new(files.clone(), Arc::clone(&process)),
            spans: Spans::new(Arc::clone(&root), Arc::clone(&process)),
            unpacked: Unpacked::new(files.clone(), Arc::clone(&process), Arc::clone(&trash)),
            records: Records::new(files.clone()),
            images: Images::new(files.clone()),
            publications: Publications::new(files),
            journals: Journals::new(Arc::clone(&root), Arc::clone(&process)),
            cache_mounts: CacheMounts::new(
                Arc::clone(&root),
                Arc::clone(&process),
                Arc::clone(&trash),
            ),
            turns: Turns::new(Arc::clone(&root)),
            committer,
            process,
            trash,
            root,
            pool: Pool::default(),
            lock,
        }));
        if let Some(since) = dead
            .iter()
            .filter(|dead| dead.before_boot)
            .map(|dead| dead.since)
            .min()
        {
            store.check_since(since)?;
        }
        for dead in dead {
            dead.forget()?;
        }
        drop(sweep);
        store.empty_trash_aside();
        Ok(store)
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// A new directory for unfinished work.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn scratch(&self) -> Result<Scratch, DiskError> {
        self.0.process.scratch()
    }

    /// The threads that pack layers, of which there may be this many.
    pub(crate) fn pool(&self, threads: NonZeroUsize) -> Pool {
        self.0.pool.allow(threads);
        self.0.pool.clone()
    }

    /// Content by digest.
    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// What is in layers, by diff id.
    pub fn indexes(&self) -> &Indexes {
        &self.0.indexes
    }

    /// How to read parts of layers, by the digest of the blob.
    pub fn seek_tables(&self) -> &SeekTables {
        &self.0.seek_tables
    }

    /// Parts of layers that were fetched.
    pub fn spans(&self) -> &Spans {
        &self.0.spans
    }

    /// Layers as directories.
    pub fn unpacked(&self) -> &Unpacked {
        &self.0.unpacked
    }

    /// What the build cache knows.
    pub fn records(&self) -> &Records {
        &self.0.records
    }

    /// Names of images.
    pub fn images(&self) -> &Images {
        &self.0.images
    }

    /// Work that only one process needs to do.
    pub fn turns(&self) -> &Turns {
        &self.0.turns
    }

    /// What work on other machines has come to.
    pub fn journals(&self) -> &Journals {
        &self.0.journals
    }

    /// What was published.
    pub fn publications(&self) -> &Publications {
        &self.0.publications
    }

    /// Directories that outlive builds.
    pub fn cache_mounts(&self) -> &CacheMounts {
        &self.0.cache_mounts
    }

    /// The content hashes known for files below `context`, an absolute path.
    pub fn stat_cache(&self, context: &Path) -> StatCache {
        StatCache::load(&self.0.root, Arc::clone(&self.0.process), context)
    }

    /// Makes everything durable that this process put into the store. What
    /// reports success to anybody calls this before.
    ///
    /// # Errors
    ///
    /// [`CommitError`].
    pub fn flush(&self) -> Result<(), CommitError> {
        self.0.committer.flush()
    }

    /// Deletes what was thrown away until `patience` is over.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn empty_trash(&self, patience: Duration) -> Result<(), DiskError> {
        self.0.trash.empty(patience)
    }

    /// Deletes in the background what earlier processes threw away. The process
    /// may end meanwhile.
    fn empty_trash_aside(&self) {
        let trash = Arc::clone(&self.0.trash);
        if !trash.is_empty() {
            let _ = std::thread::Builder::new()
                .name("store-trash".into())
                .spawn(move || trash.empty(Duration::MAX));
        }
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// How many clones there are, this one included.
    pub(crate) fn clones(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // Whoever leaves with undurable work behind leaves the lock file too,
        // and the next process checks if the machine went down since.
        if self.committer.flush().is_ok() && self.committer.is_clean() {
            self.process.leave();
        }
    }
}

/// Lets `path` be the directory of a store of the right format and owner.
fn prepare(path: &Path) -> Result<(), StoreError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .on("create the directory", path)?;
    let metadata = std::fs::metadata(path).on("read", path)?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
            owner: metadata.uid(),
            user,
        });
    }
    let format_path = path.join(FORMAT_FILE);
    match read_format(&format_path)? {
        Some(found) if found == FORMAT => {}
        Some(found) => {
            return Err(StoreError::Format {
                path: path.to_owned(),
                found,
            });
        }
        None => {
            // Another process may be making the same store; what it has made so
            // far has our names.
            let parts = [
                BLOBS,
                INDEXES,
                SEEK_TABLES,
                SPANS,
                UNPACKED,
                RECORDS,
                IMAGES,
                STAT,
                CACHES,
                TURNS,
                JOURNALS,
                PUBLICATIONS,
                TMP,
                TRASH,
                LOCK_FILE,
                SWEEP_FILE,
            ];
            for item in std::fs::read_dir(path).on("list", path)? {
                let name = item.on("list", path)?.file_name();
                let ours = name
                    .to_str()
                    .is_some_and(|name| parts.contains(&name) || name.starts_with(FORMAT_FILE));
                if !ours {
                    return Err(StoreError::NotAStore {
                        path: path.to_owned(),
                    });
                }
            }
            // An empty directory that somebody made for us with the usual mask.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
                .on("make private", path)?;
            // What others put in before may be theirs, open in their hands.
            let mode = metadata.permissions().mode() & 0o7777;
            let is_empty = std::fs::read_dir(path).on("list", path)?.next().is_none();
            if mode & 0o022 != 0 && !is_empty {
                return Err(StoreError::Open {
                    path: path.to_owned(),
                    mode,
                });
            }
            for part in [BLOBS, INDEXES, UNPACKED, RECORDS, IMAGES, STAT, TMP, TRASH] {
                let part = path.join(part);
                if !part.is_dir() {
                    match make_directory(&part) {
                        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                        other => other?,
                    }
                }
            }
            // Last: a store with a format file has all its parts.
            // Nobody else's name, not that of another thread, nor of a process that has our number
            // in another container. Never opened if it is there: while the directory was open to
            // others, it can have become their link.
            let chance = RandomState::new().hash_one(std::process::id());
            let temporary = path.join(format!("{FORMAT_FILE}.{chance:016x}"));
            File::create_new(&temporary)
                .and_then(|mut file| file.write_all(format!("{FORMAT}\n").as_bytes()))
                .on("write", &temporary)?;
            std::fs::rename(&temporary, &format_path).on("create", &format_path)?;
        }
    }
    let mode = std::fs::metadata(path)
        .on("read", path)?
        .permissions()
        .mode()
        & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// The first line of the format file; `None` when there is no file, or one
/// that a power cut left empty.
fn read_format(path: &Path) -> Result<Option<String>, StoreError> {
    use std::io::Read as _;
    let Some(file) = crate::record::open_regular(path).on("open", path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(FORMAT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .on("read", path)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().next().map(str::to_owned))
}
