//! Small values by key: what the build cache knows. A value is written once its
//! objects are durable ([`crate::commit`]) and carries a checksum over its name
//! and bytes, so that a torn, swapped or foreign file is no value at all.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::Digest;
use rustix::fs::OFlags;
use sha2::Digest as _;

use crate::commit::Committer;

/// The largest record, in bytes of payload.
pub const RECORD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The records of the build cache.
#[derive(Debug)]
pub struct Records {
    files: RecordFiles,
}

impl Records {
    pub(crate) fn new(files: RecordFiles) -> Self {
        Self { files }
    }

    /// The value of `key`. What is damaged, unreadable or of a later version
    /// is absent.
    pub fn get(&self, key: &Digest) -> Option<Vec<u8>> {
        self.files.get(&record_path(key))
    }

    /// Whether there is something under `key`. It is not read, and may be damaged.
    pub fn has(&self, key: &Digest) -> bool {
        self.files.has(&record_path(key))
    }

    /// As [`Records::get`], for whoever looks at everything: does not count as a use.
    pub fn peek(&self, key: &Digest) -> Option<Vec<u8>> {
        let path = record_path(key);
        let bytes = match self.files.committer.pending(&path) {
            Some(change) => change?.to_vec(),
            None => read_bounded(open_unnoticed(&self.files.root.join(&path)).ok()??)?,
        };
        unseal(&path, &bytes).map(<[u8]>::to_vec)
    }

    /// Sets the value of `key`: seen by this process from now on, by all after
    /// the next commit. A value larger than [`RECORD_BYTES_MAX`] is not kept.
    pub fn put(&self, key: &Digest, value: &[u8]) {
        self.files.put(record_path(key), value);
    }

    /// Forgets `key`.
    pub fn remove(&self, key: &Digest) {
        self.files.remove(record_path(key));
    }
}

/// The directory of the build cache's records.
pub(crate) const RECORDS: &str = "records";

fn record_path(key: &Digest) -> PathBuf {
    let mut path = PathBuf::from(RECORDS);
    path.push(&key.hex()[..2]);
    path.push(key.hex());
    path
}

/// Record files anywhere below the store, seen through what waits for commit.
#[derive(Debug, Clone)]
pub(crate) struct RecordFiles {
    pub(crate) root: Arc<Path>,
    pub(crate) committer: Arc<Committer>,
}

impl RecordFiles {
    pub(crate) fn get(&self, path: &Path) -> Option<Vec<u8>> {
        let bytes = match self.committer.pending(path) {
            Some(change) => change?.to_vec(),
            None => read_bounded(open_regular(&self.root.join(path)).ok()??)?,
        };
        unseal(path, &bytes).map(<[u8]>::to_vec)
    }

    fn has(&self, path: &Path) -> bool {
        match self.committer.pending(path) {
            Some(change) => change.is_some(),
            None => self.root.join(path).is_file(),
        }
    }

    pub(crate) fn put(&self, path: PathBuf, payload: &[u8]) {
        if payload.len() as u64 <= RECORD_BYTES_MAX {
            let bytes = seal(&path, payload);
            self.committer.queue(path, bytes);
        }
    }

    pub(crate) fn remove(&self, path: PathBuf) {
        self.committer.queue_removal(path);
    }
}

/// Format and version in front of every record.
const MAGIC: &[u8; 8] = b"kiln-r\x00\x01";
const CHECKSUM_BYTES: usize = 32;

/// `MAGIC`, payload, checksum over path, magic and payload.
pub(crate) fn seal(path: &Path, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + payload.len() + CHECKSUM_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&checksum(path, payload));
    bytes
}

/// The payload of a file that is whole and stands under its own name.
pub(crate) fn unseal<'a>(path: &Path, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (payload, sum) = rest.split_last_chunk::<CHECKSUM_BYTES>()?;
    (*sum == checksum(path, payload)).then_some(payload)
}

fn checksum(path: &Path, payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let name = path.as_os_str().as_encoded_bytes();
    sha2::Sha256::new()
        .chain_update((name.len() as u64).to_le_bytes())
        .chain_update(name)
        .chain_update(MAGIC)
        .chain_update(payload)
        .finalize()
        .into()
}

/// The content of a file of at most the size of a record.
pub(crate) fn read_bounded(file: std::fs::File) -> Option<Vec<u8>> {
    let max = RECORD_BYTES_MAX + (MAGIC.len() + CHECKSUM_BYTES) as u64;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= max).then_some(bytes)
}

/// Opens what should be a regular file; `None` when it is missing or something
/// else. A FIFO in its place must not block, a link not be followed.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<Option<std::fs::File>> {
    open_with(path, OFlags::NOFOLLOW | OFlags::NONBLOCK)
}

/// As [`open_regular`], for whoever looks at everything: does not count as a
/// use of the file.
pub(crate) fn open_unnoticed(path: &Path) -> std::io::Result<Option<std::fs::File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match open_with(path, flags | OFlags::NOATIME) {
        // Only the owner may.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            open_with(path, flags)
        }
        other => other,
    }
}

fn open_with(path: &Path, flags: OFlags) -> std::io::Result<Option<std::fs::File>> {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    match opened {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => match std::fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => Ok(None),
            _ => Err(error),
        },
    }
}
