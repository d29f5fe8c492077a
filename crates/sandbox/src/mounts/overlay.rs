//! The stacked root, mounted inside the user namespace.
//!
//! overlayfs takes its directories by path and wants them attached in its own mount namespace
//! (until Linux 6.15), while the user of this namespace may not even walk to where they are. So
//! they are attached in a file system in memory, the *workbench*, under short names relative to
//! the current directory. That also keeps the caller's paths out of `/proc/mounts`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, mkdirat};
use rustix::mount::MountAttrFlags;
use rustix::process::fchdir;

use crate::failure::{Doing, Failure};
use crate::process::Process;

use super::attach::{FsOption, attach, attach_here, new_file_system};
use super::sources::Sources;
use super::target::open_beneath;

/// A private file system in memory that the rest is assembled on, as the current directory. It
/// disappears with the old root.
pub(crate) fn workbench() -> Result<OwnedFd, Failure> {
    let doing = || "mount a file system in memory to work on".to_owned();
    let options = [FsOption::Text("mode", "0755")];
    let bench =
        new_file_system("tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NODEV).doing(doing)?;
    attach_here(&bench).doing(doing)?;
    fchdir(&bench).doing(doing)?;
    Ok(bench)
}

/// Stacks the root and attaches it on the workbench, as `root`.
pub(crate) fn mount_root(
    process: &Process,
    sources: &Sources,
    bench: &OwnedFd,
) -> Result<OwnedFd, Failure> {
    let changes = Some((
        &sources.disk,
        process.root.upper.as_path(),
        process.root.work.as_path(),
    ));
    let root = stack(bench, "", &sources.lowers, changes)?;
    place(bench, "root", &root)?;
    Ok(root)
}

/// Stacks directories, the lowest first, with what is on `disk` on top where changes are kept.
/// The names on the workbench begin with `prefix`.
pub(crate) fn stack(
    bench: &OwnedFd,
    prefix: &str,
    layers: &[OwnedFd],
    changes: Option<(&OwnedFd, &Path, &Path)>,
) -> Result<OwnedFd, Failure> {
    let mut names = Vec::with_capacity(layers.len());
    for (number, layer) in layers.iter().enumerate() {
        let name = format!("{prefix}lower-{number}");
        place(bench, &name, layer)?;
        names.push(name);
    }
    // The option adds below what was added before: the highest comes first. Without `userxattr`
    // the removal of a lower directory fails with EIO in a user namespace.
    let mut options: Vec<FsOption<'_>> = names
        .iter()
        .rev()
        .map(|name| FsOption::Text("lowerdir+", name))
        .collect();
    let disk_name = format!("{prefix}disk");
    let on_disk = |path: &Path| -> PathBuf {
        Path::new(&disk_name).join(path.file_name().unwrap_or_default())
    };
    let paths;
    if let Some((disk, upper, work)) = changes {
        place(bench, &disk_name, disk)?;
        paths = (on_disk(upper), on_disk(work));
        options.push(FsOption::Path("upperdir", &paths.0));
        options.push(FsOption::Path("workdir", &paths.1));
    }
    options.push(FsOption::Flag("userxattr"));
    new_file_system("overlay", &options, MountAttrFlags::MOUNT_ATTR_NODEV)
        .doing(|| format!("stack {} directories with overlayfs", names.len()))
}

/// Attaches a mount on a new directory of the workbench.
pub(crate) fn place(bench: &OwnedFd, name: &str, mount: &OwnedFd) -> Result<(), Failure> {
    let doing = || "attach a directory of the root".to_owned();
    mkdirat(bench, name, Mode::RWXU).doing(doing)?;
    let target = open_beneath(bench.as_fd(), Path::new(name)).doing(doing)?;
    attach(mount, target.as_fd()).doing(doing)
}
