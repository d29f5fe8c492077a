//! What must be opened with the caller's rights, before the supervisor gives them up: the
//! directories of the root, device nodes, and the sources of bind mounts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, major, minor, openat};
use rustix::mount::MountAttrFlags;

use crate::emulator;
use crate::failure::{Doing, Failure};
use crate::process::{MountSource, Process};
use crate::sys::{MountAttributes, set_mount_attributes};

use super::attach::clone_mount;

/// The devices that every program may count on, with their numbers (Linux `devices.txt`).
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Detached mounts, ready to be attached in another mount namespace.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The lower directories, the lowest first.
    pub(super) lowers: Vec<OwnedFd>,
    /// The directory that holds upper and work: overlayfs wants both on one mount.
    pub(super) disk: OwnedFd,
    /// Name and node of each device.
    pub(super) devices: Vec<(&'static str, OwnedFd)>,
    /// One for each bind mount, in the order of the mounts.
    pub(super) binds: Vec<OwnedFd>,
    /// What runs programs of another processor.
    pub(crate) emulator: Option<OwnedFd>,
}

impl Sources {
    /// Opens all of them; with `id_map`, owners are seen through that user namespace.
    pub(crate) fn open(
        process: &Process,
        binds: &[OwnedFd],
        id_map: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Failure> {
        let lowers = process
            .root
            .lowers
            .iter()
            .map(|path| directory(path, id_map));
        let lowers = lowers.collect::<Result<_, _>>()?;
        let disk = directory(disk_path(process)?, id_map)?;
        let devices = DEVICES.iter().map(|&(name, major, minor)| {
            let node = device(name, major, minor).doing(|| format!("open /dev/{name}"))?;
            Ok((name, node))
        });
        let devices = devices.collect::<Result<_, Failure>>()?;
        let mounts = process
            .mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Bind { source } => Some((mount, source)),
                MountSource::Tmpfs { .. } | MountSource::File { .. } => None,
            });
        let binds = mounts.zip(binds).map(|((mount, source), opened)| {
            let mut set = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            if mount.read_only {
                set |= MountAttrFlags::MOUNT_ATTR_RDONLY;
            }
            if !mount.executable {
                set |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
            }
            let open = || {
                let clone = clone_mount(opened, "", false)?;
                let change = MountAttributes {
                    set,
                    id_map,
                    recursive: false,
                };
                set_mount_attributes(&clone, change)?;
                Ok::<_, io::Error>(clone)
            };
            open().doing(|| format!("make a mount of {}", source.display()))
        });
        let binds = binds.collect::<Result<_, _>>()?;
        Ok(Self {
            lowers,
            disk,
            devices,
            binds,
            emulator: emulator::open(process)?,
        })
    }
}

/// The directory that holds upper and work.
pub(crate) fn disk_path(process: &Process) -> Result<&Path, Failure> {
    match (process.root.upper.parent(), process.root.work.parent()) {
        (Some(one), Some(other)) if one == other => Ok(one),
        (Some(_) | None, Some(_) | None) => Err(Failure::Invalid {
            reason: "the upper and the work directory are not in the same directory".to_owned(),
        }),
    }
}

fn directory(path: &Path, id_map: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Failure> {
    let clone =
        clone_mount(CWD, path, false).doing(|| format!("make a mount of {}", path.display()))?;
    if let Some(namespace) = id_map {
        let change = MountAttributes {
            set: MountAttrFlags::empty(),
            id_map: Some(namespace),
            recursive: false,
        };
        set_mount_attributes(&clone, change).doing(|| {
            format!(
                "map the owners of files in {} (id-mapped mount)",
                path.display()
            )
        })?;
    }
    Ok(clone)
}

/// A device of the host, checked to be what its name says (CVE-2025-31133), as a mount.
fn device(name: &str, number: u32, kind: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = openat(CWD, format!("/dev/{name}"), flags, Mode::empty())?;
    let status = fstat(&node)?;
    let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
    if !is_device || (major(status.st_rdev), minor(status.st_rdev)) != (number, kind) {
        return Err(io::Error::other("it is not the device of that name"));
    }
    clone_mount(node.as_fd(), "", false)
}
