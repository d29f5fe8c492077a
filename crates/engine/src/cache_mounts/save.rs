//! From a mount to a shelf: what is new in it, packed, and then the snapshot that names it.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use oci::{Descriptor, Digest};
use registry::BlobSource;
use shelf::{Shelf, ShelfErrorKind};
use store::cache_mounts::CacheMount;
use store::dir::Dir;
use store::scratch::{Scratch, ScratchFile};
use store::snapshot::{
    Chunk, ChunkId, ChunkSink, Extent, Known, Pack, PackWriter, Scanned, Snapshot, encode,
    read_extent, scan,
};

use super::document::{
    GENERATIONS_MAX, Generation, MountDocument, PACK, PACKS_MAX, SNAPSHOT, media_type,
};
use super::restore::named;
use super::{KeptMounts, MoveError, Place};

/// A pack is sent when it has this many bytes.
const PACK_BYTES: u64 = 32 * 1024 * 1024;

/// Packs that are sent at the same time.
const UPLOADS: usize = 2;

/// A pack of which less than this part is still of use is left behind.
const LIVE_PART_MIN: u64 = 3;

/// Packs smaller than this are put together when there are many.
const SMALL_PACK_BYTES: u64 = 4 * 1024 * 1024;
const SMALL_PACKS_MAX: usize = 16;

/// How long a mount is waited for that another build uses alone.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

impl KeptMounts {
    pub(super) fn save(&self, id: &str, numbers: &[u32], deadline: Instant) {
        for place in &self.to {
            if place.given_up.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = self.save_to(place, id, numbers, deadline) {
                let what = format!("the cache `{id}` is not kept in {}", named(place));
                self.warn(place, &what, &error);
            }
        }
    }

    fn save_to(
        &self,
        place: &Place,
        id: &str,
        numbers: &[u32],
        deadline: Instant,
    ) -> Result<(), MoveError> {
        // Of several that one id has for a while the first is what the next build gets.
        let number = numbers.iter().min().copied().unwrap_or(0);
        let mounts = self.store.cache_mounts();
        let Some(cache) = mounts.look_at(id, number, LOCK_PATIENCE)? else {
            return Err(MoveError::InUse);
        };
        let before = self.before(place, id, deadline)?;
        let scratch = self.store.scratch()?;
        let packing = self.pack(place, &cache, &before.packs, &scratch, deadline)?;
        let Packing {
            scanned,
            packs,
            sent_bytes,
        } = packing;
        let snapshot = Snapshot {
            tree: scanned.tree,
            packs,
        };
        let mut known = Known {
            snapshot: None,
            inodes: scanned.inodes,
            tree: snapshot.tree.clone(),
        };
        if let Some((generation, tree)) = &before.newest
            && *tree == snapshot.tree
        {
            known.snapshot = Some(generation.snapshot.digest.clone());
            let _ = known.save(&cache.known(), &scratch);
            return Ok(());
        }
        let bytes = encode(&snapshot).map_err(|source| MoveError::Format {
            digest: "that was made".to_owned(),
            source,
        })?;
        let digest = Digest::of(&bytes);
        let blob = Descriptor::new(media_type(SNAPSHOT), digest.clone(), bytes.len() as u64);
        let source: Arc<dyn BlobSource> = Arc::new(Bytes::from(bytes));
        self.wait(deadline, place.shelf.put(&blob, source, &[]))?;
        let sent_bytes = sent_bytes + blob.size;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let mut generations = vec![Generation {
            snapshot: blob,
            packs: snapshot.packs.iter().map(descriptor).collect(),
            saved: now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)),
        }];
        generations.extend(before.generations.into_iter().take(GENERATIONS_MAX - 1));
        let document = MountDocument::new(id, &place.scope.to_string(), generations).write();
        let name = place.scope.document(id);
        self.wait(deadline, place.shelf.put_document(&name, &document))?;
        known.snapshot = Some(digest);
        // Without it the next build reads everything once.
        let _ = known.save(&cache.known(), &scratch);
        self.note(format!(
            "cache `{id}`: kept in {}, {sent_bytes} bytes sent",
            named(place)
        ));
        if scanned.left_out > 0 {
            self.note(format!(
                "cache `{id}`: {} pipes, sockets or devices are not kept",
                scanned.left_out
            ));
        }
        Ok(())
    }

    /// What is on the shelf already. What is damaged there is nothing, and replaced; what another
    /// program or a later kiln put there stays.
    fn before(&self, place: &Place, id: &str, deadline: Instant) -> Result<Before, MoveError> {
        let mut before = Before::default();
        let name = place.scope.document(id);
        match self.wait(deadline, place.shelf.document(&name)) {
            Ok(Some(document)) => before.generations = MountDocument::read(&document)?.generations,
            Ok(None) => {}
            Err(MoveError::Shelf(error))
                if matches!(
                    error.kind(),
                    ShelfErrorKind::Damaged | ShelfErrorKind::Absent
                ) => {}
            Err(error) => return Err(error),
        }
        if let Some(newest) = before.generations.first()
            && let Ok(snapshot) = self.snapshot(&*place.shelf, &newest.snapshot, deadline)
        {
            before.packs.clone_from(&snapshot.packs);
            before.newest = Some((newest.clone(), snapshot.tree));
        }
        // Another scope's packs on the same shelf are as good.
        if before.packs.is_empty()
            && let Some(mount) = self.mounts().get(id)
            && let Some((_, packs)) = mount
                .packs
                .iter()
                .find(|(address, _)| address == place.shelf.address())
        {
            before.packs.clone_from(packs);
        }
        Ok(before)
    }

    /// Reads the mount and sends what is new.
    fn pack(
        &self,
        place: &Place,
        cache: &CacheMount,
        packs: &[Pack],
        scratch: &Scratch,
        deadline: Instant,
    ) -> Result<Packing, MoveError> {
        let known = Known::load(&cache.known());
        let root = Dir::open(cache.path()).map_err(store::snapshot::FillError::Open)?;
        let (send, receive) = sync_channel(1);
        let uploads = Uploads {
            kept: self,
            shelf: &*place.shelf,
            receive: Mutex::new(receive),
            trouble: Mutex::new(None),
            failed: AtomicBool::new(false),
            sent: Mutex::default(),
            sent_bytes: AtomicU64::new(0),
            deadline,
        };
        let packed = std::thread::scope(|scope| {
            for _ in 0..UPLOADS {
                scope.spawn(|| uploads.work());
            }
            let mut sink = Sink {
                has: chunks_of(packs),
                writer: None,
                scratch,
                send,
                uploads: &uploads,
            };
            let scanned = scan(&root, known.as_ref(), &mut sink)?;
            let retired = retired(packs, &scanned.tree);
            let left = sink.rewrite(packs, retired, &scanned, &root)?;
            sink.close()
                .map_err(|error| MoveError::from(store::snapshot::ScanError::Sink(error)))?;
            // The channel is closed with the sink, and the workers end.
            drop(sink);
            Ok::<_, MoveError>((scanned, left))
        });
        // Why nothing more could be sent says more than that it could not.
        if let Some(error) = uploads
            .trouble
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            return Err(error);
        }
        let (scanned, left) = packed?;
        self.go_on(deadline)?;
        let sent = uploads
            .sent
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let packs = live(left.into_iter().chain(sent), &scanned.tree);
        if packs.len() > PACKS_MAX {
            let source = store::snapshot::FormatError::TooLarge;
            let digest = "that was made".to_owned();
            return Err(MoveError::Format { digest, source });
        }
        Ok(Packing {
            scanned,
            packs,
            sent_bytes: uploads.sent_bytes.into_inner(),
        })
    }
}

/// What a shelf has of a mount.
#[derive(Default)]
struct Before {
    generations: Vec<Generation>,
    /// The newest, if it can be read.
    newest: Option<(Generation, store::snapshot::Tree)>,
    packs: Vec<Pack>,
}

/// What a mount was packed to.
struct Packing {
    scanned: Scanned,
    packs: Vec<Pack>,
    sent_bytes: u64,
}

fn descriptor(pack: &Pack) -> Descriptor {
    Descriptor::new(media_type(PACK), pack.digest.clone(), pack.size)
}

fn chunks_of(packs: &[Pack]) -> HashSet<ChunkId> {
    let frames = packs.iter().flat_map(|pack| &pack.frames);
    let chunks = frames.flat_map(|frame| &frame.chunks);
    chunks.map(|chunk| chunk.id).collect()
}

fn needed(tree: &store::snapshot::Tree) -> HashMap<ChunkId, u64> {
    let extents = tree.files().flat_map(|(_, extents)| extents);
    extents
        .filter_map(|extent| match extent {
            Extent::Data(chunk) => Some((chunk.id, u64::from(chunk.length))),
            Extent::Hole(_) => None,
        })
        .collect()
}

/// Packs that are better written anew: mostly dead ones, and small ones when there are many.
fn retired(packs: &[Pack], tree: &store::snapshot::Tree) -> HashSet<usize> {
    let needed = needed(tree);
    let mut retired = HashSet::new();
    let mut small = Vec::new();
    for (number, pack) in packs.iter().enumerate() {
        let chunks = pack.frames.iter().flat_map(|frame| &frame.chunks);
        let live: u64 = chunks.filter_map(|chunk| needed.get(&chunk.id)).sum();
        if live == 0 {
            continue;
        }
        if live.saturating_mul(LIVE_PART_MIN) < pack.bytes {
            retired.insert(number);
        } else if pack.size < SMALL_PACK_BYTES {
            small.push(number);
        }
    }
    if small.len() > SMALL_PACKS_MAX {
        retired.extend(small);
    }
    retired
}

/// Packs with the frames that are of use, each chunk in one of them.
fn live(packs: impl Iterator<Item = Pack>, tree: &store::snapshot::Tree) -> Vec<Pack> {
    let mut needed = needed(tree);
    let mut live = Vec::new();
    for mut pack in packs {
        pack.frames.retain(|frame| {
            let ids = frame.chunks.iter().map(|chunk| chunk.id);
            // All of them are looked at: none of them is of use twice.
            ids.filter(|id| needed.remove(id).is_some()).count() > 0
        });
        if !pack.frames.is_empty() {
            live.push(pack);
        }
    }
    live
}

/// Packs on their way to a shelf.
struct Uploads<'u> {
    kept: &'u KeptMounts,
    shelf: &'u dyn Shelf,
    receive: Mutex<Receiver<(Pack, ScratchFile)>>,
    trouble: Mutex<Option<MoveError>>,
    failed: AtomicBool,
    sent: Mutex<Vec<Pack>>,
    sent_bytes: AtomicU64,
    deadline: Instant,
}

impl Uploads<'_> {
    fn work(&self) {
        loop {
            let next = {
                let receive = self.receive.lock().unwrap_or_else(PoisonError::into_inner);
                receive.recv()
            };
            let Ok((pack, file)) = next else { return };
            // Those that follow are taken out of the way, so that nobody waits for them.
            if self.failed.load(Ordering::Relaxed) {
                continue;
            }
            let source: Arc<dyn BlobSource> = Arc::new(Spooled(file.path().to_owned()));
            let blob = descriptor(&pack);
            match self
                .kept
                .wait(self.deadline, self.shelf.put(&blob, source, &[]))
            {
                Ok(()) => {
                    self.sent_bytes.fetch_add(pack.size, Ordering::Relaxed);
                    let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
                    sent.push(pack);
                }
                Err(error) => {
                    self.failed.store(true, Ordering::Relaxed);
                    let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                    trouble.get_or_insert(error);
                }
            }
        }
    }
}

/// A file of ours that is sent.
struct Spooled(PathBuf);

impl BlobSource for Spooled {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.0)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

/// Where new chunks go.
struct Sink<'s> {
    has: HashSet<ChunkId>,
    writer: Option<PackWriter>,
    scratch: &'s Scratch,
    send: SyncSender<(Pack, ScratchFile)>,
    uploads: &'s Uploads<'s>,
}

impl Sink<'_> {
    /// Puts what is of use in some packs into new ones. Gives the packs that are left: those whose
    /// files have changed meanwhile stay.
    fn rewrite(
        &mut self,
        packs: &[Pack],
        retired: HashSet<usize>,
        scanned: &Scanned,
        root: &Dir,
    ) -> Result<Vec<Pack>, MoveError> {
        let mut pack_of: HashMap<ChunkId, usize> = HashMap::new();
        for number in &retired {
            for chunk in packs[*number].frames.iter().flat_map(|frame| &frame.chunks) {
                pack_of.insert(chunk.id, *number);
            }
        }
        let mut kept: HashSet<usize> = HashSet::new();
        let failed = |error| store::snapshot::ScanError::Sink(error);
        for (node, extents) in scanned.tree.files() {
            let mut at = 0;
            for extent in extents {
                let offset = at;
                at += extent.bytes();
                let Extent::Data(chunk) = extent else {
                    continue;
                };
                let Some(number) = pack_of.remove(&chunk.id) else {
                    continue;
                };
                let bytes = root
                    .open_file(&scanned.tree.path(node))
                    .and_then(|file| read_extent(&file, offset, chunk));
                match bytes {
                    Ok(Some(bytes)) => self.put(*chunk, &bytes).map_err(failed)?,
                    Ok(None) | Err(_) => {
                        kept.insert(number);
                    }
                }
            }
        }
        let left = packs.iter().enumerate();
        Ok(left
            .filter(|(number, _)| !retired.contains(number) || kept.contains(number))
            .map(|(_, pack)| pack.clone())
            .collect())
    }

    fn close(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        if let Some(writer) = self.writer.take()
            && let Some(finished) = writer.finish()?
        {
            // Nobody receives only when everybody has failed.
            let _ = self.send.send(finished);
        }
        Ok(())
    }
}

impl ChunkSink for Sink<'_> {
    fn has(&self, id: &ChunkId) -> bool {
        self.has.contains(id)
    }

    fn put(&mut self, chunk: Chunk, bytes: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => PackWriter::new(self.scratch)?,
        };
        writer.add(chunk, bytes)?;
        self.has.insert(chunk.id);
        let is_full = writer.size() >= PACK_BYTES;
        self.writer = Some(writer);
        if is_full {
            self.close()?;
        }
        Ok(())
    }

    fn go_on(&self) -> bool {
        !self.uploads.failed.load(Ordering::Relaxed)
            && self.uploads.kept.go_on(self.uploads.deadline).is_ok()
    }
}
