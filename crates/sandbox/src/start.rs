//! How one executable is several programs: a process started with one of these names as its
//! first argument word is a part of a sandbox.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{CWD, MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
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
    if is_supervisor() {
        supervisor::main();
    }
}

fn is_supervisor() -> bool {
    std::env::args_os().next().as_deref() == Some(OsStr::new(SUPERVISOR))
}

/// Starts the supervisor: this very program under another name, with an empty environment (what
/// it never knew it cannot pass on, CVE-2021-3602), our channel as its standard input, and
/// `stdout` and `stderr` as the process's.
pub(crate) fn start_supervisor(stdout: OwnedFd, stderr: OwnedFd) -> io::Result<(Child, Channel)> {
    if is_supervisor() {
        // A program that forgot the hook would start itself for ever.
        return Err(io::Error::other(
            "this program does not call sandbox::child_main_if_requested() first in main",
        ));
    }
    let (ours, theirs) = Channel::pair()?;
    let program = read_only_self()?;
    // No working directory is set here, but by the supervisor: with one, a static program would
    // be forked, and copying the page tables of a large one takes longer than all the rest.
    let child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0(SUPERVISOR)
        // Ctrl-C reaches every process of the terminal's group. The caller decides what becomes
        // of the sandbox; the supervisor must be there to be asked.
        .process_group(0)
        .env_clear()
        .stdin(Stdio::from(theirs.into_descriptor()))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .spawn()?;
    Ok((child, ours))
}

/// Our own executable where nobody can write to it.
///
/// A process in the sandbox can come by our executable through `/proc/<pid>/exe` of one of ours
/// (CVE-2019-5736). Ours are not dumpable, and their memory belongs to the outer user namespace,
/// so that link is closed to it; and were it open, a file reached through a read-only mount
/// cannot be opened for writing, whatever its owner and permissions. The mount is attached
/// nowhere, so nobody can remount it. An executable that is not in our mount namespace, or was
/// deleted, cannot be mounted; then it is copied to memory and sealed, once.
fn read_only_self() -> io::Result<OwnedFd> {
    static COPY: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(copy) = COPY.get() {
        return copy.try_clone();
    }
    let mounted = clone_mount(CWD, "/proc/self/exe", false);
    match mounted {
        Ok(program) => {
            restrict(&program, MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
            Ok(program)
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {
            let copy = sealed_copy()?;
            COPY.get_or_init(|| copy).try_clone()
        }
        Err(error) => Err(error),
    }
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 have no word for executable, and need none.
    let copy =
        memfd_create("kiln", flags | MemfdFlags::EXEC).or_else(|_| memfd_create("kiln", flags))?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open("/proc/self/exe")?, &mut copy)?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&copy, all)?;
    // Executing what is open for writing fails (ETXTBSY), so it is opened anew.
    let read_only = File::open(format!("/proc/self/fd/{}", copy.as_raw_fd()))?;
    Ok(read_only.into())
}
