//! Writes a layer's entries below a directory in the form that overlayfs takes
//! for a lower directory: a whiteout is a character device 0:0, an opaque
//! directory has `user.overlay.opaque` (mounts are made with `userxattr`).
//!
//! Where an entry goes is decided by `merge`, and names no link; it is opened
//! with `openat2` beneath the root and through no link. So a link that the layer
//! or somebody else put in the way can make an unpack fail, and cannot make it
//! leave the root. Files are created where nothing is (`O_EXCL`), what was there
//! is removed first, and metadata is set through the descriptor of the thing
//! made.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::merge::{Effect, Merge};
use super::tree::{NodeId, ROOT};
use super::{EntryKind, EntryPath, Metadata, PlaceError, Tree};
use crate::dir::{self, Dir, FileKind, RemoveError};

/// The name of the attribute that makes a directory hide what is below it, for
/// mounts with `userxattr`.
pub const OPAQUE_XATTR: &[u8] = b"user.overlay.opaque";

/// Where a layer is unpacked, and how.
#[derive(Clone, Copy, Debug)]
pub struct UnpackTarget<'a> {
    /// An empty directory of ours, renamed into place by the caller later. It
    /// gets the metadata of the image's root.
    pub root: &'a Dir,
    /// The stack below the layer. Needed when the layer leaves out directories
    /// or hides things ([`super::LayerIndex::needs_lower`]); without it such
    /// directories are made 0755 and owned by root, and every whiteout is kept.
    pub lower: Option<&'a Tree>,
    /// Whose the files become on disk.
    pub ownership: Ownership,
}

/// Whether files on disk get their owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// As the layer says; an id that cannot be given is an error. Device nodes
    /// are made where the kernel allows them, which it does not in a user
    /// namespace: there they are in the index only.
    Apply,
    /// All files stay ours, device nodes and file capabilities are left out:
    /// the truth is in the index only. For user namespaces with one id.
    Record,
}

/// Why a layer was not written.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The kernel's word.
    #[error("cannot {action} `{path}` of the layer")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The entry.
        path: EntryPath,
        /// Why not.
        source: io::Error,
    },
    /// An id that the user namespace does not map.
    #[error(
        "`{path}` belongs to {uid}:{gid}, which this user namespace does not map: more subordinate ids are needed"
    )]
    Owner {
        /// The entry.
        path: EntryPath,
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A hard link to what is not in this layer, or is no file.
    #[error("`{path}` is a hard link to `{target}`, which is not a file of the same layer")]
    HardLink {
        /// The entry.
        path: EntryPath,
        /// What it names.
        target: EntryPath,
    },
    /// A device that overlayfs would take for a whiteout.
    #[error("`{0}` is the character device 0:0, which hides files instead of being one")]
    WhiteoutDevice(EntryPath),
    /// The root itself hides everything below, and what that is is not known.
    #[error("the layer hides all layers below it, which must be known to unpack it")]
    OpaqueRoot,
    /// What stood in the way cannot be removed.
    #[error("cannot make place for `{path}`")]
    Remove {
        /// The entry.
        path: EntryPath,
        /// Why not.
        source: RemoveError,
    },
    /// A place that cannot be found.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// An unpack under way.
pub(super) struct Unpack<'a> {
    root: &'a Dir,
    ownership: Ownership,
    /// Whose files are that we make and leave alone; `None` when the root has
    /// set-gid, so that files get its group.
    ours: Option<(u32, u32)>,
    /// Directories that are on disk, in the order in which they were made.
    made: HashSet<NodeId>,
    order: Vec<NodeId>,
    /// The directory of the last entry, which usually is that of the next.
    open: Option<(NodeId, Dir)>,
    root_is_hidden: bool,
}

/// A file whose content is being written.
pub(super) struct FileWriter {
    file: File,
    path: EntryPath,
    ownership: Ownership,
    ours: Option<(u32, u32)>,
    /// Ends in a hole that no write reached.
    position: u64,
    hole_at_end: bool,
}

impl<'a> Unpack<'a> {
    pub(super) fn new(target: UnpackTarget<'a>) -> Result<Self, UnpackError> {
        let root = target.root.stat_self().map_err(|source| UnpackError::Io {
            action: "look at",
            path: EntryPath::root(),
            source,
        })?;
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        Ok(Self {
            root: target.root,
            ownership: target.ownership,
            ours: (root.mode & 0o2000 == 0).then_some(own),
            made: HashSet::from([ROOT]),
            order: vec![ROOT],
            open: None,
            root_is_hidden: false,
        })
    }

    /// Does what `merge` decided about an entry; a file to be filled, if it is one.
    pub(super) fn apply(
        &mut self,
        merge: &mut Merge,
        effect: Effect,
        path: &EntryPath,
        kind: &EntryKind,
        metadata: &Metadata,
    ) -> Result<Option<FileWriter>, UnpackError> {
        match effect {
            Effect::Nothing => Ok(None),
            Effect::Directory(node) => self.directory(merge, node, path).map(|_| None),
            Effect::Opaque(ROOT) => self.hide_root(merge).map(|()| None),
            Effect::Opaque(node) => {
                let directory = self.directory(merge, node, path)?;
                hide_below(directory).map_err(io_error("make opaque", path))?;
                Ok(None)
            }
            Effect::Whiteout(parent) => self.whiteout(merge, parent, path).map(|()| None),
            Effect::Place(parent) => self.place(merge, parent, path, kind, metadata),
        }
    }

    /// Overlayfs asks only directories below a layer's root whether they are
    /// opaque, so the root's children are hidden one by one.
    fn hide_root(&mut self, merge: &Merge) -> Result<(), UnpackError> {
        if !merge.knows_lower() {
            return Err(UnpackError::OpaqueRoot);
        }
        if std::mem::replace(&mut self.root_is_hidden, true) {
            return Ok(());
        }
        let (removed, kept) = merge.lower_children(ROOT);
        for name in removed {
            let path = EntryPath::root()
                .join(&name)
                .map_err(|_| UnpackError::OpaqueRoot)?;
            self.whiteout(merge, ROOT, &path)?;
        }
        for node in kept {
            let path = merge.path(node);
            let directory = self.directory(merge, node, &path)?;
            hide_below(directory).map_err(io_error("make opaque", &path))?;
        }
        Ok(())
    }

    fn whiteout(
        &mut self,
        merge: &Merge,
        parent: NodeId,
        path: &EntryPath,
    ) -> Result<(), UnpackError> {
        let parent = self.directory(merge, parent, path)?;
        let name = path.name();
        replacing(parent, name, path, "hide", || {
            parent.create_node(name, FileType::CharacterDevice, 0, 0, 0)
        })
    }

    fn place(
        &mut self,
        merge: &mut Merge,
        parent: NodeId,
        path: &EntryPath,
        kind: &EntryKind,
        metadata: &Metadata,
    ) -> Result<Option<FileWriter>, UnpackError> {
        let name = path.name();
        match kind {
            EntryKind::File { .. } => {
                let (ownership, ours) = (self.ownership, self.ours);
                let parent = self.directory(merge, parent, path)?;
                let file = replacing(parent, name, path, "create", || {
                    parent.create_file(name, 0o600)
                })?;
                return Ok(Some(FileWriter {
                    file,
                    path: path.clone(),
                    ownership,
                    ours,
                    position: 0,
                    hole_at_end: false,
                }));
            }
            EntryKind::Symlink { target } => {
                let parent = self.directory(merge, parent, path)?;
                replacing(parent, name, path, "link", || parent.symlink(name, target))?;
                self.finish_special(path, metadata, false)?;
            }
            EntryKind::HardLink { target } => self.hard_link(merge, parent, path, target)?,
            EntryKind::CharacterDevice { major, minor } => {
                if (*major, *minor) == (0, 0) {
                    return Err(UnpackError::WhiteoutDevice(path.clone()));
                }
                let node = FileType::CharacterDevice;
                self.device(merge, parent, path, node, (*major, *minor), metadata)?;
            }
            EntryKind::BlockDevice { major, minor } => {
                let node = FileType::BlockDevice;
                self.device(merge, parent, path, node, (*major, *minor), metadata)?;
            }
            EntryKind::Fifo => {
                let parent = self.directory(merge, parent, path)?;
                replacing(parent, name, path, "make", || {
                    parent.create_node(name, FileType::Fifo, 0o600, 0, 0)
                })?;
                self.finish_special(path, metadata, true)?;
            }
            EntryKind::Directory | EntryKind::Whiteout | EntryKind::Opaque => {
                unreachable!("these are never placed like files")
            }
        }
        Ok(None)
    }

    fn device(
        &mut self,
        merge: &Merge,
        parent: NodeId,
        path: &EntryPath,
        node: FileType,
        (major, minor): (u32, u32),
        metadata: &Metadata,
    ) -> Result<(), UnpackError> {
        let name = path.name();
        let recorded = self.ownership == Ownership::Record;
        let parent = self.directory(merge, parent, path)?;
        if recorded {
            return clear(parent, name, path);
        }
        let made = replacing(parent, name, path, "make", || {
            match parent.create_node(name, node, 0o600, major, minor) {
                // A user namespace: the index has it.
                Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => Ok(false),
                other => other.map(|()| true),
            }
        })?;
        if made {
            self.finish_special(path, metadata, true)?;
        } else {
            clear(parent, name, path)?;
        }
        Ok(())
    }

    fn hard_link(
        &mut self,
        merge: &mut Merge,
        parent: NodeId,
        path: &EntryPath,
        target: &EntryPath,
    ) -> Result<(), UnpackError> {
        let missing = || UnpackError::HardLink {
            path: path.clone(),
            target: target.clone(),
        };
        let target_parent = merge
            .locate_parent(target)?
            .filter(|node| self.made.contains(node))
            .ok_or_else(missing)?;
        let from = self
            .root
            .open_dir(&merge.path_bytes(target_parent))
            .map_err(io_error("find the target of", path))?;
        // Only a file of this layer is on this disk; and a whiteout is none.
        match from.stat(target.name()) {
            Ok(stat)
                if stat.kind == FileKind::Directory
                    || (stat.kind == FileKind::CharacterDevice
                        && (stat.major, stat.minor) == (0, 0)) =>
            {
                return Err(missing());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(source) => return Err(io_error("find the target of", path)(source)),
        }
        if target_parent == parent && target.name() == path.name() {
            return Err(missing());
        }
        let to = self.directory(merge, parent, path)?;
        replacing(to, path.name(), path, "link", || {
            from.hard_link(target.name(), to, path.name())
        })
    }

    /// Owner, mode and time of what cannot be opened. The name was made by us in
    /// the directory that is open; whatever stands there now is not followed.
    fn finish_special(
        &self,
        path: &EntryPath,
        metadata: &Metadata,
        has_mode: bool,
    ) -> Result<(), UnpackError> {
        let Some((_, parent)) = &self.open else {
            unreachable!("the directory of an entry just made is open");
        };
        let name = path.name();
        if self.must_chown(metadata) {
            parent
                .set_owner(name, metadata.uid, metadata.gid)
                .map_err(|error| owner_error(error, path, metadata))?;
        }
        if has_mode {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let set = || -> Result<(), Errno> {
                let named = rustix::fs::openat(parent, name, flags, Mode::empty())?;
                let kind = FileType::from_raw_mode(rustix::fs::fstat(&named)?.st_mode);
                if kind == FileType::Symlink {
                    // Somebody else put it there; its target is none of ours.
                    return Err(Errno::LOOP);
                }
                dir::set_mode_of_named(std::os::fd::AsFd::as_fd(&named), metadata.mode)
            };
            set().map_err(|errno| io_error("set the mode of", path)(errno.into()))?;
        }
        parent
            .set_time(name, metadata.mtime)
            .map_err(io_error("set the time of", path))
    }

    fn must_chown(&self, metadata: &Metadata) -> bool {
        self.ownership == Ownership::Apply && self.ours != Some((metadata.uid, metadata.gid))
    }

    /// The open directory of `node`, made on disk with all above it where it is
    /// not there yet.
    fn directory(
        &mut self,
        merge: &Merge,
        node: NodeId,
        entry: &EntryPath,
    ) -> Result<&Dir, UnpackError> {
        let is_open = matches!(&self.open, Some((open, _)) if *open == node);
        if !is_open {
            let mut chain = Vec::new();
            let mut at = node;
            while !self.made.contains(&at) {
                chain.push(at);
                at = merge.parent(at);
            }
            let mut directory = match &self.open {
                // The usual case: the last entry's directory gets a child.
                Some((open, directory)) if *open == at => directory.try_clone(),
                Some(_) | None => self.root.open_dir(&merge.path_bytes(at)),
            }
            .map_err(io_error("open the directory of", entry))?;
            for made in chain.into_iter().rev() {
                directory = make(&directory, merge.name(made), entry)?;
                self.made.insert(made);
                self.order.push(made);
            }
            self.open = Some((node, directory));
        }
        let (_, directory) = self.open.as_ref().expect("opened above");
        Ok(directory)
    }

    /// Gives directories their metadata, deepest first: files made in them would
    /// have changed their times, and their modes might have kept us out.
    pub(super) fn finish(mut self, merge: &Merge) -> Result<(), UnpackError> {
        self.open = None;
        let mut directories: Vec<(usize, Vec<u8>, NodeId)> = Vec::new();
        for node in std::mem::take(&mut self.order) {
            let path = merge.path_bytes(node);
            if merge.is_reachable(node) {
                let depth = path.iter().filter(|byte| **byte == b'/').count();
                directories.push((depth + usize::from(!path.is_empty()), path, node));
            } else {
                self.discard(merge, node)?;
            }
        }
        directories.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let implicit = Metadata::root_owned(0o755, 0);
        for (_, path, node) in directories {
            let metadata = merge.metadata(node).unwrap_or(&implicit);
            self.finish_directory(&path, merge.path(node), metadata)?;
        }
        Ok(())
    }

    /// Removes a directory that was made to hold whiteouts only, when all of it
    /// turned out to be hidden later.
    fn discard(&self, merge: &Merge, node: NodeId) -> Result<(), UnpackError> {
        let parent = merge.parent(node);
        if !merge.is_reachable(parent) || merge.is_child(parent, merge.name(node)) {
            return Ok(());
        }
        let path = merge.path(node);
        let directory = match self.root.open_dir(&merge.path_bytes(parent)) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(io_error("open the directory of", &path)(source)),
        };
        // A whiteout may stand there by now, and must.
        match directory.stat(merge.name(node)) {
            Ok(stat) if stat.kind == FileKind::Directory => directory
                .remove_tree(merge.name(node))
                .map_err(|source| UnpackError::Remove { path, source }),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn finish_directory(
        &self,
        path: &[u8],
        shown: EntryPath,
        metadata: &Metadata,
    ) -> Result<(), UnpackError> {
        let directory = self.root.open_dir(path).map_err(io_error("open", &shown))?;
        finish(
            &directory,
            &shown,
            metadata,
            self.ownership,
            self.must_chown(metadata),
        )
    }
}

impl FileWriter {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        self.file
            .write_all(bytes)
            .map_err(io_error("write", &self.path))?;
        self.position += bytes.len() as u64;
        self.hole_at_end = false;
        Ok(())
    }

    pub(super) fn skip(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.position += bytes;
        self.hole_at_end = true;
        self.file
            .seek(SeekFrom::Start(self.position))
            .map_err(io_error("write", &self.path))?;
        Ok(())
    }

    pub(super) fn finish(self, metadata: &Metadata) -> Result<(), UnpackError> {
        if self.hole_at_end {
            self.file
                .set_len(self.position)
                .map_err(io_error("write", &self.path))?;
        }
        let must_chown =
            self.ownership == Ownership::Apply && self.ours != Some((metadata.uid, metadata.gid));
        finish(&self.file, &self.path, metadata, self.ownership, must_chown)
    }
}

/// Owner, attributes, mode and time by descriptor. In this order: chown drops
/// set-uid and capabilities, a mode without write would forbid attributes.
fn finish(
    file: impl std::os::fd::AsFd,
    path: &EntryPath,
    metadata: &Metadata,
    ownership: Ownership,
    must_chown: bool,
) -> Result<(), UnpackError> {
    if must_chown {
        let owner = Some(Uid::from_raw(metadata.uid));
        let group = Some(Gid::from_raw(metadata.gid));
        rustix::fs::fchown(&file, owner, group)
            .map_err(|errno| owner_error(errno.into(), path, metadata))?;
    }
    for (name, value) in &metadata.xattrs {
        if ownership == Ownership::Record && !name.starts_with(b"user.") {
            continue;
        }
        dir::set_xattr(&file, name, value)
            .map_err(io_error("set the extended attributes of", path))?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(metadata.mode))
        .map_err(|errno| io_error("set the mode of", path)(errno.into()))?;
    rustix::fs::futimens(&file, &dir::both_times(metadata.mtime))
        .map_err(|errno| io_error("set the time of", path)(errno.into()))
}

/// Makes a directory that only we can enter until it is finished. Where it takes
/// the place of something, that something hid what the layers below have there,
/// and so must the directory.
fn make(parent: &Dir, name: &[u8], entry: &EntryPath) -> Result<Dir, UnpackError> {
    let failed = io_error("make the directory of", entry);
    let mut replaced = false;
    match parent.create_dir(name, 0o700) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            clear(parent, name, entry)?;
            parent.create_dir(name, 0o700).map_err(&failed)?;
            replaced = true;
        }
        other => other.map_err(&failed)?,
    }
    let made = parent.open_dir(name).map_err(&failed)?;
    if replaced {
        hide_below(&made).map_err(&failed)?;
    }
    Ok(made)
}

fn hide_below(directory: &Dir) -> io::Result<()> {
    dir::set_xattr(directory, OPAQUE_XATTR, b"y")
}

/// Makes something under a name, after removing what is there.
fn replacing<T>(
    parent: &Dir,
    name: &[u8],
    path: &EntryPath,
    action: &'static str,
    make: impl Fn() -> io::Result<T>,
) -> Result<T, UnpackError> {
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            clear(parent, name, path)?;
            make().map_err(io_error(action, path))
        }
        other => other.map_err(io_error(action, path)),
    }
}

fn clear(parent: &Dir, name: &[u8], path: &EntryPath) -> Result<(), UnpackError> {
    parent
        .remove_tree(name)
        .map_err(|source| UnpackError::Remove {
            path: path.clone(),
            source,
        })
}

fn io_error(action: &'static str, path: &EntryPath) -> impl Fn(io::Error) -> UnpackError {
    move |source| UnpackError::Io {
        action,
        path: path.clone(),
        source,
    }
}

fn owner_error(error: io::Error, path: &EntryPath, metadata: &Metadata) -> UnpackError {
    if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) {
        return UnpackError::Owner {
            path: path.clone(),
            uid: metadata.uid,
            gid: metadata.gid,
        };
    }
    io_error("set the owner of", path)(error)
}
