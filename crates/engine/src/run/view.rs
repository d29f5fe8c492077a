//! A build context as a RUN sees it: what the ignore file leaves out is not there, everything
//! belongs to root, and nothing of it is ever written to.
//!
//! | the context | is shown as |
//! |---|---|
//! | nothing is left out, read-only | itself |
//! | something is left out, or the command may write, or there are sockets or pipes | itself below a directory that hides names, below one for changes (overlayfs) |
//! | its files have several owners, or its file system cannot map them | a copy of what is seen of it |
//!
//! So a context of any size costs no copy in the usual case, and a name that hides something costs
//! one entry, whatever is behind it. Nothing that is ignored is opened.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sandbox::{CancelToken, Changes, IdMapping, MountSource, Owners, StackLayer};
use store::dir::{Dir, FileKind, Stat};
use store::layer::EntryPath;

use super::tree::{self, TreeError};
use crate::copy::context::Context;
use crate::copy::files::{FilesError, NodeKind};
use crate::copy::select::{Match, SelectError, select_path};

/// Why a context cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Copy(#[from] TreeError),
    #[error("could not prepare {path}")]
    Prepare { path: PathBuf, source: io::Error },
}

/// A context, ready to be mounted.
pub(crate) struct View {
    pub source: MountSource,
    /// What the source names stays open as long as this.
    pub held: Option<OwnedFd>,
}

/// Shows what is at `path` of a context. `place` is an empty directory of ours.
pub(crate) fn view(
    context: &Context,
    path: &str,
    writable: bool,
    ids: IdMapping,
    place: &Path,
    cancel: &CancelToken,
) -> Result<View, ViewError> {
    let wanted = EntryPath::parse(path.as_bytes()).map_err(FilesError::from)?;
    let Some((real, node)) = crate::copy::files::follow(context, &wanted)? else {
        let pattern = path.to_owned();
        return Err(SelectError::NotFound { pattern }.into());
    };
    let shown = match node.kind {
        NodeKind::Directory => directory(context, &real, writable, ids, place)?,
        NodeKind::File {
            stamp: Some(stamp), ..
        } if !writable => file(context, &real, &stamp, ids)?,
        _ => None,
    };
    match shown {
        Some(view) => Ok(view),
        None => copied(context, &select_path(context, path)?, place, cancel),
    }
}

/// A file as it is, where its owner can be shown as root.
fn file(
    context: &Context,
    path: &EntryPath,
    stamp: &Stat,
    ids: IdMapping,
) -> Result<Option<View>, ViewError> {
    let failed = |source| FilesError::Read {
        path: path.clone(),
        source,
    };
    let file = context.open_file(path).map_err(failed)?;
    let Some(owners) = owners((stamp.uid, stamp.gid), ids, &file) else {
        return Ok(None);
    };
    Ok(Some(View {
        source: MountSource::Bind {
            source: format!("/proc/self/fd/{}", file.as_raw_fd()).into(),
            owners,
        },
        held: Some(file.into()),
    }))
}

/// A directory as it is, with what hides names in front of it.
fn directory(
    context: &Context,
    top: &EntryPath,
    writable: bool,
    ids: IdMapping,
    place: &Path,
) -> Result<Option<View>, ViewError> {
    let survey = Survey::of(context, top)?;
    let failed = |source| FilesError::Read {
        path: top.clone(),
        source,
    };
    let held = context.root().open_path(top.as_bytes()).map_err(failed)?;
    let owners = survey
        .owner
        .filter(|_| survey.one_device)
        .and_then(|owner| owners(owner, ids, &held));
    let Some(owners) = owners else {
        return Ok(None);
    };
    let hides = survey.hides();
    let source = if !hides && !writable {
        MountSource::Bind {
            source: format!("/proc/self/fd/{}", held.as_raw_fd()).into(),
            owners,
        }
    } else {
        let mask = place.join("hidden");
        survey.write_mask(&mask)?;
        let changes = if writable {
            Some(changes(place, survey.directories[0].stat.mode)?)
        } else {
            None
        };
        MountSource::Stack {
            layers: vec![
                StackLayer {
                    // The sandbox's own processes open it, which have other descriptors.
                    directory: format!("/proc/{}/fd/{}", std::process::id(), held.as_raw_fd())
                        .into(),
                    owners,
                },
                StackLayer {
                    directory: mask,
                    owners: Owners::AsOnDisk,
                },
            ],
            changes,
            path: PathBuf::new(),
        }
    };
    Ok(Some(View {
        source,
        held: Some(held),
    }))
}

/// A place for what is written and thrown away.
pub(crate) fn changes(place: &Path, mode: u32) -> Result<Changes, ViewError> {
    let (upper, work) = (place.join("upper"), place.join("work"));
    for (path, mode) in [(&upper, mode), (&work, 0o755)] {
        make(path, mode)?;
    }
    Ok(Changes { upper, work })
}

pub(crate) fn make(path: &Path, mode: u32) -> Result<(), ViewError> {
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|source| prepare(path, source))
}

fn prepare(path: &Path, source: io::Error) -> ViewError {
    ViewError::Prepare {
        path: path.to_owned(),
        source,
    }
}

/// How files of an owner become root's; `None` where they cannot.
fn owners(owner: (u32, u32), ids: IdMapping, descriptor: impl std::os::fd::AsFd) -> Option<Owners> {
    match (ids, owner) {
        (IdMapping::Inherited, (0, 0)) => Some(Owners::AsOnDisk),
        (IdMapping::Inherited, _) => None,
        (IdMapping::Reserved { .. }, _) if !sandbox::can_map_owners(descriptor) => None,
        (IdMapping::Reserved { .. }, (0, 0)) => Some(Owners::AsOnDisk),
        (IdMapping::Reserved { .. }, (uid, gid)) => Some(Owners::Root { uid, gid }),
    }
}

/// What is seen, copied: the copy may be written to.
fn copied(
    context: &Context,
    found: &Match,
    place: &Path,
    cancel: &CancelToken,
) -> Result<View, ViewError> {
    let target = place.join("copy");
    if found.node.kind == NodeKind::Directory {
        make(&target, 0o700)?;
    }
    tree::copy(found, &|path| context.open_file(path), &target, cancel)?;
    Ok(View {
        source: MountSource::Bind {
            source: target,
            owners: Owners::AsOnDisk,
        },
        held: None,
    })
}

/// What is in a directory of a context, and what of it is not to be seen.
struct Survey {
    /// The first is the top; others come behind those that they are in.
    directories: Vec<Surveyed>,
    /// The owner of everything, if there is only one.
    owner: Option<(u32, u32)>,
    /// Nothing is mounted in it.
    one_device: bool,
}

struct Surveyed {
    path: EntryPath,
    parent: Option<usize>,
    stat: Stat,
    /// Ignored itself: there only as the way to what is not.
    shadow: bool,
    /// Something in it is seen.
    visible: bool,
    hidden: Vec<Box<[u8]>>,
    /// Names and permissions of pipes: others are shown in their place.
    pipes: Vec<(Box<[u8]>, u32)>,
    /// Something in it, or further below, is hidden.
    hides: bool,
}

impl Survey {
    fn of(context: &Context, top: &EntryPath) -> Result<Self, FilesError> {
        let ignore = context.ignore();
        let failed = |path: &EntryPath, source| FilesError::Read {
            path: path.clone(),
            source,
        };
        let stat = |directory: &Dir, path: &EntryPath| {
            directory.stat_self().map_err(|source| failed(path, source))
        };
        let opened = context.root().open_dir(top.as_bytes());
        let top_stat = stat(&opened.map_err(|source| failed(top, source))?, top)?;
        let mut survey = Self {
            directories: vec![Surveyed {
                path: top.clone(),
                parent: None,
                stat: top_stat,
                shadow: ignore.matches(top.as_bytes()).ignored,
                visible: true,
                hidden: Vec::new(),
                pipes: Vec::new(),
                hides: false,
            }],
            owner: Some((top_stat.uid, top_stat.gid)),
            one_device: true,
        };
        let mut at = 0;
        while at < survey.directories.len() {
            let path = survey.directories[at].path.clone();
            let directory = context.root().open_dir(path.as_bytes());
            let directory = directory.map_err(|source| failed(&path, source))?;
            let above = ignore.matches(path.as_bytes());
            let names = directory.read_dir();
            for entry in names.map_err(|source| failed(&path, source))? {
                let name = entry.name.as_bytes();
                let child = path.join(name)?;
                let verdict = ignore.matches_below(above, child.as_bytes());
                let may_be_directory =
                    matches!(entry.kind, FileKind::Directory | FileKind::Unknown);
                let mut hidden = verdict.ignored && !may_be_directory;
                let mut found = None;
                if !hidden {
                    let stat = directory.stat(name);
                    let stat = stat.map_err(|source| failed(&child, source))?;
                    hidden = verdict.ignored
                        && (stat.kind != FileKind::Directory
                            || !ignore.may_contain_included(child.as_bytes(), verdict));
                    found = Some(stat);
                }
                let Some(stat) = found.filter(|_| !hidden) else {
                    survey.directories[at].hidden.push(name.into());
                    continue;
                };
                // At the other end is somebody on this machine, who is no part of the context.
                match stat.kind {
                    FileKind::Socket => {
                        survey.directories[at].hidden.push(name.into());
                        continue;
                    }
                    FileKind::Fifo => {
                        let pipe = (name.into(), stat.mode);
                        survey.directories[at].pipes.push(pipe);
                    }
                    FileKind::File
                    | FileKind::Directory
                    | FileKind::Symlink
                    | FileKind::CharacterDevice
                    | FileKind::BlockDevice
                    | FileKind::Unknown => {}
                }
                if survey.owner != Some((stat.uid, stat.gid)) {
                    survey.owner = None;
                }
                survey.one_device &= stat.device == top_stat.device;
                if stat.kind == FileKind::Directory {
                    survey.directories.push(Surveyed {
                        path: child,
                        parent: Some(at),
                        stat,
                        shadow: verdict.ignored,
                        visible: false,
                        hidden: Vec::new(),
                        pipes: Vec::new(),
                        hides: false,
                    });
                } else {
                    survey.directories[at].visible = true;
                }
            }
            at += 1;
        }
        survey.settle();
        Ok(survey)
    }

    /// From below: which directories are there for nothing, and what is hidden where.
    fn settle(&mut self) {
        for index in (0..self.directories.len()).rev() {
            let surveyed = &mut self.directories[index];
            surveyed.hides |= !surveyed.hidden.is_empty() || !surveyed.pipes.is_empty();
            let Some(parent) = surveyed.parent else {
                continue;
            };
            let gone = surveyed.shadow && !surveyed.visible;
            surveyed.visible = !gone;
            let hides = surveyed.hides;
            let name = surveyed.path.name().into();
            let above = &mut self.directories[parent];
            if gone {
                above.hidden.push(name);
                above.hides = true;
            } else {
                above.visible = true;
                above.hides |= hides;
            }
        }
    }

    fn hides(&self) -> bool {
        self.directories[0].hides
    }

    /// Writes a directory that hides, laid over the context, what is not to be seen.
    fn write_mask(&self, mask: &Path) -> Result<(), ViewError> {
        let top = self.directories[0].path.as_bytes();
        let prefix = if top.is_empty() { 0 } else { top.len() + 1 };
        let mut made: Vec<(PathBuf, &Surveyed)> = Vec::new();
        for (index, surveyed) in self.directories.iter().enumerate() {
            // What is in a directory that is hidden whole is hidden with it.
            let is_there = self.is_there(index);
            if index > 0 && (!surveyed.hides || !is_there) {
                continue;
            }
            let relative = surveyed.path.as_bytes().get(prefix..).unwrap_or_default();
            let path = if relative.is_empty() {
                mask.to_owned()
            } else {
                mask.join(OsStr::from_bytes(relative))
            };
            make(&path, 0o700)?;
            let directory = Dir::open(&path).map_err(|source| prepare(&path, source))?;
            for name in &surveyed.hidden {
                // Whiteouts are character devices 0:0, which everybody may make.
                let kind = rustix::fs::FileType::CharacterDevice;
                directory
                    .create_node(name, kind, 0, 0, 0)
                    .map_err(|source| prepare(&path, source))?;
            }
            for (name, mode) in &surveyed.pipes {
                directory
                    .create_node(name, rustix::fs::FileType::Fifo, *mode, 0, 0)
                    .and_then(|()| {
                        let pipe = path.join(OsStr::from_bytes(name));
                        fs::set_permissions(pipe, fs::Permissions::from_mode(*mode))
                    })
                    .map_err(|source| prepare(&path, source))?;
            }
            made.push((path, surveyed));
        }
        // A directory of the upper one is seen with its permissions and times.
        for (path, surveyed) in made.iter().rev() {
            let finish = || -> io::Result<()> {
                fs::set_permissions(path, fs::Permissions::from_mode(surveyed.stat.mode))?;
                let Ok(seconds) = u64::try_from(surveyed.stat.mtime) else {
                    return Ok(());
                };
                let since = Duration::new(seconds, surveyed.stat.mtime_nanoseconds);
                match SystemTime::UNIX_EPOCH.checked_add(since) {
                    Some(time) => {
                        File::open(path)?.set_times(fs::FileTimes::new().set_modified(time))
                    }
                    None => Ok(()),
                }
            };
            finish().map_err(|source| prepare(path, source))?;
        }
        Ok(())
    }

    fn is_there(&self, index: usize) -> bool {
        let mut at = Some(index);
        while let Some(index) = at {
            let surveyed = &self.directories[index];
            if surveyed.parent.is_some() && !surveyed.visible {
                return false;
            }
            at = surveyed.parent;
        }
        true
    }
}
