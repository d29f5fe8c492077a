//! Advisory locks on files: the kernel gives them up when their holder dies,
//! however it dies, so a lock that is held has a holder that lives.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::disk::{DiskError, On as _};

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// With others.
    Shared,
    /// Alone.
    Exclusive,
}

/// How often a lock that somebody else holds is asked for again. `flock(2)` has
/// no timeout, and a blocked one cannot be given up from the same thread.
const POLL: Duration = Duration::from_millis(20);

/// Opens (and makes) a lock file without locking it.
pub(crate) fn open(path: &Path) -> Result<File, DiskError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .on("open the lock file", path)
}

/// Opens a lock file that is there.
pub(crate) fn open_existing(path: &Path) -> Result<File, DiskError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .on("open the lock file", path)
}

/// Locks `file`, waiting `patience` at most. `Ok(false)` when others still hold
/// it then. A lock that is held already is changed to `mode`; while that waits
/// nothing is held.
///
/// # Errors
///
/// File systems without locks (some network mounts) say so here.
pub(crate) fn acquire(
    file: &File,
    path: &Path,
    mode: Mode,
    patience: Duration,
) -> Result<bool, DiskError> {
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    let start = Instant::now();
    loop {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if start.elapsed() < patience => std::thread::sleep(POLL),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(errno) => return Err(DiskError::new("lock", path, errno)),
        }
    }
}
