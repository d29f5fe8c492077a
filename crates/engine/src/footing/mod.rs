//! What a RUN stands on: the directories of unpacked layers, or a view of a base whose files are
//! somewhere else, with the directories of the steps above it.
//!
//! A base is viewed where its layers can be read in parts and unpacking them would cost more than
//! it gains ([`VIEWED_BYTES_MIN`]), or could not be done at all for want of disk. Everything else
//! is unpacked. Which of the two it is changes nothing in what a command sees or leaves.

mod ground;
mod mounted;
mod ranges;
mod room;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use graph::RunStep;
use oci::{ChainId, DiffId, Digest};
use sandbox::IdMapping;
use store::Store;
use store::dir::Dir;
use store::layer::{LayerIndex, Tree};
use store::unpacked::UnpackedKey;
use view::ViewError;

pub(crate) use self::ground::{Ground, GroundError, GroundMount};
pub(crate) use self::mounted::MountedError;
use self::mounted::{InDirectory, can_be_used_as_it_is, survey};
use self::ranges::{Parts, Ranges, bring, program, record_of, remember, remembered};
use self::room::shown;
pub(crate) use self::room::{Need, Room, RoomError};
use crate::event::{Event, Reporter};
use crate::layers::{LayerError, Layers};
use crate::output::LayerRef;
use crate::request::Laziness;

/// What a RUN stands on.
#[derive(Debug, Default)]
pub(crate) struct Footing {
    /// Below everything else.
    pub ground: Option<Arc<Ground>>,
    /// Bottom first.
    pub lowers: Vec<PathBuf>,
    /// What is read of the ground, and under which digest that is remembered.
    reading: Option<(Digest, Arc<Mutex<Parts>>)>,
    /// Fetches what the command read the last time.
    _ahead: Option<AbortOnDrop>,
}

/// A task that nobody needs any more.
#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Footing {
    /// The command has ended well: the next time its files are fetched before it asks for them.
    pub(crate) fn remember(&self, store: &Store) {
        if let Some((record, read)) = &self.reading {
            remember(store, record, read);
        }
    }
}

/// Bytes of tar that have to be unpacked at least for a view to be the better choice: 64 MiB. Less
/// is unpacked in the time that a command takes to ask for its files one by one.
const VIEWED_BYTES_MIN: u64 = 64 << 20;

/// How the bases of one build are had.
#[derive(Debug)]
pub(crate) struct Bases {
    pub laziness: Laziness,
    pub room: Room,
    pub mounted: Vec<MountedBase>,
    /// Views, by what they show, and what was read of them.
    grounds: tokio::sync::Mutex<HashMap<ChainId, Viewed>>,
    /// All of them, to be ended from anywhere.
    begun: Mutex<Vec<Arc<Ground>>>,
    /// What was said: steps of one stage would all say the same.
    noted: Mutex<HashSet<String>>,
}

/// Which layers of a stack are about to be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpacking {
    /// All that are not.
    All,
    /// Those of which nobody knows what is in them.
    Unknown,
}

/// A view, and what was read of it.
#[derive(Clone, Debug)]
struct Viewed {
    ground: Arc<Ground>,
    read: Arc<Mutex<Parts>>,
}

/// A base image whose files are in a directory already.
#[derive(Debug)]
pub(crate) struct MountedBase {
    /// Its layers, bottom first.
    pub diff_ids: Vec<DiffId>,
    pub directory: PathBuf,
    /// What is in it, once somebody asked.
    outline: OnceLock<Vec<Arc<LayerIndex>>>,
    /// Some file in it is not what the image has: nothing is copied from it any more.
    differs: AtomicBool,
}

impl MountedBase {
    pub(crate) fn new(diff_ids: Vec<DiffId>, directory: PathBuf) -> Self {
        Self {
            diff_ids,
            directory,
            outline: OnceLock::new(),
            differs: AtomicBool::new(false),
        }
    }

    fn is_below(&self, stack: &[LayerRef]) -> bool {
        !self.diff_ids.is_empty()
            && self.diff_ids.len() <= stack.len()
            && (self.diff_ids.iter().zip(stack)).all(|(diff_id, layer)| *diff_id == layer.diff_id)
    }
}

impl Bases {
    pub(crate) fn new(laziness: Laziness, room: Room, mounted: Vec<MountedBase>) -> Self {
        Self {
            laziness,
            room,
            mounted,
            grounds: tokio::sync::Mutex::default(),
            begun: Mutex::default(),
            noted: Mutex::default(),
        }
    }

    /// The mounted base that a stack stands on, the one with the most layers.
    fn mounted_below(&self, stack: &[LayerRef]) -> Option<&MountedBase> {
        let below = self.mounted.iter().filter(|base| base.is_below(stack));
        below.max_by_key(|base| base.diff_ids.len())
    }

    /// Makes all views anew that somebody asks for from now on.
    pub(crate) fn forget(&self) {
        // Nobody makes one now.
        if let Ok(mut grounds) = self.grounds.try_lock() {
            grounds.clear();
        }
    }

    /// Ends all views: whoever waits for one waits no longer.
    pub(crate) fn abort(&self) {
        let begun = self.begun.lock().expect("no panics under this lock");
        for ground in &*begun {
            ground.abort();
        }
    }

    /// The view of a stack, the same for all who ask.
    async fn ground(
        &self,
        chain: ChainId,
        read: Arc<Mutex<Parts>>,
        make: impl FnOnce() -> Result<Ground, ViewError> + Send + 'static,
    ) -> Result<Viewed, ViewError> {
        let mut grounds = self.grounds.lock().await;
        if let Some(viewed) = grounds.get(&chain) {
            return Ok(viewed.clone());
        }
        let made = tokio::task::spawn_blocking(make).await;
        let ground = Arc::new(made.expect("beginning a view does not panic")?);
        let mut begun = self.begun.lock().expect("no panics under this lock");
        begun.push(Arc::clone(&ground));
        let viewed = Viewed { ground, read };
        grounds.insert(chain, viewed.clone());
        Ok(viewed)
    }
}

impl Layers {
    /// The merged view of a stack for who asks for names, owners and attributes only: of a base
    /// that is mounted it is known without its layers.
    pub(crate) async fn outline(
        &self,
        stack: &[LayerRef],
        soon: bool,
    ) -> Result<Arc<Tree>, LayerError> {
        let Some(base) = self.bases.mounted_below(stack) else {
            // What need not be unpacked at all is not unpacked in the pass that learns what it is.
            let unpacks = match self.bases.laziness {
                Laziness::Always => false,
                Laziness::Never => true,
                Laziness::Auto => self.make_room(stack, Unpacking::Unknown).is_ok(),
            };
            return self.tree(stack, soon && unpacks).await;
        };
        let mut indexes = Vec::new();
        for diff_id in &base.diff_ids {
            indexes.extend(self.store.indexes().get(diff_id));
        }
        if indexes.len() < base.diff_ids.len() {
            indexes = match base.outline.get() {
                Some(outline) => outline.clone(),
                None => {
                    let (directory, diff_ids) = (base.directory.clone(), base.diff_ids.clone());
                    let surveyed =
                        tokio::task::spawn_blocking(move || survey(&directory, &diff_ids)).await;
                    let surveyed = surveyed.expect("looking at a directory does not panic")?;
                    base.outline.get_or_init(|| surveyed).clone()
                }
            };
        }
        for layer in &stack[base.diff_ids.len()..] {
            indexes.push(self.index(layer, false).await?);
        }
        Ok(Arc::new(Tree::stack(&indexes)))
    }

    /// What a RUN on a stack stands on.
    pub(crate) async fn footing(
        &self,
        stack: &[LayerRef],
        ids: IdMapping,
        step: &RunStep,
    ) -> Result<Footing, LayerError> {
        if let Some(base) = self.bases.mounted_below(stack) {
            return self.on_mounted(stack, base, ids).await;
        }
        if let Some(footing) = self.on_view(stack, ids, step).await? {
            return Ok(footing);
        }
        Ok(Footing {
            lowers: self.unpacked(stack).await?,
            ..Footing::default()
        })
    }

    /// On a view of the base, if that is better than unpacking it, and can be had.
    async fn on_view(
        &self,
        stack: &[LayerRef],
        ids: IdMapping,
        step: &RunStep,
    ) -> Result<Option<Footing>, LayerError> {
        if self.bases.laziness == Laziness::Never {
            return Ok(None);
        }
        let tree = self.outline(stack, true).await?;
        let always = self.bases.laziness == Laziness::Always;
        let (count, bytes) = self.viewable(stack, &tree);
        let does_not_fit = || self.bases.room.check(Need::exactly(bytes)).is_err();
        if bytes == 0 || !(always || bytes >= VIEWED_BYTES_MIN || does_not_fit()) {
            return Ok(None);
        }
        let base = &stack[..count];
        let diff_ids: Vec<_> = base.iter().map(|layer| layer.diff_id.clone()).collect();
        let chain = ChainId::of(&diff_ids).expect("a base with bytes has layers");
        let record = record_of(&chain, step);
        // Before anything is begun: whether parts can be had at all.
        let first = program(&tree, step);
        match bring(Arc::clone(self.lazy()), base.to_vec(), first).await {
            Ok(()) => {}
            Err(error) if error.wants_whole() => {
                base.iter()
                    .for_each(|layer| self.lazy().give_up(&layer.blob));
                self.unpack_because(&error);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(left) = self.bases.room.left() {
            // What is fetched in parts and kept counts too.
            self.lazy().set_budget(left);
        }
        let source = Ranges::new(Arc::clone(self.lazy()), base);
        let read = source.read_so_far();
        let below = if count == stack.len() {
            Arc::clone(&tree)
        } else {
            Arc::new(Tree::stack(&tree.layers()[..count]))
        };
        let make = move || Ground::new(below, ids, Box::new(source));
        let Viewed { ground, read } = match self.bases.ground(chain, read, make).await {
            Ok(viewed) => viewed,
            Err(error) => {
                self.unpack_because(&error);
                return Ok(None);
            }
        };
        self.note_once(format!(
            "{} of the base are read from its registry as they are needed",
            shown(bytes)
        ));
        let ahead = remembered(&self.store, &record).map(|parts| {
            let (lazy, base) = (Arc::clone(self.lazy()), base.to_vec());
            AbortOnDrop(tokio::spawn(async move {
                // Whoever needs what is missing asks for it, and is told why it does not come.
                let _ = bring(lazy, base, parts).await;
            }))
        });
        let mut footing = Footing {
            ground: Some(ground),
            lowers: Vec::new(),
            reading: Some((record, read)),
            _ahead: ahead,
        };
        for position in count..stack.len() {
            let lower = self.unpacked_at(stack, position, &tree).await?;
            footing.lowers.push(lower);
        }
        Ok(Some(footing))
    }

    /// How many layers, from the lowest on, can be read in parts; and how many bytes of tar of them
    /// would have to be unpacked otherwise.
    fn viewable(&self, stack: &[LayerRef], tree: &Tree) -> (usize, u64) {
        let (mut count, mut bytes) = (0, 0);
        for (position, layer) in stack.iter().enumerate() {
            let index = &tree.layers()[position];
            if self.store.blobs().has(&layer.blob)
                || !self.lazy().can_read_all(layer)
                || !index.is_readable_in_parts()
            {
                break;
            }
            count += 1;
            if !self.is_unpacked(&stack[..=position]) {
                bytes += index.tar_bytes;
            }
        }
        (count, bytes)
    }

    /// Says why a base is unpacked that need not have been.
    fn unpack_because(&self, error: &dyn std::error::Error) {
        let mut message = format!("the base is unpacked: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(&format!(": {error}"));
            cause = error.source();
        }
        self.note_once(message);
    }

    fn note_once(&self, message: String) {
        if self
            .bases
            .noted
            .lock()
            .expect("no panics under this lock")
            .insert(message.clone())
        {
            self.reporter.report(Event::Note { message });
        }
    }

    async fn on_mounted(
        &self,
        stack: &[LayerRef],
        base: &MountedBase,
        ids: IdMapping,
    ) -> Result<Footing, LayerError> {
        let tree = self.outline(stack, false).await?;
        let count = base.diff_ids.len();
        let opened = |source| LayerError::Directory {
            digest: stack[count - 1].blob.digest.clone(),
            source,
        };
        let directory = Dir::open(&base.directory).map_err(opened)?;
        let mut footing = Footing::default();
        if can_be_used_as_it_is(&directory, ids) {
            footing.lowers.push(base.directory.clone());
        } else {
            let chain = ChainId::of(&base.diff_ids).expect("a mounted base has layers");
            let below = Arc::new(Tree::stack(&tree.layers()[..count]));
            let make = move || Ground::new(below, ids, Box::new(InDirectory(directory)));
            let viewed = self.bases.ground(chain, Arc::default(), make).await;
            let viewed = viewed.map_err(|source| LayerError::View {
                path: base.directory.clone(),
                source,
            })?;
            footing.ground = Some(viewed.ground);
        }
        for position in count..stack.len() {
            let lower = self.unpacked_at(stack, position, &tree).await?;
            footing.lowers.push(lower);
        }
        Ok(footing)
    }

    /// The directory of a mounted base, if a layer of a stack is one of its layers. Who copies from
    /// it compares what is read with the layer's index.
    pub(crate) fn mounted_files(&self, stack: &[LayerRef], position: usize) -> Option<Dir> {
        let base = self.bases.mounted_below(stack)?;
        let usable = position < base.diff_ids.len() && !base.differs.load(Ordering::Relaxed);
        usable.then(|| Dir::open(&base.directory).ok()).flatten()
    }

    /// What was read of a layer is not what its index says.
    pub(crate) fn distrust_mounted(&self, stack: &[LayerRef]) {
        if let Some(base) = self.bases.mounted_below(stack)
            && !base.differs.swap(true, Ordering::Relaxed)
        {
            let directory = base.directory.display();
            self.reporter.report(Event::Warning {
                message: format!(
                    "`{directory}` does not hold the files of the image that --base-mount says: they are copied from its layers"
                ),
            });
        }
    }

    /// Stops before anything is fetched when what a stack takes unpacked does not fit.
    pub(crate) fn make_room(&self, stack: &[LayerRef], which: Unpacking) -> Result<(), LayerError> {
        let mut need = Need::default();
        for (position, layer) in stack.iter().enumerate() {
            let index = self.store.indexes().get(&layer.diff_id);
            let is_known = index.is_some() && which == Unpacking::Unknown;
            if is_known || self.is_unpacked(&stack[..=position]) {
                continue;
            }
            let compression = layer.blob.media_type.layer_compression();
            need = need.plus(match index {
                Some(index) => Need::exactly(index.tar_bytes),
                None => Need::of_blob(layer.blob.size, compression != Some(oci::Compression::None)),
            });
        }
        if need == Need::default() {
            return Ok(());
        }
        if let Some(message) = self.bases.room.check(need)? {
            warn_once(&*self.reporter, &self.bases, message);
        }
        Ok(())
    }

    /// Whether the topmost layer of a stack is there as a directory.
    fn is_unpacked(&self, stack: &[LayerRef]) -> bool {
        let Some(top) = stack.last() else {
            return true;
        };
        let diff_ids: Vec<_> = stack.iter().map(|layer| layer.diff_id.clone()).collect();
        let chain = ChainId::of(&diff_ids).expect("there is a top");
        let unpacked = self.store.unpacked();
        unpacked.get(&UnpackedKey::Top(chain)).is_some()
            || unpacked
                .get(&UnpackedKey::Layer(top.diff_id.clone()))
                .is_some()
    }
}

/// Every step of a stage would say the same.
fn warn_once(reporter: &dyn Reporter, bases: &Bases, message: String) {
    if bases.room.warn() {
        reporter.report(Event::Warning { message });
    }
}
