//! The caller's side of a run: start the supervisor, hand it the plan, pass on what the process
//! writes, and turn the supervisor's report into an [`Exit`].

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cancel::CancelToken;
use crate::process::{Exit, LOWERS_MAX, MOUNTS_MAX, Process};

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
    #[error("a root of {given} directories: the kernel stacks at most {LOWERS_MAX} in a user namespace")]
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
    #[error("{program}: Exec format error: it is built for {found}, this machine is {host}, and no emulator is registered")]
    WrongArchitecture {
        /// The file.
        program: String,
        /// The processor named in its header.
        found: String,
        /// The processor that runs here.
        host: String,
    },
    /// Neither a binary nor a script with an interpreter line.
    #[error("{program}: Exec format error: neither a program for this system nor a script that starts with #!")]
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
    let _ = (process, cancel, on_output);
    Err(RunError::Lost { detail: "being written".to_owned() })
}

/// Becomes a part of a sandbox if this process was started as one, and never returns then.
///
/// Must be the first statement of `main`, before any thread, signal handler or argument parser.
pub fn child_main_if_requested() {}
