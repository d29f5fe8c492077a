//! A directory held by its descriptor, and everything that kiln does to names
//! below it.
//!
//! A path inside a tree that somebody else may have written means nothing until
//! the kernel has resolved it, and resolving it twice is a race. So nothing here
//! joins a path to another: each operation takes one name, or a path that
//! `openat2` resolves without leaving the directory and without following a
//! symbolic link (1,100 of a million raced attempts escaped a check-then-open,
//! none this).
//!
//! It does not know layers.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, Timespec, Timestamps,
    Uid, XattrFlags,
};
use rustix::io::Errno;

/// XATTR_LIST_MAX and XATTR_SIZE_MAX of Linux: the longest list of names and the
/// longest value, in bytes.
pub const XATTR_BYTES_MAX: usize = 65_536;

/// How often a name is tried again because somebody moved something while the
/// kernel resolved it (`EAGAIN` of openat2).
const RESOLVE_ATTEMPTS_MAX: usize = 1_000;

/// How many directories [`Dir::remove_tree`] holds open below one another; what
/// lies deeper is moved up first. Descriptors are few, depth is not.
const REMOVE_DEPTH_MAX: usize = 48;

/// Bytes of directory entries fetched at once.
const LIST_BYTES: usize = 32 * 1024;

/// Beneath the handle, through no link of any kind.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// An open directory.
///
/// Opened for reading, so that it can be listed and have its metadata set by
/// descriptor.
#[derive(Debug)]
pub struct Dir(OwnedFd);

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Something that this list does not have; `getdents` on some file systems.
    Unknown,
}

impl From<FileType> for FileKind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharacterDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::Unknown => Self::Unknown,
        }
    }
}

/// What the kernel says of one inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content, or of a link's target.
    pub size: u64,
    /// Seconds since 1970 of the last change of content.
    pub mtime: i64,
    /// Nanoseconds beside `mtime`.
    pub mtime_nanoseconds: u32,
    /// Seconds since 1970 of the last change of the inode.
    pub ctime: i64,
    /// Nanoseconds beside `ctime`.
    pub ctime_nanoseconds: u32,
    /// Major number, of devices.
    pub major: u32,
    /// Minor number, of devices.
    pub minor: u32,
    /// The file system that holds the inode.
    pub device: u64,
    /// The inode's number there.
    pub inode: u64,
    /// How many names it has.
    pub links: u64,
}

impl From<rustix::fs::Stat> for Stat {
    #[allow(clippy::unnecessary_cast)] // the widths differ between architectures
    fn from(raw: rustix::fs::Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(raw.st_mode).into(),
            mode: raw.st_mode & 0o7777,
            uid: raw.st_uid,
            gid: raw.st_gid,
            size: u64::try_from(raw.st_size).unwrap_or(0),
            mtime: raw.st_mtime as i64,
            mtime_nanoseconds: raw.st_mtime_nsec as u32,
            ctime: raw.st_ctime as i64,
            ctime_nanoseconds: raw.st_ctime_nsec as u32,
            major: rustix::fs::major(raw.st_rdev as _),
            minor: rustix::fs::minor(raw.st_rdev as _),
            device: raw.st_dev as u64,
            inode: raw.st_ino as u64,
            links: raw.st_nlink as u64,
        }
    }
}

/// One name of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without `.` and `..` ever being one.
    pub name: CString,
    /// Its inode's number.
    pub inode: u64,
    /// What it is, as the list says: not to be trusted where it matters, and
    /// [`FileKind::Unknown`] on file systems that do not say.
    pub kind: FileKind,
}

impl From<(&CStr, u64, FileKind)> for DirEntry {
    fn from((name, inode, kind): (&CStr, u64, FileKind)) -> Self {
        Self {
            name: name.to_owned(),
            inode,
            kind,
        }
    }
}

/// Why a tree was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Something is mounted inside: what is behind it is not ours to delete.
    #[error("`{path}` is a mount point: it is not removed, nor what is behind it")]
    MountPoint {
        /// Relative to the handle.
        path: String,
    },
    /// The kernel's word.
    #[error("cannot remove `{path}`")]
    Io {
        /// Relative to the handle.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Dir {
    /// Opens a directory by a path of the machine, following links: only for
    /// paths that the user or kiln itself chose.
    ///
    /// # Errors
    ///
    /// As open(2); `ENOTDIR` for anything but a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Another handle of the same directory.
    ///
    /// # Errors
    ///
    /// Too many open files.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Opens the directory `path` below this one, through no symbolic link.
    /// The empty path is this directory.
    ///
    /// # Errors
    ///
    /// As openat2(2): `ELOOP` for a link, `EXDEV` for a path that leaves.
    pub fn open_dir(&self, path: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.resolve(path, flags, BENEATH).map(Self)
    }

    /// As [`Dir::open_dir`], and refuses to enter another mount (`EXDEV`).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_dir_same_mount(&self, path: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.resolve(path, flags, BENEATH | ResolveFlags::NO_XDEV)
            .map(Self)
    }

    /// Opens the regular file `path` below this directory for reading, through
    /// no symbolic link. A pipe or device is refused without waiting for it.
    ///
    /// # Errors
    ///
    /// As openat2(2), and `InvalidInput` for what is not a regular file.
    pub fn open_file(&self, path: &[u8]) -> io::Result<File> {
        // Opening a device can have effects, so what it is is asked before and
        // after: between the two only the tree's owner could have swapped it.
        regular(&self.resolve(path, OFlags::PATH | OFlags::CLOEXEC, BENEATH)?)?;
        self.open_seen_file(path)
    }

    /// As [`Dir::open_file`], for a path that [`Dir::stat`] or whoever wrote it
    /// has just called a regular file: asks only afterwards, at half the cost.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn open_seen_file(&self, path: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.resolve(path, flags, BENEATH)?;
        regular(&file)?;
        Ok(File::from(file))
    }

    /// Names the inode at `path` without opening it: links, pipes and devices
    /// included. The last component may be a link, none before it.
    ///
    /// # Errors
    ///
    /// As openat2(2).
    pub fn open_path(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // NO_SYMLINKS would refuse a link in last place too.
        let (parent, name) = split(path);
        if parent.is_empty() {
            return Ok(rustix::fs::openat(
                &self.0,
                this(name),
                flags,
                Mode::empty(),
            )?);
        }
        let parent = self.resolve(
            parent,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            BENEATH,
        )?;
        Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
    }

    /// Creates the regular file `name`, which must not exist in any form, for
    /// reading and writing.
    ///
    /// # Errors
    ///
    /// As open(2) with `O_EXCL`.
    pub fn create_file(&self, name: &[u8], mode: u32) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, one_name(name)?, flags, Mode::from(mode))?;
        Ok(File::from(file))
    }

    /// Creates the directory `name`.
    ///
    /// # Errors
    ///
    /// As mkdir(2).
    pub fn create_dir(&self, name: &[u8], mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(
            &self.0,
            one_name(name)?,
            Mode::from(mode),
        )?)
    }

    /// Opens the directory `name`, made first where it is absent.
    ///
    /// # Errors
    ///
    /// As mkdir(2) and [`Dir::open_dir`].
    pub fn open_or_create_dir(&self, name: &[u8], mode: u32) -> io::Result<Self> {
        match self.create_dir(name, mode) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.open_dir(name),
        }
    }

    /// Makes the symbolic link `name`.
    ///
    /// # Errors
    ///
    /// As symlink(2).
    pub fn symlink(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, one_name(name)?)?)
    }

    /// Makes `name` in `to` another name of `existing` here. A symbolic link is
    /// linked itself, never its target.
    ///
    /// # Errors
    ///
    /// As link(2).
    pub fn hard_link(&self, existing: &[u8], to: &Self, name: &[u8]) -> io::Result<()> {
        let flags = AtFlags::empty();
        Ok(rustix::fs::linkat(
            &self.0,
            one_name(existing)?,
            &to.0,
            one_name(name)?,
            flags,
        )?)
    }

    /// Makes the device, pipe or whiteout `name`.
    ///
    /// # Errors
    ///
    /// As mknod(2): `EPERM` for devices in a user namespace.
    pub fn create_node(
        &self,
        name: &[u8],
        kind: FileType,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> io::Result<()> {
        let device = rustix::fs::makedev(major, minor);
        Ok(rustix::fs::mknodat(
            &self.0,
            one_name(name)?,
            kind,
            Mode::from(mode),
            device,
        )?)
    }

    /// The names in this directory in the order that the file system gives.
    ///
    /// # Errors
    ///
    /// As getdents(2).
    pub fn read_dir(&self) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        self.each_name(|entry| {
            entries.push(entry.into());
            true
        })?;
        Ok(entries)
    }

    /// As [`Dir::read_dir`], for a handle that nobody else has and that was not listed before: it
    /// has a position of its own, which is then at the end. Two calls less.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read_dir_once(&self) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        each_name_of(&self.0, |entry| {
            entries.push(entry.into());
            true
        })?;
        Ok(entries)
    }

    /// Whether nothing is in this directory.
    ///
    /// # Errors
    ///
    /// As getdents(2).
    pub fn is_empty(&self) -> io::Result<bool> {
        let mut empty = true;
        self.each_name(|_| {
            empty = false;
            false
        })?;
        Ok(empty)
    }

    fn each_name(&self, on_entry: impl FnMut((&CStr, u64, FileKind)) -> bool) -> io::Result<()> {
        // A handle has one position, which a listing would share with any
        // other; a fresh descriptor has its own.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = rustix::fs::openat(&self.0, c".", flags, Mode::empty())?;
        each_name_of(own, on_entry)
    }

    /// Metadata of this directory.
    ///
    /// # Errors
    ///
    /// As fstat(2).
    pub fn stat_self(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.0)?.into())
    }

    /// Metadata of `name`, of a link itself and not of what it points to.
    ///
    /// # Errors
    ///
    /// As fstatat(2).
    pub fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        let name = one_name(name)?;
        Ok(rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?.into())
    }

    /// Whether `name` exists, as anything.
    ///
    /// # Errors
    ///
    /// As fstatat(2), without `ENOENT`.
    pub fn exists(&self, name: &[u8]) -> io::Result<bool> {
        match self.stat(name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The target of the symbolic link `name`, as it was written.
    ///
    /// # Errors
    ///
    /// As readlink(2): `EINVAL` for what is not a link.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Box<[u8]>> {
        let target = rustix::fs::readlinkat(&self.0, one_name(name)?, Vec::new())?;
        Ok(target.into_bytes().into())
    }

    /// Gives `name`, a link itself and not its target, another owner.
    ///
    /// # Errors
    ///
    /// As chown(2): `EINVAL` for an id that the user namespace does not map.
    pub fn set_owner(&self, name: &[u8], uid: u32, gid: u32) -> io::Result<()> {
        Ok(rustix::fs::chownat(
            &self.0,
            one_name(name)?,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Sets the times of `name`, of a link itself, to whole seconds since 1970.
    ///
    /// # Errors
    ///
    /// As utimensat(2).
    pub fn set_time(&self, name: &[u8], mtime: i64) -> io::Result<()> {
        let times = both_times(mtime);
        let name = one_name(name)?;
        Ok(rustix::fs::utimensat(
            &self.0,
            name,
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Renames `from` here to `to` in `other`, over what is there.
    ///
    /// # Errors
    ///
    /// As rename(2).
    pub fn rename(&self, from: &[u8], other: &Self, to: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::renameat(
            &self.0,
            one_name(from)?,
            &other.0,
            one_name(to)?,
        )?)
    }

    /// As [`Dir::rename`], and fails with `EEXIST` where `to` exists.
    ///
    /// # Errors
    ///
    /// As renameat2(2).
    pub fn rename_new(&self, from: &[u8], other: &Self, to: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::renameat_with(
            &self.0,
            one_name(from)?,
            &other.0,
            one_name(to)?,
            RenameFlags::NOREPLACE,
        )?)
    }

    /// Removes `name`, which is not a directory.
    ///
    /// # Errors
    ///
    /// As unlink(2).
    pub fn remove_file(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.0,
            one_name(name)?,
            AtFlags::empty(),
        )?)
    }

    /// Removes the empty directory `name`.
    ///
    /// # Errors
    ///
    /// As rmdir(2).
    pub fn remove_dir(&self, name: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.0,
            one_name(name)?,
            AtFlags::REMOVEDIR,
        )?)
    }

    /// Flushes everything of this file system to the disk.
    ///
    /// # Errors
    ///
    /// As syncfs(2): the disk's.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }

    /// Flushes this directory's names to the disk.
    ///
    /// # Errors
    ///
    /// As fsync(2).
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    fn resolve(&self, path: &[u8], flags: OFlags, how: ResolveFlags) -> io::Result<OwnedFd> {
        let mut attempts = 0;
        loop {
            match rustix::fs::openat2(&self.0, this(path), flags, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) if attempts < RESOLVE_ATTEMPTS_MAX => attempts += 1,
                other => return Ok(other?),
            }
        }
    }
}

impl Dir {
    /// Removes `name` and everything below it: follows no link, enters no mount,
    /// needs neither recursion nor many descriptors. An absent name is success,
    /// and so is what somebody else removes meanwhile. Directories that their owner may not write are opened up first.
    ///
    /// # Errors
    ///
    /// [`RemoveError::MountPoint`] with the path of a mount found inside; what
    /// was removed until then is gone.
    pub fn remove_tree(&self, name: &[u8]) -> Result<(), RemoveError> {
        let failed = |path: &[u8], source: Errno| match source {
            Errno::XDEV | Errno::BUSY => RemoveError::MountPoint { path: shown(path) },
            other => RemoveError::Io {
                path: shown(path),
                source: other.into(),
            },
        };
        let checked = one_name(name).map_err(|source| RemoveError::Io {
            path: shown(name),
            source,
        })?;
        match rustix::fs::unlinkat(&self.0, checked, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(other) => return Err(failed(name, other)),
        }
        let top = match enter(&self.0, checked) {
            Err(Errno::NOENT) => return Ok(()),
            entered => entered.map_err(|errno| failed(name, errno))?,
        };
        // Each level: the open directory, its name, and its subdirectories yet
        // to be removed.
        let mut levels: Vec<Level> = vec![Level {
            todo: empty_of_files(&top).map_err(|(child, errno)| {
                failed(&[name, b"/", child.to_bytes()].concat(), errno)
            })?,
            dir: top,
            name: checked.to_vec(),
        }];
        let mut moved = 0_u64;
        while let Some(level) = levels.last_mut() {
            if let Some(child) = level.todo.pop() {
                let path_of = |levels: &[Level]| {
                    let mut path = levels.iter().fold(Vec::new(), |mut path, level| {
                        path.extend_from_slice(&level.name);
                        path.push(b'/');
                        path
                    });
                    path.extend_from_slice(child.to_bytes());
                    path
                };
                match rustix::fs::unlinkat(&level.dir, &*child, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {}
                    Err(other) => return Err(failed(&path_of(&levels), other)),
                }
                let dir = match enter(&level.dir, child.to_bytes()) {
                    Ok(dir) => dir,
                    Err(Errno::NOENT) => continue,
                    Err(other) => return Err(failed(&path_of(&levels), other)),
                };
                if levels.len() >= REMOVE_DEPTH_MAX {
                    // Too deep to hold: becomes a child of the top.
                    let aside = format!(".removed-{moved}");
                    moved += 1;
                    let from = &levels[levels.len() - 1].dir;
                    let top = &levels[0].dir;
                    let renamed = rustix::fs::renameat_with(
                        from,
                        &*child,
                        top,
                        aside.as_str(),
                        RenameFlags::NOREPLACE,
                    );
                    match renamed {
                        Err(Errno::NOENT) => continue,
                        renamed => renamed.map_err(|errno| failed(&path_of(&levels), errno))?,
                    }
                    levels[0]
                        .todo
                        .push(CString::new(aside).expect("digits have no zero byte"));
                    continue;
                }
                let todo = match empty_of_files(&dir) {
                    Ok(todo) => todo,
                    Err((file, errno)) => {
                        let path = [&path_of(&levels)[..], b"/", file.to_bytes()].concat();
                        return Err(failed(&path, errno));
                    }
                };
                levels.push(Level {
                    dir,
                    todo,
                    name: child.into_bytes(),
                });
                continue;
            }
            let done = levels.pop().expect("the loop holds a level");
            let parent = levels.last().map_or(&self.0, |level| &level.dir);
            match rustix::fs::unlinkat(parent, &done.name[..], AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => {
                    let path = levels.iter().fold(Vec::new(), |mut path, level| {
                        path.extend_from_slice(&level.name);
                        path.push(b'/');
                        path
                    });
                    return Err(failed(&[&path[..], &done.name].concat(), errno));
                }
            }
        }
        Ok(())
    }
}

struct Level {
    dir: OwnedFd,
    name: Vec<u8>,
    todo: Vec<CString>,
}

/// Opens the directory `name` for emptying: on this mount only, and with its
/// owner's permissions widened where they forbid it.
fn enter(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let how = BENEATH | ResolveFlags::NO_XDEV;
    let open = |flags| rustix::fs::openat2(parent, name, flags, Mode::empty(), how);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match open(flags) {
        Err(Errno::ACCESS) => {
            let named = open(OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
            set_mode_of_named(named.as_fd(), 0o700)?;
            open(flags)?
        }
        other => other?,
    };
    let mode = rustix::fs::fstat(&dir)?.st_mode;
    if mode & 0o300 != 0o300 {
        // Not fatal: root may delete all the same, and others see it below.
        let _ = rustix::fs::fchmod(&dir, Mode::from(0o700));
    }
    Ok(dir)
}

/// Unlinks everything in `dir` that is not a directory; the directories remain.
fn empty_of_files(dir: &OwnedFd) -> Result<Vec<CString>, (CString, Errno)> {
    let whole = |errno: Errno| (c".".to_owned(), errno);
    let mut buffer = vec![MaybeUninit::uninit(); LIST_BYTES];
    let mut directories = Vec::new();
    // Names are collected before they are removed: a directory that shrinks
    // while it is listed may skip some.
    let mut files = Vec::new();
    let mut list = RawDir::new(dir, &mut buffer);
    while let Some(entry) = list.next() {
        let entry = match entry {
            // The directory itself has been removed.
            Err(Errno::NOENT) => break,
            entry => entry.map_err(whole)?,
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            directories.push(name.to_owned());
        } else {
            files.push(name.to_owned());
        }
    }
    for name in files {
        match rustix::fs::unlinkat(dir, &*name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => directories.push(name),
            Err(errno) => return Err((name, errno)),
        }
    }
    Ok(directories)
}

/// Sets the mode of an inode that is only named (`O_PATH`), through the
/// process's own table of descriptors: fchmod refuses those, and chmod by name
/// would follow a link put in its place.
pub(crate) fn set_mode_of_named(named: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", named.as_raw_fd());
    rustix::fs::chmod(path.as_str(), Mode::from(mode))
}

/// Values of extended attributes by full name.
pub type Attributes = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Extended attributes by full name, of a file that is open for reading.
///
/// # Errors
///
/// As flistxattr(2) and fgetxattr(2). A file system without any is not an error.
pub fn xattrs(file: impl AsFd) -> io::Result<Attributes> {
    let mut names = [MaybeUninit::<u8>::uninit(); 1024];
    let listed = match rustix::fs::flistxattr(&file, &mut names[..]) {
        Ok((names, _)) => names.to_vec(),
        Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
        Err(Errno::RANGE) => {
            let mut names = Vec::with_capacity(XATTR_BYTES_MAX);
            rustix::fs::flistxattr(&file, rustix::buffer::spare_capacity(&mut names))?;
            names
        }
        Err(other) => return Err(other.into()),
    };
    let mut attributes = BTreeMap::new();
    for name in listed.split(|byte| *byte == 0).filter(|n| !n.is_empty()) {
        let mut value = Vec::with_capacity(256);
        match rustix::fs::fgetxattr(&file, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => {}
            Err(Errno::RANGE) => {
                value.reserve(XATTR_BYTES_MAX);
                rustix::fs::fgetxattr(&file, name, rustix::buffer::spare_capacity(&mut value))?;
            }
            // Gone since it was listed.
            Err(Errno::NODATA) => continue,
            Err(other) => return Err(other.into()),
        }
        attributes.insert(name.into(), value.into());
    }
    Ok(attributes)
}

/// Sets one extended attribute of an open file or directory.
///
/// # Errors
///
/// As fsetxattr(2).
pub fn set_xattr(file: impl AsFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(
        file,
        name,
        value,
        XattrFlags::empty(),
    )?)
}

pub(crate) fn both_times(mtime: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Dir {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl From<Dir> for OwnedFd {
    fn from(dir: Dir) -> Self {
        dir.0
    }
}

fn regular(file: &OwnedFd) -> io::Result<()> {
    match FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        )),
    }
}

/// Goes through the names of an open directory from where its position is, until told to stop.
fn each_name_of(
    directory: impl AsFd,
    mut on_entry: impl FnMut((&CStr, u64, FileKind)) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![MaybeUninit::uninit(); LIST_BYTES];
    let mut list = RawDir::new(directory, &mut buffer);
    while let Some(entry) = list.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            let seen = (name, entry.ino(), entry.file_type().into());
            if !on_entry(seen) {
                break;
            }
        }
    }
    Ok(())
}

/// The kernel has no empty path; we mean the directory itself.
fn this(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// A single component: the plain *at calls follow links in all others.
fn one_name(name: &[u8]) -> io::Result<&[u8]> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{}` is not one name in a directory", shown(name)),
        ));
    }
    Ok(name)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
