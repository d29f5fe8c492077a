//! Installing a compiled system call filter.

use std::io;

use seccompiler::sock_filter;

/// `struct sock_fprog` of the kernel, with the library's instruction type.
#[repr(C)]
struct Program {
    instructions: libc::c_ushort,
    first: *const sock_filter,
}

/// Puts this process and all it will start under a filter, for good.
///
/// Unlike `seccompiler::apply_filter` it leaves `no_new_privs` alone, so the caller needs
/// CAP_SYS_ADMIN in its user namespace or must have set that flag itself.
pub(crate) fn install_filter(filter: &[sock_filter]) -> io::Result<()> {
    let instructions = libc::c_ushort::try_from(filter.len())
        .map_err(|_| io::Error::other("the filter has too many instructions"))?;
    let program = Program {
        instructions,
        first: filter.as_ptr(),
    };
    // SAFETY: the kernel reads `instructions` instructions from `first`, which is exactly the
    // slice, and keeps no reference to it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
