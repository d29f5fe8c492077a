//! A snapshot as bytes. Numbers are LEB128, texts have their length in front, and all of it is one
//! zstd frame; chunks are named once, where they lie, and by number in files.

use std::collections::HashMap;
use std::io::Read as _;

use oci::Digest;

use super::{
    CHUNK_BYTES_MAX, Chunk, ChunkId, Extent, FRAME_BYTES_MAX, Frame, Metadata, Node, NodeKind,
    Pack, Snapshot, Tree,
};

/// The most bytes that a snapshot has before it is compressed: some 700,000 files.
pub const SNAPSHOT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The most names in one.
const NODES_MAX: u64 = 1_000_000;
const PACKS_MAX: u64 = 16_384;
const CHUNKS_MAX: u64 = 1_500_000;
/// NAME_MAX and PATH_MAX of Linux.
const NAME_BYTES_MAX: usize = 255;
const TARGET_BYTES_MAX: usize = 4_095;
/// The largest file of Linux file systems that people use, in bytes: 16 TiB.
const FILE_BYTES_MAX: u64 = 16 << 40;
const XATTRS_MAX: u64 = 64;
/// In front of the names of attributes that are kept.
pub(super) const XATTR_PREFIX: &[u8] = b"user.";

const LEVEL: i32 = 3;
/// 8 MiB of window are what the levels up to 19 use.
const WINDOW_LOG_MAX: u32 = 24;

/// In front of everything, before compression. The last byte is the version.
const MAGIC: &[u8; 12] = b"kiln-mount\x00\x01";

/// Why bytes are no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Not zstd, or not whole.
    #[error("it cannot be decompressed")]
    Compression(#[source] std::io::Error),
    /// Something else, or of a later kiln.
    #[error("it is not a snapshot that this kiln knows")]
    Version,
    /// Too large to be one.
    #[error("it is larger than a snapshot can be")]
    TooLarge,
    /// What it says cannot be.
    #[error("{0}")]
    Wrong(&'static str),
}

/// Writes a snapshot. All chunks of its files must be in its packs.
///
/// # Errors
///
/// [`FormatError::TooLarge`], or a chunk that is nowhere.
pub fn encode(snapshot: &Snapshot) -> Result<Vec<u8>, FormatError> {
    let mut out = MAGIC.to_vec();
    let mut numbers: HashMap<ChunkId, u64> = HashMap::new();
    number(&mut out, snapshot.packs.len() as u64);
    let mut chunks = 0_u64;
    for pack in &snapshot.packs {
        text(&mut out, pack.digest.as_str().as_bytes());
        number(&mut out, pack.size);
        number(&mut out, pack.bytes);
        number(&mut out, pack.frames.len() as u64);
        for frame in &pack.frames {
            number(&mut out, frame.offset);
            number(&mut out, u64::from(frame.stored));
            number(&mut out, frame.chunks.len() as u64);
            for chunk in &frame.chunks {
                out.extend_from_slice(&chunk.id.0);
                number(&mut out, u64::from(chunk.length));
                numbers.insert(chunk.id, chunks);
                chunks += 1;
            }
        }
    }
    encode_tree(&mut out, &snapshot.tree, &mut |out, chunk| {
        let place = numbers
            .get(&chunk.id)
            .ok_or(FormatError::Wrong("a chunk is in no pack"))?;
        number(out, *place);
        Ok(())
    })?;
    let tree = &snapshot.tree;
    if out.len() as u64 > SNAPSHOT_BYTES_MAX
        || tree.nodes.len() as u64 > NODES_MAX
        || chunks > CHUNKS_MAX
        || snapshot.packs.len() as u64 > PACKS_MAX
    {
        return Err(FormatError::TooLarge);
    }
    zstd::bulk::compress(&out, LEVEL).map_err(FormatError::Compression)
}

/// Reads a snapshot and checks everything in it that can be checked without its chunks.
///
/// # Errors
///
/// [`FormatError`].
pub fn decode(bytes: &[u8]) -> Result<Snapshot, FormatError> {
    let bytes = unpack(bytes)?;
    let mut from = Input(&bytes);
    if from.take(MAGIC.len())? != MAGIC {
        return Err(FormatError::Version);
    }
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut packs = Vec::new();
    for _ in 0..from.at_most(PACKS_MAX)? {
        let digest = std::str::from_utf8(from.text(200)?)
            .ok()
            .and_then(|text| text.parse::<Digest>().ok())
            .ok_or(FormatError::Wrong("a pack has no digest"))?;
        let size = from.number()?;
        let total = from.number()?;
        let mut frames = Vec::new();
        let mut end = 0;
        for _ in 0..from.at_most(CHUNKS_MAX)? {
            let offset = from.number()?;
            let stored = u32::try_from(from.number()?)
                .ok()
                // What does not compress is a little longer than it was.
                .filter(|stored| *stored as usize <= FRAME_BYTES_MAX + FRAME_BYTES_MAX / 64)
                .ok_or(FormatError::Wrong("a frame is too long"))?;
            let after = offset.checked_add(u64::from(stored));
            if offset < end || after.is_none_or(|after| after > size) {
                return Err(FormatError::Wrong("a frame is not in its pack"));
            }
            end = offset + u64::from(stored);
            let mut frame = Frame {
                offset,
                stored,
                chunks: Vec::new(),
            };
            for _ in 0..from.at_most(CHUNKS_MAX)? {
                let id = from.take(32)?.try_into().map(ChunkId);
                let id = id.map_err(|_| FormatError::Wrong("it ends too early"))?;
                let length = u32::try_from(from.number()?).unwrap_or(u32::MAX);
                if length == 0 || length as usize > CHUNK_BYTES_MAX {
                    return Err(FormatError::Wrong("a chunk has a length that none has"));
                }
                frame.chunks.push(Chunk { id, length });
            }
            if frame.bytes() > FRAME_BYTES_MAX as u64 {
                return Err(FormatError::Wrong("a frame is too long"));
            }
            chunks.extend(&frame.chunks);
            if chunks.len() as u64 > CHUNKS_MAX {
                return Err(FormatError::TooLarge);
            }
            frames.push(frame);
        }
        packs.push(Pack {
            digest,
            size,
            bytes: total,
            frames,
        });
    }
    let tree = decode_tree(&mut from, &mut |from| {
        let place = usize::try_from(from.number()?).unwrap_or(usize::MAX);
        let chunk = chunks.get(place).copied();
        chunk.ok_or(FormatError::Wrong("a chunk is in no pack"))
    })?;
    from.end()?;
    Ok(Snapshot { tree, packs })
}

/// Decompresses what was compressed as one frame, if it is not too large.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    let mut decoder = zstd::Decoder::new(bytes).map_err(FormatError::Compression)?;
    decoder
        .window_log_max(WINDOW_LOG_MAX)
        .map_err(FormatError::Compression)?;
    let mut out = Vec::new();
    decoder
        .take(SNAPSHOT_BYTES_MAX + 1)
        .read_to_end(&mut out)
        .map_err(FormatError::Compression)?;
    if out.len() as u64 > SNAPSHOT_BYTES_MAX {
        return Err(FormatError::TooLarge);
    }
    Ok(out)
}

type WriteChunk<'w> = dyn FnMut(&mut Vec<u8>, &Chunk) -> Result<(), FormatError> + 'w;
type ReadChunk<'r> = dyn FnMut(&mut Input<'_>) -> Result<Chunk, FormatError> + 'r;

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const SYMLINK: u8 = 2;
const HARD_LINK: u8 = 3;

pub(super) fn encode_tree(
    out: &mut Vec<u8>,
    tree: &Tree,
    write: &mut WriteChunk<'_>,
) -> Result<(), FormatError> {
    number(out, tree.nodes.len() as u64);
    for node in &tree.nodes {
        number(out, u64::from(node.parent));
        text(out, &node.name);
        let Metadata {
            mode,
            uid,
            gid,
            mtime,
            mtime_nanoseconds,
            xattrs,
        } = &node.metadata;
        number(out, u64::from(*mode));
        number(out, u64::from(*uid));
        number(out, u64::from(*gid));
        out.extend_from_slice(&mtime.to_le_bytes());
        number(out, u64::from(*mtime_nanoseconds));
        number(out, xattrs.len() as u64);
        for (name, value) in xattrs {
            text(out, name);
            text(out, value);
        }
        match &node.kind {
            NodeKind::Directory => out.push(DIRECTORY),
            NodeKind::File(extents) => {
                out.push(FILE);
                number(out, extents.len() as u64);
                for extent in extents {
                    match extent {
                        // A hole has a length, a chunk has none: it is known where it lies.
                        Extent::Hole(bytes) => number(out, *bytes),
                        Extent::Data(chunk) => {
                            number(out, 0);
                            write(out, chunk)?;
                        }
                    }
                }
            }
            NodeKind::Symlink(target) => {
                out.push(SYMLINK);
                text(out, target);
            }
            NodeKind::HardLink(first) => {
                out.push(HARD_LINK);
                number(out, u64::from(*first));
            }
        }
    }
    Ok(())
}

pub(super) fn decode_tree(
    from: &mut Input<'_>,
    read: &mut ReadChunk<'_>,
) -> Result<Tree, FormatError> {
    let wrong = FormatError::Wrong;
    let mut nodes: Vec<Node> = Vec::new();
    for place in 0..from.at_most(NODES_MAX)? {
        let parent = from.small()?;
        let name: Box<[u8]> = from.text(NAME_BYTES_MAX)?.into();
        let is_root = place == 0;
        let plain = !name.is_empty()
            && &*name != b"."
            && &*name != b".."
            && !name.iter().any(|byte| matches!(byte, b'/' | 0));
        if is_root != name.is_empty() || !(is_root || plain) {
            return Err(wrong("a name is not one name in a directory"));
        }
        let inside = nodes
            .get(parent as usize)
            .is_some_and(|parent| parent.kind == NodeKind::Directory);
        let is_own = is_root && parent == 0;
        if !(inside || is_own) {
            return Err(wrong("something is in what is no directory"));
        }
        let (mode, uid, gid) = (from.small()?, from.small()?, from.small()?);
        let mtime = from.take(8)?.try_into().map(i64::from_le_bytes);
        let mtime = mtime.map_err(|_| wrong("it ends too early"))?;
        let mtime_nanoseconds = from.small()?;
        if mtime_nanoseconds >= 1_000_000_000 {
            return Err(wrong("a time is none"));
        }
        let mut xattrs = Vec::new();
        for _ in 0..from.at_most(XATTRS_MAX)? {
            let name: Box<[u8]> = from.text(NAME_BYTES_MAX)?.into();
            let value: Box<[u8]> = from.text(crate::dir::XATTR_BYTES_MAX)?.into();
            if !name.starts_with(XATTR_PREFIX) || name.contains(&0) {
                return Err(wrong("an attribute is not one of users"));
            }
            xattrs.push((name, value));
        }
        let kind = match from.take(1)?[0] {
            DIRECTORY => NodeKind::Directory,
            FILE => NodeKind::File(extents(from, read)?),
            SYMLINK => {
                let target: Box<[u8]> = from.text(TARGET_BYTES_MAX)?.into();
                if target.is_empty() || target.contains(&0) {
                    return Err(wrong("a link leads nowhere"));
                }
                NodeKind::Symlink(target)
            }
            HARD_LINK => {
                let first = from.small()?;
                let known = nodes.get(first as usize);
                if !known.is_some_and(|node| matches!(node.kind, NodeKind::File(_))) {
                    return Err(wrong("a hard link leads nowhere"));
                }
                NodeKind::HardLink(first)
            }
            _ => return Err(wrong("something is of a kind that there is not")),
        };
        let bits = match kind {
            NodeKind::Directory => 0o7777,
            // A link's are whatever the kernel says.
            NodeKind::File(_) | NodeKind::Symlink(_) | NodeKind::HardLink(_) => 0o1777,
        };
        if mode & !bits != 0 {
            return Err(wrong(
                "something has permissions that nothing in a cache has",
            ));
        }
        if is_root && kind != NodeKind::Directory {
            return Err(wrong("the root is no directory"));
        }
        nodes.push(Node {
            parent,
            name,
            metadata: Metadata {
                mode,
                uid,
                gid,
                mtime,
                mtime_nanoseconds,
                xattrs,
            },
            kind,
        });
    }
    if nodes.is_empty() {
        return Err(wrong("there is no root"));
    }
    Ok(Tree { nodes })
}

fn extents(from: &mut Input<'_>, read: &mut ReadChunk<'_>) -> Result<Vec<Extent>, FormatError> {
    let mut extents = Vec::new();
    let mut bytes = 0_u64;
    for _ in 0..from.at_most(CHUNKS_MAX)? {
        let extent = match from.number()? {
            0 => Extent::Data(read(from)?),
            hole => Extent::Hole(hole),
        };
        bytes = bytes.saturating_add(extent.bytes());
        if bytes > FILE_BYTES_MAX {
            return Err(FormatError::Wrong("a file is larger than any can be"));
        }
        extents.push(extent);
    }
    Ok(extents)
}

pub(super) fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What is left to be read.
pub(super) struct Input<'i>(pub(super) &'i [u8]);

impl<'i> Input<'i> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'i [u8], FormatError> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(FormatError::Wrong("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn number(&mut self) -> Result<u64, FormatError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FormatError::Wrong("a number is too large"))
    }

    fn small(&mut self) -> Result<u32, FormatError> {
        u32::try_from(self.number()?).map_err(|_| FormatError::Wrong("a number is too large"))
    }

    /// How many follow. Each takes a byte at least, so nothing is made room for that is not there.
    fn at_most(&mut self, max: u64) -> Result<u64, FormatError> {
        let count = self.number()?;
        if count > max || count > self.0.len() as u64 {
            return Err(FormatError::TooLarge);
        }
        Ok(count)
    }

    pub(super) fn text(&mut self, max: usize) -> Result<&'i [u8], FormatError> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if length > max {
            return Err(FormatError::Wrong("a text is too long"));
        }
        self.take(length)
    }

    pub(super) fn end(&self) -> Result<(), FormatError> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(FormatError::Wrong("something follows where it should end")),
        }
    }
}
