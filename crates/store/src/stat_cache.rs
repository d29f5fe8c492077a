//! Content hashes of files in a build context, so that an unchanged file is not
//! read again. One file per context, loaded and saved whole.
//!
//! An entry answers for a file whose device, inode, size, mode, modification
//! time and change time are all as they were. The change time cannot be set by
//! programs, so an edit that restores the modification time is seen. What could
//! not be seen is an edit within one tick of the file system's clock after the
//! file was hashed: therefore an entry is stored only if the file's change time
//! lies at least [`SETTLED_SECONDS`] before the moment at which the cache was
//! loaded, which is before anything was hashed. A file changed later than that
//! is hashed again next time, and stored then. Change times in the future
//! (clocks that jump) are never stored.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use oci::Digest;
use sha2::Digest as _;

use crate::dir::Stat;
use crate::disk::{DiskError, On as _};
use crate::layer::ContentHash;
use crate::record::{open_regular, open_unnoticed};
use crate::scratch::Process;

/// How long ago, in seconds, the last change of a file must be before its hash
/// is remembered. FAT, the coarsest file system in use, ticks every two.
pub const SETTLED_SECONDS: i64 = 2;

/// Entries in one cache file; more are not saved.
const ENTRIES_MAX: usize = 10_000_000;

/// The content hashes of one context.
#[derive(Debug)]
pub struct StatCache {
    path: PathBuf,
    process: Arc<Process>,
    /// Seconds since 1970 when this was loaded.
    loaded: i64,
    /// What was known before, and whether it was asked for since.
    known: HashMap<Identity, (ContentHash, bool)>,
    changed: bool,
}

/// All that must be equal for a file to count as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    mtime: i64,
    mtime_nanoseconds: u32,
    ctime: i64,
    ctime_nanoseconds: u32,
    mode: u32,
}

/// The directory of the cache files.
pub(crate) const STAT: &str = "stat";

const MAGIC: &[u8; 8] = b"kiln-s\x00\x02";
const ENTRY_BYTES: usize = 8 * 5 + 4 * 3 + 32;

impl StatCache {
    pub(crate) fn load(root: &Path, process: Arc<Process>, context: &Path) -> Self {
        let name = Digest::of(context.as_os_str().as_encoded_bytes());
        let path = root.join(STAT).join(name.hex());
        let known = open_regular(&path)
            .ok()
            .flatten()
            .and_then(read)
            .unwrap_or_default();
        Self {
            path,
            process,
            loaded: now(),
            known,
            changed: false,
        }
    }

    /// The hash of the file with this metadata, if it is known not to have
    /// changed.
    pub fn get(&mut self, stat: &Stat) -> Option<ContentHash> {
        let (hash, used) = self.known.get_mut(&Identity::of(stat))?;
        *used = true;
        Some(*hash)
    }

    /// Remembers the hash of the file that had this metadata, by descriptor,
    /// before it was read. Forgotten at once if the file changed too recently.
    pub fn put(&mut self, stat: &Stat, hash: ContentHash) {
        if stat.ctime <= self.loaded - SETTLED_SECONDS {
            self.known.insert(Identity::of(stat), (hash, true));
            self.changed = true;
        }
    }

    /// Saves what was asked for or remembered since it was loaded; the rest is
    /// of files that changed or went. Does nothing when nothing changed.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn save(self) -> Result<(), DiskError> {
        let unused = self.known.values().any(|(_, used)| !used);
        if !self.changed && !unused {
            return Ok(());
        }
        let mut entries: Vec<_> = self
            .known
            .iter()
            .filter(|(_, (_, used))| *used)
            .map(|(identity, (hash, _))| (*identity, *hash))
            .take(ENTRIES_MAX)
            .collect();
        entries.sort_unstable();
        let mut bytes = Vec::with_capacity(MAGIC.len() + entries.len() * ENTRY_BYTES + 32);
        bytes.extend_from_slice(MAGIC);
        for (identity, hash) in &entries {
            identity.write(&mut bytes);
            bytes.extend_from_slice(&hash.0);
        }
        let sum = sha2::Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        let file = self.process.file()?;
        file.file().write_all(&bytes).on("write", file.path())?;
        file.move_to(&self.path)
    }
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.device,
            inode: stat.inode,
            size: stat.size,
            mtime: stat.mtime,
            mtime_nanoseconds: stat.mtime_nanoseconds,
            ctime: stat.ctime,
            ctime_nanoseconds: stat.ctime_nanoseconds,
            mode: stat.mode,
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let Self {
            device,
            inode,
            size,
            mtime,
            mtime_nanoseconds,
            ctime,
            ctime_nanoseconds,
            mode,
        } = *self;
        for number in [
            device,
            inode,
            size,
            mtime.cast_unsigned(),
            ctime.cast_unsigned(),
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [mtime_nanoseconds, ctime_nanoseconds, mode] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// The inverse of [`Identity::write`] with the hash behind.
    fn read(bytes: &[u8; ENTRY_BYTES]) -> (Self, ContentHash) {
        let long =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let short =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let identity = Self {
            device: long(0),
            inode: long(8),
            size: long(16),
            mtime: long(24).cast_signed(),
            ctime: long(32).cast_signed(),
            mtime_nanoseconds: short(40),
            ctime_nanoseconds: short(44),
            mode: short(48),
        };
        let hash = bytes[52..].try_into().expect("thirty-two bytes");
        (identity, ContentHash(hash))
    }
}

/// The entries of a cache file; `None` for one that is damaged.
fn read(file: File) -> Option<HashMap<Identity, (ContentHash, bool)>> {
    use std::io::Read as _;
    let max = (MAGIC.len() + ENTRIES_MAX * ENTRY_BYTES + 32) as u64;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).ok()?;
    decode(&bytes)
}

/// Whether a cache file can be read.
pub(crate) fn is_sound(path: &Path) -> bool {
    open_unnoticed(path).ok().flatten().and_then(read).is_some()
}

fn decode(bytes: &[u8]) -> Option<HashMap<Identity, (ContentHash, bool)>> {
    let (content, sum) = bytes.split_last_chunk::<32>()?;
    if *sum != <[u8; 32]>::from(sha2::Sha256::digest(content)) {
        return None;
    }
    let (entries, rest) = content.strip_prefix(MAGIC)?.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return None;
    }
    Some(
        entries
            .iter()
            .map(|entry| {
                let (identity, hash) = Identity::read(entry);
                (identity, (hash, false))
            })
            .collect(),
    )
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(i64::MIN, |elapsed| elapsed.as_secs().cast_signed())
}
