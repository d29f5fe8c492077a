//! The content of a directory as a value that another machine can take over: a tree whose files
//! are lists of chunks, and packs of compressed chunks.
//!
//! It does not know where packs are kept, and believes nothing that it reads of one: every chunk
//! has the hash that its name is, every path is one name in a directory that was made here.
//!
//! What is kept: directories, regular files with their holes, symbolic and hard links; owners,
//! permissions, modification times to the nanosecond, extended attributes of users (`user.…`).
//! What is not: devices, pipes and sockets; set-user-ID and set-group-ID bits of files, privileges
//! and labels, which nobody should get from a cache.

mod chunker;
mod fill;
mod format;
mod known;
mod pack;
mod scan;

use std::fmt;

use oci::Digest;

pub use chunker::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, CHUNK_BYTES_USUAL};
pub use fill::{FillError, Filled, Filler};
pub use format::{FormatError, SNAPSHOT_BYTES_MAX, decode, encode};
pub use known::Known;
pub(crate) use known::known_path;
pub use pack::{FRAME_BYTES_MAX, PackWriter};
pub use scan::{ChunkSink, ScanError, Scanned, read_extent, scan};

/// The hash of a chunk's bytes: SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub [u8; 32]);

impl fmt::Debug for ChunkId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..6] {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A piece of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// The hash of its bytes.
    pub id: ChunkId,
    /// How many they are: at most [`CHUNK_BYTES_MAX`], and never none.
    pub length: u32,
}

impl Chunk {
    /// The chunk that these bytes are.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self {
            id: ChunkId(sha2::Sha256::digest(bytes).into()),
            length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        }
    }
}

/// What follows in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes.
    Data(Chunk),
    /// So many zeros that take no space.
    Hole(u64),
}

impl Extent {
    /// How far it goes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Data(chunk) => u64::from(chunk.length),
            Self::Hole(bytes) => *bytes,
        }
    }
}

/// Name and value of an extended attribute.
pub type Attribute = (Box<[u8]>, Box<[u8]>);

/// What is known of a name beside its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits: 0o1777 at most, and 0o7777 of a directory.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970 of the last change of content.
    pub mtime: i64,
    /// Nanoseconds beside `mtime`.
    pub mtime_nanoseconds: u32,
    /// Extended attributes by full name, in order.
    pub xattrs: Vec<Attribute>,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Nodes have it as their parent.
    Directory,
    /// A regular file.
    File(Vec<Extent>),
    /// A symbolic link with this target.
    Symlink(Box<[u8]>),
    /// Another name of this file, which comes before it.
    HardLink(u32),
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The directory, which comes before it; of the root the root itself.
    pub parent: u32,
    /// One name; of the root none.
    pub name: Box<[u8]>,
    /// Owner, permissions, time.
    pub metadata: Metadata,
    /// What it is.
    pub kind: NodeKind,
}

/// A directory and all below it. The root is the first node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Parents before their children.
    pub nodes: Vec<Node>,
}

impl Tree {
    /// The path of a node below the root.
    pub fn path(&self, node: u32) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut at = node;
        while at != 0 {
            let node = &self.nodes[at as usize];
            names.push(&node.name);
            at = node.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Regular files with their content.
    pub fn files(&self) -> impl Iterator<Item = (u32, &[Extent])> {
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(number, node)| match &node.kind {
                NodeKind::File(extents) => Some((number as u32, extents.as_slice())),
                NodeKind::Directory | NodeKind::Symlink(_) | NodeKind::HardLink(_) => None,
            })
    }

    /// Bytes of content, without holes.
    pub fn data_bytes(&self) -> u64 {
        let extents = self.files().flat_map(|(_, extents)| extents);
        extents
            .map(|extent| match extent {
                Extent::Data(chunk) => u64::from(chunk.length),
                Extent::Hole(_) => 0,
            })
            .sum()
    }
}

/// Chunks that were compressed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it begins in its pack.
    pub offset: u64,
    /// Bytes that it has there.
    pub stored: u32,
    /// What is in it, in order.
    pub chunks: Vec<Chunk>,
}

impl Frame {
    /// Bytes of its chunks.
    pub fn bytes(&self) -> u64 {
        let lengths = self.chunks.iter().map(|chunk| u64::from(chunk.length));
        lengths.sum()
    }
}

/// A blob of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pack {
    /// Of the blob.
    pub digest: Digest,
    /// Of the blob, in bytes.
    pub size: u64,
    /// Bytes of all chunks that were put into it, dead ones included.
    pub bytes: u64,
    /// What is still of use of it, in the order of offsets.
    pub frames: Vec<Frame>,
}

/// A tree, and where its chunks are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The tree.
    pub tree: Tree,
    /// The packs, which hold all of its chunks.
    pub packs: Vec<Pack>,
}
