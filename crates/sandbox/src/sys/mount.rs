//! Attributes of mounts (mount_setattr(2), Linux 5.12) and the loopback device.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::mount::MountAttrFlags;

/// What to change on a mount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MountAttributes<'a> {
    /// Attributes to add.
    pub(crate) set: MountAttrFlags,
    /// A user namespace whose mapping the owners of files are seen through.
    pub(crate) id_map: Option<BorrowedFd<'a>>,
    /// Also on every mount below.
    pub(crate) recursive: bool,
}

/// `struct mount_attr` of the kernel, first version.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the mount whose root `mount` is.
pub(crate) fn set_mount_attributes(
    mount: impl AsFd,
    change: MountAttributes<'_>,
) -> io::Result<()> {
    let id_map_flag = if change.id_map.is_some() {
        MountAttrFlags::MOUNT_ATTR_IDMAP.bits()
    } else {
        0
    };
    let attributes = MountAttr {
        attr_set: u64::from(change.set.bits() | id_map_flag),
        attr_clr: 0,
        propagation: 0,
        userns_fd: change.id_map.map_or(0, |namespace| {
            u64::try_from(namespace.as_raw_fd()).expect("an open descriptor is not negative")
        }),
    };
    let recursive = if change.recursive {
        libc::AT_RECURSIVE
    } else {
        0
    };
    // SAFETY: the empty path is a C string, and the structure lives through the call with the
    // size that is passed; the kernel only reads both.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes,
            mem::size_of::<MountAttr>(),
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Brings up `lo` of the current network namespace; a new one has it down.
pub(crate) fn raise_loopback() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: all-zero bytes are a valid ifreq: it is plain numbers and arrays of them.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("two low bits");
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives through the call.
    let answer = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
