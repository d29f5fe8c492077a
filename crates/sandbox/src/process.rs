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
    /// The read-only directories, the lowest first; at least one, at most [`LOWERS_MAX`].
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
    /// `/proc/self/fd/N` names exactly what the caller holds open. Owners are seen as they are
    /// on disk.
    Bind {
        /// The file or directory.
        #[serde(with = "encoding::path")]
        source: PathBuf,
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_files_max: 65_536,
            processes_max: None,
            file_bytes_max: None,
            wall_time_max: None,
        }
    }
}

/// Choices that weaken or strengthen the cage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Set-user-id programs and file capabilities gain nothing. Off by default, since `sudo`
    /// and `su` are common in images, and what they gain stays inside the mapped ids.
    pub no_new_privileges: bool,
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
