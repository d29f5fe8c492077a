//! Signals: waiting for them in a loop instead of being interrupted by them.

use std::io;
use std::mem::{self, MaybeUninit};
use std::ptr;

/// How many signals there are (`_NSIG` of the kernel, on all but MIPS).
const SIGNALS: i32 = 64;

/// The kernel's `struct sigaction` for "default": zero throughout.
const DEFAULT_ACTION: [u64; 4] = [0; 4];

/// A signal that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    /// Its number.
    pub(crate) signal: i32,
    /// Sent by the terminal, which sends it to the whole foreground group.
    pub(crate) from_kernel: bool,
}

/// Holds these signals back until [`wait_for_signal`] fetches them.
pub(crate) fn block_signals(signals: &[i32]) -> io::Result<()> {
    let set = set_of(signals);
    // SAFETY: the set is initialised and the old one is not asked for.
    let answer = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Waits for one of these signals, which must be blocked.
pub(crate) fn wait_for_signal(signals: &[i32]) -> io::Result<Arrived> {
    let set = set_of(signals);
    // SAFETY: all-zero bytes are a valid siginfo_t: plain numbers.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    loop {
        // SAFETY: both structures live through the call; the kernel writes the second.
        let signal = unsafe { libc::sigwaitinfo(&raw const set, &raw mut info) };
        if signal > 0 {
            return Ok(Arrived {
                signal,
                from_kernel: info.si_code == libc::SI_KERNEL,
            });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Gives every signal its default meaning and unblocks all: ignored and blocked signals survive
/// exec, and a program started under `nohup` or by us must not notice.
pub(crate) fn reset_signals() {
    for signal in 1..=SIGNALS {
        // SAFETY: all-zero bytes are the default disposition in every layout of the kernel's
        // sigaction, none of which is longer than this array; the set is eight bytes. The C
        // library's wrapper would leave out the two signals that it keeps for itself. SIGKILL
        // and SIGSTOP are refused, which changes nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT_ACTION.as_ptr(),
                ptr::null_mut::<u64>(),
                8_usize,
            );
        }
    }
    let none = set_of(&[]);
    // SAFETY: the set is initialised and the old one is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}

/// Sends a signal to every process this one can see, but itself and process 1.
pub(crate) fn kill_everything_visible(signal: i32) {
    // SAFETY: takes numbers only. That there is nobody left to signal is no failure.
    unsafe { libc::kill(-1, signal) };
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set whatever it held.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the line above.
    let mut set = unsafe { set.assume_init() };
    for &signal in signals {
        // SAFETY: the set is initialised; an impossible number is refused and changes nothing.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}
