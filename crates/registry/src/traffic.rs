//! What went over the wire, in numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Is told how many bytes of one blob have been moved so far. The number goes
/// back when something has to be sent again.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Bytes of bodies and numbers of requests since the client was made. Headers
/// and encryption are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received in bodies.
    pub down_bytes: u64,
    /// Bytes sent in bodies.
    pub up_bytes: u64,
    /// Requests sent, those for tokens and those after redirects included.
    pub requests: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    down_bytes: AtomicU64,
    up_bytes: AtomicU64,
    requests: AtomicU64,
}

impl Counters {
    pub(crate) fn down(&self, bytes: usize) {
        self.down_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn up(&self, bytes: usize) {
        self.up_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Traffic {
        Traffic {
            down_bytes: self.down_bytes.load(Ordering::Relaxed),
            up_bytes: self.up_bytes.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
        }
    }
}
