//! Namespaces, user ids and keyrings of the calling process.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Moves this single-threaded process into new namespaces.
pub(crate) fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    assert!(
        !namespaces.contains(UnshareFlags::FILES),
        "file descriptors stay shared"
    );
    // SAFETY: the one danger is a private descriptor table in a process with threads, and
    // that flag is refused above.
    unsafe { rustix::thread::unshare_unsafe(namespaces)? };
    Ok(())
}

/// Becomes this user entirely: supplementary groups first, then the group, then the user, since
/// each step takes away the right to do the one before it.
pub(crate) fn set_ids(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().map(|&group| Gid::from_raw(group)).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Leaves the session keyring of whoever started us for an empty one (keyrings(7)).
///
/// A kernel without keyrings, or a filter around us that refuses them, has none to leak.
pub(crate) fn join_new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            0 as libc::c_long,
        )
    };
    match answer {
        -1 => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
            error => Err(error),
        },
        _ => Ok(()),
    }
}
