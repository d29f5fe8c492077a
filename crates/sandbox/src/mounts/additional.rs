//! The mounts that the caller asked for.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, fstat};
use rustix::mount::MountAttrFlags;

use crate::failure::{Doing, Failure};
use crate::process::{Mount, MountSource};

use super::attach::{FsOption, attach, new_file_system, restrict};
use super::injected::Injected;
use super::target::{FinalLink, TargetKind, Targets};

/// Makes them in their order.
pub(crate) fn mount_additional(
    mounts: &[Mount],
    binds: Vec<OwnedFd>,
    injected: &Injected,
    targets: &mut Targets,
) -> Result<(), Failure> {
    let mut binds = binds.into_iter();
    for mount in mounts {
        let doing = || format!("mount {}", mount.target.display());
        let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        if mount.read_only {
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        if !mount.executable {
            attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
        }
        let source = match &mount.source {
            // Its attributes were set when it was opened.
            MountSource::Bind { .. } => binds.next().ok_or_else(|| Failure::Invalid {
                reason: "fewer bind sources than bind mounts arrived".to_owned(),
            })?,
            MountSource::Tmpfs { bytes_max, mode } => {
                let mode = format!("{mode:o}");
                let size = bytes_max.map(|bytes| bytes.to_string());
                let mut options = vec![FsOption::Text("mode", &mode)];
                options.extend(size.as_deref().map(|size| FsOption::Text("size", size)));
                new_file_system("tmpfs", &options, attributes).doing(doing)?
            }
            MountSource::File {
                content,
                mode,
                uid,
                gid,
            } => {
                let file = injected
                    .owned_file(content, *mode, *uid, *gid)
                    .doing(doing)?;
                restrict(&file, attributes, false).doing(doing)?;
                file
            }
        };
        let kind = match FileType::from_raw_mode(fstat(&source).doing(doing)?.st_mode) {
            FileType::Directory => TargetKind::Directory,
            _other => TargetKind::File,
        };
        let target = targets.open(&mount.target, kind, FinalLink::Follow)?;
        attach(&source, target.as_fd()).doing(doing)?;
    }
    Ok(())
}
