//! The error of every access to the disk: what was being done, to which path,
//! and, when the disk is full, how full it is. Knows nothing of what is stored.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The disk did not do what was asked.
///
/// A full disk says which resource has run out, because a file system out of
/// inodes reports "no space" with gigabytes free.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} `{}`{room}", path.display())]
pub struct DiskError {
    action: &'static str,
    path: PathBuf,
    room: Room,
    #[source]
    source: io::Error,
}

/// What is left on a full file system; empty for every other error.
#[derive(Debug, Clone, Copy)]
struct Room(Option<(u64, u64)>);

impl DiskError {
    /// `action` is a verb that fits behind "could not".
    pub(crate) fn new(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        Self {
            action,
            path: path.to_owned(),
            room: Room(if full { room_at(path) } else { None }),
            source,
        }
    }

    /// The path that the access was about.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of the cause.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Whether room is what is missing.
    pub fn is_full(&self) -> bool {
        matches!(
            self.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((bytes, inodes)) => {
                write!(f, " ({bytes} bytes and {inodes} inodes are free there)")
            }
            None => Ok(()),
        }
    }
}

/// Free bytes and inodes of the file system of `path` or of its nearest
/// ancestor that exists.
fn room_at(path: &Path) -> Option<(u64, u64)> {
    path.ancestors().find_map(|ancestor| {
        let stat = rustix::fs::statvfs(ancestor).ok()?;
        Some((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_favail))
    })
}

/// Names action and path of an access that failed.
pub(crate) trait On<T> {
    /// As [`DiskError::new`].
    fn on(self, action: &'static str, path: &Path) -> Result<T, DiskError>;
}

impl<T, E: Into<io::Error>> On<T> for Result<T, E> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, DiskError> {
        self.map_err(|source| DiskError::new(action, path, source))
    }
}
