//! Packs: many chunks in one blob, a few of them compressed together, so that small files are worth
//! compressing and a part can be read without the rest.

use std::io::Write as _;

use oci::{Digest, Hasher};

use super::{CHUNK_BYTES_MAX, Chunk, Frame, Pack};
use crate::disk::{DiskError, On as _};
use crate::scratch::{Scratch, ScratchFile};

/// The most bytes that are compressed together.
pub const FRAME_BYTES_MAX: usize = CHUNK_BYTES_MAX;

/// As fast as SHA-256 on many machines, and better than gzip at its best.
const LEVEL: i32 = 3;

/// A pack that is being written.
pub struct PackWriter {
    file: ScratchFile,
    hasher: Hasher,
    size: u64,
    bytes: u64,
    frames: Vec<Frame>,
    /// The frame that is being filled.
    open: Vec<u8>,
    chunks: Vec<Chunk>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl PackWriter {
    /// An empty pack in a file of the scratch directory.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn new(scratch: &Scratch) -> Result<Self, DiskError> {
        let file = scratch.file()?;
        let compressor = zstd::bulk::Compressor::new(LEVEL).on("compress", file.path())?;
        Ok(Self {
            file,
            hasher: Hasher::default(),
            size: 0,
            bytes: 0,
            frames: Vec::new(),
            open: Vec::new(),
            chunks: Vec::new(),
            compressor,
        })
    }

    /// Adds a chunk.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn add(&mut self, chunk: Chunk, bytes: &[u8]) -> Result<(), DiskError> {
        if self.open.len() + bytes.len() > FRAME_BYTES_MAX {
            self.seal()?;
        }
        self.open.extend_from_slice(bytes);
        self.chunks.push(chunk);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn seal(&mut self) -> Result<(), DiskError> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        let path = self.file.path();
        let stored = self.compressor.compress(&self.open).on("compress", path)?;
        self.hasher.update(&stored);
        self.file.file().write_all(&stored).on("write", path)?;
        self.frames.push(Frame {
            offset: self.size,
            stored: u32::try_from(stored.len()).unwrap_or(u32::MAX),
            chunks: std::mem::take(&mut self.chunks),
        });
        self.size += stored.len() as u64;
        self.open.clear();
        Ok(())
    }

    /// Bytes that it will have, roughly: what is not compressed yet counts in full.
    pub fn size(&self) -> u64 {
        self.size + self.open.len() as u64
    }

    /// The pack, and the file that it is; nothing when no chunk was added.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn finish(mut self) -> Result<Option<(Pack, ScratchFile)>, DiskError> {
        self.seal()?;
        if self.frames.is_empty() {
            return Ok(None);
        }
        let pack = Pack {
            digest: self.hasher.finish(),
            size: self.size,
            bytes: self.bytes,
            frames: self.frames,
        };
        Ok(Some((pack, self.file)))
    }
}

/// The chunks of a frame, one after the other, from what is stored of it; nothing when that is not
/// what the frame says.
pub(super) fn open(frame: &Frame, stored: &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(frame.bytes()).ok()?;
    if stored.len() != frame.stored as usize || length > FRAME_BYTES_MAX {
        return None;
    }
    // It gives no more than it is asked for, whatever the frame's own head says.
    let bytes = zstd::bulk::decompress(stored, length).ok()?;
    if bytes.len() != length {
        return None;
    }
    let mut at = 0;
    for chunk in &frame.chunks {
        let end = at + chunk.length as usize;
        if Chunk::of(&bytes[at..end]) != *chunk {
            return None;
        }
        at = end;
    }
    Some(bytes)
}

/// What a pack's blob is called in messages.
pub(super) fn short(digest: &Digest) -> &str {
    &digest.hex()[..12.min(digest.hex().len())]
}
