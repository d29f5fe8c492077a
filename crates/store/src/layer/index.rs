//! What is in one layer, and how that is kept on disk.
//!
//! The form is compact and read in one go: 50,000 entries are a few megabytes
//! and a few milliseconds. It begins with a version and a checksum; whatever
//! does not fit both is no index, and is made again from the layer.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use oci::{DiffId, Digest};
use sha2::Digest as _;

use super::entries::EntriesWriter;
use super::extent::{ExtentPart, SPARSE_PARTS_MAX};
use super::{ContentHash, Entries, EntryKind, EntryPath, Extents, FileExtent, Metadata};

/// A layer without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerIndex {
    /// The layer.
    pub diff_id: DiffId,
    /// Its entries in the order of its tar; of two with one path the later holds.
    pub entries: Entries,
    /// Bytes of the tar, to its last.
    pub tar_bytes: u64,
    /// Contents of regular files called `passwd` or `group`, up to
    /// [`SMALL_FILE_BYTES_MAX`] each.
    pub small_files: BTreeMap<EntryPath, Box<[u8]>>,
    /// Whether an entry's parent, or that of a hard link's target, is not a
    /// directory that an earlier entry of this layer names.
    pub implicit_parents: bool,
    /// Where the contents of its files lie in the tar.
    pub extents: Extents,
}

/// Of one file kept in an index: 64 KiB.
pub const SMALL_FILE_BYTES_MAX: u64 = 64 * 1024;

/// First bytes of an index.
const MAGIC: &[u8; 8] = b"kilnidx\n";
/// Changes with anything below, and with what a scan puts into an index.
const VERSION: u32 = 2;
const HEAD_BYTES: usize = MAGIC.len() + 4 + 32;

/// Why bytes are no index: the caller treats it as absent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Not the first bytes of an index.
    #[error("this is not the index of a layer")]
    Magic,
    /// Written by another kiln.
    #[error("the index has version {0}, this kiln reads version {VERSION}")]
    Version(u32),
    /// Other bytes than were written.
    #[error("the index is damaged")]
    Damaged,
}

impl LayerIndex {
    /// Whether unpacking depends on the layers below: then an unpacked layer
    /// must not be shared between stacks.
    pub fn needs_lower(&self) -> bool {
        self.implicit_parents
            || self
                .entries
                .kinds()
                .iter()
                .any(|kind| matches!(kind, EntryKind::Whiteout | EntryKind::Opaque))
    }

    /// Where the content of the entry of that number lies in the tar. `None` for what is no regular
    /// file, and for a file that can only be had by unpacking the layer.
    pub fn extent(&self, entry: usize) -> Option<FileExtent> {
        match self.entries.kinds().get(entry)? {
            EntryKind::File { size, .. } => self.extents.of(entry, *size),
            EntryKind::Directory
            | EntryKind::Symlink { .. }
            | EntryKind::HardLink { .. }
            | EntryKind::CharacterDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo
            | EntryKind::Whiteout
            | EntryKind::Opaque => None,
        }
    }

    /// Whether every content that is not empty can be read without unpacking the layer.
    pub fn is_readable_in_parts(&self) -> bool {
        self.entries
            .kinds()
            .iter()
            .enumerate()
            .all(|(number, kind)| match kind {
                EntryKind::File { size: 1.., .. } => self.extent(number).is_some(),
                EntryKind::File { .. }
                | EntryKind::Directory
                | EntryKind::Symlink { .. }
                | EntryKind::HardLink { .. }
                | EntryKind::CharacterDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::Fifo
                | EntryKind::Whiteout
                | EntryKind::Opaque => true,
            })
    }

    /// Whether the contents lie inside of the tar, in order: an index that was made elsewhere may
    /// claim anything.
    pub fn extents_fit(&self) -> bool {
        let sizes = self.entries.kinds().iter().map(|kind| match kind {
            EntryKind::File { size, .. } => Some(*size),
            EntryKind::Directory
            | EntryKind::Symlink { .. }
            | EntryKind::HardLink { .. }
            | EntryKind::CharacterDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo
            | EntryKind::Whiteout
            | EntryKind::Opaque => None,
        });
        self.extents.fit(sizes, self.tar_bytes)
    }

    /// The index as bytes, with version and checksum.
    pub fn encode(&self) -> Vec<u8> {
        let Self {
            diff_id,
            entries,
            tar_bytes,
            small_files,
            implicit_parents,
            extents,
        } = self;
        let mut out = Writer(Vec::with_capacity(HEAD_BYTES + entries.len() * 64));
        out.0.extend_from_slice(MAGIC);
        out.0.extend_from_slice(&VERSION.to_le_bytes());
        out.0.extend_from_slice(&[0; 32]);
        out.bytes(diff_id.0.as_str().as_bytes());
        out.number(*tar_bytes);
        out.number(u64::from(*implicit_parents));
        out.number(entries.len() as u64);
        let (mut before, mut path) = (Vec::new(), Vec::new());
        for at in 0..entries.len() {
            path.clear();
            path.extend_from_slice(entries.directory(at));
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entries.name(at));
            out.entry(&path, entries.kind(at), entries.metadata(at), &before);
            std::mem::swap(&mut path, &mut before);
        }
        out.number(small_files.len() as u64);
        for (path, content) in small_files {
            out.bytes(path.as_bytes());
            out.bytes(content);
        }
        out.extents(extents);
        let checksum = sha2::Sha256::digest(&out.0[HEAD_BYTES..]);
        out.0[HEAD_BYTES - 32..HEAD_BYTES].copy_from_slice(&checksum);
        out.0
    }

    /// Reads [`LayerIndex::encode`]d bytes.
    ///
    /// # Errors
    ///
    /// Damage, or a version that this one does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(IndexError::Magic)?;
        if magic != MAGIC {
            return Err(IndexError::Magic);
        }
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(IndexError::Damaged)?;
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(IndexError::Version(version));
        }
        let (checksum, body) = rest.split_first_chunk::<32>().ok_or(IndexError::Damaged)?;
        if sha2::Sha256::digest(body)[..] != checksum[..] {
            return Err(IndexError::Damaged);
        }
        Reader(body).index().ok_or(IndexError::Damaged)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Small below zero as small above it.
    fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Starts as the distance from the one before: mostly two bytes each.
    fn extents(&mut self, extents: &Extents) {
        let Extents { starts, sparse } = extents;
        self.number(starts.len() as u64);
        let mut before = 0;
        for start in starts {
            match start {
                None => self.number(0),
                Some(start) => {
                    // Never negative in a tar, but said as it is.
                    let distance = start.get().wrapping_sub(before).cast_signed();
                    self.number(1);
                    self.signed(distance);
                    before = start.get();
                }
            }
        }
        self.number(sparse.len() as u64);
        for (entry, parts) in sparse {
            self.number((*entry).into());
            self.number(parts.len() as u64);
            for part in &**parts {
                self.number(part.file_offset);
                self.number(part.tar_offset);
                self.number(part.bytes);
            }
        }
    }

    /// The path without what it shares with the one before.
    fn entry(&mut self, path: &[u8], kind: &EntryKind, metadata: &Metadata, before: &[u8]) {
        let shared = path.iter().zip(before).take_while(|(a, b)| a == b).count();
        self.number(shared as u64);
        self.bytes(&path[shared..]);
        match kind {
            EntryKind::Directory => self.number(0),
            EntryKind::File { size, content } => {
                self.number(1);
                self.number(*size);
                self.0.extend_from_slice(&content.0);
            }
            EntryKind::Symlink { target } => {
                self.number(2);
                self.bytes(target);
            }
            EntryKind::HardLink { target } => {
                self.number(3);
                self.bytes(target.as_bytes());
            }
            EntryKind::CharacterDevice { major, minor } => {
                self.number(4);
                self.number((*major).into());
                self.number((*minor).into());
            }
            EntryKind::BlockDevice { major, minor } => {
                self.number(5);
                self.number((*major).into());
                self.number((*minor).into());
            }
            EntryKind::Fifo => self.number(6),
            EntryKind::Whiteout => self.number(7),
            EntryKind::Opaque => self.number(8),
        }
        let Metadata {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        } = metadata;
        self.number((*mode).into());
        self.number((*uid).into());
        self.number((*gid).into());
        self.signed(*mtime);
        self.number(xattrs.len() as u64);
        for (name, value) in xattrs {
            self.bytes(name);
            self.bytes(value);
        }
    }
}

/// What is left to be read. `None` anywhere is damage.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn index(mut self) -> Option<LayerIndex> {
        let diff_id: Digest = std::str::from_utf8(self.bytes()?).ok()?.parse().ok()?;
        let tar_bytes = self.number()?;
        let implicit_parents = match self.number()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let count = self.count()?;
        let mut entries = EntriesWriter::with_capacity(count);
        let mut path = Vec::new();
        for _ in 0..count {
            let shared = usize::try_from(self.number()?).ok()?;
            if shared > path.len() {
                return None;
            }
            path.truncate(shared);
            path.extend_from_slice(self.bytes()?);
            let (kind, metadata) = self.entry()?;
            entries.push(&EntryPath::parse(&path).ok()?, kind, metadata);
        }
        let mut small_files = BTreeMap::new();
        for _ in 0..self.count()? {
            small_files.insert(EntryPath::parse(self.bytes()?).ok()?, self.bytes()?.into());
        }
        let extents = self.extents()?;
        self.0.is_empty().then_some(LayerIndex {
            diff_id: DiffId(diff_id),
            entries: entries.finish(),
            tar_bytes,
            small_files,
            implicit_parents,
            extents,
        })
    }

    fn extents(&mut self) -> Option<Extents> {
        let mut starts = Vec::with_capacity(self.count()?);
        let mut before = 0_u64;
        for _ in 0..starts.capacity() {
            starts.push(match self.number()? {
                0 => None,
                1 => {
                    before = before.wrapping_add_signed(self.signed()?);
                    Some(NonZeroU64::new(before)?)
                }
                _ => return None,
            });
        }
        let mut sparse = BTreeMap::new();
        let mut total = 0;
        for _ in 0..self.count()? {
            let entry = self.small()?;
            let count = self.count()?;
            total += count;
            if total > SPARSE_PARTS_MAX {
                return None;
            }
            let parts = (0..count)
                .map(|_| {
                    Some(ExtentPart {
                        file_offset: self.number()?,
                        tar_offset: self.number()?,
                        bytes: self.number()?,
                    })
                })
                .collect::<Option<_>>()?;
            sparse.insert(entry, parts);
        }
        Some(Extents { starts, sparse })
    }

    fn entry(&mut self) -> Option<(EntryKind, Metadata)> {
        let kind = match self.number()? {
            0 => EntryKind::Directory,
            1 => EntryKind::File {
                size: self.number()?,
                content: ContentHash(*self.take(32)?.first_chunk()?),
            },
            2 => EntryKind::Symlink {
                target: self.bytes()?.into(),
            },
            3 => EntryKind::HardLink {
                target: EntryPath::parse(self.bytes()?).ok()?,
            },
            4 => EntryKind::CharacterDevice {
                major: self.small()?,
                minor: self.small()?,
            },
            5 => EntryKind::BlockDevice {
                major: self.small()?,
                minor: self.small()?,
            },
            6 => EntryKind::Fifo,
            7 => EntryKind::Whiteout,
            8 => EntryKind::Opaque,
            _ => return None,
        };
        let metadata = Metadata {
            mode: self.small()?,
            uid: self.small()?,
            gid: self.small()?,
            mtime: self.signed()?,
            xattrs: (0..self.count()?)
                .map(|_| Some((self.bytes()?.into(), self.bytes()?.into())))
                .collect::<Option<_>>()?,
        };
        Some((kind, metadata))
    }

    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if bits.leading_zeros() < shift {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.take(count)
    }

    /// A number of things that each have at least a byte.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Entry;

    fn example() -> LayerIndex {
        let path = |text: &str| EntryPath::parse(text.as_bytes()).unwrap();
        let kinds = [
            EntryKind::Directory,
            EntryKind::File {
                size: u64::MAX,
                content: ContentHash([7; 32]),
            },
            EntryKind::Symlink {
                target: (*b"/x\xff").into(),
            },
            EntryKind::HardLink { target: path("e1") },
            EntryKind::CharacterDevice {
                major: u32::MAX,
                minor: 3,
            },
            EntryKind::BlockDevice { major: 8, minor: 0 },
            EntryKind::Fifo,
            EntryKind::Whiteout,
            EntryKind::Opaque,
        ];
        let mtimes = [0, 1, -1, i64::MAX, i64::MIN];
        let entries = kinds
            .into_iter()
            .enumerate()
            .map(|(at, kind)| {
                let mut metadata = Metadata::root_owned(0o7777, mtimes[at % mtimes.len()]);
                metadata.uid = u32::MAX - 1;
                metadata
                    .xattrs
                    .insert((*b"user.a").into(), vec![at as u8; at].into());
                Entry {
                    path: path(&format!("e{at}")),
                    kind,
                    metadata,
                }
            })
            .collect();
        LayerIndex {
            diff_id: DiffId(Digest::of(b"layer")),
            entries,
            tar_bytes: 10_240,
            small_files: BTreeMap::from([(path("etc/passwd"), (*b"root:x:0:0").into())]),
            implicit_parents: true,
            extents: Extents {
                starts: vec![None, NonZeroU64::new(512), NonZeroU64::new(u64::MAX)],
                sparse: BTreeMap::from([(
                    2,
                    [ExtentPart {
                        file_offset: 7,
                        tar_offset: 1_024,
                        bytes: 9,
                    }]
                    .into(),
                )]),
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let index = example();
        assert_eq!(LayerIndex::decode(&index.encode()), Ok(index));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let good = example().encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(LayerIndex::decode(&bad).is_err(), "byte {at}");
            assert!(LayerIndex::decode(&good[..at]).is_err(), "cut at {at}");
        }
        let longer = [&good[..], b"x"].concat();
        assert_eq!(LayerIndex::decode(&longer), Err(IndexError::Damaged));
    }

    #[test]
    fn a_body_of_nonsense_under_a_right_checksum_is_damage_and_no_panic() {
        let good = example().encode();
        for at in HEAD_BYTES..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let checksum = sha2::Sha256::digest(&bad[HEAD_BYTES..]);
                bad[HEAD_BYTES - 32..HEAD_BYTES].copy_from_slice(&checksum);
                // Some are other indexes, none may panic or take much memory.
                let _ = LayerIndex::decode(&bad);
            }
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut future = example().encode();
        future[8] = 9;
        assert_eq!(LayerIndex::decode(&future), Err(IndexError::Version(9)));
    }
}
