//! An ordinary user's way to a user namespace with many ids: the current program is run again in
//! one, as its root, with the subordinate ids that the system's administrator gave to the user.

mod subordinate;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{
    Pid, Signal, WaitOptions, getegid, geteuid, getppid, kill_process,
    set_parent_process_death_signal, waitpid,
};
use rustix::thread::UnshareFlags;
use thiserror::Error;

use crate::channel::Channel;
use crate::probe::user_namespace_hint;
use crate::process::Ending;
use crate::sys;
use crate::user_namespace::{IdKind, in_initial_namespace};

use subordinate::Range;

/// The name under which the program runs inside.
const INSIDE: &str = "kiln-in-user-namespace";

/// Where the two helpers of shadow-utils are looked for: they are set-user-id programs, and a
/// search path could name something else.
const HELPER_DIRECTORIES: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"];

/// Why the user namespace could not be entered.
#[derive(Debug, Error)]
pub enum EnterError {
    /// Nobody gave this user further ids.
    #[error(
        "{file} has no range of ids for {user}: add a line such as {user}:100000:65536 (as root: \
         usermod --add-{option} 100000-165535 {user})"
    )]
    NoSubordinateIds {
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// Name of the user, or number without a name.
        user: String,
        /// The option of usermod that adds one, without dashes.
        option: &'static str,
    },
    /// A program that maps ids on behalf of ordinary users is not installed.
    #[error(
        "{program} is not installed; it is in the package uidmap (Debian, Ubuntu) or shadow-utils"
    )]
    HelperMissing {
        /// `newuidmap` or `newgidmap`.
        program: &'static str,
    },
    /// It is there and refused.
    #[error(
        "{program} failed: {message}; it must be set-user-id root or have the file capability \
         {capability}, and must not run under no_new_privs or a filter that forbids it"
    )]
    HelperFailed {
        /// Its path.
        program: String,
        /// What it wrote.
        message: String,
        /// The file capability that it needs.
        capability: &'static str,
    },
    /// The kernel refuses user namespaces.
    #[error("could not create a user namespace{}", hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    Refused {
        /// Which setting forbids it, if one stands out.
        hint: Option<String>,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another step failed.
    #[error("could not {doing}")]
    Step {
        /// The step, as in "could not …".
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Runs the current program again, with these arguments (without the program's name), as root of
/// a new user and mount namespace, and returns how it ended.
///
/// Call it early in `main`, while there is only one thread, when the effective user is not root
/// and [`inside_user_namespace`] is false. SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on;
/// each of the two processes dies with the other.
pub fn enter_user_namespace(arguments: &[OsString]) -> Result<Ending, EnterError> {
    let user = subordinate::current_user().map_err(step("read /etc/passwd"))?;
    let ranges = [IdKind::User, IdKind::Group].map(|kind| -> Result<_, EnterError> {
        Ok((kind, helper(kind)?, subordinate::ranges(kind, &user)?))
    });
    let [users, groups] = ranges;
    let maps = [users?, groups?];

    let (ours, theirs) = Channel::pair().map_err(step("create a socket pair"))?;
    let passed_on = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
    let signals = [passed_on.as_slice(), &[libc::SIGCHLD]].concat();
    let parent = rustix::process::getpid();
    let Some(child) = sys::fork().map_err(step("start a process"))? else {
        drop(ours);
        become_inner(&theirs, parent, arguments);
    };
    drop(theirs);
    let prepared = prepare(&ours, child, &maps);
    if let Err(error) = prepared {
        drop(ours);
        let _ = waitpid(Some(child), WaitOptions::empty());
        return Err(error);
    }
    sys::block_signals(&signals).map_err(step("hold back signals"))?;
    if let Err(error) = release(&ours) {
        let _ = waitpid(Some(child), WaitOptions::empty());
        return Err(error);
    }
    loop {
        // Asked before waiting, since its end may have come before the signals were held back.
        let ended = waitpid(Some(child), WaitOptions::NOHANG);
        let ended = ended
            .map_err(io::Error::from)
            .map_err(step("wait for the program"))?;
        if let Some((_, status)) = ended {
            return Ok(match (status.exit_status(), status.terminating_signal()) {
                (_, Some(signal)) => Ending::Signal(signal),
                (code, None) => Ending::Code(code.unwrap_or_default()),
            });
        }
        let arrived = sys::wait_for_signal(&signals).map_err(step("wait for the program"))?;
        // What the terminal sends, it sends to the program inside as well.
        if passed_on.contains(&arrived.signal) && !arrived.from_kernel {
            let signal = Signal::from_named_raw(arrived.signal).expect("one of the four above");
            let _ = kill_process(child, signal);
        }
    }
}

/// Whether this process was started by [`enter_user_namespace`].
pub fn inside_user_namespace() -> bool {
    std::env::args_os().next().as_deref() == Some(OsStr::new(INSIDE))
        && geteuid().is_root()
        && !in_initial_namespace()
}

/// The child: enters the namespace, waits for its maps, becomes root and the program again.
fn become_inner(channel: &Channel, parent: Pid, arguments: &[OsString]) -> ! {
    let namespaces = UnshareFlags::NEWUSER | UnshareFlags::NEWNS;
    let errno = match sys::unshare(namespaces) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EINVAL),
    };
    let _ = channel.send(&errno, &[]);
    let Ok(Some(((), _))) = channel.receive::<()>() else {
        sys::exit(1)
    };
    let error = match become_root(parent) {
        Ok(()) => Command::new(own_program())
            .arg0(INSIDE)
            .args(arguments)
            .exec(),
        Err(error) => error,
    };
    let _ = channel.send(&error.raw_os_error().unwrap_or(libc::EINVAL), &[]);
    sys::exit(1)
}

/// Our executable by its path, so that the program inside has it in its own mount namespace and
/// can make it read-only for its sandboxes; by its link if the path now leads elsewhere.
fn own_program() -> PathBuf {
    let link = PathBuf::from("/proc/self/exe");
    let same = |path: &PathBuf| match (path.metadata(), link.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    };
    std::env::current_exe().ok().filter(same).unwrap_or(link)
}

fn become_root(parent: Pid) -> io::Result<()> {
    sys::set_ids(0, 0, &[])?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    // After the change of ids, which clears it; and the parent may have gone before.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() == Some(parent) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::ESRCH))
    }
}

/// Lets the child go on, until it has become the program: that closes its end of the channel.
fn release(channel: &Channel) -> Result<(), EnterError> {
    let failed = step("start the program in the user namespace");
    channel.send(&(), &[]).map_err(&failed)?;
    match channel.receive::<i32>().map_err(&failed)? {
        None => Ok(()),
        Some((errno, _)) => Err(failed(io::Error::from_raw_os_error(errno))),
    }
}

/// Waits for the namespace and has its maps written.
fn prepare(
    channel: &Channel,
    child: Pid,
    maps: &[(IdKind, String, Vec<Range>)],
) -> Result<(), EnterError> {
    let answer = channel
        .receive::<i32>()
        .map_err(step("create a user namespace"))?;
    match answer.map_or(libc::ESRCH, |(errno, _)| errno) {
        0 => {}
        errno => {
            return Err(EnterError::Refused {
                hint: user_namespace_hint(),
                source: io::Error::from_raw_os_error(errno),
            });
        }
    }
    for (kind, helper, ranges) in maps {
        map(*kind, helper, child, ranges)?;
    }
    Ok(())
}

/// 0 inside is the user; from 1 on follow the subordinate ranges.
fn map(kind: IdKind, helper: &str, child: Pid, ranges: &[Range]) -> Result<(), EnterError> {
    let own = match kind {
        IdKind::User => geteuid().as_raw(),
        IdKind::Group => getegid().as_raw(),
    };
    let mut words = vec![child.as_raw_nonzero().to_string()];
    words.extend([0, own, 1].map(|number| number.to_string()));
    let mut next = 1_u32;
    for range in ranges {
        words.extend([next, range.first, range.count].map(|number| number.to_string()));
        next = next.saturating_add(range.count);
    }
    let output = Command::new(helper)
        .env_clear()
        .args(&words)
        .output()
        .map_err(step("start newuidmap or newgidmap"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(EnterError::HelperFailed {
        program: helper.to_owned(),
        message,
        capability: match kind {
            IdKind::User => "cap_setuid+ep",
            IdKind::Group => "cap_setgid+ep",
        },
    })
}

fn helper(kind: IdKind) -> Result<String, EnterError> {
    let program = match kind {
        IdKind::User => "newuidmap",
        IdKind::Group => "newgidmap",
    };
    let paths = HELPER_DIRECTORIES.map(|directory| format!("{directory}/{program}"));
    let found = paths.into_iter().find(|path| Path::new(path).is_file());
    found.ok_or(EnterError::HelperMissing { program })
}

fn step(doing: &'static str) -> impl Fn(io::Error) -> EnterError {
    move |source| EnterError::Step { doing, source }
}
