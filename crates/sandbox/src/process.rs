//! What to run and where, as plain data, and how it ended. No code that acts.

pub(crate) mod encoding;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::emulator::Emulator;

/// First host id of the range that the root rung maps its users into.
///
/// Far above what accounts and `/etc/subuid` use, below 2³¹ so that tools which keep an id in a
/// signed number still read it. Such ids never reach a disk: the mounts of a run are id-mapped.
pub const IDS_BASE: u32 = 0x7F00_0000;

/// How many ids the root rung maps: 0 up to, not including, this.
pub const IDS_COUNT: u32 = 65_536;

/// The most directories a root can be stacked from. An overlay mounted in a user namespace
/// refuses more (measured on Linux 6.18; 500 outside of one).
pub const LOWERS_MAX: usize = 300;

/// The most additional mounts of one process: their sources travel as descriptors in one
/// message, and the kernel allows 253 in it (`SCM_MAX_FD`).
pub const MOUNTS_MAX: usize = 200;

/// One process to run, with everything it will see. Nothing else reaches it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    /// The program and its arguments. A first word without `/` is looked up in the `PATH` of
    /// [`env`](Self::env), inside the root.
    #[serde(with = "encoding::texts")]
    pub argv: Vec<OsString>,
    /// The whole environment. Nothing is added to it.
    #[serde(with = "encoding::pairs")]
    pub env: Vec<(OsString, OsString)>,
    /// Working directory, absolute inside the root; it must exist.
    #[serde(with = "encoding::path")]
    pub cwd: PathBuf,
    /// Who the process is.
    pub user: UserIds,
    /// What it sees as `/`.
    pub root: Root,
    /// Further mounts, made in this order after the standard ones.
    pub mounts: Vec<Mount>,
    /// What network it reaches.
    pub network: Network,
    /// The host name, also written to `/etc/hostname`.
    pub hostname: String,
    /// Content of `/etc/hosts`.
    #[serde(with = "encoding::bytes")]
    pub hosts: Vec<u8>,
    /// Content of `/etc/resolv.conf`.
    #[serde(with = "encoding::bytes")]
    pub resolv_conf: Vec<u8>,
    /// What it may use up.
    pub limits: Limits,
    /// Choices that weaken or strengthen the cage.
    pub security: Security,
    /// How ids inside relate to ids outside.
    pub ids: IdMapping,
    /// What runs programs of another processor, where the kernel does not.
    pub emulator: Option<Emulator>,
}

/// The ids of a process, as numbers inside its root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserIds {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, exactly these.
    pub groups: Vec<u32>,
}

/// Directories that are stacked into a root. The lower ones are only read; every change lands in
/// `upper`, in the format of overlayfs with `userxattr`: a removed name is a character device
/// 0:0, a directory that hides what is below has the attribute `user.overlay.opaque` = `y`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Root {
    /// A mount that is attached nowhere yet, below all directories. `/proc/self/fd/N` names one
    /// that the caller holds open; the run uses it up. Its owners are those of outside: with
    /// [`IdMapping::Reserved`] they lie in the reserved range.
    #[serde(with = "encoding::optional_path")]
    pub base: Option<PathBuf>,
    /// The read-only directories, the lowest first; at least one where there is no base, at most
    /// [`LOWERS_MAX`].
    #[serde(with = "encoding::paths")]
    pub lowers: Vec<PathBuf>,
    /// Where changes are kept. Exists, and has the same parent directory as `work`.
    #[serde(with = "encoding::path")]
    pub upper: PathBuf,
    /// Scratch of overlayfs: empty, beside `upper`.
    #[serde(with = "encoding::path")]
    pub work: PathBuf,
}

/// One further mount. Missing parts of the target's path are created for the run and removed
/// after it. Set-user-id bits and device nodes have no effect in any of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Where, absolute inside the root. Symbolic links are followed inside the root only.
    #[serde(with = "encoding::path")]
    pub target: PathBuf,
    /// What.
    pub source: MountSource,
    /// Whether writing is refused.
    pub read_only: bool,
    /// Whether programs in it can be started.
    pub executable: bool,
}

/// What a [`Mount`] shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the caller. It is opened once, by the caller's own process, so
    /// `/proc/self/fd/N` names exactly what the caller holds open. What is mounted below it is
    /// not seen.
    Bind {
        /// The file or directory.
        #[serde(with = "encoding::path")]
        source: PathBuf,
        /// Whom its files belong to inside.
        owners: Owners,
    },
    /// A file or directory of directories that are stacked like those of a [`Root`].
    Stack {
        /// The read-only directories, the lowest first; at least two where nothing is kept, at
        /// most [`LOWERS_MAX`].
        layers: Vec<StackLayer>,
        /// Where changes are kept; without it nothing can be changed.
        changes: Option<Changes>,
        /// What is shown, from the root of the stack and without symbolic links; empty is all.
        #[serde(with = "encoding::path")]
        path: PathBuf,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Most bytes it may hold; `None` is the kernel's default, half of the memory.
        bytes_max: Option<u64>,
        /// Permission bits of its root directory.
        mode: u32,
    },
    /// A file with this content, kept in memory and never in the upper directory.
    File {
        /// Its bytes.
        #[serde(with = "encoding::bytes")]
        content: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Its owner, inside.
        uid: u32,
        /// Its group, inside.
        gid: u32,
    },
}

/// Whom files of the caller belong to inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owners {
    /// Whom they belong to on disk.
    AsOnDisk,
    /// Those of this user, and of this group, belong to root, and all others to nobody. Only with
    /// [`IdMapping::Reserved`].
    Root {
        /// On disk.
        uid: u32,
        /// On disk.
        gid: u32,
    },
}

/// One directory of a stack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StackLayer {
    /// Opened by the supervisor, with the caller's rights.
    #[serde(with = "encoding::path")]
    pub directory: PathBuf,
    /// Whom its files belong to inside.
    pub owners: Owners,
}

/// Where the changes of a stack are kept: as in [`Root`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Changes {
    /// Exists, and has the same parent directory as `work`.
    #[serde(with = "encoding::path")]
    pub upper: PathBuf,
    /// Empty, beside `upper`.
    #[serde(with = "encoding::path")]
    pub work: PathBuf,
}

/// What network a process reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The caller's own, with everything that listens on its loopback and on abstract sockets.
    Host,
    /// A loopback of its own and nothing else.
    None,
}

/// What a process may use up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Open files of one process (`RLIMIT_NOFILE`), lowered to the caller's hard limit.
    pub open_files_max: u64,
    /// Processes of one user (`RLIMIT_NPROC`); `None` keeps the caller's.
    pub processes_max: Option<u64>,
    /// Bytes of one file (`RLIMIT_FSIZE`); `None` keeps the caller's.
    pub file_bytes_max: Option<u64>,
    /// How long it may take before it is ended like a cancelled one.
    pub wall_time_max: Option<Duration>,
    /// Bytes of `/dev/shm`.
    pub shared_memory_bytes_max: u64,
    /// Further limits, each resource once; they win over those above.
    pub resources: Vec<ResourceLimit>,
    /// The control group in which one is made for the process, from the top of each hierarchy.
    pub control_group_parent: Option<String>,
}

/// One of the limits of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// Of what.
    pub resource: Resource,
    /// `u64::MAX` is no limit.
    pub soft: u64,
    /// Not below `soft`.
    pub hard: u64,
}

/// What setrlimit(2) limits, under the names that docker's `--ulimit` has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of setrlimit(2)")]
pub enum Resource {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Core,
        Self::Cpu,
        Self::Data,
        Self::Fsize,
        Self::Locks,
        Self::Memlock,
        Self::Msgqueue,
        Self::Nice,
        Self::Nofile,
        Self::Nproc,
        Self::Rss,
        Self::Rtprio,
        Self::Rttime,
        Self::Sigpending,
        Self::Stack,
    ];

    /// The name in lower case, without `RLIMIT_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Cpu => "cpu",
            Self::Data => "data",
            Self::Fsize => "fsize",
            Self::Locks => "locks",
            Self::Memlock => "memlock",
            Self::Msgqueue => "msgqueue",
            Self::Nice => "nice",
            Self::Nofile => "nofile",
            Self::Nproc => "nproc",
            Self::Rss => "rss",
            Self::Rtprio => "rtprio",
            Self::Rttime => "rttime",
            Self::Sigpending => "sigpending",
            Self::Stack => "stack",
        }
    }
}

/// `/dev/shm` of a Docker container, which programs have come to expect.
pub const SHARED_MEMORY_BYTES: u64 = 64 * 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_files_max: 65_536,
            processes_max: None,
            file_bytes_max: None,
            wall_time_max: None,
            shared_memory_bytes_max: SHARED_MEMORY_BYTES,
            resources: Vec::new(),
            control_group_parent: None,
        }
    }
}

/// Choices that weaken or strengthen the cage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Set-user-id programs and file capabilities gain nothing. Off by default, since `sudo`
    /// and `su` are common in images, and what they gain stays inside the mapped ids.
    pub no_new_privileges: bool,
    /// Every capability over the namespaces of the process, no filter on system calls, and a
    /// `/proc` and `/sys` without covers. What the kernel keeps for root of the machine stays out
    /// of reach.
    pub unconfined: bool,
}

/// How ids inside relate to ids outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdMapping {
    /// Ids 0 up to `count` inside are `base` and following outside, while files keep their
    /// owners as they are on disk, by id-mapped mounts. Needs root in the initial namespace.
    Reserved {
        /// First id outside.
        base: u32,
        /// How many.
        count: u32,
    },
    /// Ids are what they are in the caller's own user namespace, for all that are mapped there.
    Inherited,
}

impl IdMapping {
    /// The reserved range that is used unless the user chose another.
    pub const RESERVED: Self = Self::Reserved {
        base: IDS_BASE,
        count: IDS_COUNT,
    };
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// By itself or by a signal.
    pub ending: Ending,
    /// It was killed while the kernel reported that memory had run out. A hint: the kernel's
    /// counter is one for the whole machine.
    pub memory_exhausted: bool,
}

/// The end of a process: exactly one of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It ended by itself with this code; 0 is success.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}
