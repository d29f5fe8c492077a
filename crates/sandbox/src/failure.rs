//! How a process of the chain says to its parent what went wrong: [`RunError`] as it travels.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::run::{ExecFailure, RunError};

/// A failure inside the sandbox's own processes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Invalid { reason: String },
    IdNotMapped { id: u32, mapped: String },
    MountPoint { path: String, reason: String },
    Setup { doing: String, errno: i32 },
    WorkingDirectory { path: String, errno: i32 },
    Exec(ExecFailure),
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Invalid { reason } => Self::Invalid { reason },
            Failure::IdNotMapped { id, mapped } => Self::IdNotMapped { id, mapped },
            Failure::MountPoint { path, reason } => Self::MountPoint {
                path: PathBuf::from(path),
                reason,
            },
            Failure::Setup { doing, errno } => Self::Setup {
                doing,
                source: io::Error::from_raw_os_error(errno),
            },
            Failure::WorkingDirectory { path, errno } => Self::WorkingDirectory {
                path: PathBuf::from(path),
                source: io::Error::from_raw_os_error(errno),
            },
            Failure::Exec(failure) => Self::Exec(failure),
        }
    }
}

/// Says what was being done when the kernel refused: `.doing(|| format!("mount {name}"))?`.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| {
            let error = error.into();
            // Errors that this crate made itself have a sentence instead of a number.
            let doing = match error.raw_os_error() {
                Some(_) => what(),
                None => format!("{}: {error}", what()),
            };
            Failure::Setup {
                doing,
                errno: error.raw_os_error().unwrap_or(libc::EINVAL),
            }
        })
    }
}
