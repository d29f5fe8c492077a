//! System calls that a sandboxed process must not get through, made with arguments that would
//! succeed or fail differently without a filter.

use std::io;

/// Makes each call and prints its name and the kernel's error number, 0 for success.
pub(crate) fn make_all() {
    let clone_new_user = libc::CLONE_NEWUSER | libc::SIGCHLD;
    let calls: [(&str, libc::c_long, [libc::c_long; 5]); 21] = [
        (
            "unshare-user",
            libc::SYS_unshare,
            [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0],
        ),
        (
            "clone-user",
            libc::SYS_clone,
            [clone_new_user.into(), 0, 0, 0, 0],
        ),
        ("clone3", libc::SYS_clone3, [0, 0, 0, 0, 0]),
        ("setns", libc::SYS_setns, [0, 0, 0, 0, 0]),
        ("mount", libc::SYS_mount, [0, 0, 0, 0, 0]),
        ("umount2", libc::SYS_umount2, [0, 0, 0, 0, 0]),
        ("pivot_root", libc::SYS_pivot_root, [0, 0, 0, 0, 0]),
        ("open_tree", libc::SYS_open_tree, [0, 0, 0, 0, 0]),
        ("fsopen", libc::SYS_fsopen, [0, 0, 0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [0, -3, 0, 0, 0]),
        ("add_key", libc::SYS_add_key, [0, 0, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, [0, 0, 0, 0, 0]),
        (
            "perf_event_open",
            libc::SYS_perf_event_open,
            [0, 0, 0, 0, 0],
        ),
        ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [8, 0, 0, 0, 0]),
        (
            "open_by_handle_at",
            libc::SYS_open_by_handle_at,
            [0, 0, 0, 0, 0],
        ),
        (
            "personality-odd",
            libc::SYS_personality,
            [0x0040_0000, 0, 0, 0, 0],
        ),
        (
            "socket-alg",
            libc::SYS_socket,
            [libc::AF_ALG.into(), libc::SOCK_SEQPACKET.into(), 0, 0, 0],
        ),
        (
            "socket-vsock",
            libc::SYS_socket,
            [libc::AF_VSOCK.into(), libc::SOCK_STREAM.into(), 0, 0, 0],
        ),
        (
            "socket-unix",
            libc::SYS_socket,
            [libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0, 0, 0],
        ),
        ("far-future", 2000, [0, 0, 0, 0, 0]),
    ];
    for (name, number, [one, two, three, four, five]) in calls {
        // SAFETY: every pointer argument is null, and no call of the list writes elsewhere.
        let answer = unsafe { libc::syscall(number, one, two, three, four, five) };
        let errno = match answer {
            -1 => io::Error::last_os_error().raw_os_error().unwrap_or(-1),
            // The child of a clone that should have been refused.
            0 if name == "clone-user" => std::process::exit(0),
            _ => 0,
        };
        println!("{name} {errno}");
    }
    println!("x32 {}", x32_getpid());
    println!("int80 {}", thirty_two_bit_getpid());
}

/// getpid through the x32 numbering.
fn x32_getpid() -> i32 {
    const X32_BIT: libc::c_long = 0x4000_0000;
    // SAFETY: getpid takes nothing and cannot fail.
    let answer = unsafe { libc::syscall(X32_BIT + libc::SYS_getpid) };
    if answer == -1 {
        io::Error::last_os_error().raw_os_error().unwrap_or(-1)
    } else {
        0
    }
}

/// getpid through the 32-bit entry; its number there is 20.
#[cfg(target_arch = "x86_64")]
fn thirty_two_bit_getpid() -> i32 {
    let answer: i32;
    // SAFETY: the 32-bit entry keeps all registers but eax and, on some kernels, r8 to r11.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("eax") 20 => answer,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if answer < 0 { -answer } else { 0 }
}

#[cfg(not(target_arch = "x86_64"))]
fn thirty_two_bit_getpid() -> i32 {
    libc::ENOSYS
}
