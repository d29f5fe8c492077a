//! Finding, and where necessary creating, the place in the root to mount on.
//!
//! The content of the root is hostile: any name can be a symbolic link to anywhere (CVE-2019-16884,
//! CVE-2021-30465, CVE-2024-23652). So a path is walked one name at a time, each opened without
//! following links, links are expanded here with the root as `/`, and `..` goes back to a
//! directory that was walked through. Nothing can lead out.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat, Timespec, Timestamps, UTIME_OMIT,
    fstat, fstatfs, mkdirat, openat, readlinkat, statat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::channel::DESCRIPTORS_MAX;
use crate::failure::{Doing, Failure};
use crate::order::{Created, Moment};

/// As many links as the kernel follows in one path.
const LINKS_MAX: usize = 40;

/// `SYSFS_MAGIC` of the kernel.
const SYSFS_MAGIC: i64 = 0x6265_6572;

/// What a mount needs below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind {
    Directory,
    File,
}

/// What to do with a symbolic link at the end of a path; on the way there they are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinalLink {
    Follow,
    Refuse,
}

/// The mount points of one root, and what was created for them.
#[derive(Debug)]
pub(crate) struct Targets {
    root: OwnedFd,
    created: Vec<(Created, OwnedFd, OwnedFd)>,
}

impl Targets {
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            created: Vec::new(),
        }
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens the place to mount on; missing parts of the path are created.
    pub(crate) fn open(
        &mut self,
        path: &Path,
        kind: TargetKind,
        final_link: FinalLink,
    ) -> Result<OwnedFd, Failure> {
        let refuse = |reason: &str| Failure::MountPoint {
            path: path.display().to_string(),
            reason: reason.to_owned(),
        };
        let doing = || format!("open the mount point {} in the root", path.display());
        let mut walked = vec![rustix::io::fcntl_dupfd_cloexec(&self.root, 3).doing(doing)?];
        let mut pending: VecDeque<OsString> = names(path);
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if name == ".." {
                if walked.len() > 1 {
                    walked.pop();
                }
                continue;
            }
            let last = pending.is_empty();
            let parent = walked.last().expect("the root stays").as_fd();
            refuse_kernel_file_systems(parent, path)?;
            let entry = match open_beneath(parent, Path::new(&name)) {
                Ok(entry) => entry,
                Err(Errno::NOENT) => {
                    let kind = if last { kind } else { TargetKind::Directory };
                    let created = match create(parent, &name, kind) {
                        // Never the root itself: somebody asked for a mount in another one.
                        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                            return Err(refuse(
                                "it is not there, and cannot be made in the mount that it is in, \
                                 which is read-only",
                            ));
                        }
                        created => created,
                    };
                    self.created.push(created.doing(|| {
                        format!("create the mount point {} in the root", path.display())
                    })?);
                    if self.created.len() * 2 > DESCRIPTORS_MAX {
                        return Err(refuse("too many mount points do not exist in the root"));
                    }
                    open_beneath(parent, Path::new(&name)).doing(doing)?
                }
                Err(error) => return Err(error).doing(doing),
            };
            match FileType::from_raw_mode(fstat(&entry).doing(doing)?.st_mode) {
                FileType::Directory => walked.push(entry),
                FileType::Symlink => {
                    if last && final_link == FinalLink::Refuse {
                        return Err(refuse("it is a symbolic link in the root file system"));
                    }
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(refuse("too many symbolic links on the way"));
                    }
                    let text = readlinkat(&entry, "", Vec::new()).doing(doing)?;
                    let text = OsString::from_vec(text.into_bytes());
                    if text.as_bytes().starts_with(b"/") {
                        walked.truncate(1);
                    }
                    for name in names(Path::new(&text)).into_iter().rev() {
                        pending.push_front(name);
                    }
                }
                _other if !last => return Err(refuse("a part of the path is not a directory")),
                _other if kind == TargetKind::Directory => {
                    return Err(refuse("it is not a directory"));
                }
                _other => return Ok(entry),
            }
        }
        match kind {
            TargetKind::Directory if walked.len() == 1 => Err(refuse("it is the root itself")),
            TargetKind::Directory => Ok(walked.pop().expect("the root stays")),
            TargetKind::File => Err(refuse("it is a directory")),
        }
    }

    /// Like [`Self::open`], for a mount that somebody asked for: it may not hide `/proc`, `/sys` or
    /// `/dev` whole, which nothing works without, whatever links to them the path led through.
    pub(crate) fn open_asked(&mut self, path: &Path, kind: TargetKind) -> Result<OwnedFd, Failure> {
        let target = self.open(path, kind, FinalLink::Follow)?;
        refuse_kernel_file_systems(target.as_fd(), path)?;
        let doing = || format!("examine {}", path.display());
        let devices = open_beneath(self.root(), Path::new("dev")).doing(doing)?;
        let (ours, devices) = (fstat(&target).doing(doing)?, fstat(&devices).doing(doing)?);
        if (ours.st_dev, ours.st_ino) == (devices.st_dev, devices.st_ino) {
            return Err(Failure::MountPoint {
                path: path.display().to_string(),
                reason: "it holds the devices that every program counts on".to_owned(),
            });
        }
        Ok(target)
    }

    /// What was created, for the one who will remove it.
    pub(crate) fn into_created(self) -> Vec<(Created, OwnedFd, OwnedFd)> {
        self.created
    }
}

/// Opens one name (or a path of ours) below a directory, without following a final link.
pub(crate) fn open_beneath(directory: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    openat(
        directory,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Removes what was created to mount on, and gives each directory its time back unless somebody
/// else changed it too. By descriptors, and only what is still the same file: the root's content
/// had every chance to move things (CVE-2024-23652).
///
/// To be called when nothing is mounted on them in this process's mount namespace any more.
pub(crate) fn remove_created(created: &[(Created, OwnedFd, OwnedFd)]) -> io::Result<()> {
    for (note, parent, entry) in created.iter().rev() {
        let name = OsStr::from_bytes(&note.name);
        let ours = fstat(entry)?;
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) => {}
            // Moved, removed or replaced by the process: it is its own file now.
            Ok(_) | Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        }
        let untouched = changed(&fstat(parent)?) == note.parent_changed_after;
        let flags = if note.directory {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        match unlinkat(parent, name, flags) {
            Ok(()) => {}
            // The process put something in before; the directory is part of its work.
            Err(Errno::NOTEMPTY) => continue,
            Err(error) => return Err(error.into()),
        }
        if untouched {
            let before = Timestamps {
                last_access: Timespec {
                    tv_sec: 0,
                    tv_nsec: UTIME_OMIT,
                },
                last_modification: Timespec {
                    tv_sec: note.parent_changed_before.seconds,
                    tv_nsec: note.parent_changed_before.nanoseconds,
                },
            };
            utimensat(parent, ".", &before, AtFlags::empty())?;
        }
    }
    Ok(())
}

fn create(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: TargetKind,
) -> io::Result<(Created, OwnedFd, OwnedFd)> {
    let before = changed(&fstat(parent)?);
    match kind {
        TargetKind::Directory => mkdirat(parent, name, Mode::from_raw_mode(0o755))?,
        TargetKind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(openat(parent, name, flags, Mode::from_raw_mode(0o644))?);
        }
    }
    let entry = open_beneath(parent, Path::new(name))?;
    // Through ".", since the first change of a directory that was only in a lower one copies it
    // up, and descriptors opened before keep showing the lower one's times.
    let after = changed(&statat(parent, ".", AtFlags::empty())?);
    let note = Created {
        name: name.as_bytes().to_vec(),
        directory: kind == TargetKind::Directory,
        parent_changed_before: before,
        parent_changed_after: after,
    };
    Ok((note, rustix::io::fcntl_dupfd_cloexec(parent, 3)?, entry))
}

/// Mounting below `/proc` or `/sys` would let a process present what it likes as the kernel's
/// word.
fn refuse_kernel_file_systems(directory: BorrowedFd<'_>, path: &Path) -> Result<(), Failure> {
    let kind = fstatfs(directory)
        .doing(|| format!("examine {}", path.display()))?
        .f_type;
    if i128::from(kind) == i128::from(PROC_SUPER_MAGIC)
        || i128::from(kind) == i128::from(SYSFS_MAGIC)
    {
        return Err(Failure::MountPoint {
            path: path.display().to_string(),
            reason: "it is /proc or /sys, or inside".to_owned(),
        });
    }
    Ok(())
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}

fn changed(status: &Stat) -> Moment {
    Moment {
        seconds: status.st_mtime,
        nanoseconds: i64::try_from(status.st_mtime_nsec).unwrap_or_default(),
    }
}
