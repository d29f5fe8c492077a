//! The supervisor: a fresh, single-threaded program outside the cage. It opens what needs the
//! caller's rights, gives those rights up, starts init, and then only listens: to the caller, who
//! may ask for an end or disappear, and to init.
//!
//! Everything hangs on everything above: the supervisor dies with the caller's thread
//! (`PR_SET_PDEATHSIG`) and when the channel to it ends; init dies with the supervisor, and with
//! init, process 1 of its namespace, the kernel kills the rest. Mounts go with the namespace.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchown, openat};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, chdir, kill_process, set_dumpable_behavior,
    set_parent_process_death_signal, waitpid,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, set_name};

use crate::channel::Channel;
use crate::command::limits::make_room;
use crate::failure::{Doing, Failure};
use crate::init;
use crate::mounts::{Sources, disk_path, remove_created};
use crate::order::{Created, Progress, Report, Request};
use crate::process::{Ending, Exit, IdMapping, Network, Process};
use crate::sys;
use crate::user_namespace;

/// Longest description of a process: the kernel takes at most 2 MiB of arguments and
/// environment by default, and encoding can double bytes; given files come on top.
const DESCRIPTION_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// And how long most are.
const DESCRIPTION_BYTES: usize = 16 * 1024;

/// More than `/proc/vmstat` has: four thousand bytes.
const VMSTAT_BYTES: usize = 32 * 1024;

/// How long processes have between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the supervisor to its end.
pub(crate) fn main() -> ! {
    let code = match begin() {
        Ok(channel) => {
            let report = match supervise(&channel) {
                Ok(exit) => Report::Ended(exit),
                Err(failure) => Report::Failed(failure),
            };
            // A caller that is gone needs no report.
            i32::from(channel.send(&report, &[]).is_err())
        }
        Err(_no_channel) => 1,
    };
    sys::exit(code)
}

/// Lets go of everything but the channel, and moves that out of the way of the standard descriptors.
fn begin() -> io::Result<Channel> {
    sys::close_inherited()?;
    // Started from a descriptor, it would be listed under that number.
    set_name(c"kiln-sandbox")?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    chdir("/")?;
    let channel = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = openat(
        CWD,
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(Channel::from_descriptor(channel))
}

fn supervise(channel: &Channel) -> Result<Exit, Failure> {
    let (process, opened, trial) = receive_order(channel)?;
    user_namespace::check_mapped(process.ids, &process.user)?;
    give_outputs(&process)?;
    make_room(&process.limits.resources);

    let namespace = user_namespace::create(process.ids)?;
    let id_map = match process.ids {
        IdMapping::Reserved { .. } => Some(namespace.as_fd()),
        IdMapping::Inherited => None,
    };
    let sources = Sources::open(&process, opened, id_map)?;
    // The workbench will be attached here; after the next step we might not get here any more.
    chdir(disk_path(&process)?).doing(|| "enter the directory of the upper layer".to_owned())?;
    enter_namespaces(&namespace, process.network)?;
    drop(namespace);

    let oom_kills_before = oom_kills();
    let (ours, theirs) = Channel::pair().doing(|| "create a socket pair".to_owned())?;
    let Some(init) = sys::fork().doing(|| "start the sandbox's first process".to_owned())? else {
        drop(ours);
        init::main(process, sources, &theirs, trial);
    };
    drop((theirs, sources));

    let outcome = watch(channel, &ours, init);
    // Init is gone, and the kernel lets it go only after everything in its namespace.
    let (created, outcome) = outcome?;
    remove_created(&created)
        .doing(|| "remove what was created in the root only to mount on it".to_owned())?;
    let ending = outcome?;
    let killed = matches!(ending, Ending::Signal(libc::SIGKILL) | Ending::Code(137));
    let memory_exhausted = killed && oom_kills() > oom_kills_before;
    Ok(Exit {
        ending,
        memory_exhausted,
    })
}

fn receive_order(channel: &Channel) -> Result<(Process, Vec<OwnedFd>, bool), Failure> {
    let doing = || "read what to run".to_owned();
    let (request, mut descriptors) =
        channel
            .receive::<Request>()
            .doing(doing)?
            .ok_or_else(|| Failure::Setup {
                doing: doing(),
                errno: libc::EPIPE,
            })?;
    let Request::Begin { trial } = request else {
        return Err(Failure::Setup {
            doing: doing(),
            errno: libc::EPROTO,
        });
    };
    if descriptors.is_empty() {
        return Err(Failure::Setup {
            doing: doing(),
            errno: libc::EPROTO,
        });
    }
    let opened = descriptors.split_off(1);
    let description = descriptors.pop().expect("just checked");
    let mut text = Vec::with_capacity(DESCRIPTION_BYTES);
    File::from(description)
        .take(DESCRIPTION_BYTES_MAX)
        .read_to_end(&mut text)
        .doing(doing)?;
    let process = serde_json::from_slice(&text)
        .map_err(io::Error::other)
        .doing(doing)?;
    Ok((process, opened, trial))
}

/// Makes the two pipes the process's own: `/dev/stdout` and `/dev/stderr` open them anew, and the
/// kernel checks their owner then.
fn give_outputs(process: &Process) -> Result<(), Failure> {
    let base = match process.ids {
        IdMapping::Reserved { base, .. } => base,
        IdMapping::Inherited => 0,
    };
    // No overflow: the ids were found to be in the range.
    let owner = Some(Uid::from_raw(base.saturating_add(process.user.uid)));
    let group = Some(Gid::from_raw(base.saturating_add(process.user.gid)));
    for output in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        fchown(output, owner, group).doing(|| "give the process its outputs".to_owned())?;
    }
    Ok(())
}

/// From here on this process is root of the user namespace and nobody outside of it. The mount
/// namespace is left to init, so that the created mount points can be removed from this one, in
/// which nothing is mounted on them.
fn enter_namespaces(namespace: &OwnedFd, network: Network) -> Result<(), Failure> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
        .doing(|| "enter the new user namespace".to_owned())?;
    sys::set_ids(0, 0, &[]).doing(|| "become root of the new user namespace".to_owned())?;
    let mut namespaces = UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    match network {
        Network::Host => {}
        Network::None => namespaces |= UnshareFlags::NEWNET,
    }
    sys::unshare(namespaces).doing(|| "create the namespaces of the sandbox".to_owned())?;
    // A change of ids clears the death signal. The caller may have gone meanwhile: then the
    // channel has ended, which `watch` sees first of all.
    let doing = || "tie this process to its parent".to_owned();
    set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(doing)?;
    set_parent_process_death_signal(Some(Signal::KILL)).doing(doing)
}

type CreatedEntries = Vec<(Created, OwnedFd, OwnedFd)>;

/// Waits for init's end, passing on the caller's wishes.
fn watch(
    caller: &Channel,
    init_channel: &Channel,
    init: Pid,
) -> Result<(CreatedEntries, Result<Ending, Failure>), Failure> {
    let doing = || "watch the sandbox".to_owned();
    let mut created = Vec::new();
    let mut outcome = None;
    let mut kill_at: Option<Instant> = None;
    loop {
        let mut ready = [
            PollFd::new(init_channel, PollFlags::IN),
            PollFd::new(caller, PollFlags::IN),
        ];
        let timeout = kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut ready, timeout.as_ref()) {
            Ok(0) => {
                let _ = kill_process(init, Signal::KILL);
                kill_at = None;
                continue;
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).doing(doing),
        }
        let (from_init, from_caller) = (
            !ready[0].revents().is_empty(),
            !ready[1].revents().is_empty(),
        );
        if from_init {
            match init_channel.receive::<Progress>().doing(doing)? {
                Some((Progress::Built { created: notes }, descriptors)) => {
                    created = pair_up(notes, descriptors);
                }
                Some((Progress::Ended(ending), _)) => outcome = Some(Ok(ending)),
                Some((Progress::Failed(failure), _)) => outcome = Some(Err(failure)),
                None => break,
            }
        }
        if from_caller {
            match caller.receive::<Request>() {
                Ok(Some((Request::Terminate | Request::Begin { .. }, _))) => {
                    let _ = kill_process(init, Signal::TERM);
                    kill_at.get_or_insert_with(|| Instant::now() + GRACE);
                }
                Ok(None) | Err(_) => {
                    let _ = kill_process(init, Signal::KILL);
                    let _ = waitpid(Some(init), WaitOptions::empty());
                    sys::exit(1);
                }
            }
        }
    }
    let status = waitpid(Some(init), WaitOptions::empty()).doing(doing)?;
    let outcome = outcome.unwrap_or_else(|| {
        // Init was killed: by us after the grace, or by somebody outside.
        let signal = status.and_then(|(_, status)| status.terminating_signal());
        match signal {
            Some(signal) => Ok(Ending::Signal(signal)),
            None => Err(Failure::Setup {
                doing: "keep the sandbox's first process alive".to_owned(),
                errno: libc::ECHILD,
            }),
        }
    });
    Ok((created, outcome))
}

fn pair_up(notes: Vec<Created>, descriptors: Vec<OwnedFd>) -> CreatedEntries {
    let mut descriptors = descriptors.into_iter();
    let pairs = notes.into_iter().map_while(|note| {
        let parent = descriptors.next()?;
        let entry = descriptors.next()?;
        Some((note, parent, entry))
    });
    pairs.collect()
}

/// How many processes the kernel has killed for memory since it started.
fn oom_kills() -> u64 {
    // The kernel counts everything anew for each part that is asked for: the parts are large.
    let mut bytes = Vec::with_capacity(VMSTAT_BYTES);
    let read = File::open("/proc/vmstat").and_then(|mut file| file.read_to_end(&mut bytes));
    let text = match read {
        Ok(_) => String::from_utf8_lossy(&bytes),
        Err(_) => return 0,
    };
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}
