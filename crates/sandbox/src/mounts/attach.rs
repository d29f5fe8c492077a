//! The three moves of the mount interface by descriptors: make, change, attach. No mount is ever
//! attached to a path that somebody else could have exchanged.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::sys::{MountAttributes, set_mount_attributes};

/// No set-user-id, no devices, no programs: for everything that only holds data.
pub(crate) const DATA_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// One option of a file system.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FsOption<'a> {
    Flag(&'a str),
    Text(&'a str, &'a str),
    Path(&'a str, &'a Path),
}

/// A new file system, not yet attached anywhere.
pub(crate) fn new_file_system(
    kind: &str,
    options: &[FsOption<'_>],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in options {
        match option {
            FsOption::Flag(name) => fsconfig_set_flag(&context, *name)?,
            FsOption::Text(name, value) => fsconfig_set_string(&context, *name, *value)?,
            FsOption::Path(name, value) => fsconfig_set_string(&context, *name, *value)?,
        }
    }
    fsconfig_create(&context)?;
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// A second mount of what `path` is below `directory` (an empty path: of `directory` itself), not
/// yet attached anywhere.
pub(crate) fn clone_mount(
    directory: impl AsFd,
    path: impl rustix::path::Arg,
    recursive: bool,
) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_NO_AUTOMOUNT;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(directory, path, flags)?)
}

/// Adds attributes to a mount.
pub(crate) fn restrict(mount: impl AsFd, set: MountAttrFlags, recursive: bool) -> io::Result<()> {
    set_mount_attributes(
        mount,
        MountAttributes {
            set,
            id_map: None,
            recursive,
        },
    )
}

/// Attaches a mount on the very file or directory that `target` is open on.
pub(crate) fn attach(mount: impl AsFd, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// Attaches a mount on the current directory.
pub(crate) fn attach_here(mount: impl AsFd) -> io::Result<()> {
    attach(mount, CWD)
}
