//! Process 1 of the new namespaces: builds the root, starts the command, reaps everything, and
//! ends when the command does. Its end is what kills whatever the command left running: the
//! kernel does that for process 1 of a pid namespace, and nothing in it can escape.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, set_dumpable_behavior,
    set_parent_process_death_signal, umask, wait,
};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities};

use crate::channel::Channel;
use crate::command;
use crate::emulator;
use crate::failure::{Doing, Failure};
use crate::mounts::{Sources, build_root};
use crate::order::{Created, Progress};
use crate::process::{Ending, Network, Process};
use crate::sys;

/// Longest failure that a command can report.
const FAILURE_BYTES_MAX: u64 = 64 * 1024;

/// Runs init to its end.
pub(crate) fn main(process: Process, sources: Sources, supervisor: &Channel, trial: bool) -> ! {
    let last_words = match run(process, sources, supervisor, trial) {
        Ok(ending) => Progress::Ended(ending),
        Err(failure) => Progress::Failed(failure),
    };
    let _ = supervisor.send(&last_words, &[]);
    sys::exit(0)
}

fn run(
    process: Process,
    mut sources: Sources,
    supervisor: &Channel,
    trial: bool,
) -> Result<Ending, Failure> {
    tie_to_supervisor(supervisor)?;
    // Held back from the start: process 1 would ignore SIGTERM, and SIGCHLD must not be missed.
    let signals = [libc::SIGCHLD, libc::SIGTERM];
    sys::block_signals(&signals).doing(|| "hold back signals".to_owned())?;
    umask(Mode::empty());

    sys::unshare(UnshareFlags::NEWNS).doing(|| "create a mount namespace".to_owned())?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .doing(|| "make the mounts of the sandbox private".to_owned())?;
    rustix::system::sethostname(process.hostname.as_bytes())
        .doing(|| format!("set the host name {:?}", process.hostname))?;
    match process.network {
        Network::Host => {}
        Network::None => {
            sys::raise_loopback().doing(|| "bring up the loopback device".to_owned())?;
        }
    }
    // While the descriptor can still be named, which takes the /proc of outside.
    let _emulator = emulator::register(&process, sources.emulator.take())?;
    let created = build_root(&process, sources)?;
    announce(supervisor, &created)?;
    drop(created);
    if trial {
        return Ok(Ending::Code(0));
    }

    let command = start(process)?;
    give_up_privileges()?;
    loop {
        let arrived = sys::wait_for_signal(&signals).doing(|| "wait for the command".to_owned())?;
        if arrived.signal == libc::SIGTERM {
            sys::kill_everything_visible(libc::SIGTERM);
            // A stopped process cannot end by SIGTERM before it goes on.
            sys::kill_everything_visible(libc::SIGCONT);
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == command {
                return Ok(ending(status));
            }
        }
    }
}

/// Dies with the supervisor, even one that died between the fork and this.
fn tie_to_supervisor(supervisor: &Channel) -> Result<(), Failure> {
    let doing = || "tie the sandbox to its supervisor".to_owned();
    set_parent_process_death_signal(Some(Signal::KILL)).doing(doing)?;
    let mut ready = [PollFd::new(supervisor, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut ready, Some(&now)).doing(doing)?;
    if ready[0].revents().contains(PollFlags::HUP) {
        sys::exit(1);
    }
    // Nobody in the namespace may look into this process (CVE-2019-5736); its memory also still
    // belongs to the outer user namespace, in which they have no rights at all.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(doing)
}

fn announce(supervisor: &Channel, created: &[(Created, OwnedFd, OwnedFd)]) -> Result<(), Failure> {
    let notes = created.iter().map(|(note, _, _)| note.clone()).collect();
    let descriptors: Vec<BorrowedFd<'_>> = created
        .iter()
        .flat_map(|(_, parent, entry)| [parent.as_fd(), entry.as_fd()])
        .collect();
    supervisor
        .send(&Progress::Built { created: notes }, &descriptors)
        .doing(|| "report the built root".to_owned())
}

/// Starts the command and waits until it has become the program, or says why not.
fn start(process: Process) -> Result<Pid, Failure> {
    let doing = || "start the command".to_owned();
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).doing(doing)?;
    let Some(command) = sys::fork().doing(doing)? else {
        drop(reader);
        command::main(process, &writer);
    };
    drop(writer);
    let mut text = Vec::new();
    File::from(reader)
        .take(FAILURE_BYTES_MAX)
        .read_to_end(&mut text)
        .doing(doing)?;
    if text.is_empty() {
        return Ok(command);
    }
    Err(serde_json::from_slice(&text)
        .map_err(std::io::Error::other)
        .doing(doing)?)
}

/// What remains to be done needs the right to signal other users' processes, and nothing else.
fn give_up_privileges() -> Result<(), Failure> {
    let sets = CapabilitySets {
        effective: CapabilitySet::KILL,
        permitted: CapabilitySet::KILL,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).doing(|| "give up capabilities".to_owned())
}

fn ending(status: WaitStatus) -> Ending {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ending::Code(code),
        (None, Some(signal)) => Ending::Signal(signal),
        (None, None) => unreachable!("wait without WUNTRACED reports ends only"),
    }
}
