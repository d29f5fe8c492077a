//! What must be opened with the caller's rights, before the supervisor gives them up: the
//! directories of the root, device nodes, and the sources of bind mounts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, major, minor, openat};
use rustix::mount::MountAttrFlags;

use crate::emulator;
use crate::failure::{Doing, Failure};
use crate::process::{Changes, IdMapping, Mount, MountSource, Owners, Process};
use crate::sys::{MountAttributes, set_mount_attributes};
use crate::user_namespace;

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
    /// The base and the lower directories, the lowest first.
    pub(super) lowers: Vec<OwnedFd>,
    /// The directory that holds upper and work: overlayfs wants both on one mount.
    pub(super) disk: OwnedFd,
    /// Name and node of each device.
    pub(super) devices: Vec<(&'static str, OwnedFd)>,
    /// What runs programs of another processor.
    pub(crate) emulator: Option<OwnedFd>,
    /// One for each additional mount, in their order.
    pub(super) additional: Vec<Additional>,
}

/// What had to be opened for an additional mount.
#[derive(Debug)]
pub(super) enum Additional {
    /// It is made of nothing.
    Nothing,
    /// What is bound.
    Bind(OwnedFd),
    /// The directories of a stack, and the one that holds its upper and work directories.
    Stack {
        layers: Vec<OwnedFd>,
        disk: Option<OwnedFd>,
    },
}

impl Sources {
    /// Opens all of them; with `id_map`, owners are seen through that user namespace.
    pub(crate) fn open(
        process: &Process,
        opened: Vec<OwnedFd>,
        id_map: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Failure> {
        let mut opened = opened.into_iter();
        let mut lowers = Vec::with_capacity(process.root.lowers.len() + 1);
        if process.root.base.is_some() {
            lowers.push(opened.next().ok_or_else(|| Failure::Invalid {
                reason: "the base of the root did not arrive".to_owned(),
            })?);
        }
        for path in &process.root.lowers {
            lowers.push(directory(path, id_map)?);
        }
        let disk = directory(disk_path(process)?, id_map)?;
        let devices = DEVICES.iter().map(|&(name, major, minor)| {
            let node = device(name, major, minor).doing(|| format!("open /dev/{name}"))?;
            Ok((name, node))
        });
        let devices = devices.collect::<Result<_, Failure>>()?;
        let mut maps = OwnerMaps::new(process.ids, id_map);
        let mut additional = Vec::with_capacity(process.mounts.len());
        for mount in &process.mounts {
            additional.push(match &mount.source {
                MountSource::Bind { source, owners } => {
                    let opened = opened.next().ok_or_else(|| Failure::Invalid {
                        reason: "fewer bind sources than bind mounts arrived".to_owned(),
                    })?;
                    let id_map = maps.of(*owners)?;
                    let bind = bind(&opened, mount, id_map)
                        .doing(|| format!("make a mount of {}", source.display()))?;
                    Additional::Bind(bind)
                }
                MountSource::Stack {
                    layers, changes, ..
                } => {
                    let mut stacked = Vec::with_capacity(layers.len());
                    for layer in layers {
                        stacked.push(directory(&layer.directory, maps.of(layer.owners)?)?);
                    }
                    let disk = match changes {
                        Some(Changes { upper, work }) => {
                            Some(directory(common_parent(upper, work)?, id_map)?)
                        }
                        None => None,
                    };
                    Additional::Stack {
                        layers: stacked,
                        disk,
                    }
                }
                MountSource::Tmpfs { .. } | MountSource::File { .. } => Additional::Nothing,
            });
        }
        Ok(Self {
            lowers,
            disk,
            devices,
            emulator: emulator::open(process)?,
            additional,
        })
    }
}

/// The user namespaces that owners are seen through, made when they are needed first.
struct OwnerMaps<'n> {
    ids: IdMapping,
    usual: Option<BorrowedFd<'n>>,
    made: Vec<(Owners, OwnedFd)>,
}

impl<'n> OwnerMaps<'n> {
    fn new(ids: IdMapping, usual: Option<BorrowedFd<'n>>) -> Self {
        Self {
            ids,
            usual,
            made: Vec::new(),
        }
    }

    fn of(&mut self, owners: Owners) -> Result<Option<BorrowedFd<'_>>, Failure> {
        let (uid, gid) = match owners {
            Owners::AsOnDisk => return Ok(self.usual),
            Owners::Root { uid, gid } => (uid, gid),
        };
        let known = self.made.iter().position(|(known, _)| *known == owners);
        let place = match known {
            Some(place) => place,
            None => {
                let namespace = user_namespace::create_for_root(self.ids, uid, gid)?;
                self.made.push((owners, namespace));
                self.made.len() - 1
            }
        };
        Ok(Some(self.made[place].1.as_fd()))
    }
}

fn bind(opened: &OwnedFd, mount: &Mount, id_map: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let mut set = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    if mount.read_only {
        set |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    if !mount.executable {
        set |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    let clone = clone_mount(opened, "", false)?;
    let change = MountAttributes {
        set,
        id_map,
        recursive: false,
    };
    set_mount_attributes(&clone, change)?;
    Ok(clone)
}

/// The directory that holds upper and work.
pub(crate) fn disk_path(process: &Process) -> Result<&Path, Failure> {
    common_parent(&process.root.upper, &process.root.work)
}

fn common_parent<'p>(upper: &'p Path, work: &'p Path) -> Result<&'p Path, Failure> {
    match (upper.parent(), work.parent()) {
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

/// File systems whose owners can be mapped, by their magic numbers (statfs(2)): ext4, xfs, btrfs,
/// and f2fs.
const MAPPABLE: [i128; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];

/// tmpfs, whose owners can be mapped since Linux 6.3.
const TMPFS: i128 = 0x0102_1994;
const TMPFS_SINCE: (u32, u32) = (6, 3);

/// Whether owners in this directory can be seen differently inside, which
/// [`IdMapping::Reserved`](crate::IdMapping) takes. Others can only be copied from.
pub fn can_map_owners(directory: impl AsFd) -> bool {
    let Ok(status) = rustix::fs::fstatfs(directory) else {
        return false;
    };
    let kind = i128::from(status.f_type);
    let release = rustix::system::uname();
    MAPPABLE.contains(&kind)
        || (kind == TMPFS && version(&release.release().to_string_lossy()) >= TMPFS_SINCE)
}

/// The first two numbers of a kernel's release, as in `6.1.0-13-amd64`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn releases_have_versions() {
        for (release, expected) in [
            ("6.1.0-13-amd64", (6, 1)),
            ("6.18.44-fc-v657", (6, 18)),
            ("5.15", (5, 15)),
            ("7-rc1", (7, 0)),
            ("", (0, 0)),
            ("99999999999.1", (0, 1)),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }
}
