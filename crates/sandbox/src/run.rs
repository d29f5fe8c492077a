//! The caller's side of a run: start the supervisor, hand it the plan, pass on what the process
//! writes, and turn the supervisor's report into an [`Exit`].

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, fcntl_setfl, memfd_create, open};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cancel::CancelToken;
use crate::channel::Channel;
use crate::control_group::ControlGroup;
use crate::order::{Report, Request};
use crate::process::{Exit, LOWERS_MAX, MOUNTS_MAX, MountSource, Process};
use crate::start::start_supervisor;

/// Which of its two outputs a process wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// Why a process was not run, or not to its end. How a process that ran ended by itself is an
/// [`Exit`], whatever its code.
#[derive(Debug, Error)]
pub enum RunError {
    /// The description of the process contradicts itself.
    #[error("the process cannot be described like this: {reason}")]
    Invalid {
        /// What is wrong, as a sentence part.
        reason: String,
    },
    /// More lower directories than an overlay in a user namespace takes.
    #[error(
        "a root of {given} directories: the kernel stacks at most {LOWERS_MAX} in a user namespace"
    )]
    TooManyLowers {
        /// How many were given.
        given: usize,
    },
    /// More mounts than can be handed over.
    #[error("{given} mounts for one process: at most {MOUNTS_MAX} are possible")]
    TooManyMounts {
        /// How many were given.
        given: usize,
    },
    /// The control group for the process could not be made or entered.
    #[error("could not {doing} the control group {path}")]
    ControlGroup {
        /// What was being done, as in "could not …".
        doing: &'static str,
        /// The directory of the group.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There are no control groups that one could be made in.
    #[error("this machine has no control groups to make one in")]
    NoControlGroups,
    /// The process is to have an id that does not exist inside.
    #[error("id {id} is not mapped into the sandbox: {mapped} are")]
    IdNotMapped {
        /// The id asked for.
        id: u32,
        /// Which ones are, as text.
        mapped: String,
    },
    /// The source of a bind mount could not be opened.
    #[error("could not open {path} to mount it")]
    BindSource {
        /// The source as given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the root holds at a mount point makes mounting there unsafe or impossible.
    #[error("cannot mount on {path} in the root: {reason}")]
    MountPoint {
        /// The mount point, inside the root.
        path: PathBuf,
        /// What is wrong, as a sentence part.
        reason: String,
    },
    /// A step of building the sandbox failed.
    #[error("could not {doing}")]
    Setup {
        /// The step, as in "could not …".
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The working directory cannot be entered, or is not inside the root.
    #[error("could not enter the working directory {path}")]
    WorkingDirectory {
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program could not be started.
    #[error(transparent)]
    Exec(#[from] ExecFailure),
    /// The token was cancelled; nothing of the process is left.
    #[error("cancelled")]
    Cancelled,
    /// The time limit passed; nothing of the process is left.
    #[error("still running after {} s, the time limit", limit.as_secs_f64())]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// The supervisor ended without a report: killed from outside, most likely.
    #[error("the sandbox's supervisor ended without a report ({detail})")]
    Lost {
        /// How it ended.
        detail: String,
    },
}

/// Why a program could not be started inside its root.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ExecFailure {
    /// There is no such file, in `PATH` or where the path says.
    #[error("{program}: not found in the root file system")]
    NotFound {
        /// The first word of the command.
        program: String,
    },
    /// There is one, but it is a directory or this user may not execute it.
    #[error("{program}: not executable by this user")]
    NotExecutable {
        /// The file.
        program: String,
    },
    /// The file exists; the interpreter or loader that it names does not.
    #[error("{program}: exists, but the interpreter it needs, {interpreter}, does not")]
    InterpreterMissing {
        /// The file.
        program: String,
        /// The interpreter it names.
        interpreter: String,
    },
    /// Built for another processor.
    #[error(
        "{program}: Exec format error: it is built for {found}, this machine is {host}, and no emulator is registered"
    )]
    WrongArchitecture {
        /// The file.
        program: String,
        /// The processor named in its header.
        found: String,
        /// The processor that runs here.
        host: String,
    },
    /// Neither a binary nor a script with an interpreter line.
    #[error(
        "{program}: Exec format error: neither a program for this system nor a script that starts with #!"
    )]
    WrongFormat {
        /// The file.
        program: String,
    },
    /// Anything else the kernel said.
    #[error("{program}: could not be started: {}", io::Error::from_raw_os_error(*errno))]
    Other {
        /// The file.
        program: String,
        /// The kernel's error number.
        errno: i32,
    },
}

/// Runs one process to its end and passes on what it writes.
///
/// Blocks; call it on a plain thread, and keep that thread alive: the sandbox dies with the thread
/// that started it. When this returns, no process of the sandbox is left, no mount of it exists,
/// and everything that it wrote has been passed on. Its standard input is empty.
pub fn run(
    process: &Process,
    cancel: &CancelToken,
    on_output: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Exit, RunError> {
    conduct(process, false, cancel, on_output)
}

/// Builds a sandbox, leaves it again, and starts nothing in it.
pub(crate) fn try_out(process: &Process) -> Result<(), RunError> {
    let cancel = CancelToken::new().map_err(setup("create an event counter"))?;
    conduct(process, true, &cancel, &mut |_, _| {}).map(|_exit| ())
}

/// Most bytes passed on at once; a pipe holds no more by default.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

fn conduct(
    process: &Process,
    trial: bool,
    cancel: &CancelToken,
    on_output: &mut dyn FnMut(Stream, &[u8]),
) -> Result<Exit, RunError> {
    check(process)?;
    if cancel.is_cancelled() {
        return Err(RunError::Cancelled);
    }
    let opened = open_sources(process)?;
    // Removed when everybody in it is gone, whatever happens.
    let parent = process.limits.control_group_parent.as_deref();
    let group = parent.map(ControlGroup::create).transpose()?;
    let description = describe(process).map_err(setup("write down what to run"))?;
    let (stdout, stdout_of_process) = output_pipe().map_err(setup("create a pipe"))?;
    let (stderr, stderr_of_process) = output_pipe().map_err(setup("create a pipe"))?;

    let (mut supervisor, channel) = start_supervisor(stdout_of_process, stderr_of_process)
        .map_err(setup("start the sandbox's supervisor"))?;
    let descriptors: Vec<BorrowedFd<'_>> = [&description]
        .into_iter()
        .chain(&opened)
        .map(AsFd::as_fd)
        .collect();
    // Before it is told what to run, so that all it starts is in the group too.
    let joined = group
        .as_ref()
        .map_or(Ok(()), |group| group.add(supervisor.id()));
    if let Err(error) = joined {
        drop(channel);
        let _ = supervisor.wait();
        return Err(error);
    }
    let begun = channel.send(&Request::Begin { trial }, &descriptors);

    let mut outputs = Outputs {
        open: vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)],
    };
    let watched = begun
        .and_then(|()| {
            watch(
                &channel,
                cancel,
                process.limits.wall_time_max,
                &mut outputs,
                on_output,
            )
        })
        .map_err(setup("watch the sandbox"));
    // Without its channel a supervisor that still lives kills everything and ends.
    drop(channel);
    let status = supervisor
        .wait()
        .map_err(setup("wait for the sandbox's supervisor"))?;
    let (report, stopped) = watched?;
    // The writers are dead, so all they wrote is in the pipes. Waiting for the end of the
    // pipes instead would wait for whomever they handed their standard output to.
    outputs
        .drain(on_output)
        .map_err(setup("read the process's output"))?;

    match (stopped, report) {
        (Some(Stopped::Cancelled), _) => Err(RunError::Cancelled),
        (Some(Stopped::TimedOut(limit)), _) => Err(RunError::TimedOut { limit }),
        (None, Some(Report::Ended(exit))) => Ok(exit),
        (None, Some(Report::Failed(failure))) => Err(failure.into()),
        (None, None) => Err(RunError::Lost {
            detail: status.to_string(),
        }),
    }
}

/// Why a run was made to end.
#[derive(Clone, Copy, Debug)]
enum Stopped {
    Cancelled,
    TimedOut(Duration),
}

/// Passes on output until the supervisor reports or is gone.
fn watch(
    channel: &Channel,
    cancel: &CancelToken,
    wall_time_max: Option<Duration>,
    outputs: &mut Outputs,
    on_output: &mut dyn FnMut(Stream, &[u8]),
) -> io::Result<(Option<Report>, Option<Stopped>)> {
    let started = Instant::now();
    let mut stopped = None;
    loop {
        let left = match (stopped, wall_time_max) {
            (None, Some(limit)) => Some(limit.saturating_sub(started.elapsed())),
            (Some(_), _) | (None, None) => None,
        };
        if let (Some(Duration::ZERO), Some(limit)) = (left, wall_time_max) {
            stopped = Some(Stopped::TimedOut(limit));
            channel.send(&Request::Terminate, &[])?;
            continue;
        }
        let mut ready = vec![PollFd::new(channel, PollFlags::IN)];
        ready.extend(
            outputs
                .open
                .iter()
                .map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)),
        );
        let event = cancel.event();
        if stopped.is_none() {
            ready.push(PollFd::new(&event, PollFlags::IN));
        }
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut ready, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let reported = !ready[0].revents().is_empty();
        let written: Vec<bool> = ready[1..]
            .iter()
            .map(|pipe| !pipe.revents().is_empty())
            .collect();
        outputs.pass_on(&written, on_output)?;
        if reported {
            return Ok((
                channel.receive::<Report>()?.map(|(report, _)| report),
                stopped,
            ));
        }
        if stopped.is_none() && cancel.is_cancelled() {
            stopped = Some(Stopped::Cancelled);
            channel.send(&Request::Terminate, &[])?;
        }
    }
}

/// The pipes that the process writes to, until they end.
struct Outputs {
    open: Vec<(Stream, OwnedFd)>,
}

impl Outputs {
    /// Reads once from each pipe that is ready.
    fn pass_on(
        &mut self,
        ready: &[bool],
        on_output: &mut dyn FnMut(Stream, &[u8]),
    ) -> io::Result<()> {
        let mut bytes = vec![0; OUTPUT_BYTES_MAX];
        let mut ended = Vec::new();
        for (number, (stream, pipe)) in self.open.iter().enumerate() {
            if !ready.get(number).copied().unwrap_or(false) {
                continue;
            }
            match rustix::io::read(pipe, &mut bytes) {
                Ok(0) => ended.push(*stream),
                Ok(count) => on_output(*stream, &bytes[..count]),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.open.retain(|(stream, _)| !ended.contains(stream));
        Ok(())
    }

    /// Reads everything that is in the pipes now.
    fn drain(self, on_output: &mut dyn FnMut(Stream, &[u8])) -> io::Result<()> {
        let mut bytes = vec![0; OUTPUT_BYTES_MAX];
        for (stream, pipe) in self.open {
            loop {
                match rustix::io::read(&pipe, &mut bytes) {
                    Ok(0) | Err(rustix::io::Errno::AGAIN) => break,
                    Ok(count) => on_output(stream, &bytes[..count]),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

/// A pipe whose reading end does not wait; its other end is for another process.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    Ok((reader, writer))
}

/// Refuses what cannot work, before anything is started.
fn check(process: &Process) -> Result<(), RunError> {
    let invalid = |reason: &str| {
        Err(RunError::Invalid {
            reason: reason.to_owned(),
        })
    };
    let root = &process.root;
    if process.argv.is_empty() {
        return invalid("there is no program to run");
    }
    let words = process
        .argv
        .iter()
        .chain(process.env.iter().flat_map(|(name, value)| [name, value]));
    if words.into_iter().any(|word| word.as_bytes().contains(&0)) {
        return invalid("an argument or a variable contains a zero byte");
    }
    if !process.cwd.is_absolute()
        || process
            .mounts
            .iter()
            .any(|mount| !mount.target.is_absolute())
    {
        return invalid("the working directory and mount points must be absolute");
    }
    if root.lowers.is_empty() && root.base.is_none() {
        return invalid("a root needs at least one directory");
    }
    let directories = root.lowers.iter().chain(&root.base);
    let directories = directories.chain([&root.upper, &root.work]);
    if directories
        .into_iter()
        .any(|directory| !directory.is_absolute())
    {
        return invalid("the directories of a root must be absolute");
    }
    if root.upper.file_name().is_none() || root.work.file_name().is_none() {
        return invalid("the upper and the work directory must have names");
    }
    if root.lowers.len() > LOWERS_MAX {
        return Err(RunError::TooManyLowers {
            given: root.lowers.len(),
        });
    }
    for mount in &process.mounts {
        if let MountSource::Stack {
            layers,
            changes,
            path,
        } = &mount.source
        {
            if layers.len() > LOWERS_MAX {
                return Err(RunError::TooManyLowers {
                    given: layers.len(),
                });
            }
            if layers.is_empty() || (changes.is_none() && layers.len() < 2) {
                return invalid("a stack needs two directories, or one and a place for changes");
            }
            if path.is_absolute() {
                return invalid("what is shown of a stack is relative to it");
            }
        }
    }
    if process.mounts.len() > MOUNTS_MAX {
        return Err(RunError::TooManyMounts {
            given: process.mounts.len(),
        });
    }
    Ok(())
}

/// Opens the base of the root and the sources of bind mounts here, once: what happens to their
/// paths afterwards does not matter (CVE-2021-30465).
fn open_sources(process: &Process) -> Result<Vec<OwnedFd>, RunError> {
    let binds = process
        .mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            MountSource::Bind { source, owners: _ } => Some(source),
            MountSource::Stack { .. } | MountSource::Tmpfs { .. } | MountSource::File { .. } => {
                None
            }
        });
    let sources = process.root.base.iter().chain(binds);
    let opened = sources.map(|path| {
        open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|error| {
            RunError::BindSource {
                path: path.clone(),
                source: error.into(),
            }
        })
    });
    opened.collect()
}

/// The process as JSON in a file without a name.
fn describe(process: &Process) -> io::Result<OwnedFd> {
    let text = serde_json::to_vec(process).map_err(io::Error::other)?;
    let mut file = File::from(memfd_create("process", MemfdFlags::CLOEXEC)?);
    file.write_all(&text)?;
    file.rewind()?;
    Ok(file.into())
}

fn setup(doing: &'static str) -> impl Fn(io::Error) -> RunError {
    move |source| RunError::Setup {
        doing: doing.to_owned(),
        source,
    }
}
