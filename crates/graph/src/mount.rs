//! What a RUN finds in its root only while it runs (`RUN --mount`). None of it is in a layer (R4).

use dockerfile::Span;

use crate::FileSource;

/// One `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMount {
    /// What is mounted.
    pub kind: RunMountKind,
    /// The flag in the Dockerfile.
    pub span: Span,
}

/// What is mounted, and where. Targets are absolute and clean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunMountKind {
    /// Files of a context, a stage or an image (R7).
    Bind {
        /// Where.
        target: String,
        /// Whose files.
        from: FileSource,
        /// Which: relative and clean, no wildcards; empty is everything.
        path: String,
        /// Whether the command may write. What it writes is thrown away.
        writable: bool,
    },
    /// A directory that outlives the build (R8).
    Cache {
        /// Where.
        target: String,
        /// Its name in the store: namespace and id.
        id: String,
        /// Who else may use it at the same time.
        sharing: Sharing,
        /// What a new one begins with, as for a bind mount.
        seed: Option<(FileSource, String)>,
        /// Of the directory when it is made.
        owner: MountOwner,
        /// Whether the command may only read.
        read_only: bool,
    },
    /// An empty directory in memory (R11).
    Tmpfs {
        /// Where.
        target: String,
        /// The most that it holds, in bytes; as much as the kernel gives when absent.
        bytes_max: Option<u64>,
    },
    /// A secret as a file, as a variable, or as both (R9).
    Secret {
        /// What `--secret` calls it.
        id: String,
        /// Where, if it is to be a file.
        target: Option<String>,
        /// The name of the variable, if it is to be one.
        variable: Option<String>,
        /// Of the file.
        owner: MountOwner,
        /// Whether there is no going on without it. One that was checked: it is given.
        required: bool,
    },
    /// The socket of an SSH agent (R10).
    Ssh {
        /// What `--ssh` calls it.
        id: String,
        /// Where; nothing is the usual place, which `SSH_AUTH_SOCK` then names.
        target: Option<String>,
        /// Of the socket.
        owner: MountOwner,
        /// Whether there is no going on without it.
        required: bool,
    },
}

/// Who may use a cache mount while one RUN uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// Nobody: who wants it too gets another one.
    Private,
    /// Nobody: who wants it too waits.
    Locked,
}

impl Sharing {
    /// The word as it stands behind `sharing=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Private => "private",
            Self::Locked => "locked",
        }
    }
}

/// Owner and permissions of what is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MountOwner {
    /// Permissions, at most 0o7777.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}
