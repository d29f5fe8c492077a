//! What a directory held when it was last saved or restored, and the inodes that held it: a file
//! that is still the same inode, with the same size and time, need not be read again.
//!
//! The change time cannot be asked for as the context's stat cache does: files are linked into the
//! next directory, which changes it. Who writes to a file and puts its time back is not seen; a
//! program that goes by times would not see it either, and what is in a cache is never trusted to
//! be anything.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci::Digest;

use super::format::{Input, decode_tree, encode_tree, number, text, unpack};
use super::{Chunk, ChunkId, Extent, Node, NodeKind, Tree};
use crate::dir::{FileKind, Stat};
use crate::disk::DiskError;
use crate::record::{open_regular, seal, unseal};
use crate::scratch::Scratch;

const MAGIC: &[u8; 12] = b"kiln-known\x00\x01";

/// How much of such a file is read, in bytes.
const KNOWN_BYTES_MAX: u64 = super::SNAPSHOT_BYTES_MAX;

/// What is known of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The snapshot that it was made from or became.
    pub snapshot: Option<Digest>,
    /// What was in it.
    pub tree: Tree,
    /// For each node the number of its inode; 0 where it must be looked at again.
    pub inodes: Vec<u64>,
}

impl Known {
    /// Reads what is known; nothing when that is nothing, or is damaged.
    pub fn load(path: &Path) -> Option<Self> {
        use std::io::Read as _;
        let file = open_regular(path).ok()??;
        let mut bytes = Vec::new();
        file.take(KNOWN_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Self::decode(unseal(Path::new(""), &bytes)?)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = unpack(bytes).ok()?;
        let mut from = Input(&bytes);
        if from.take(MAGIC.len()).ok()? != MAGIC {
            return None;
        }
        let digest = from.text(200).ok()?;
        let snapshot = match digest {
            b"" => None,
            digest => Some(std::str::from_utf8(digest).ok()?.parse().ok()?),
        };
        let tree = decode_tree(&mut from, &mut |from| {
            let mut id = [0; 32];
            id.copy_from_slice(from.take(32)?);
            let length = u32::try_from(from.number()?).unwrap_or(0);
            Ok(Chunk {
                id: ChunkId(id),
                length,
            })
        })
        .ok()?;
        let mut inodes = Vec::with_capacity(tree.nodes.len());
        for _ in &tree.nodes {
            inodes.push(from.number().ok()?);
        }
        from.end().ok()?;
        Some(Self {
            snapshot,
            tree,
            inodes,
        })
    }

    /// Keeps it in a file, which appears as a whole.
    ///
    /// # Errors
    ///
    /// The disk's. What is too large is not kept.
    pub fn save(&self, path: &Path, scratch: &Scratch) -> Result<(), DiskError> {
        use std::io::Write as _;

        use crate::disk::On as _;
        let mut out = MAGIC.to_vec();
        let digest = self.snapshot.as_ref().map_or("", Digest::as_str);
        text(&mut out, digest.as_bytes());
        let written = encode_tree(&mut out, &self.tree, &mut |out, chunk| {
            out.extend_from_slice(&chunk.id.0);
            number(out, u64::from(chunk.length));
            Ok(())
        });
        for inode in &self.inodes {
            number(&mut out, *inode);
        }
        if written.is_err() || out.len() as u64 > KNOWN_BYTES_MAX {
            return Ok(());
        }
        let file = scratch.file()?;
        let bytes = zstd::bulk::compress(&out, 1).on("compress", path)?;
        let bytes = seal(Path::new(""), &bytes);
        file.file().write_all(&bytes).on("write", file.path())?;
        file.move_to(path)
    }

    /// The nodes by parent and name.
    pub(super) fn index(&self) -> HashMap<(u32, &[u8]), u32> {
        let nodes = self.tree.nodes.iter().enumerate().skip(1);
        nodes
            .map(|(number, node)| ((node.parent, &*node.name), number as u32))
            .collect()
    }

    /// The content of a file that is what it was.
    pub(super) fn unchanged(&self, number: u32, stat: &Stat) -> Option<&[Extent]> {
        let Node { metadata, kind, .. } = self.tree.nodes.get(number as usize)?;
        let inode = *self.inodes.get(number as usize)?;
        let same = stat.kind == FileKind::File
            && inode != 0
            && inode == stat.inode
            && metadata.mtime == stat.mtime
            && metadata.mtime_nanoseconds == stat.mtime_nanoseconds;
        match kind {
            NodeKind::File(extents)
                if same && extents.iter().map(Extent::bytes).sum::<u64>() == stat.size =>
            {
                Some(extents)
            }
            NodeKind::File(_)
            | NodeKind::Directory
            | NodeKind::Symlink(_)
            | NodeKind::HardLink(_) => None,
        }
    }
}

/// Where it is kept: beside the directory.
pub(crate) fn known_path(directory: &Path) -> PathBuf {
    directory.with_extension("known")
}
