//! How much disk a build may take, and how much it is going to: said before the first byte comes,
//! not when the disk is full.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What layers become when they are decompressed, in tenths: layers of distributions are between
/// two and three times as large.
const LIKELY_GROWTH_TENTHS: u64 = 25;

/// Bytes that unpacking takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// At least.
    pub certain: u64,
    /// Probably.
    pub likely: u64,
}

impl Need {
    /// Of a layer whose tar is known.
    pub(crate) fn exactly(tar_bytes: u64) -> Self {
        Self {
            certain: tar_bytes,
            likely: tar_bytes,
        }
    }

    /// Of a layer of which only the blob is known. A layer that became larger by compression is
    /// none that anybody keeps.
    pub(crate) fn of_blob(blob_bytes: u64, is_compressed: bool) -> Self {
        let tenths = if is_compressed {
            LIKELY_GROWTH_TENTHS
        } else {
            10
        };
        Self {
            certain: blob_bytes,
            likely: blob_bytes.saturating_mul(tenths) / 10,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            certain: self.certain.saturating_add(other.certain),
            likely: self.likely.saturating_add(other.likely),
        }
    }
}

/// Why unpacking is not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RoomError {
    #[error(
        "the layers of the base take at least {} of disk, and `{}` has {} free",
        shown(*need), path.display(), shown(*free)
    )]
    Disk { need: u64, free: u64, path: PathBuf },
    #[error(
        "the layers of the base take at least {} of disk, and {} of --disk-budget {} are left",
        shown(*need), shown(*left), shown(*budget)
    )]
    Budget { need: u64, left: u64, budget: u64 },
}

impl RoomError {
    /// What can be done.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Disk { .. } => {
                "free some with `kiln store prune`, choose another --store, read the base lazily with \
                 --lazy always, or give it as --base-mount"
            }
            Self::Budget { .. } => {
                "allow more, read the base lazily with --lazy always, or give it as --base-mount"
            }
        }
    }
}

/// The disk of one build.
#[derive(Debug)]
pub(crate) struct Room {
    store: PathBuf,
    budget: Option<u64>,
    taken: Mutex<u64>,
    warned: AtomicBool,
}

impl Room {
    pub(crate) fn new(store: &Path, budget: Option<u64>) -> Self {
        Self {
            store: store.to_owned(),
            budget,
            taken: Mutex::new(0),
            warned: AtomicBool::new(false),
        }
    }

    /// What was allowed.
    pub(crate) fn budget(&self) -> Option<u64> {
        self.budget
    }

    /// What of it is left.
    pub(crate) fn left(&self) -> Option<u64> {
        let taken = *self.taken.lock().expect("no panics under this lock");
        self.budget.map(|budget| budget.saturating_sub(taken))
    }

    /// Says before something is unpacked whether it can fit: an error when it cannot, a sentence to
    /// warn with when it probably will not.
    pub(crate) fn check(&self, need: Need) -> Result<Option<String>, RoomError> {
        let free = self.free();
        if let (Some(left), Some(budget)) = (self.left(), self.budget)
            && need.certain > left
        {
            return Err(RoomError::Budget {
                need: need.certain,
                left,
                budget,
            });
        }
        if let Some(free) = free
            && need.certain > free
        {
            return Err(RoomError::Disk {
                need: need.certain,
                free,
                path: self.store.clone(),
            });
        }
        let room = [free, self.left()].into_iter().flatten().min();
        Ok(room.filter(|room| need.likely > *room).map(|room| {
            format!(
                "unpacking the base will take about {} of disk, and there is room for {}",
                shown(need.likely),
                shown(room)
            )
        }))
    }

    /// Whether nobody was warned yet.
    pub(crate) fn warn(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }

    /// Notes what was unpacked.
    pub(crate) fn take(&self, bytes: u64) {
        let mut taken = self.taken.lock().expect("no panics under this lock");
        *taken = taken.saturating_add(bytes);
    }

    /// What this user can still write where the store is; `None` where nobody knows.
    fn free(&self) -> Option<u64> {
        let status = rustix::fs::statvfs(&self.store).ok()?;
        // Some file systems count nothing.
        (status.f_blocks > 0).then(|| status.f_bavail.saturating_mul(status.f_frsize))
    }
}

/// A number of bytes for people.
pub(super) fn shown(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    for (unit, size) in UNITS {
        if bytes >= size {
            let tenths = bytes / (size / 10);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_and_what_may_not_is_warned_of() {
        let room = Room::new(Path::new("/"), Some(1000));
        let blob = |bytes| Need::of_blob(bytes, true);
        assert_eq!(room.check(blob(400)), Ok(None));
        let warned = room.check(blob(800)).unwrap().unwrap();
        assert!(
            warned.contains("2.0 kB") && warned.contains("1.0 kB"),
            "{warned}"
        );
        assert_eq!(room.check(Need::exactly(1000)), Ok(None));
        let refused = |need, left| {
            Err(RoomError::Budget {
                need,
                left,
                budget: 1000,
            })
        };
        assert_eq!(room.check(Need::exactly(1001)), refused(1001, 1000));
        room.take(700);
        assert_eq!(room.check(blob(301)), refused(301, 300));
        let room = Room::new(Path::new("/"), None);
        let refused = room.check(Need::exactly(u64::MAX)).unwrap_err();
        assert!(matches!(refused, RoomError::Disk { .. }), "{refused}");
    }

    #[test]
    fn bytes_are_shown_with_one_digit_behind_the_point() {
        let shown_as = [0, 999, 1000, 1_550_000, 6_900_000_000].map(shown);
        assert_eq!(shown_as, ["0 B", "999 B", "1.0 kB", "1.5 MB", "6.9 GB"]);
    }
}
