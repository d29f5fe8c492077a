//! The cage: runs one process in an isolated root, and says faithfully how it ended.
//!
//! It has never heard of images, Dockerfiles, layers or caches: it is given directories, a
//! program and numbers. It reads no environment variable and prints nothing. It is the only crate
//! of the workspace with `unsafe` code, all of it in `sys/`, each use with its reason.
//!
//! A run is a chain of four processes, none of them forked from a multi-threaded one:
//!
//! ```text
//! caller ── run(): starts the supervisor with a cleared environment and one socket
//!   └ supervisor   makes the user namespace, opens everything that needs the caller's rights
//!       └ init     process 1 of the new namespaces: builds the root, reaps, ends with the command
//!           └ command   the program, after giving up everything it does not need
//! ```
//!
//! The program that uses this crate must call [`child_main_if_requested`] as the first statement
//! of its `main`.

mod cancel;
mod channel;
mod command;
mod control_group;
mod emulator;
mod enter;
mod failure;
mod init;
mod mounts;
mod order;
mod probe;
mod process;
mod run;
mod start;
mod supervisor;
mod sys;
mod system_calls;
mod user_namespace;

pub use cancel::CancelToken;
pub use emulator::{Emulator, MAGIC_BYTES_MAX};
pub use enter::{EnterError, enter_user_namespace, inside_user_namespace};
pub use mounts::can_map_owners;
pub use probe::{ProbeError, Requested, Rung, probe, try_emulator};
pub use process::{
    Changes, Ending, Exit, IDS_BASE, IDS_COUNT, IdMapping, LOWERS_MAX, Limits, MOUNTS_MAX, Mount,
    MountSource, Network, Owners, Process, Resource, ResourceLimit, Root, SHARED_MEMORY_BYTES,
    Security, StackLayer, UserIds,
};
pub use run::{ExecFailure, RunError, Stream, run};
pub use start::child_main_if_requested;
