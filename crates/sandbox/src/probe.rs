//! Which way of running processes this machine and this user have, found out by trying.
//!
//! A trial is a whole run without the program: every namespace, map and mount is made exactly as
//! later. Settings are only read after a trial failed, to say which one is likely to blame.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use thiserror::Error;

use crate::emulator::Emulator;
use crate::process::{IdMapping, Limits, Network, Process, Root, Security, UserIds};
use crate::run::{RunError, try_out};
use crate::user_namespace::in_initial_namespace;

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    /// The best that works.
    Auto,
    /// [`Rung::Root`] or an error.
    Root,
    /// [`Rung::UserNamespace`] or an error.
    UserNamespace,
}

/// A way of running processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// By root of the initial user namespace: processes get ids of a reserved range, and files
    /// keep their owners by id-mapped mounts.
    Root,
    /// By root of a user namespace that has subordinate ids, see
    /// [`enter_user_namespace`](crate::enter_user_namespace).
    UserNamespace,
}

impl Rung {
    /// The mapping that a [`Process`] needs on this rung.
    pub fn ids(self) -> IdMapping {
        match self {
            Self::Root => IdMapping::RESERVED,
            Self::UserNamespace => IdMapping::Inherited,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Root => "root",
            Self::UserNamespace => "user-namespace",
        })
    }
}

/// Why a rung cannot be had, and what is missing.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// This process is not who it has to be.
    #[error("the {rung} sandbox is not available: {reason}")]
    NotPermitted {
        /// The rung that was asked for.
        rung: Rung,
        /// What is missing, as a sentence part.
        reason: String,
    },
    /// The trial failed.
    #[error("the {rung} sandbox is not available{}", hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    TrialFailed {
        /// The rung that was tried.
        rung: Rung,
        /// Which setting, capability or file is likely to be missing, if one stands out.
        hint: Option<String>,
        /// What failed.
        source: RunError,
    },
    /// The directory for the trial could not be used.
    #[error("could not prepare a trial of the sandbox in {directory}")]
    Directory {
        /// The directory as given.
        directory: String,
        /// Why.
        source: io::Error,
    },
}

/// Decides which rung processes can run on, by building and leaving a sandbox in a child process.
///
/// `directory` is where the upper directories of roots will be: whether the kernel can stack and
/// id-map depends on that file system. It must exist; a temporary directory is made in it.
/// Takes a few milliseconds.
pub fn probe(requested: Requested, directory: &Path) -> Result<Rung, ProbeError> {
    let is_root = rustix::process::geteuid().is_root();
    let initial = in_initial_namespace();
    let not_permitted = |rung, reason: &str| {
        Err(ProbeError::NotPermitted {
            rung,
            reason: reason.to_owned(),
        })
    };
    match requested {
        Requested::Root | Requested::Auto if is_root && initial => attempt(Rung::Root, directory),
        Requested::Root if is_root => not_permitted(
            Rung::Root,
            "this is root of a user namespace, not of the machine",
        ),
        Requested::Root => not_permitted(Rung::Root, "it needs to be started by root"),
        Requested::UserNamespace | Requested::Auto if is_root && !initial => {
            attempt(Rung::UserNamespace, directory)
        }
        Requested::UserNamespace if is_root => not_permitted(
            Rung::UserNamespace,
            "root of the machine uses the root sandbox",
        ),
        Requested::UserNamespace | Requested::Auto => not_permitted(
            Rung::UserNamespace,
            "this process has not entered a user namespace with subordinate ids",
        ),
    }
}

/// Whether a rung that works can be given an emulator, found out like the rung itself.
pub fn try_emulator(rung: Rung, directory: &Path, emulator: &Emulator) -> Result<(), ProbeError> {
    attempt_with(rung, directory, Some(emulator))
}

fn attempt(rung: Rung, directory: &Path) -> Result<Rung, ProbeError> {
    attempt_with(rung, directory, None).map(|()| rung)
}

fn attempt_with(
    rung: Rung,
    directory: &Path,
    emulator: Option<&Emulator>,
) -> Result<(), ProbeError> {
    let failed = |source| ProbeError::Directory {
        directory: directory.display().to_string(),
        source,
    };
    let trial = directory.canonicalize().map_err(failed)?;
    let trial = trial.join(format!("sandbox-trial-{}", std::process::id()));
    let prepare = || -> io::Result<Root> {
        let root = Root {
            base: None,
            lowers: vec![trial.join("lower")],
            upper: trial.join("upper"),
            work: trial.join("work"),
        };
        fs::create_dir(&trial)?;
        for directory in root.lowers.iter().chain([&root.upper, &root.work]) {
            fs::create_dir(directory)?;
        }
        Ok(root)
    };
    let outcome = prepare().map_err(failed).and_then(|root| {
        let hint = |source: &RunError| hint(rung, source);
        let process = Process {
            emulator: emulator.cloned(),
            ..trial_process(rung, root)
        };
        try_out(&process).map_err(|source| ProbeError::TrialFailed {
            rung,
            hint: hint(&source),
            source,
        })
    });
    let removed = fs::remove_dir_all(&trial).map_err(failed);
    outcome?;
    removed?;
    Ok(())
}

fn trial_process(rung: Rung, root: Root) -> Process {
    Process {
        argv: vec!["true".into()],
        env: Vec::new(),
        cwd: "/".into(),
        user: UserIds::default(),
        root,
        mounts: Vec::new(),
        network: Network::None,
        hostname: "trial".to_owned(),
        hosts: Vec::new(),
        resolv_conf: Vec::new(),
        limits: Limits::default(),
        security: Security::default(),
        ids: rung.ids(),
        emulator: None,
    }
}

/// The likeliest reason for a refusal, from what the kernel tells about its settings.
fn hint(rung: Rung, error: &RunError) -> Option<String> {
    let RunError::Setup { doing, source } = error else {
        return None;
    };
    let errno = source.raw_os_error().unwrap_or_default();
    if doing.contains("user namespace") {
        return user_namespace_hint();
    }
    if doing.contains("id-mapped") {
        return Some(
            "the file system of that directory cannot map owners, or the kernel is older \
                     than 5.12: ext4, xfs, btrfs and, since Linux 6.3, tmpfs can"
                .to_owned(),
        );
    }
    if doing.contains("binfmt_misc") {
        return Some(
            "the kernel gives a user namespace no binfmt_misc of its own: that takes Linux 6.7"
                .to_owned(),
        );
    }
    if doing.contains("overlayfs") {
        return Some(match errno {
            libc::ENODEV => "the kernel has no overlayfs".to_owned(),
            libc::EINVAL => "the directory may be on overlayfs itself, as in a container without \
                             a volume, or the kernel is older than 6.7"
                .to_owned(),
            _ => "overlayfs does not accept the file system of that directory".to_owned(),
        });
    }
    if doing.contains("/proc") {
        return Some(
            "a part of the visible /proc is covered, as in most containers; in Kubernetes \
                     set procMount: Unmasked with hostUsers: false"
                .to_owned(),
        );
    }
    if errno == libc::EPERM {
        return Some(match (rung, missing_sys_admin()) {
            (Rung::Root, true) => "the capability CAP_SYS_ADMIN is missing".to_owned(),
            (Rung::Root | Rung::UserNamespace, _) => {
                "a seccomp filter or a security module around this process forbids it".to_owned()
            }
        });
    }
    None
}

/// The setting that forbids user namespaces, if one does.
pub(crate) fn user_namespace_hint() -> Option<String> {
    let forbidding = [
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
        ),
    ];
    let guilty = forbidding.iter().find(|(file, value)| {
        fs::read_to_string(file).is_ok_and(|content| content.trim() == *value)
    });
    guilty.map(|(file, value)| format!("{file} is {value}"))
}

/// Whether CAP_SYS_ADMIN is not effective.
fn missing_sys_admin() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| !sets.effective.contains(CapabilitySet::SYS_ADMIN))
}
