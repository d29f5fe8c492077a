//! Layers on demand: their indexes, their trees, and, only where a process is
//! to run in them, their files.
//!
//! A base layer's compressed bytes are never kept: they are read once, while
//! they come in, into an index and, if asked, into a directory.

mod pass;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use futures_util::{StreamExt, TryStreamExt, stream};
use oci::{ChainId, Descriptor, DiffId, Digest, Repository};
use registry::Client;
use shelf::ShelfError;
use store::Store;
use store::dir::Dir;
use store::layer::{LayerIndex, ScanError, SeekTable, Settled, Tree, settle};
use store::scratch::Scratch;
use store::unpacked::UnpackedKey;

use crate::copy::layer_files::LayerFiles;
use crate::event::{Direction, Event, Reporter};
use crate::footing::{Bases, MountedError, RoomError, Unpacking};
use crate::lazy::{Lazy, LazyError, Shelves, Wanted};
use crate::origins::{OriginError, Origins};
use crate::output::LayerRef;
use crate::queue::Queue;
use pass::{Pass, Passed};

/// Layers fetched at once.
const FETCHES_MAX: usize = 3;
/// Trees kept to grow the next ones from: one for each of the stages that
/// usually run at once. A tree of 100,000 entries has 3 MB beside the 9 MB of its
/// layers, and a build has one for every step.
const TREES_MAX: usize = 4;

/// Gives out what is known of layers, and finds out what is not.
pub(crate) struct Layers {
    pub(crate) store: Store,
    client: Client,
    pub(crate) reporter: Arc<dyn Reporter>,
    scratch: Arc<Scratch>,
    /// Where blobs that are not in the store can be had.
    origins: Origins,
    lazy: Arc<Lazy>,
    shelves: RwLock<Arc<Shelves>>,
    /// Layers that somebody has looked into.
    seen: Mutex<HashMap<Digest, LayerRef>>,
    /// How bases are had.
    pub(crate) bases: Bases,
    /// One fetch of a layer at a time.
    turns: Mutex<HashMap<DiffId, Arc<tokio::sync::Mutex<()>>>>,
    /// And one in all processes.
    pub(crate) queue: Queue,
    /// The latest trees, the oldest first.
    trees: Mutex<VecDeque<Arc<Tree>>>,
    /// Layers that were unpacked before their stack was known, and depend on it.
    unsettled: Mutex<HashMap<DiffId, PathBuf>>,
}

/// Why a layer cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error("could not fetch layer {digest} from {repository}")]
    Fetch {
        digest: Digest,
        repository: Repository,
        source: registry::Error,
    },
    #[error("could not fetch layer {digest}")]
    Shelf { digest: Digest, source: ShelfError },
    #[error("layer {digest} cannot be used")]
    Scan { digest: Digest, source: ScanError },
    #[error("layer {0} is neither in the store nor in a registry of this build")]
    Lost(Digest),
    #[error("`{media_type}` is not a layer that kiln can read")]
    MediaType { media_type: String },
    #[error(transparent)]
    Blob(#[from] store::blob::BlobError),
    #[error(transparent)]
    Disk(#[from] store::DiskError),
    #[error(transparent)]
    Part(#[from] LazyError),
    /// Some of what was built so far may rest on it.
    #[error("layer {0} is not what a cache that was named with --cache-from says")]
    Lie(Digest),
    #[error("{0}")]
    Room(#[from] RoomError),
    #[error(transparent)]
    Mounted(#[from] MountedError),
    #[error("`{}` cannot be used as a base here", path.display())]
    View {
        path: PathBuf,
        source: view::ViewError,
    },
    #[error("could not prepare a directory for layer {digest}")]
    Directory {
        digest: Digest,
        source: std::io::Error,
    },
}

impl Layers {
    pub(crate) fn new(
        store: Store,
        client: Client,
        reporter: Arc<dyn Reporter>,
        scratch: Arc<Scratch>,
        origins: Origins,
        bases: Bases,
    ) -> Self {
        let queue = Queue::new(store.clone(), Arc::clone(&reporter));
        let lazy = Lazy::new(store.clone(), client.clone(), origins.clone());
        Self {
            lazy: Arc::new(lazy),
            shelves: RwLock::default(),
            seen: Mutex::default(),
            store,
            client,
            reporter,
            scratch,
            origins,
            bases,
            turns: Mutex::default(),
            queue,
            trees: Mutex::default(),
            unsettled: Mutex::default(),
        }
    }

    /// Where blobs can be had that are not in the store.
    pub(crate) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Asks these shelves what is in layers from now on, and tells them with [`Self::share`].
    pub(crate) fn use_shelves(&self, shelves: Arc<Shelves>) {
        *self.shelves.write().expect("no panics under this lock") = shelves;
    }

    /// Tells the shelves what this machine knows of the layers that this build has looked into.
    /// Whatever goes wrong is a warning.
    pub(crate) async fn share(&self) {
        let shelves = self.shelves();
        let seen = std::mem::take(&mut *self.seen.lock().expect("no panics under this lock"));
        if !shelves.are_told() {
            return;
        }
        stream::iter(seen.into_values())
            .for_each_concurrent(FETCHES_MAX, |layer| {
                let shelves = Arc::clone(&shelves);
                async move {
                    // What was only believed is not passed on.
                    let index = self.store.indexes().get(&layer.diff_id);
                    let table = self.store.seek_tables().get(&layer.blob);
                    if let (Some(index), Some(table)) = (index, table) {
                        shelves
                            .tell(&self.store, &layer, &index, &table, &*self.reporter)
                            .await;
                    }
                }
            })
            .await;
    }

    fn shelves(&self) -> Arc<Shelves> {
        Arc::clone(&self.shelves.read().expect("no panics under this lock"))
    }

    /// Something is remembered under a key.
    pub(crate) fn remembered(&self, key: &Digest) {
        self.shelves().remembered(key);
    }

    /// Whether a cache said something of a layer that is not so: the same has to be done again.
    pub(crate) fn were_lied_to(&self) -> bool {
        self.shelves().is_broken()
    }

    /// Forgets what shelves said if some of it was not so, and whatever may rest on it. Nothing of this
    /// build may be under way.
    pub(crate) fn disbelieve(&self) {
        let shelves = self.shelves();
        if !shelves.is_broken() {
            return;
        }
        for key in shelves.disbelieve() {
            self.store.records().remove(&key);
        }
        self.lazy.disbelieve();
        self.bases.forget();
        self.trees
            .lock()
            .expect("no panics under this lock")
            .clear();
        self.reporter.report(Event::Warning {
            message:
                "what a cache that was named with --cache-from says of a layer is not so: what \
                      was made since is made again, without what it says of layers"
                    .to_owned(),
        });
    }

    /// Reads contents of layers where they lie.
    pub(crate) fn lazy(&self) -> &Arc<Lazy> {
        &self.lazy
    }

    /// The merged view of a stack. `soon` says that the stack is going to be
    /// run in: what has to be fetched is then unpacked in the same pass.
    pub(crate) async fn tree(
        &self,
        stack: &[LayerRef],
        soon: bool,
    ) -> Result<Arc<Tree>, LayerError> {
        let lower = self.tree_below(stack);
        let known = lower.as_ref().map_or(0, |tree| tree.layers().len());
        if let Some(tree) = &lower
            && known == stack.len()
        {
            return Ok(Arc::clone(tree));
        }
        if soon {
            self.make_room(stack, Unpacking::Unknown)?;
        }
        let indexes: Vec<Arc<LayerIndex>> = stream::iter(stack[known..].to_vec())
            .map(|layer| async move { self.index(&layer, soon).await })
            .buffered(FETCHES_MAX)
            .try_collect()
            .await?;
        let tree = Arc::new(match lower {
            Some(lower) => self.take(lower).with_layers(&indexes),
            None => Tree::stack(&indexes),
        });
        let mut trees = self.trees.lock().expect("no panics under this lock");
        trees.push_back(Arc::clone(&tree));
        if trees.len() > TREES_MAX {
            trees.pop_front();
        }
        Ok(tree)
    }

    /// A tree to grow: itself where nobody else needs it, which for the steps of
    /// one stage means that there is one tree; else a copy.
    fn take(&self, tree: Arc<Tree>) -> Tree {
        {
            let mut trees = self.trees.lock().expect("no panics under this lock");
            // The list's and the caller's.
            if Arc::strong_count(&tree) == 2 {
                trees.retain(|kept| !Arc::ptr_eq(kept, &tree));
            }
        }
        Arc::unwrap_or_clone(tree)
    }

    /// Of the trees at hand, the one with the most of a stack's lower layers and
    /// nothing else.
    fn tree_below(&self, stack: &[LayerRef]) -> Option<Arc<Tree>> {
        let is_below = |tree: &Tree| {
            let layers = tree.layers();
            layers.len() <= stack.len()
                && layers
                    .iter()
                    .zip(stack)
                    .all(|(index, layer)| index.diff_id == layer.diff_id)
        };
        let mut trees = self.trees.lock().expect("no panics under this lock");
        let (position, _) = trees
            .iter()
            .enumerate()
            .filter(|(_, tree)| is_below(tree))
            .max_by_key(|(_, tree)| tree.layers().len())?;
        let tree = trees.remove(position).expect("it was just found");
        trees.push_back(Arc::clone(&tree));
        Some(tree)
    }

    /// The directories of a stack for overlayfs, bottom first.
    pub(crate) async fn unpacked(&self, stack: &[LayerRef]) -> Result<Vec<PathBuf>, LayerError> {
        let tree = self.tree(stack, true).await?;
        self.make_room(stack, Unpacking::All)?;
        let tree = &tree;
        stream::iter(0..stack.len())
            .map(|position| async move { self.unpacked_at(stack, position, tree).await })
            .buffered(FETCHES_MAX)
            .try_collect()
            .await
    }

    /// The directory of one layer of a stack.
    pub(crate) async fn unpacked_at(
        &self,
        stack: &[LayerRef],
        position: usize,
        tree: &Arc<Tree>,
    ) -> Result<PathBuf, LayerError> {
        if let Some(path) = self.unpacked_already(stack, position, tree) {
            return Ok(path);
        }
        let layer = &stack[position];
        let needs_lower = tree.layers()[position].needs_lower() && position > 0;
        let key = if needs_lower {
            top(stack, position)
        } else {
            UnpackedKey::Layer(layer.diff_id.clone())
        };
        let turn = self.turn(&layer.diff_id);
        let _turn = turn.lock().await;
        if let Some(path) = self.store.unpacked().get(&key) {
            return Ok(path);
        }
        let lower = needs_lower.then(|| Arc::new(Tree::stack(&tree.layers()[..position])));
        if let Some(lower) = &lower
            && let Some(path) = self.settled(layer, &tree.layers()[position], lower)?
        {
            return Ok(self.store.unpacked().adopt(&path, key)?);
        }
        let place = self.queue.wait(layer).await;
        if let Some(path) = self.store.unpacked().get(&key) {
            return Ok(path);
        }
        let index = &tree.layers()[position];
        let directory = match self.read_again(layer, lower.clone(), index).await? {
            Some(directory) => directory,
            None => {
                let (_, directory) = self.read(layer, true, lower).await?;
                directory.expect("unpacking was asked for")
            }
        };
        self.bases.room.take(index.tar_bytes);
        let path = self.store.unpacked().adopt(&directory, key)?;
        self.queue.tell(place, index.tar_bytes);
        Ok(path)
    }

    /// The directory of one layer of a stack, if there is one.
    fn unpacked_already(
        &self,
        stack: &[LayerRef],
        position: usize,
        tree: &Tree,
    ) -> Option<PathBuf> {
        // The upper directory of a RUN that was kept, or a layer that depends on those below.
        if let Some(path) = self.store.unpacked().get(&top(stack, position)) {
            return Some(path);
        }
        if tree.layers()[position].needs_lower() && position > 0 {
            return None;
        }
        let layer = UnpackedKey::Layer(stack[position].diff_id.clone());
        self.store.unpacked().get(&layer)
    }

    /// Where to read files of one layer of a stack, of which only `wanted` is needed: a directory
    /// if there is one, the blob where it lies if that is less, else a directory that is made.
    pub(crate) async fn files(
        &self,
        stack: &[LayerRef],
        position: usize,
        tree: &Arc<Tree>,
        wanted: &Wanted,
    ) -> Result<LayerFiles, LayerError> {
        let layer = &stack[position];
        let open = |path: PathBuf| {
            let directory = Dir::open(&path).map_err(|source| LayerError::Directory {
                digest: layer.blob.digest.clone(),
                source,
            })?;
            Ok(LayerFiles::Unpacked(directory))
        };
        if let Some(path) = self.unpacked_already(stack, position, tree) {
            return open(path);
        }
        if let Some(ranges) = wanted.ranges()
            && self.lazy.can_read(layer)
        {
            match self.lazy.bring_some(layer, ranges).await {
                Ok(true) => {
                    return Ok(LayerFiles::Lying(
                        Arc::clone(&self.lazy),
                        Box::new(layer.clone()),
                    ));
                }
                Ok(false) => {}
                Err(error) if error.wants_whole() => {
                    self.reporter.report(Event::Note {
                        message: format!("{error}: it is read as a whole"),
                    });
                    self.lazy.give_up(&layer.blob);
                }
                Err(error) => return Err(error.into()),
            }
        }
        open(self.unpacked_at(stack, position, tree).await?)
    }

    /// Whether parts can be had of those layers of a stack that are not known yet. A registry is
    /// asked for a byte, once.
    pub(crate) async fn gives_parts(&self, stack: &[LayerRef]) -> bool {
        for layer in stack {
            let known = self.store.indexes().get(&layer.diff_id).is_some()
                || self.store.blobs().has(&layer.blob);
            if !known && !self.lazy.gives_parts(layer).await {
                return false;
            }
        }
        true
    }

    /// Forgets the directories of one layer of a stack, whose files are not what
    /// its index says: the next who asks gets a new one.
    pub(crate) fn forget(&self, stack: &[LayerRef], position: usize) {
        self.distrust_mounted(stack);
        let layer = UnpackedKey::Layer(stack[position].diff_id.clone());
        for key in [top(stack, position), layer] {
            self.store.unpacked().remove(&key);
        }
    }

    /// A layer that was unpacked while it came in, fitted to its stack.
    fn settled(
        &self,
        layer: &LayerRef,
        index: &LayerIndex,
        lower: &Tree,
    ) -> Result<Option<PathBuf>, LayerError> {
        let unsettled = self
            .unsettled
            .lock()
            .expect("no panics under this lock")
            .remove(&layer.diff_id);
        let Some(path) = unsettled else {
            return Ok(None);
        };
        let settled = Dir::open(&path)
            .and_then(|root| settle(&root, index, lower))
            .map_err(|source| LayerError::Directory {
                digest: layer.blob.digest.clone(),
                source,
            })?;
        Ok((settled == Settled::Fits).then_some(path))
    }

    pub(crate) async fn index(
        &self,
        layer: &LayerRef,
        soon: bool,
    ) -> Result<Arc<LayerIndex>, LayerError> {
        {
            let mut seen = self.seen.lock().expect("no panics under this lock");
            seen.entry(layer.blob.digest.clone())
                .or_insert_with(|| layer.clone());
        }
        if let Some(index) = self.store.indexes().get(&layer.diff_id) {
            return Ok(index);
        }
        let turn = self.turn(&layer.diff_id);
        let _turn = turn.lock().await;
        if let Some(index) = self.store.indexes().get(&layer.diff_id) {
            return Ok(index);
        }
        let shelves = self.shelves();
        if let Some(index) = shelves.believed(&layer.diff_id) {
            return Ok(index);
        }
        if let Some((index, table)) = shelves.look_up(layer, &*self.reporter).await {
            self.lazy.believe(&layer.blob, table);
            return Ok(index);
        }
        let place = self.queue.wait(layer).await;
        if let Some(index) = self.store.indexes().get(&layer.diff_id) {
            return Ok(index);
        }
        let (index, directory) = self.read(layer, soon, None).await?;
        let index = Arc::new(index);
        self.store.indexes().put(Arc::clone(&index))?;
        if let Some(directory) = directory {
            self.bases.room.take(index.tar_bytes);
            if index.needs_lower() {
                let mut unsettled = self.unsettled.lock().expect("no panics under this lock");
                unsettled.insert(layer.diff_id.clone(), directory);
            } else {
                let key = UnpackedKey::Layer(layer.diff_id.clone());
                self.store.unpacked().adopt(&directory, key)?;
            }
            self.queue.tell(place, index.tar_bytes);
        }
        Ok(index)
    }

    fn turn(&self, diff_id: &DiffId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().expect("no panics under this lock");
        Arc::clone(turns.entry(diff_id.clone()).or_default())
    }

    /// One pass over a layer's bytes, wherever they are. The store keeps how to read parts of it
    /// from now on.
    async fn read(
        &self,
        layer: &LayerRef,
        unpack: bool,
        lower: Option<Arc<Tree>>,
    ) -> Result<(LayerIndex, Option<PathBuf>), LayerError> {
        let (index, table, directory) = self.pass(layer, unpack, lower, None).await?;
        let index = index.expect("none was known");
        if let Some(believed) = self.shelves().believed(&layer.diff_id)
            && *believed != index
        {
            self.shelves().was_a_lie();
            return Err(LayerError::Lie(layer.blob.digest.clone()));
        }
        self.keep_table(layer, table)?;
        Ok((index, directory))
    }

    /// The same to unpack a layer whose index is known, without a second one in memory. `None` when
    /// the layer is something else, which only a pass that knows nothing can tell.
    async fn read_again(
        &self,
        layer: &LayerRef,
        lower: Option<Arc<Tree>>,
        index: &Arc<LayerIndex>,
    ) -> Result<Option<PathBuf>, LayerError> {
        // Both are what was believed, or one of them is a lie.
        if let Some(believed) = self.shelves().believed(&layer.diff_id)
            && !Arc::ptr_eq(&believed, index)
        {
            return Ok(None);
        }
        match self.pass(layer, true, lower, Some(index)).await {
            Ok((_, table, directory)) => {
                self.keep_table(layer, table)?;
                Ok(directory)
            }
            Err(LayerError::Scan {
                source: ScanError::Index,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn keep_table(&self, layer: &LayerRef, table: SeekTable) -> Result<(), LayerError> {
        let tables = self.store.seek_tables();
        if !tables.contains(&layer.blob.digest) {
            tables.put(&layer.blob.digest, Arc::new(table))?;
        }
        Ok(())
    }

    async fn pass(
        &self,
        layer: &LayerRef,
        unpack: bool,
        lower: Option<Arc<Tree>>,
        known: Option<&Arc<LayerIndex>>,
    ) -> Result<Passed, LayerError> {
        let mut pass = Pass::new(layer, unpack.then(|| Arc::clone(&self.scratch)), lower)?;
        pass.known = known.cloned();
        if unpack && let Some(left) = self.bases.room.left() {
            pass.tar_bytes_max = pass.tar_bytes_max.min(left);
            pass.budget = self.bases.room.budget();
        }
        if self.store.blobs().has(&layer.blob) {
            let blobs = self.store.blobs().clone();
            return tokio::task::spawn_blocking(move || {
                let mut reader = blobs.open(&pass.blob)?;
                pass.read(&mut reader)
            })
            .await
            .expect("reading a layer does not panic");
        }
        let Some(origin) = self.origins.get(&layer.blob.digest) else {
            return Err(LayerError::Lost(layer.blob.digest.clone()));
        };
        let progress = Some(self.progress(&layer.blob));
        let fetched = origin.consume(&self.client, &layer.blob, progress, move |mut reader| {
            pass.read(&mut reader)
        });
        let digest = || layer.blob.digest.clone();
        fetched
            .await
            .inspect_err(|error| {
                let is_good = matches!(
                    error,
                    OriginError::Consumer(LayerError::Scan {
                        source: ScanError::Index,
                        ..
                    })
                );
                if !is_good {
                    self.origins.failed(&layer.blob.digest);
                }
            })
            .map_err(|error| match error {
                OriginError::Registry(repository, source) => LayerError::Fetch {
                    digest: digest(),
                    repository,
                    source,
                },
                OriginError::Shelf(source) => LayerError::Shelf {
                    digest: digest(),
                    source,
                },
                OriginError::Consumer(error) => error,
            })
    }

    fn progress(&self, blob: &Descriptor) -> registry::Progress {
        transfer(&self.reporter, Direction::Down, blob)
    }
}

/// The name of a layer as it lies on those below it.
fn top(stack: &[LayerRef], position: usize) -> UnpackedKey {
    let diff_ids: Vec<DiffId> = stack[..=position]
        .iter()
        .map(|layer| layer.diff_id.clone())
        .collect();
    let chain = ChainId::of(&diff_ids).expect("a stack up to a position has a layer");
    UnpackedKey::Top(chain)
}

/// Tells the reporter how far a blob is, at most ten times a second.
pub fn transfer(
    reporter: &Arc<dyn Reporter>,
    direction: Direction,
    blob: &Descriptor,
) -> registry::Progress {
    let what = format!("layer {}", blob.digest.short());
    transfer_of(reporter, direction, what, blob.size)
}

/// As [`transfer`], for anything.
pub(crate) fn transfer_of(
    reporter: &Arc<dyn Reporter>,
    direction: Direction,
    what: String,
    total_bytes: u64,
) -> registry::Progress {
    let reporter = Arc::clone(reporter);
    let last = Mutex::new(None::<std::time::Instant>);
    Arc::new(move |done_bytes| {
        let now = std::time::Instant::now();
        let mut last = last.lock().expect("no panics under this lock");
        let due = last.is_none_or(|last| now.duration_since(last).as_millis() >= 100);
        if due || done_bytes == total_bytes {
            *last = Some(now);
            reporter.report(Event::Transfer {
                what: what.clone(),
                direction,
                done_bytes,
                total_bytes,
            });
        }
    })
}
