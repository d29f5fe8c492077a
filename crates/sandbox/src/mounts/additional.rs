//! The mounts that the caller asked for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, fstat};
use rustix::mount::MountAttrFlags;

use crate::failure::{Doing, Failure};
use crate::process::{Mount, MountSource};

use super::attach::{FsOption, attach, clone_mount, new_file_system, restrict};
use super::injected::Injected;
use super::overlay::{place, stack};
use super::sources::Additional;
use super::target::{TargetKind, Targets, open_beneath};

/// Makes them in their order.
pub(crate) fn mount_additional(
    mounts: &[Mount],
    opened: Vec<Additional>,
    bench: &OwnedFd,
    injected: &Injected,
    targets: &mut Targets,
) -> Result<(), Failure> {
    for (number, (mount, opened)) in mounts.iter().zip(opened).enumerate() {
        let doing = || format!("mount {}", mount.target.display());
        let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        if mount.read_only {
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        if !mount.executable {
            attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
        }
        let source = match (&mount.source, opened) {
            // Its attributes were set when it was opened.
            (MountSource::Bind { .. }, Additional::Bind(bind)) => bind,
            (MountSource::Stack { changes, path, .. }, Additional::Stack { layers, disk }) => {
                let prefix = format!("mount-{number}-");
                let changes = changes.as_ref().zip(disk.as_ref());
                let changes = changes
                    .map(|(changes, disk)| (disk, changes.upper.as_path(), changes.work.as_path()));
                let whole = stack(bench, &prefix, &layers, changes)?;
                place(bench, &prefix, &whole)?;
                let shown = shown(whole, path).doing(doing)?;
                restrict(&shown, attributes, false).doing(doing)?;
                shown
            }
            (MountSource::Bind { .. } | MountSource::Stack { .. }, _) => {
                return Err(Failure::Invalid {
                    reason: "what was opened for a mount is not what it shows".to_owned(),
                });
            }
            (MountSource::Tmpfs { bytes_max, mode }, _) => {
                let mode = format!("{mode:o}");
                let size = bytes_max.map(|bytes| bytes.to_string());
                let mut options = vec![FsOption::Text("mode", &mode)];
                options.extend(size.as_deref().map(|size| FsOption::Text("size", size)));
                new_file_system("tmpfs", &options, attributes).doing(doing)?
            }
            (
                MountSource::File {
                    content,
                    mode,
                    uid,
                    gid,
                },
                _,
            ) => {
                let file = match injected.owned_file(content, *mode, *uid, *gid) {
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                        return Err(Failure::MountPoint {
                            path: mount.target.display().to_string(),
                            reason: format!(
                                "its owner {uid}:{gid} is not among the users and groups that \
                                 there are inside"
                            ),
                        });
                    }
                    made => made.doing(doing)?,
                };
                restrict(&file, attributes, false).doing(doing)?;
                file
            }
        };
        let kind = match FileType::from_raw_mode(fstat(&source).doing(doing)?.st_mode) {
            FileType::Directory => TargetKind::Directory,
            _other => TargetKind::File,
        };
        let target = targets.open_asked(&mount.target, kind)?;
        attach(&source, target.as_fd()).doing(doing)?;
    }
    Ok(())
}

/// A mount of what `path` is in a stack, walked name by name: no link leads anywhere.
fn shown(stack: OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let mut at = stack;
    let mut names = path.components().peekable();
    if names.peek().is_none() {
        return Ok(at);
    }
    for name in names {
        at = open_beneath(at.as_fd(), Path::new(name.as_os_str()))?;
    }
    clone_mount(&at, "", false)
}
