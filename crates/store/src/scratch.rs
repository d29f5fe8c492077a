//! Unfinished work: every process has a directory under `tmp/` that it owns by
//! a lock on a file beside it. Work becomes part of the store by rename; what
//! is left of a process that died is swept by the next one that starts.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::disk::{DiskError, On as _};
use crate::lock;
use crate::trash::Trash;

/// A directory for unfinished work, on the file system of the store, so that
/// what is made here can be renamed into it. Goes to the trash on drop.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    process: Arc<Process>,
}

impl Scratch {
    /// The directory; it is empty at first and private to this process.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new file in it, under a name that nobody has.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn file(&self) -> Result<ScratchFile, DiskError> {
        self.process.file_in(&self.path)
    }

    /// A new, empty directory in it (mode 0700), under a name that nobody has.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn directory(&self) -> Result<PathBuf, DiskError> {
        let path = self.path.join(self.process.fresh_name());
        make_directory(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // An empty directory, the usual case after its content was renamed into
        // the store, needs no trash. What cannot be moved now is swept later.
        if std::fs::remove_dir(&self.path).is_err() {
            let _ = self.process.trash.take(&self.path);
        }
    }
}

/// A file that disappears on drop unless it was moved into the store.
#[derive(Debug)]
pub struct ScratchFile {
    file: File,
    path: PathBuf,
    moved: bool,
    trash: Arc<Trash>,
}

impl ScratchFile {
    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its final name. The directory of the name is made if missing.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub(crate) fn move_to(mut self, path: &Path) -> Result<(), DiskError> {
        let renamed = match std::fs::rename(&self.path, path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    make_directories(parent)?;
                }
                std::fs::rename(&self.path, path)
            }
            // Nobody but a vandal puts a directory there; without this it
            // would be in the way for ever.
            Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
                self.trash.take(path)?;
                std::fs::rename(&self.path, path)
            }
            other => other,
        };
        renamed.on("create", path)?;
        self.moved = true;
        Ok(())
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        if !self.moved {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What this process owns under `tmp/`.
#[derive(Debug)]
pub(crate) struct Process {
    /// Held as long as the process lives.
    lock: File,
    lock_path: PathBuf,
    directory: PathBuf,
    name: String,
    counter: AtomicU64,
    trash: Arc<Trash>,
}

/// A process that died and left its lock file.
#[derive(Debug)]
pub(crate) struct Dead {
    /// When it started, by the clock of the file system.
    pub(crate) since: SystemTime,
    /// Whether it ran before the last boot, or nobody knows: then what it wrote
    /// may not have reached the disk.
    pub(crate) before_boot: bool,
    lock_path: PathBuf,
    /// Ours now, so that its name is not given away before it is forgotten.
    _lock: File,
}

impl Dead {
    /// Removes the last trace: what it left has been dealt with.
    pub(crate) fn forget(self) -> Result<(), DiskError> {
        std::fs::remove_file(&self.lock_path).on("remove", &self.lock_path)
    }
}

impl Process {
    /// Makes and locks this process's place under `tmp`.
    pub(crate) fn register(tmp: &Path, trash: Arc<Trash>) -> Result<Self, DiskError> {
        for attempt in 0u32.. {
            let name = format!("{}-{attempt}", std::process::id());
            let lock_path = tmp.join(format!("{name}{LOCK_SUFFIX}"));
            let opened = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&lock_path);
            let mut file = match opened {
                // Another process of this number: of another pid namespace, or
                // dead and not swept yet.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                other => other.on("create", &lock_path)?,
            };
            let locked = lock::acquire(&file, &lock_path, lock::Mode::Exclusive, Duration::ZERO)?;
            // Between making and locking it, a sweeper may have taken it for a
            // dead process's and removed it.
            if !locked || !is_at(&file, &lock_path) {
                continue;
            }
            file.write_all(boot_id().as_bytes())
                .on("write", &lock_path)?;
            let directory = tmp.join(&name);
            make_directory(&directory)?;
            return Ok(Self {
                lock: file,
                lock_path,
                directory,
                name,
                counter: AtomicU64::new(0),
                trash,
            });
        }
        unreachable!("the loop above has no end")
    }

    /// Removes what dead processes left under `tmp`, and says who they were.
    /// Their lock files stay until [`Dead::forget`]. One process at a time.
    pub(crate) fn sweep(tmp: &Path, trash: &Trash) -> Result<Vec<Dead>, DiskError> {
        let mut dead = Vec::new();
        for item in std::fs::read_dir(tmp).on("list", tmp)? {
            let path = item.on("list", tmp)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                trash.take(&path)?;
                continue;
            };
            let Some(process) = name.strip_suffix(LOCK_SUFFIX) else {
                // A directory is made after its lock file and removed before
                // it, so one without is nobody's.
                let owner = tmp.join(format!("{name}{LOCK_SUFFIX}"));
                if !owner.exists() {
                    trash.take(&path)?;
                }
                continue;
            };
            let Ok(file) = lock::open_existing(&path) else {
                continue;
            };
            if !lock::acquire(&file, &path, lock::Mode::Exclusive, Duration::ZERO)?
                || !is_at(&file, &path)
            {
                continue;
            }
            trash.take(&tmp.join(process))?;
            dead.push(describe(file, path)?);
        }
        Ok(dead)
    }

    /// The numbers of the other processes that live, as their names say.
    pub(crate) fn others(&self, tmp: &Path) -> Vec<String> {
        let Ok(items) = std::fs::read_dir(tmp) else {
            return Vec::new();
        };
        items
            .filter_map(|item| {
                let name = item.ok()?.file_name().into_string().ok()?;
                let process = name.strip_suffix(LOCK_SUFFIX)?;
                (process != self.name).then(|| {
                    process
                        .split_once('-')
                        .map_or(process, |(number, _)| number)
                        .to_owned()
                })
            })
            .collect()
    }

    /// A name that nobody has under this process's directory, and that nobody
    /// else uses while it lives.
    pub(crate) fn fresh_name(&self) -> String {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.name)
    }

    /// A new file directly in this process's directory.
    pub(crate) fn file(&self) -> Result<ScratchFile, DiskError> {
        self.file_in(&self.directory)
    }

    fn file_in(&self, directory: &Path) -> Result<ScratchFile, DiskError> {
        let path = directory.join(self.fresh_name());
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .on("create", &path)?;
        Ok(ScratchFile {
            file,
            path,
            moved: false,
            trash: Arc::clone(&self.trash),
        })
    }

    /// A new directory for unfinished work.
    pub(crate) fn scratch(self: &Arc<Self>) -> Result<Scratch, DiskError> {
        let path = self.directory.join(self.fresh_name());
        make_directory(&path)?;
        Ok(Scratch {
            path,
            process: Arc::clone(self),
        })
    }

    /// Leaves nothing behind: for a process whose work is all durable. Without
    /// this call the next process sweeps, and checks after a reboot.
    pub(crate) fn leave(&self) {
        if std::fs::remove_dir(&self.directory).is_err() {
            let _ = self.trash.take(&self.directory);
        }
        let _ = std::fs::remove_file(&self.lock_path);
        let _ = rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock);
    }
}

const LOCK_SUFFIX: &str = ".lock";

/// Makes one private directory.
pub(crate) fn make_directory(path: &Path) -> Result<(), DiskError> {
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .on("create the directory", path)
}

/// Makes a private directory and its ancestors.
pub(crate) fn make_directories(path: &Path) -> Result<(), DiskError> {
    std::fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
        .on("create the directory", path)
}

pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

fn describe(lock: File, lock_path: PathBuf) -> Result<Dead, DiskError> {
    let since = lock
        .metadata()
        .and_then(|metadata| metadata.modified())
        .on("read", &lock_path)?;
    let mut boot = String::new();
    let read = (&lock).take(BOOT_ID_BYTES_MAX).read_to_string(&mut boot);
    Ok(Dead {
        since,
        before_boot: read.is_err() || boot.is_empty() || boot != boot_id(),
        lock_path,
        _lock: lock,
    })
}

const BOOT_ID_BYTES_MAX: u64 = 64;

/// The kernel's name of this boot; empty where `/proc` is missing, which means
/// "unknown" to whoever compares.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
