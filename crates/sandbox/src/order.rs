//! The messages of a run: caller to supervisor, supervisor to caller, init to supervisor.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::process::{Ending, Exit};

/// From the caller to the supervisor. The end of the stream means: kill everything.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// First message. Descriptors: a file with the [`Process`](crate::Process) as JSON, then the
    /// base of the root if it has one, then one per bind mount, in the order of the mounts.
    Begin {
        /// Build the sandbox and leave it again, without starting the program.
        trial: bool,
    },
    /// Ask the processes to end, and ten seconds later make them.
    Terminate,
}

/// From the supervisor to the caller: its last words.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The process ran and ended.
    Ended(Exit),
    /// It was not run.
    Failed(Failure),
}

/// From init to the supervisor. The end of the stream means: init is gone, and with it every
/// process of its namespace.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Progress {
    /// The root is built. Descriptors: two per entry, its directory and itself.
    Built {
        /// What had to be created to mount on.
        created: Vec<Created>,
    },
    /// The command ended.
    Ended(Ending),
    /// The command was not started.
    Failed(Failure),
}

/// An entry that did not exist in the root and was created only to mount on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Created {
    /// Its name in its directory.
    pub(crate) name: Vec<u8>,
    /// Whether it is a directory.
    pub(crate) directory: bool,
    /// When the directory that holds it was last changed before, and by us.
    pub(crate) parent_changed_before: Moment,
    pub(crate) parent_changed_after: Moment,
}

/// A time of a file: seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: i64,
}
