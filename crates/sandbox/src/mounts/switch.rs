//! Making the new root `/`.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{UnmountFlags, mount_move, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use crate::failure::{Doing, Failure};

/// Exchanges the roots and drops the old one, with everything that was mounted in it.
///
/// Where `pivot_root` is refused (a seccomp profile, or a root that is the kernel's first file
/// system) the new root is moved over `/`, which nothing below it can be reached through.
pub(crate) fn switch_root(root: impl AsFd) -> Result<(), Failure> {
    let doing = || "make the new root the root directory".to_owned();
    let old = openat(
        CWD,
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .doing(doing)?;
    fchdir(root).doing(doing)?;
    match pivot_root(".", ".") {
        Ok(()) => {
            // The old root now lies on the new one; detach exactly it.
            fchdir(&old).doing(doing)?;
            unmount(".", UnmountFlags::DETACH).doing(doing)?;
        }
        Err(_refused) => {
            mount_move(".", "/").doing(doing)?;
            chroot(".").doing(doing)?;
        }
    }
    chdir("/").doing(doing)
}
