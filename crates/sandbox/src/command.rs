//! The last process of the chain: gives up everything, then becomes the program.
//!
//! The order matters (each step needs a right that a later one takes away):
//!
//! 1. session, keyring, limits, umask, standard input, working directory – as root of the
//!    namespace; the directory must be inside the new root (CVE-2024-21626);
//! 2. the bounding set, which needs CAP_SETPCAP;
//! 3. the system call filter, which without `no_new_privs` needs CAP_SYS_ADMIN; it permits all
//!    that follows, and only this process's own code runs between it and the program;
//! 4. groups, group, user; for a user other than root that clears every capability;
//! 5. for root, capabilities down to the bounding set; inheritable and ambient empty for all
//!    (CVE-2022-24769);
//! 6. close-on-exec for every descriptor but the standard three, then exec.

mod diagnosis;
pub(crate) mod limits;

use std::ffi::{CString, OsStr, OsString};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Resource, Rlimit, chdir, getcwd, getrlimit, setrlimit, setsid, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::failure::{Doing, Failure};
use crate::process::{Limits, Process};
use crate::run::ExecFailure;
use crate::sys;
use crate::system_calls;

/// What root keeps inside: enough for package managers, nothing that reaches the kernel.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT);

/// Where programs are looked up when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the program, or writes the reason to the pipe and ends.
pub(crate) fn main(process: Process, report: &OwnedFd) -> ! {
    let failure = match become_program(&process) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let text = serde_json::to_vec(&failure).unwrap_or_default();
    if let Ok(copy) = report.try_clone() {
        let _ = std::fs::File::from(copy).write_all(&text);
    }
    sys::exit(127)
}

fn become_program(process: &Process) -> Result<std::convert::Infallible, Failure> {
    sys::reset_signals();
    setsid().doing(|| "start a new session".to_owned())?;
    sys::join_new_session_keyring().doing(|| "start a new keyring".to_owned())?;
    limit(&process.limits)?;
    umask(Mode::from_raw_mode(0o022));
    empty_standard_input()?;
    enter(&process.cwd)?;

    let unconfined = process.security.unconfined;
    if !unconfined {
        bound_capabilities()?;
    }
    if process.security.no_new_privileges {
        set_no_new_privs(true).doing(|| "set no_new_privs".to_owned())?;
    }
    if !unconfined {
        system_calls::restrict()?;
    }
    let user = &process.user;
    sys::set_ids(user.uid, user.gid, &user.groups)
        .doing(|| format!("become user {}:{}", user.uid, user.gid))?;
    // Unconfined root keeps what it has as root of its namespace, which is everything.
    match (user.uid == 0, unconfined) {
        (true, true) => {}
        (true, false) => keep_capabilities(CAPABILITIES)?,
        (false, true | false) => keep_capabilities(CapabilitySet::empty())?,
    }
    sys::close_others_at_exec().doing(|| "close descriptors".to_owned())?;
    exec(process)
}

fn limit(limits: &Limits) -> Result<(), Failure> {
    let set = |resource: Resource, wanted: u64, what: &str| {
        // The hard limit cannot be raised; what the caller was given is the most there is.
        let hard = getrlimit(resource)
            .maximum
            .map_or(wanted, |maximum| maximum.min(wanted));
        setrlimit(
            resource,
            Rlimit {
                current: Some(hard),
                maximum: Some(hard),
            },
        )
        .doing(|| format!("limit {what}"))
    };
    // No core dumps: the host's core_pattern may be a program that runs as the host's root. For
    // such a program the limit 0 does not count, and 1 is the word for "none" (core(5)).
    set(Resource::Core, 1, "core dumps")?;
    set(Resource::Nofile, limits.open_files_max, "open files")?;
    if let Some(processes) = limits.processes_max {
        set(Resource::Nproc, processes, "processes")?;
    }
    if let Some(bytes) = limits.file_bytes_max {
        set(Resource::Fsize, bytes, "the size of files")?;
    }
    for limit in &limits.resources {
        limits::set(*limit)?;
    }
    Ok(())
}

fn empty_standard_input() -> Result<(), Failure> {
    let doing = || "open /dev/null as standard input".to_owned();
    let null = openat(
        CWD,
        "/dev/null",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .doing(doing)?;
    rustix::stdio::dup2_stdin(&null).doing(doing)
}

fn enter(cwd: &Path) -> Result<(), Failure> {
    let failed = |errno: rustix::io::Errno| Failure::WorkingDirectory {
        path: cwd.display().to_string(),
        errno: errno.raw_os_error(),
    };
    chdir(cwd).map_err(failed)?;
    // The kernel writes "(unreachable)" before a directory outside of the root.
    let actual = getcwd(Vec::new()).map_err(failed)?;
    if actual.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(failed(rustix::io::Errno::XDEV))
    }
}

fn bound_capabilities() -> Result<(), Failure> {
    // The kernel knows at most 64 and refuses numbers it does not know.
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if CAPABILITIES.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error).doing(|| "drop capabilities".to_owned()),
        }
    }
    Ok(())
}

fn keep_capabilities(capabilities: CapabilitySet) -> Result<(), Failure> {
    let doing = || "give up capabilities".to_owned();
    let sets = CapabilitySets {
        effective: capabilities,
        permitted: capabilities,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).doing(doing)?;
    clear_ambient_capability_set().doing(doing)
}

fn exec(process: &Process) -> Result<std::convert::Infallible, Failure> {
    let name = process
        .argv
        .first()
        .map(OsString::as_os_str)
        .unwrap_or_default();
    let arguments: Vec<CString> = process
        .argv
        .iter()
        .map(|word| c_string(word.as_bytes()))
        .collect::<Result<_, _>>()?;
    let environment: Vec<CString> = process
        .env
        .iter()
        .map(|(name, content)| c_string(&[name.as_bytes(), b"=", content.as_bytes()].concat()))
        .collect::<Result<_, _>>()?;
    let mut failure = ExecFailure::NotFound {
        program: name.to_string_lossy().into_owned(),
    };
    for candidate in candidates(name, &process.env) {
        let path = c_string(candidate.as_os_str().as_bytes())?;
        let error = match sys::exec(&path, &arguments, &environment) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        match diagnosis::explain(&candidate, &error) {
            // Later directories of PATH may still have one, as in every shell.
            None => {}
            Some(found @ ExecFailure::NotExecutable { .. }) => failure = found,
            Some(found) => return Err(Failure::Exec(found)),
        }
    }
    Err(Failure::Exec(failure))
}

/// Where the program may be: as given if it is a path, else in each directory of `PATH`.
fn candidates(name: &OsStr, environment: &[(OsString, OsString)]) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') || name.is_empty() {
        return vec![PathBuf::from(name)];
    }
    // The last one counts, as for a shell that reads its environment in order.
    let path = environment.iter().rev().find(|(name, _)| name == "PATH");
    let path = path.map_or(DEFAULT_PATH.as_bytes(), |(_, value)| value.as_bytes());
    let directories = path
        .split(|&byte| byte == b':')
        .map(|directory| match directory {
            b"" => PathBuf::from("."),
            directory => PathBuf::from(OsString::from_vec(directory.to_vec())),
        });
    directories.map(|directory| directory.join(name)).collect()
}

fn c_string(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| Failure::Invalid {
        reason: "an argument or a variable contains a zero byte".to_owned(),
    })
}
