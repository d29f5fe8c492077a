//! From a snapshot to a directory: what the old directory has is linked or copied, the rest comes
//! in frames, in any order and from several threads.
//!
//! Nothing is believed: names are made with O_EXCL in directories that were made here, symbolic
//! links come last, and a chunk that is not what it should be is an error. What is half filled when
//! an error comes is the caller's to throw away.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};

use super::pack;
use super::scan::read_extent;
use super::{ChunkId, Extent, Frame, Known, Metadata, NodeKind, Snapshot, Tree};
use crate::dir::{Dir, set_xattr};

/// What is left free on the disk, in bytes, for what the build itself writes.
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Why a directory could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// Something could not be made.
    #[error("could not make `{path}`")]
    Make {
        /// Below the directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The directory to be filled, or the present one.
    #[error("could not open the directory")]
    Open(#[source] io::Error),
    /// It would not fit.
    #[error("it needs {needed_bytes} bytes, and {free_bytes} are free")]
    Space {
        /// What would be written.
        needed_bytes: u64,
        /// What there is room for.
        free_bytes: u64,
    },
    /// A frame is not what the snapshot says.
    #[error("a part of the pack {pack} is damaged")]
    Damaged {
        /// The beginning of its digest.
        pack: String,
    },
    /// A chunk came in no frame.
    #[error("{chunks} chunks are in no pack")]
    Missing {
        /// How many.
        chunks: usize,
    },
}

/// A directory that is being filled.
#[derive(Debug)]
pub struct Filler {
    root: Dir,
    snapshot: Snapshot,
    /// Where each chunk goes that is not there yet: files and places in them.
    pending: Mutex<HashMap<ChunkId, Vec<(u32, u64)>>>,
    /// Files that are the present ones.
    linked: HashSet<u32>,
    written_bytes: AtomicU64,
}

/// What a directory was filled with.
#[derive(Debug)]
pub struct Filled {
    /// What is known of it now; [`Known::snapshot`] is the caller's to say.
    pub known: Known,
    /// Files that were taken over as they are.
    pub linked: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
}

impl Filler {
    /// Begins to fill the empty directory `fresh`: makes its directories and files, and takes what
    /// it can from `present`, which stays as it is.
    ///
    /// # Errors
    ///
    /// [`FillError`].
    pub fn begin(
        fresh: &Path,
        present: Option<(&Path, &Known)>,
        snapshot: Snapshot,
        free_bytes: u64,
    ) -> Result<Self, FillError> {
        let root = Dir::open(fresh).map_err(FillError::Open)?;
        let present = match present {
            Some((path, known)) => Some((Dir::open(path).map_err(FillError::Open)?, known)),
            None => None,
        };
        let mut filler = Self {
            root,
            snapshot,
            pending: Mutex::default(),
            linked: HashSet::new(),
            written_bytes: AtomicU64::new(0),
        };
        filler.make(present.as_ref().map(|(dir, known)| (dir, *known)))?;
        filler.check_space(free_bytes)?;
        if let Some((dir, known)) = &present {
            filler.copy_chunks(dir, known)?;
        }
        Ok(filler)
    }

    /// Makes all directories and files, the latter empty or linked.
    fn make(&mut self, present: Option<(&Dir, &Known)>) -> Result<(), FillError> {
        let index = present.map(|(_, known)| known.index()).unwrap_or_default();
        // The node that stands for each in what is known.
        let mut before: Vec<Option<u32>> = vec![None; self.snapshot.tree.nodes.len()];
        let tree = &self.snapshot.tree;
        let mut pending: HashMap<ChunkId, Vec<(u32, u64)>> = HashMap::new();
        // The directory that was used last: siblings follow one another.
        let mut open: Option<(u32, Dir, Option<Dir>)> = None;
        for (number, node) in tree.nodes.iter().enumerate() {
            if number == 0 {
                before[0] = present.is_some().then_some(0);
                continue;
            }
            let wrong = |source| failed(tree, number as u32, source);
            let above = before[node.parent as usize];
            before[number] = above.and_then(|above| index.get(&(above, &*node.name)).copied());
            if open
                .as_ref()
                .is_none_or(|(parent, _, _)| *parent != node.parent)
            {
                let path = tree.path(node.parent);
                let dir = self.root.open_dir(&path).map_err(wrong)?;
                // What cannot be opened there is not there for us.
                let old = present.and_then(|(dir, _)| dir.open_dir_same_mount(&path).ok());
                open = Some((node.parent, dir, old));
            }
            let Some((_, dir, old)) = &open else { continue };
            match &node.kind {
                NodeKind::Directory => dir.create_dir(&node.name, 0o700).map_err(wrong)?,
                NodeKind::File(extents) => {
                    let linked = old.as_ref().zip(present).zip(before[number]);
                    if let Some(((old, (_, known)), before)) = linked
                        && is_same(known, before, old, node, extents)
                        && old.hard_link(&node.name, dir, &node.name).is_ok()
                    {
                        self.linked.insert(number as u32);
                        continue;
                    }
                    let file = dir.create_file(&node.name, 0o600).map_err(wrong)?;
                    let size = extents.iter().map(Extent::bytes).sum();
                    file.set_len(size).map_err(wrong)?;
                    let mut at = 0;
                    for extent in extents {
                        if let Extent::Data(chunk) = extent {
                            pending
                                .entry(chunk.id)
                                .or_default()
                                .push((number as u32, at));
                        }
                        at += extent.bytes();
                    }
                }
                // Last, so that nothing is ever made through one.
                NodeKind::Symlink(_) | NodeKind::HardLink(_) => {}
            }
        }
        self.pending = Mutex::new(pending);
        Ok(())
    }

    fn check_space(&self, free_bytes: u64) -> Result<(), FillError> {
        let lengths: HashMap<ChunkId, u64> = self
            .snapshot
            .packs
            .iter()
            .flat_map(|pack| &pack.frames)
            .flat_map(|frame| &frame.chunks)
            .map(|chunk| (chunk.id, u64::from(chunk.length)))
            .collect();
        let needed_bytes = self
            .pending()
            .iter()
            .map(|(id, places)| {
                let length = lengths.get(id).copied().unwrap_or(0);
                length.saturating_mul(places.len() as u64)
            })
            .fold(0_u64, u64::saturating_add);
        let free_bytes = free_bytes.saturating_sub(RESERVE_BYTES);
        if needed_bytes > free_bytes {
            return Err(FillError::Space {
                needed_bytes,
                free_bytes,
            });
        }
        Ok(())
    }

    /// Copies chunks that files of the present directory have, where they still have them.
    fn copy_chunks(&self, present: &Dir, known: &Known) -> Result<(), FillError> {
        for (number, extents) in known.tree.files() {
            let mut at = 0;
            let mut file = None;
            for extent in extents {
                let offset = at;
                at += extent.bytes();
                let Extent::Data(chunk) = extent else {
                    continue;
                };
                if !self.pending().contains_key(&chunk.id) {
                    continue;
                }
                if file.is_none() {
                    match present.open_file(&known.tree.path(number)) {
                        Ok(opened) => file = Some(opened),
                        Err(_gone) => break,
                    }
                }
                let Some(file) = &file else { break };
                if let Ok(Some(bytes)) = read_extent(file, offset, chunk) {
                    self.write(&chunk.id, &bytes)?;
                }
            }
        }
        Ok(())
    }

    /// What must still come: packs with the places of their frames in
    /// [`super::Pack::frames`], in order.
    pub fn wanted(&self) -> Vec<(usize, Vec<usize>)> {
        let pending = self.pending();
        let mut claimed: HashSet<ChunkId> = HashSet::new();
        let mut wanted = Vec::new();
        for (place, pack) in self.snapshot.packs.iter().enumerate() {
            let mut frames = Vec::new();
            for (number, frame) in pack.frames.iter().enumerate() {
                let ids = frame.chunks.iter().map(|chunk| chunk.id);
                let new: Vec<ChunkId> = ids
                    .filter(|id| pending.contains_key(id) && !claimed.contains(id))
                    .collect();
                if !new.is_empty() {
                    frames.push(number);
                    claimed.extend(new);
                }
            }
            if !frames.is_empty() {
                wanted.push((place, frames));
            }
        }
        wanted
    }

    /// What it is filled with.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Takes what is stored of a frame.
    ///
    /// # Errors
    ///
    /// [`FillError::Damaged`] when it is something else, and the disk's.
    pub fn frame(&self, pack: usize, frame: usize, stored: &[u8]) -> Result<(), FillError> {
        let pack = &self.snapshot.packs[pack];
        let frame: &Frame = &pack.frames[frame];
        let bytes = pack::open(frame, stored).ok_or_else(|| FillError::Damaged {
            pack: pack::short(&pack.digest).to_owned(),
        })?;
        let mut rest = &bytes[..];
        for chunk in &frame.chunks {
            let (bytes, after) = rest.split_at(chunk.length as usize);
            rest = after;
            self.write(&chunk.id, bytes)?;
        }
        Ok(())
    }

    /// Writes a chunk wherever it goes, once.
    fn write(&self, id: &ChunkId, bytes: &[u8]) -> Result<(), FillError> {
        let places = self.pending().remove(id).unwrap_or_default();
        let mut file: Option<(u32, File)> = None;
        for (number, offset) in places {
            let wrong = |source| failed(&self.snapshot.tree, number, source);
            let open = match file.take() {
                Some((same, open)) if same == number => open,
                Some(_) | None => self.open(number).map_err(wrong)?,
            };
            open.write_all_at(bytes, offset).map_err(wrong)?;
            self.written_bytes
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            file = Some((number, open));
        }
        Ok(())
    }

    fn open(&self, number: u32) -> io::Result<File> {
        let path = self.snapshot.tree.path(number);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let file = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), how)?;
        Ok(File::from(file))
    }

    /// Makes the links, and gives everything its owner, permissions and time.
    ///
    /// # Errors
    ///
    /// [`FillError::Missing`] when not all frames came, and the disk's.
    pub fn finish(self) -> Result<Filled, FillError> {
        let missing = self.pending().len();
        if missing > 0 {
            return Err(FillError::Missing { chunks: missing });
        }
        let tree = &self.snapshot.tree;
        let mut inodes = vec![0; tree.nodes.len()];
        let mut open: Option<(u32, Dir)> = None;
        for (number, node) in tree.nodes.iter().enumerate().skip(1) {
            let wrong = |source| failed(tree, number as u32, source);
            if open
                .as_ref()
                .is_none_or(|(parent, _)| *parent != node.parent)
            {
                let dir = self.root.open_dir(&tree.path(node.parent));
                open = Some((node.parent, dir.map_err(wrong)?));
            }
            let Some((_, dir)) = &open else { continue };
            match &node.kind {
                NodeKind::Directory => continue,
                NodeKind::File(_) if self.linked.contains(&(number as u32)) => {}
                NodeKind::File(_) => {
                    let file = self.open(number as u32).map_err(wrong)?;
                    settle(&file, &node.metadata).map_err(wrong)?;
                }
                NodeKind::Symlink(target) => {
                    symlink(dir, &node.name, target, &node.metadata).map_err(wrong)?;
                    continue;
                }
                NodeKind::HardLink(first) => {
                    let known = &tree.nodes[*first as usize];
                    self.root
                        .open_dir(&tree.path(known.parent))
                        .and_then(|from| from.hard_link(&known.name, dir, &node.name))
                        .map_err(wrong)?;
                }
            }
            inodes[number] = dir.stat(&node.name).map_err(wrong)?.inode;
        }
        // From below: what is put into a directory changes its time.
        for (number, node) in tree.nodes.iter().enumerate().rev() {
            if node.kind == NodeKind::Directory {
                let path = tree.path(number as u32);
                self.root
                    .open_dir(&path)
                    .and_then(|dir| settle(&dir, &node.metadata))
                    .map_err(|source| failed(tree, number as u32, source))?;
            }
        }
        Ok(Filled {
            linked: self.linked.len() as u64,
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            known: Known {
                snapshot: None,
                inodes,
                tree: self.snapshot.tree,
            },
        })
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<ChunkId, Vec<(u32, u64)>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a file of the present directory is the one that is to be made, in everything.
fn is_same(known: &Known, before: u32, dir: &Dir, node: &super::Node, extents: &[Extent]) -> bool {
    let Ok(stat) = dir.stat(&node.name) else {
        return false;
    };
    known.unchanged(before, &stat) == Some(extents)
        && known.tree.nodes[before as usize].metadata == node.metadata
        && (stat.mode, stat.uid, stat.gid)
            == (node.metadata.mode, node.metadata.uid, node.metadata.gid)
}

fn settle(file: impl std::os::fd::AsFd, metadata: &Metadata) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
    // Only what is to be another's: who is not root may not even give a file to itself everywhere.
    let stat = rustix::fs::fstat(&file)?;
    if (stat.st_uid, stat.st_gid) != (metadata.uid, metadata.gid) {
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    for (name, value) in &metadata.xattrs {
        set_xattr(&file, name, value)?;
    }
    rustix::fs::fchmod(&file, Mode::from(metadata.mode))?;
    Ok(rustix::fs::futimens(&file, &times(metadata))?)
}

fn symlink(dir: &Dir, name: &[u8], target: &[u8], metadata: &Metadata) -> io::Result<()> {
    dir.symlink(name, target)?;
    let stat = dir.stat(name)?;
    if (stat.uid, stat.gid) != (metadata.uid, metadata.gid) {
        dir.set_owner(name, metadata.uid, metadata.gid)?;
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::utimensat(dir, name, &times(metadata), flags)?)
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec {
        tv_sec: metadata.mtime,
        tv_nsec: metadata.mtime_nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn failed(tree: &Tree, number: u32, source: io::Error) -> FillError {
    FillError::Make {
        path: String::from_utf8_lossy(&tree.path(number)).into_owned(),
        source,
    }
}
