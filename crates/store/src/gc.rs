//! What is in the store, whether it is whole, and what may go.

mod fault;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oci::{Descriptor, Digest, Document, ImageConfig, MediaType};

use self::fault::{fault, is_object_place};
use crate::cache_mounts::{CacheItem, cache_items};
use crate::commit::CommitError;
use crate::dir::{Dir, FileKind};
use crate::disk::{DiskError, On as _};
use crate::image::IMAGES;
use crate::indexes::{INDEXES, index_path};
use crate::inventory::{Among, Item, Part};
use crate::lock;
use crate::record::{RECORDS, open_unnoticed, read_bounded, unseal};
use crate::seek_tables::{SEEK_TABLES, seek_table_path};
use crate::spans::SPANS;
use crate::stat_cache::STAT;
use crate::store::{BLOBS, LOCK_FILE, Store, TMP, TRASH};
use crate::unpacked::UNPACKED;

/// Bytes and things of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Bytes that they take on the disk.
    pub bytes: u64,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Layers, configurations and manifests.
    pub blobs: Amount,
    /// What is in layers.
    pub indexes: Amount,
    /// How to read parts of layers.
    pub seek_tables: Amount,
    /// Parts of layers that were fetched.
    pub spans: Amount,
    /// Layers as directories; the count is of directories.
    pub unpacked: Amount,
    /// Answers of the build cache.
    pub records: Amount,
    /// Names of images.
    pub images: Amount,
    /// Hashes of context files; the count is of contexts.
    pub stat_caches: Amount,
    /// Directories of `RUN --mount=type=cache`.
    pub cache_mounts: Amount,
    /// Unfinished work.
    pub tmp: Amount,
    /// What waits to be deleted.
    pub trash: Amount,
}

impl Usage {
    /// Bytes of all kinds together.
    pub fn bytes(&self) -> u64 {
        let Self {
            blobs,
            indexes,
            seek_tables,
            spans,
            unpacked,
            records,
            images,
            stat_caches,
            cache_mounts,
            tmp,
            trash,
        } = self;
        [
            blobs,
            indexes,
            seek_tables,
            spans,
            unpacked,
            records,
            images,
            stat_caches,
            cache_mounts,
            tmp,
            trash,
        ]
        .iter()
        .map(|amount| amount.bytes)
        .sum()
    }
}

/// What kind of thing is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Content by digest.
    Blob,
    /// What is in a layer.
    Index,
    /// How to read parts of a layer.
    SeekTable,
    /// A part of a layer.
    Span,
    /// The record of an unpacked layer, or its directory.
    Unpacked,
    /// An answer of the build cache.
    Record,
    /// The name of an image.
    Image,
    /// Hashes of context files.
    StatCache,
    /// Something that kiln does not put there.
    Stray,
}

/// One thing that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What kind of thing.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it, as a sentence without a full stop.
    pub reason: String,
}

/// The outcome of [`Store::verify`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Things that were read.
    pub checked: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong, by path.
    pub damage: Vec<Damage>,
    /// Whether the damaged things were moved out of the way.
    pub repaired: bool,
}

/// What [`Store::prune`] may remove.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Which things are looked at at all. What nothing refers to goes only where this names
    /// everything.
    pub among: Among,
    /// Everything that no image name needs.
    pub all: bool,
    /// Only what has not been used for this long.
    pub older_than: Option<Duration>,
    /// The oldest first, until at most this many bytes are left.
    pub keep_bytes: Option<u64>,
    /// The oldest first, until this much of the file system is free.
    pub free_bytes: Option<u64>,
    /// How long to wait for other processes to finish.
    pub patience: Duration,
}

/// The outcome of [`Store::prune`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Things removed.
    pub removed: u64,
    /// Bytes that they took.
    pub bytes: u64,
    /// The things, in the order in which they went.
    pub items: Vec<Item>,
}

/// Why nothing was pruned.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// Others use the store.
    #[error("the store is in use by {}; try again when they are done", holders(.processes))]
    InUse {
        /// The numbers of the processes.
        processes: Vec<String>,
    },
    /// This process still works with the store.
    #[error("the store is in use by this process")]
    InUseHere,
    /// What this process wrote before could not be made durable.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

fn holders(processes: &[String]) -> String {
    match processes {
        [] => "another process".into(),
        [one] => format!("process {one}"),
        several => format!("processes {}", several.join(", ")),
    }
}

impl Store {
    /// Bytes by kind.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn du(&self) -> Result<Usage, DiskError> {
        let root = self.path();
        let files = |name: &str| -> Result<Amount, DiskError> {
            let mut amount = Amount::default();
            each_file(root, Path::new(name), &mut |path, metadata| {
                if metadata.is_file() {
                    amount.count += 1;
                    amount.bytes += metadata.blocks() * STAT_BLOCK_BYTES;
                }
                let _ = path;
                Ok(Descend::Yes)
            })?;
            Ok(amount)
        };
        let mut unpacked = Amount::default();
        for item in unpacked_items(root)? {
            unpacked.count += u64::from(item.tree.is_some());
            unpacked.bytes += item.bytes(root)?;
        }
        let mut cache_mounts = Amount::default();
        for item in cache_items(root)? {
            cache_mounts.count += item.directories.len() as u64;
            cache_mounts.bytes += cache_bytes(root, &item)?;
        }
        let tree = |name: &str| tree_bytes(&root.join(name));
        Ok(Usage {
            blobs: files(BLOBS)?,
            indexes: files(INDEXES)?,
            seek_tables: files(SEEK_TABLES)?,
            spans: files(SPANS)?,
            unpacked,
            records: files(RECORDS)?,
            images: files(IMAGES)?,
            stat_caches: files(STAT)?,
            cache_mounts,
            tmp: tree(TMP)?,
            trash: tree(TRASH)?,
        })
    }

    /// Reads everything and says what is not what its name says; with `repair`,
    /// moves it out of the way, so that it will be made or fetched again.
    ///
    /// The contents of unpacked layers are not compared; their records are.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn verify(&self, repair: bool) -> Result<Verified, DiskError> {
        let root = self.path();
        let mut verified = Verified {
            repaired: repair,
            ..Verified::default()
        };
        let parts = [
            (BLOBS, Kind::Blob),
            (INDEXES, Kind::Index),
            (SEEK_TABLES, Kind::SeekTable),
            (SPANS, Kind::Span),
            (RECORDS, Kind::Record),
            (IMAGES, Kind::Image),
            (STAT, Kind::StatCache),
        ];
        for (name, kind) in parts {
            each_file(root, Path::new(name), &mut |path, metadata| {
                if metadata.is_dir() && !is_object_place(kind, path) {
                    return Ok(Descend::Yes);
                }
                verified.checked += 1;
                verified.bytes += metadata.len();
                if let Some((kind, reason)) = fault(root, kind, path, metadata)? {
                    verified.damage.push(Damage {
                        kind,
                        path: root.join(path),
                        reason,
                    });
                }
                Ok(Descend::No)
            })?;
        }
        for item in unpacked_items(root)? {
            verified.checked += 1;
            let reason = match (&item.mark, &item.tree, item.sound) {
                (_, Some(_), true) => continue,
                // Made by a process that has not committed yet, or that died.
                (None, Some(_), _) => continue,
                (Some(_), None, true) => "the directory that it names is missing",
                (_, _, false) | (None, None, true) => "the record is damaged",
            };
            let path = item.mark.as_ref().or(item.tree.as_ref());
            verified.damage.push(Damage {
                kind: Kind::Unpacked,
                path: path.map(|path| root.join(path)).unwrap_or_default(),
                reason: reason.into(),
            });
        }
        verified.damage.sort_by(|a, b| a.path.cmp(&b.path));
        if repair {
            for damage in &verified.damage {
                self.parts().trash.take(&damage.path)?;
            }
        }
        Ok(verified)
    }

    /// Removes what `options` allow. Alone: waits for other processes to
    /// finish, `options.patience` at most. Without options only what nothing
    /// refers to goes. What image names need always stays, if it is there.
    ///
    /// Records of the build cache may name blobs that are removed: whoever reads
    /// a record asks whether they are there.
    ///
    /// # Errors
    ///
    /// [`PruneError`].
    pub fn prune(&self, options: &PruneOptions) -> Result<Pruned, PruneError> {
        if self.clones() > 1 {
            return Err(PruneError::InUseHere);
        }
        self.flush()?;
        let lock_path = self.path().join(LOCK_FILE);
        let lock = &self.parts().lock;
        let alone = lock::acquire(lock, &lock_path, lock::Mode::Exclusive, options.patience);
        let outcome = match alone {
            Ok(true) => self.prune_alone(options).map_err(PruneError::from),
            Ok(false) => Err(PruneError::InUse {
                processes: self.parts().process.others(&self.path().join(TMP)),
            }),
            Err(error) => Err(error.into()),
        };
        // Whatever happened, this process still has the store open. Nobody but
        // another pruner can be in the way, and not for long.
        if !lock::acquire(lock, &lock_path, lock::Mode::Shared, Duration::MAX)? {
            unreachable!("waits without end");
        }
        let outcome = outcome?;
        self.parts().trash.empty(Duration::MAX)?;
        Ok(outcome)
    }

    fn prune_alone(&self, options: &PruneOptions) -> Result<Pruned, DiskError> {
        self.parts().indexes.forget();
        self.parts().seek_tables.forget();
        self.parts().spans.forget();
        self.parts().unpacked.forget();
        let now = SystemTime::now();
        let mut pruned = Pruned::default();
        let mut removable = Vec::new();
        for found in self.found()? {
            if found.item.needed {
                continue;
            }
            if found.garbage && options.among.is_everything() {
                self.remove(found, &mut pruned)?;
            } else if options.among.has(&found.item, now) {
                removable.push(found);
            }
        }
        removable.sort_by(|a, b| {
            let used = a.item.used.cmp(&b.item.used);
            used.then_with(|| a.paths.cmp(&b.paths))
        });
        let mut total = match (options.keep_bytes, options.free_bytes) {
            (None, None) => 0,
            (Some(_), _) | (_, Some(_)) => self.du()?.bytes(),
        };
        let keep_bytes = match options.free_bytes {
            None => options.keep_bytes,
            Some(wanted) => {
                let missing = wanted.saturating_sub(self.free_bytes()?);
                let keep = total.saturating_sub(missing);
                Some(options.keep_bytes.map_or(keep, |bytes| bytes.min(keep)))
            }
        };
        for found in removable {
            let old = options
                .older_than
                .is_some_and(|least| found.item.age(now) >= least);
            let unlimited = options.older_than.is_none() && keep_bytes.is_none();
            let over = keep_bytes.is_some_and(|keep| total > keep);
            if (options.all && unlimited) || old || over {
                total = total.saturating_sub(found.item.bytes);
                self.remove(found, &mut pruned)?;
            }
        }
        Ok(pruned)
    }

    fn remove(&self, found: Found, pruned: &mut Pruned) -> Result<(), DiskError> {
        for path in &found.paths {
            self.parts().trash.take(&self.path().join(path))?;
        }
        pruned.removed += 1;
        pruned.bytes += found.item.bytes;
        pruned.items.push(found.item);
        Ok(())
    }

    /// Bytes that an ordinary user can still write to the file system of the store.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn free_bytes(&self) -> Result<u64, DiskError> {
        let free = rustix::fs::statvfs(self.path())
            .map_err(|errno| DiskError::new("measure", self.path(), errno))?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize))
    }

    /// Everything that the store keeps between builds, in no order that matters.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn inventory(&self) -> Result<Vec<Item>, DiskError> {
        Ok(self.found()?.into_iter().map(|found| found.item).collect())
    }

    /// All things with their places.
    fn found(&self) -> Result<Vec<Found>, DiskError> {
        let root = self.path();
        let needed = self.needed();
        let mut all = Vec::new();
        for (name, part) in FILE_PARTS {
            each_file(root, Path::new(name), &mut |path, metadata| {
                if metadata.is_dir() {
                    return Ok(Descend::Yes);
                }
                all.push(Found {
                    item: Item {
                        part,
                        name: file_name(path),
                        bytes: metadata.blocks() * STAT_BLOCK_BYTES,
                        made: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                        used: last_use(metadata),
                        needed: needed.contains(path),
                    },
                    paths: vec![path.to_owned()],
                    garbage: !metadata.is_file(),
                });
                Ok(Descend::No)
            })?;
        }
        for item in unpacked_items(root)? {
            let name = item.mark.as_ref().or(item.tree.as_ref());
            all.push(Found {
                item: Item {
                    part: Part::Unpacked,
                    name: name.map(|path| file_name(path)).unwrap_or_default(),
                    bytes: item.bytes(root)?,
                    made: item.made,
                    used: item.used,
                    needed: false,
                },
                garbage: item.mark.is_none() || item.tree.is_none() || !item.sound,
                paths: item.mark.into_iter().chain(item.tree).collect(),
            });
        }
        for item in cache_items(root)? {
            all.push(Found {
                item: Item {
                    part: Part::CacheMount,
                    name: item.id.clone().unwrap_or_else(|| file_name(&item.path)),
                    bytes: cache_bytes(root, &item)?,
                    made: item.made,
                    used: item.used,
                    needed: false,
                },
                garbage: item.directories.is_empty(),
                paths: vec![item.path],
            });
        }
        Ok(all)
    }

    /// The paths of all blobs and indexes that named images are made of.
    fn needed(&self) -> BTreeSet<PathBuf> {
        let mut needed = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut todo: Vec<Descriptor> = self
            .images()
            .list()
            .into_iter()
            .map(|image| image.target)
            .collect();
        while let Some(descriptor) = todo.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            needed.insert(blob_path(&descriptor.digest));
            needed.insert(seek_table_path(&descriptor.digest));
            let is_document =
                descriptor.media_type.is_manifest() || descriptor.media_type.is_index();
            let is_config = matches!(
                descriptor.media_type,
                MediaType::OciConfig | MediaType::DockerConfig
            );
            if !is_document && !is_config {
                continue;
            }
            let Ok(bytes) = self
                .blobs()
                .read(&descriptor.digest, oci::DOCUMENT_BYTES_MAX)
            else {
                continue;
            };
            if is_config {
                if let Ok(config) = serde_json::from_slice::<ImageConfig>(&bytes) {
                    needed.extend(config.rootfs.diff_ids.iter().map(index_path));
                }
                continue;
            }
            match Document::read(bytes, Some(&descriptor.media_type)) {
                Ok(Document::Manifest(manifest)) => {
                    let manifest = manifest.value();
                    todo.push(manifest.config.clone());
                    todo.extend(manifest.layers.iter().cloned());
                    todo.extend(manifest.subject.iter().cloned());
                }
                Ok(Document::Index(index)) => {
                    let index = index.value();
                    todo.extend(index.manifests.iter().cloned());
                    todo.extend(index.subject.iter().cloned());
                }
                Err(_) => {}
            }
        }
        needed
    }

    /// Checks the blobs that were written at `since` or later and drops what is
    /// damaged: what a process wrote that died with the machine may be empty
    /// under a correct name.
    pub(crate) fn check_since(&self, since: SystemTime) -> Result<(), DiskError> {
        let root = self.path();
        // The clocks of the process and of the file system tick apart.
        let since = since.checked_sub(CLOCK_SLACK).unwrap_or(since);
        each_file(root, Path::new(BLOBS), &mut |path, metadata| {
            if metadata.is_dir() {
                return Ok(Descend::Yes);
            }
            let written = metadata.modified().on("read", path)?;
            if written >= since && fault(root, Kind::Blob, path, metadata)?.is_some() {
                self.parts().trash.take(&root.join(path))?;
            }
            Ok(Descend::No)
        })
    }
}

const CLOCK_SLACK: Duration = Duration::from_secs(10);

/// `st_blocks` counts these, whatever the file system's blocks are.
const STAT_BLOCK_BYTES: u64 = 512;

/// What is a file each.
const FILE_PARTS: [(&str, Part); 6] = [
    (BLOBS, Part::Blob),
    (INDEXES, Part::Index),
    (SEEK_TABLES, Part::SeekTable),
    (SPANS, Part::Span),
    (RECORDS, Part::Record),
    (STAT, Part::StatCache),
];

/// A thing and its place.
#[derive(Debug)]
struct Found {
    item: Item,
    /// Below the store.
    paths: Vec<PathBuf>,
    /// Useless whatever the options.
    garbage: bool,
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// When a file was last used: the later of its reading, where the file system
/// keeps that (once a day is enough), and its writing.
fn last_use(metadata: &std::fs::Metadata) -> SystemTime {
    let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    metadata
        .accessed()
        .map_or(written, |read| read.max(written))
}

/// A record of an unpacked layer and its directory, or one without the other.
#[derive(Debug)]
struct UnpackedItem {
    mark: Option<PathBuf>,
    tree: Option<PathBuf>,
    /// Whether the record, if there is one, can be read.
    sound: bool,
    made: SystemTime,
    used: SystemTime,
}

impl UnpackedItem {
    fn bytes(&self, root: &Path) -> Result<u64, DiskError> {
        match &self.tree {
            Some(tree) => Ok(tree_bytes(&root.join(tree))?.bytes),
            None => Ok(0),
        }
    }
}

fn unpacked_items(root: &Path) -> Result<Vec<UnpackedItem>, DiskError> {
    let mut marks = BTreeMap::new();
    let mut trees = BTreeSet::new();
    each_file(root, Path::new(UNPACKED), &mut |path, metadata| {
        // unpacked/ab/NAME
        if path.components().count() < 3 {
            return Ok(Descend::Yes);
        }
        if metadata.is_dir() {
            trees.insert(path.to_owned());
        } else {
            let made = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            marks.insert(path.to_owned(), (made, last_use(metadata)));
        }
        Ok(Descend::No)
    })?;
    let mut items = Vec::new();
    for (mark, (made, used)) in marks {
        let named = open_unnoticed(&root.join(&mark))
            .ok()
            .flatten()
            .and_then(read_bounded)
            .and_then(|bytes| unseal(&mark, &bytes).map(<[u8]>::to_vec))
            .and_then(|name| String::from_utf8(name).ok());
        let tree = named
            .as_ref()
            .and_then(|name| trees.take(&mark.with_file_name(name)));
        items.push(UnpackedItem {
            sound: named.is_some(),
            mark: Some(mark),
            tree,
            made,
            used,
        });
    }
    items.extend(trees.into_iter().map(|tree| UnpackedItem {
        mark: None,
        tree: Some(tree),
        sound: true,
        made: SystemTime::UNIX_EPOCH,
        used: SystemTime::UNIX_EPOCH,
    }));
    Ok(items)
}

fn cache_bytes(root: &Path, item: &CacheItem) -> Result<u64, DiskError> {
    let mut bytes = item.file_bytes;
    for directory in &item.directories {
        bytes += tree_bytes(&root.join(directory))?.bytes;
    }
    Ok(bytes)
}

/// Where a blob is, below the store.
fn blob_path(digest: &Digest) -> PathBuf {
    let mut path = PathBuf::from(BLOBS);
    path.push(digest.algorithm().name());
    path.push(&digest.hex()[..2]);
    path.push(digest.hex());
    path
}

/// Whether to look into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Descend {
    Yes,
    No,
}

/// Calls `seen` with everything below `directory`, which is below `root`, in
/// order of names. What disappears meanwhile is not seen.
fn each_file(
    root: &Path,
    directory: &Path,
    seen: &mut dyn FnMut(&Path, &std::fs::Metadata) -> Result<Descend, DiskError>,
) -> Result<(), DiskError> {
    let full = root.join(directory);
    let mut names = match std::fs::read_dir(&full) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed
            .and_then(|items| {
                items
                    .map(|item| Ok(item?.file_name()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .on("list", &full)?,
    };
    names.sort_unstable();
    for name in names {
        let path = directory.join(&name);
        let full = root.join(&path);
        let metadata = match std::fs::symlink_metadata(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.on("read", &full)?,
        };
        if seen(&path, &metadata)? == Descend::Yes && metadata.is_dir() {
            each_file(root, &path, seen)?;
        }
    }
    Ok(())
}

/// What a directory of somebody's files takes. Files with several names count
/// once; what may not be looked into counts as nothing.
fn tree_bytes(path: &Path) -> Result<Amount, DiskError> {
    let mut amount = Amount::default();
    let mut linked = BTreeSet::new();
    let Ok(root) = Dir::open(path) else {
        return Ok(amount);
    };
    let mut levels = vec![Vec::new()];
    // Paths and not handles are kept: trees can be deeper than open files are
    // allowed.
    while let Some(below) = levels.pop() {
        let Ok(dir) = root.open_dir_same_mount(&below) else {
            continue;
        };
        for item in dir.read_dir().on("list", path)? {
            let name = item.name.to_bytes();
            let Ok(stat) = dir.stat(name) else { continue };
            if stat.links > 1
                && stat.kind != FileKind::Directory
                && !linked.insert((stat.device, stat.inode))
            {
                continue;
            }
            amount.count += 1;
            amount.bytes += stat.size;
            if stat.kind == FileKind::Directory {
                levels.push([&below[..], b"/", name].concat());
            }
        }
    }
    Ok(amount)
}
