//! Making processes, ending them, and becoming another program.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::ptr;

use rustix::process::Pid;

/// Splits this process in two; `None` is the answer in the new one.
///
/// Refuses when there is another thread: the new process would inherit locks that nobody will
/// ever release. Everything here runs before the program starts threads, or in a process of
/// its own.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        return Err(io::Error::other("this process has more than one thread"));
    }
    // SAFETY: the process has one thread (checked above where /proc can tell), so its memory is
    // consistent in the child, which may go on as if it had always been alone.
    let answer = unsafe { libc::fork() };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Ends this process at once: no destructor, no flush. For processes that share their parent's
/// memory image and must not run its clean-up.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` takes any number and does not return.
    unsafe { libc::_exit(code) }
}

/// Replaces this process's program. Returns only when that failed.
pub(crate) fn exec(
    program: &CStr,
    arguments: &[CString],
    environment: &[CString],
) -> Result<Infallible, io::Error> {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts
            .iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both lists end with a null pointer, and every other pointer is a C string that
    // outlives the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Err(io::Error::last_os_error())
}

/// Has every descriptor above the standard three closed at the next successful exec.
pub(crate) fn close_others_at_exec() -> io::Result<()> {
    close_range(libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor above the standard three: a fresh process was started with them by
/// accident, and must not pass them on. To be called before anything is opened.
pub(crate) fn close_inherited() -> io::Result<()> {
    close_range(0)
}

fn close_range(flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the call takes numbers only. Nothing that this program owns is closed behind its
    // back: with CLOSE_RANGE_CLOEXEC nothing is closed now, and without it the one caller above
    // runs first of all, when nothing has been opened.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, flags) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
