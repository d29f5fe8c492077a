//! Turns the upper directory of an overlay into a layer: what changed, and
//! nothing else. Knows overlayfs' marks; mounts nothing.
//!
//! | in `upper` | in the layer |
//! |---|---|
//! | character device 0:0 | a whiteout, if `lower` has the path |
//! | `user.overlay.opaque=y`, and all below it | whiteouts of what `lower` has there and `upper` has not |
//! | other `user.overlay.*`, and every attribute but `security.capability` | nothing |
//! | `security.capability` of version 3 | version 2, which does not say whose user namespace it was |
//! | a directory like that of `lower`, with no change below | nothing |
//! | a socket | nothing, or a whiteout of what it hides |
//! | the root | nothing |

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{
    Entry, EntryKind, EntryPath, Layer, LayerError, LayerWriter, Metadata, Node, PathError, Tree,
};
use crate::dir::{Dir, FileKind, Stat};

/// How an upper directory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// The latest time that a file may have, in seconds since 1970: later ones
    /// become this, in the layer and in `upper`.
    pub epoch: i64,
}

/// Why an upper directory could not be made a layer.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The upper directory could not be read, or a time in it not be set.
    #[error("could not {action} `{path}`, which the step changed")]
    Read {
        /// A verb behind "could not".
        action: &'static str,
        /// The path as the step saw it.
        path: EntryPath,
        /// Why.
        source: io::Error,
    },
    /// A path too long for a layer.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A directory that was renamed with a mount option that must be off.
    #[error(
        "the overlay recorded a rename of `{0}`: it was mounted with `redirect_dir`, which cannot be captured"
    )]
    Redirect(EntryPath),
    /// The layer could not be written.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// Writes what changed: `upper` is the upper directory of an overlay that was
/// mounted with `userxattr` over `lower`, and that nobody changes any more.
/// Afterwards `upper` is what unpacking the layer would give, and can be kept
/// as that.
///
/// # Errors
///
/// [`CaptureError`], naming the file.
pub fn capture(
    upper: &Dir,
    lower: &Tree,
    writer: LayerWriter,
    options: CaptureOptions,
) -> Result<Layer, CaptureError> {
    let mut capture = Capture {
        writer,
        epoch: options.epoch,
        unwritten: Vec::new(),
        links: HashMap::new(),
    };
    capture.directory(upper, &EntryPath::root(), Some(lower.root()), false)?;
    Ok(capture.writer.finish()?)
}

struct Capture {
    writer: LayerWriter,
    epoch: i64,
    /// The directories above the current path that are written only if
    /// something below them is.
    unwritten: Vec<Entry>,
    /// The first name in the layer of each file that has several, and its
    /// attributes.
    links: HashMap<(u64, u64), (EntryPath, Attributes)>,
}

impl Capture {
    /// What is in one directory. `lower` is the directory of that path below;
    /// `opaque` when nothing of it shines through.
    fn directory(
        &mut self,
        dir: &Dir,
        path: &EntryPath,
        lower: Option<Node<'_>>,
        opaque: bool,
    ) -> Result<(), CaptureError> {
        let at = |action| {
            let path = path.clone();
            move |source| CaptureError::Read {
                action,
                path,
                source,
            }
        };
        let listed = dir.read_dir().map_err(at("list"))?;
        let mut names: BTreeSet<&[u8]> = listed.iter().map(|item| item.name.to_bytes()).collect();
        let there = names.clone();
        if opaque && let Some(lower) = lower {
            names.extend(lower.children().map(Node::name));
        }
        for name in names {
            let path = path.join(name)?;
            let below = lower.and_then(|lower| lower.child(name));
            if there.contains(name) {
                self.item(dir, name, path, below, opaque)?;
            } else {
                self.whiteout(path)?;
            }
        }
        Ok(())
    }

    fn item(
        &mut self,
        dir: &Dir,
        name: &[u8],
        path: EntryPath,
        below: Option<Node<'_>>,
        opaque: bool,
    ) -> Result<(), CaptureError> {
        let failed = |action, source: io::Error| CaptureError::Read {
            action,
            path: path.clone(),
            source,
        };
        let stat = dir.stat(name).map_err(|error| failed("read", error))?;
        let metadata = Metadata {
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            mtime: stat.mtime.min(self.epoch),
            xattrs: std::collections::BTreeMap::new(),
        };
        let kind = match stat.kind {
            FileKind::Directory => {
                return self.subdirectory(dir, name, path, &stat, metadata, below, opaque);
            }
            FileKind::File => return self.file(dir, name, path, &stat, metadata),
            FileKind::CharacterDevice if (stat.major, stat.minor) == (0, 0) => {
                return match below {
                    Some(_) => self.whiteout(path),
                    None => Ok(()),
                };
            }
            FileKind::Socket | FileKind::Unknown => {
                // Without a whiteout the layer would bring back what it hides.
                return match below {
                    Some(_) => self.whiteout(path),
                    None => Ok(()),
                };
            }
            FileKind::Symlink => EntryKind::Symlink {
                target: dir
                    .read_link(name)
                    .map_err(|error| failed("read the link", error))?,
            },
            FileKind::CharacterDevice => EntryKind::CharacterDevice {
                major: stat.major,
                minor: stat.minor,
            },
            FileKind::BlockDevice => EntryKind::BlockDevice {
                major: stat.major,
                minor: stat.minor,
            },
            FileKind::Fifo => EntryKind::Fifo,
        };
        self.clamp(dir, name, &path, &stat)?;
        self.write_directories()?;
        Ok(self.writer.add(Entry {
            path,
            kind,
            metadata,
        })?)
    }

    fn subdirectory(
        &mut self,
        parent: &Dir,
        name: &[u8],
        path: EntryPath,
        stat: &Stat,
        metadata: Metadata,
        below: Option<Node<'_>>,
        inside_opaque: bool,
    ) -> Result<(), CaptureError> {
        let failed = |action, source: io::Error| CaptureError::Read {
            action,
            path: path.clone(),
            source,
        };
        let dir = parent
            .open_dir_same_mount(name)
            .map_err(|error| failed("open", error))?;
        let mark = |name| attribute(&dir, name).map_err(|error| failed("read", error));
        if mark(REDIRECT)?.is_some() {
            return Err(CaptureError::Redirect(path));
        }
        let opaque = inside_opaque || mark(OPAQUE)?.as_deref() == Some(b"y");
        let lower = below.filter(|below| *below.kind() == EntryKind::Directory);
        let entry = Entry {
            path: path.clone(),
            kind: EntryKind::Directory,
            metadata,
        };
        // A directory that was only copied up has the time that it had, which may be a later one
        // than the layer would say.
        let as_it_is = Metadata {
            mtime: stat.mtime,
            ..entry.metadata.clone()
        };
        let changed = lower
            .map(Node::metadata)
            .is_none_or(|lower| differs(&entry.metadata, lower) && differs(&as_it_is, lower));
        if changed {
            self.write_directories()?;
            self.writer.add(entry)?;
        } else {
            self.unwritten.push(entry);
        }
        let waiting = self.unwritten.len();
        self.directory(&dir, &path, lower, opaque)?;
        if !changed && self.unwritten.len() == waiting {
            self.unwritten.pop();
            // Without an entry, unpacking gives it the time that it has below.
            let mtime = lower.map_or(stat.mtime, |lower| lower.metadata().mtime);
            return self.set_time(parent, name, &path, stat, mtime);
        }
        self.clamp(parent, name, &path, stat)
    }

    fn file(
        &mut self,
        dir: &Dir,
        name: &[u8],
        path: EntryPath,
        stat: &Stat,
        mut metadata: Metadata,
    ) -> Result<(), CaptureError> {
        if stat.links > 1 {
            let inode = (stat.device, stat.inode);
            if let Some((target, attributes)) = self.links.get(&inode) {
                let kind = EntryKind::HardLink {
                    target: target.clone(),
                };
                // The header of a link says of its file what the first said.
                metadata.xattrs = attributes.clone();
                self.write_directories()?;
                return Ok(self.writer.add(Entry {
                    path,
                    kind,
                    metadata,
                })?);
            }
        }
        let mut file = open(dir, name, stat).map_err(|source| CaptureError::Read {
            action: "open",
            path: path.clone(),
            source,
        })?;
        metadata.xattrs = capability(&file, &path)?;
        if stat.links > 1 {
            let first = (path.clone(), metadata.xattrs.clone());
            self.links.insert((stat.device, stat.inode), first);
        }
        self.write_directories()?;
        self.writer
            .add_file(path.clone(), metadata, stat.size, None, &mut file)?;
        self.clamp(dir, name, &path, stat)
    }

    fn whiteout(&mut self, path: EntryPath) -> Result<(), CaptureError> {
        self.write_directories()?;
        Ok(self.writer.add(Entry {
            path,
            kind: EntryKind::Whiteout,
            metadata: Metadata::root_owned(0, 0),
        })?)
    }

    /// Something below the waiting directories is written, so they are.
    fn write_directories(&mut self) -> Result<(), CaptureError> {
        for entry in self.unwritten.drain(..) {
            self.writer.add(entry)?;
        }
        Ok(())
    }

    /// Gives the file in `upper` the time that it has in the layer, in whole
    /// seconds, as unpacking would.
    fn clamp(
        &self,
        dir: &Dir,
        name: &[u8],
        path: &EntryPath,
        stat: &Stat,
    ) -> Result<(), CaptureError> {
        self.set_time(dir, name, path, stat, stat.mtime.min(self.epoch))
    }

    fn set_time(
        &self,
        dir: &Dir,
        name: &[u8],
        path: &EntryPath,
        stat: &Stat,
        mtime: i64,
    ) -> Result<(), CaptureError> {
        if mtime == stat.mtime && stat.mtime_nanoseconds == 0 {
            return Ok(());
        }
        dir.set_time(name, mtime)
            .map_err(|source| CaptureError::Read {
                action: "set the time of",
                path: path.clone(),
                source,
            })
    }
}

type Attributes = std::collections::BTreeMap<Box<[u8]>, Box<[u8]>>;

const OPAQUE: &str = "user.overlay.opaque";
const REDIRECT: &str = "user.overlay.redirect";
const CAPABILITY: &str = "security.capability";

/// Whether a directory is worth an entry of its own. Attributes are left out of
/// the comparison: the layer would have none of those that `lower` may have.
fn differs(upper: &Metadata, lower: &Metadata) -> bool {
    let Metadata {
        mode,
        uid,
        gid,
        mtime,
        xattrs: _,
    } = upper;
    (*mode, *uid, *gid, *mtime) != (lower.mode, lower.uid, lower.gid, lower.mtime)
}

/// Opens the regular file that `stat` is of, without waiting for what may have
/// taken its place.
fn open(dir: &Dir, name: &[u8], stat: &Stat) -> io::Result<File> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let opened = Stat::from(rustix::fs::fstat(&file)?);
    if (opened.device, opened.inode, opened.kind) != (stat.device, stat.inode, stat.kind) {
        return Err(io::Error::other("another file took its place"));
    }
    Ok(file.into())
}

/// The file capabilities in the form that all users of a layer understand.
fn capability(file: &File, path: &EntryPath) -> Result<Attributes, CaptureError> {
    let value = attribute(file, CAPABILITY).map_err(|source| CaptureError::Read {
        action: "read the capabilities of",
        path: path.clone(),
        source,
    })?;
    Ok(value
        .map(|value| (CAPABILITY.as_bytes().into(), normal_capability(&value)))
        .into_iter()
        .collect())
}

/// `struct vfs_ns_cap_data` (version 3, 24 bytes, with the id of the root of a
/// user namespace at the end) as `struct vfs_cap_data` (version 2, 20 bytes).
/// Everything else as it is.
fn normal_capability(value: &[u8]) -> Box<[u8]> {
    const VERSION_3: u8 = 3;
    const VERSION_2: u8 = 2;
    const BYTES_3: usize = 24;
    const BYTES_2: usize = 20;
    // Little-endian: the version is the highest byte of the first word.
    if value.len() == BYTES_3 && value[3] == VERSION_3 {
        let mut normal: Box<[u8]> = value[..BYTES_2].into();
        normal[3] = VERSION_2;
        return normal;
    }
    value.into()
}

/// One extended attribute; `None` where it is not set or cannot be.
fn attribute(file: impl AsFd, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = [0u8; 256];
    match rustix::fs::fgetxattr(file, name, &mut value[..]) {
        Ok(size) => Ok(Some(value[..size].to_vec())),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
