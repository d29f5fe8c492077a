//! From a directory to a tree: reads what has changed since it was known, cuts it into chunks, and
//! hands on those that are new.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::chunker::{CHUNK_BYTES_MAX, first_chunk};
use super::format::XATTR_PREFIX;
use super::{Attribute, Chunk, ChunkId, Extent, Known, Metadata, Node, NodeKind, Tree};
use crate::dir::{Dir, FileKind, Stat, xattrs};
use crate::stat_cache::SETTLED_SECONDS;

/// How much of a file is read at once, in bytes.
const READ_BYTES: usize = 4 * CHUNK_BYTES_MAX;

/// `st_blocks` counts these, whatever the file system's blocks are.
const STAT_BLOCK_BYTES: u64 = 512;

/// The most names that are looked at; a snapshot holds fewer.
const NODES_MAX: usize = 1_000_000;

/// Why a directory was not read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Something in it cannot be read.
    #[error("could not read `{path}`")]
    Read {
        /// Below the directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The caller gave up.
    #[error("stopped")]
    Stopped,
    /// There is more in it than a snapshot holds.
    #[error("there are more than {NODES_MAX} files in it")]
    TooMany,
    /// The chunks could not be handed on.
    #[error(transparent)]
    Sink(Box<dyn Error + Send + Sync>),
}

/// Where chunks go.
pub trait ChunkSink {
    /// Whether a chunk is kept already.
    fn has(&self, id: &ChunkId) -> bool;

    /// Takes a chunk that was not there.
    ///
    /// # Errors
    ///
    /// Ends the scan.
    fn put(&mut self, chunk: Chunk, bytes: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Whether to go on; asked for every file and every few megabytes.
    fn go_on(&self) -> bool;
}

/// What was found.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The tree.
    pub tree: Tree,
    /// For each node the number of its inode; 0 where it changed too recently to be believed.
    pub inodes: Vec<u64>,
    /// Bytes of files that had to be read.
    pub read_bytes: u64,
    /// Names that are nothing a snapshot keeps: devices, pipes, sockets.
    pub left_out: u64,
}

/// Reads a directory.
///
/// # Errors
///
/// [`ScanError`].
pub fn scan(
    root: &Dir,
    known: Option<&Known>,
    sink: &mut dyn ChunkSink,
) -> Result<Scanned, ScanError> {
    let mut scan = Scan {
        root,
        known,
        index: known.map(Known::index).unwrap_or_default(),
        links: HashMap::new(),
        settled: settled_before(),
        buffer: Vec::new(),
        found: Scanned::default(),
        sink,
    };
    scan.all()?;
    Ok(scan.found)
}

struct Scan<'s> {
    root: &'s Dir,
    known: Option<&'s Known>,
    index: HashMap<(u32, &'s [u8]), u32>,
    /// The first name of each inode that has several.
    links: HashMap<(u64, u64), u32>,
    /// What was written before this second is done with.
    settled: i64,
    buffer: Vec<u8>,
    found: Scanned,
    sink: &'s mut dyn ChunkSink,
}

impl Scan<'_> {
    fn all(&mut self) -> Result<(), ScanError> {
        let at_root = |source| failed(b"", source);
        let stat = self.root.stat_self().map_err(at_root)?;
        let attributes = kept_xattrs(self.root).map_err(at_root)?;
        self.add(
            0,
            b"",
            metadata(&stat, attributes),
            NodeKind::Directory,
            stat.inode,
        )?;
        // Directories yet to be listed: their node, their path, and their node in what is known.
        let mut todo: Vec<(u32, Vec<u8>, Option<u32>)> = vec![(0, Vec::new(), Some(0))];
        while let Some((parent, path, before)) = todo.pop() {
            let dir = match self.root.open_dir_same_mount(&path) {
                // Somebody who shares the cache has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(|source| failed(&path, source))?,
            };
            let mut names = dir.read_dir().map_err(|source| failed(&path, source))?;
            names.sort_unstable();
            for item in names {
                if !self.sink.go_on() {
                    return Err(ScanError::Stopped);
                }
                let name = item.name.to_bytes();
                let below = match path.is_empty() {
                    true => name.to_vec(),
                    false => [&path, &b"/"[..], name].concat(),
                };
                let before = before.and_then(|before| self.index.get(&(before, name)).copied());
                match self.one(&dir, parent, name, before) {
                    Ok(Some(node)) => todo.push((node, below, before)),
                    Ok(None) => {}
                    Err(Trouble::Read(error)) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(Trouble::Read(source)) => return Err(failed(&below, source)),
                    Err(Trouble::Scan(error)) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Adds a name; gives the node of a directory, which is to be listed.
    fn one(
        &mut self,
        dir: &Dir,
        parent: u32,
        name: &[u8],
        before: Option<u32>,
    ) -> Result<Option<u32>, Trouble> {
        let stat = dir.stat(name)?;
        match stat.kind {
            FileKind::Directory => {
                let opened = dir.open_dir(name)?;
                let metadata = metadata(&stat, kept_xattrs(&opened)?);
                let node = self.add(parent, name, metadata, NodeKind::Directory, stat.inode)?;
                Ok(Some(node))
            }
            FileKind::File => {
                let linked = (stat.links > 1).then_some((stat.device, stat.inode));
                if let Some(first) = linked.and_then(|inode| self.links.get(&inode)) {
                    let kind = NodeKind::HardLink(*first);
                    self.add(parent, name, metadata(&stat, Vec::new()), kind, stat.inode)?;
                    return Ok(None);
                }
                let node = self.file(dir, parent, name, &stat, before)?;
                if let Some(inode) = linked {
                    self.links.insert(inode, node);
                }
                Ok(None)
            }
            FileKind::Symlink => {
                let target = dir.read_link(name)?;
                let mut metadata = metadata(&stat, Vec::new());
                metadata.mode = 0;
                self.add(parent, name, metadata, NodeKind::Symlink(target), 0)?;
                Ok(None)
            }
            FileKind::CharacterDevice
            | FileKind::BlockDevice
            | FileKind::Fifo
            | FileKind::Socket
            | FileKind::Unknown => {
                self.found.left_out += 1;
                Ok(None)
            }
        }
    }

    fn file(
        &mut self,
        dir: &Dir,
        parent: u32,
        name: &[u8],
        stat: &Stat,
        before: Option<u32>,
    ) -> Result<u32, Trouble> {
        if let (Some(known), Some(before)) = (self.known, before)
            && let Some(extents) = known.unchanged(before, stat)
            && extents.iter().all(|extent| match extent {
                Extent::Data(chunk) => self.sink.has(&chunk.id),
                Extent::Hole(_) => true,
            })
        {
            let kind = NodeKind::File(extents.to_vec());
            let attributes = known.tree.nodes[before as usize].metadata.xattrs.clone();
            let inode = self.trusted(stat);
            return Ok(self.add(parent, name, metadata(stat, attributes), kind, inode)?);
        }
        let file = dir.open_seen_file(name)?;
        let extents = self.read(&file)?;
        let attributes = kept_xattrs(&file)?;
        let now: Stat = rustix::fs::fstat(&file).map_err(io::Error::from)?.into();
        // Written to meanwhile: what was read is what a copy would have been, once.
        let changed = (now.size, now.mtime, now.mtime_nanoseconds)
            != (stat.size, stat.mtime, stat.mtime_nanoseconds);
        let inode = if changed { 0 } else { self.trusted(&now) };
        let kind = NodeKind::File(extents);
        Ok(self.add(parent, name, metadata(&now, attributes), kind, inode)?)
    }

    /// What was changed just now may be changed again without another time.
    fn trusted(&self, stat: &Stat) -> u64 {
        if stat.mtime < self.settled {
            stat.inode
        } else {
            0
        }
    }

    fn add(
        &mut self,
        parent: u32,
        name: &[u8],
        metadata: Metadata,
        kind: NodeKind,
        inode: u64,
    ) -> Result<u32, ScanError> {
        let nodes = &mut self.found.tree.nodes;
        if nodes.len() >= NODES_MAX {
            return Err(ScanError::TooMany);
        }
        nodes.push(Node {
            parent,
            name: name.into(),
            metadata,
            kind,
        });
        self.found.inodes.push(inode);
        Ok(nodes.len() as u32 - 1)
    }

    /// The content of a file, its chunks handed on where they are new.
    fn read(&mut self, file: &File) -> Result<Vec<Extent>, Trouble> {
        let metadata = file.metadata()?;
        let size = metadata.len();
        let mut extents = Vec::new();
        let is_sparse = metadata.blocks().saturating_mul(STAT_BLOCK_BYTES) < size;
        let mut at = 0;
        while at < size {
            let (start, end) = match is_sparse {
                false => (at, size),
                true => next_data(file, at, size)?,
            };
            if start > at {
                extents.push(Extent::Hole(start - at));
            }
            if start < end {
                self.range(file, start, end, &mut extents)?;
            }
            at = end;
        }
        Ok(extents)
    }

    fn range(
        &mut self,
        file: &File,
        start: u64,
        end: u64,
        extents: &mut Vec<Extent>,
    ) -> Result<(), Trouble> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = start;
        let mut filled = 0;
        let mut ended = false;
        loop {
            buffer.resize(READ_BYTES, 0);
            while filled < buffer.len() && !ended {
                let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
                let wanted = wanted.min(buffer.len() - filled);
                let count = match wanted {
                    0 => 0,
                    wanted => file.read_at(&mut buffer[filled..filled + wanted], at)?,
                };
                // Where the file has become shorter it ends.
                ended = count == 0;
                filled += count;
                at += count as u64;
            }
            let mut data = &buffer[..filled];
            while data.len() >= CHUNK_BYTES_MAX || (ended && !data.is_empty()) {
                let (bytes, rest) = data.split_at(first_chunk(data));
                let chunk = Chunk::of(bytes);
                if !self.sink.has(&chunk.id) {
                    self.sink.put(chunk, bytes).map_err(ScanError::Sink)?;
                }
                self.found.read_bytes += bytes.len() as u64;
                extents.push(Extent::Data(chunk));
                data = rest;
            }
            if ended {
                self.buffer = buffer;
                return Ok(());
            }
            if !self.sink.go_on() {
                return Err(ScanError::Stopped.into());
            }
            let rest = data.len();
            buffer.copy_within(filled - rest..filled, 0);
            filled = rest;
        }
    }
}

/// The bytes of a piece of a file, if they are still those of its chunk.
///
/// # Errors
///
/// The disk's.
pub fn read_extent(file: &File, offset: u64, chunk: &Chunk) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; chunk.length as usize];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok((Chunk::of(&bytes) == *chunk).then_some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where data begin at `at` or later, and where they end.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<(u64, u64)> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start.min(size),
        // Nothing but a hole follows.
        Err(Errno::NXIO) => return Ok((size, size)),
        // A file system that does not know.
        Err(Errno::INVAL) => return Ok((at, size)),
        Err(other) => return Err(other.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(size);
    Ok((start, end.clamp(start, size)))
}

/// What keeps one name from being added.
enum Trouble {
    Read(io::Error),
    Scan(ScanError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<ScanError> for Trouble {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

fn failed(path: &[u8], source: io::Error) -> ScanError {
    ScanError::Read {
        path: String::from_utf8_lossy(path).into_owned(),
        source,
    }
}

fn metadata(stat: &Stat, xattrs: Vec<Attribute>) -> Metadata {
    let bits = match stat.kind {
        FileKind::Directory => 0o7777,
        FileKind::File
        | FileKind::Symlink
        | FileKind::CharacterDevice
        | FileKind::BlockDevice
        | FileKind::Fifo
        | FileKind::Socket
        | FileKind::Unknown => 0o1777,
    };
    Metadata {
        mode: stat.mode & bits,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        mtime_nanoseconds: stat.mtime_nanoseconds,
        xattrs,
    }
}

fn kept_xattrs(file: impl std::os::fd::AsFd) -> io::Result<Vec<Attribute>> {
    let all = xattrs(file)?.into_iter();
    Ok(all
        .filter(|(name, _)| name.starts_with(XATTR_PREFIX))
        .collect())
}

fn settled_before() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    now - SETTLED_SECONDS
}
