//! How one executable is several programs: a process started with one of these names as its
//! first argument word is a part of a sandbox.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::CWD;
use rustix::mount::MountAttrFlags;

use crate::channel::Channel;
use crate::mounts::{clone_mount, restrict};
use crate::supervisor;

/// The supervisor's name.
const SUPERVISOR: &str = "kiln-sandbox";

/// Becomes a part of a sandbox if this process was started as one, and never returns then.
///
/// Must be the first statement of `main`, before any thread, signal handler or argument parser.
pub fn child_main_if_requested() {
    let name = std::env::args_os().next();
    if name.as_deref() == Some(OsStr::new(SUPERVISOR)) {
        supervisor::main();
    }
}

/// Starts the supervisor: this very program under another name, with an empty environment (what
/// it never knew it cannot pass on, CVE-2021-3602), our channel as its standard input, and
/// `stdout` and `stderr` as the process's.
pub(crate) fn start_supervisor(stdout: OwnedFd, stderr: OwnedFd) -> io::Result<(Child, Channel)> {
    let (ours, theirs) = Channel::pair()?;
    let program = read_only_self()?;
    let child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0(SUPERVISOR)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs.into_descriptor()))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .spawn()?;
    Ok((child, ours))
}

/// Our own executable on a read-only mount of its own.
///
/// A process in the sandbox can come by our executable through `/proc/<pid>/exe` of one of ours
/// (CVE-2019-5736). Ours are not dumpable, and their memory belongs to the outer user namespace,
/// so that link is closed to it; and were it open, a file reached through this mount cannot be
/// opened for writing, whatever its owner and permissions. The mount is attached nowhere, so
/// nobody can remount it.
fn read_only_self() -> io::Result<OwnedFd> {
    let program = clone_mount(CWD, "/proc/self/exe", false)?;
    restrict(&program, MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
    Ok(program)
}
