//! The caches that other machines share: looked into when the store has nothing, and filled
//! with what a build did.
//!
//! A cache decides nothing but how long a build takes. What cannot be read is a warning, and
//! what turns out to be wrong later (a layer that is gone, or is not what its record says) is
//! given up: the steps that it stood for are carried out after all.

mod catalogue;
pub(crate) mod inline;
mod load;
mod request;
mod source;
mod traces;
mod watch;
mod writer;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use graph::CacheKey;
use oci::{Descriptor, Digest, Repository};
use shelf::Address;
use store::Store;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::event::{Event, Reporter};
use crate::export::supply::Supply;
use crate::image_set::ImageSet;
use crate::interrupt::Interrupt;
use crate::layers::Layers;
use crate::lazy::Shelves;
use crate::origins::Origins;
use crate::output::StepOutput;
use crate::ports::Ports;
use catalogue::Kept;
use source::Source;
use watch::Watch;
use writer::{Entry, Writer};

pub(crate) use load::told;
pub use request::{CacheMode, CacheRequest, CacheTarget};

/// How long a build that failed waits for its cache.
const WAIT_AFTER_FAILURE: Duration = Duration::from_secs(20);
/// How long a cache has to write down what is there, once it is told to stop.
const WAIT_AFTER_STOP: Duration = Duration::from_secs(5);

/// How long a cache may stand still that is being filled when all else is done.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Done,
    Failed,
    Interrupted,
}

/// All shared caches of a build.
pub(crate) struct Caches {
    sources: Vec<Arc<Source>>,
    targets: Vec<Target>,
    origins: Origins,
    store: Store,
    reporter: Arc<dyn Reporter>,
    /// Blobs that are used because a cache said so.
    provided: Mutex<HashSet<Digest>>,
    /// Where other machines say what is in layers, and are told.
    shelves: Arc<Shelves>,
}

/// A cache that is filled.
struct Target {
    mode: CacheMode,
    address: String,
    entries: Mutex<Option<mpsc::UnboundedSender<Entry>>>,
    /// What has been sent so far.
    watch: Watch,
    stop: Arc<Notify>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Caches {
    /// Opens the caches of a build. Nothing is asked yet; must be called on a runtime.
    pub(crate) fn open(
        request: &CacheRequest,
        repositories: &[Repository],
        origins: &Origins,
        ports: &Ports,
    ) -> Self {
        let key = request.key.as_ref();
        let open = |address: &Address, doing: &str| match shelf::open(address, &ports.network, key)
        {
            Ok(shelf) => Some(shelf),
            Err(error) => {
                let reason = load::told(&error);
                let message = format!("the cache {address} was not {doing}: {reason}");
                ports.reporter.report(Event::Warning { message });
                None
            }
        };
        let mut addresses = Vec::new();
        let mut sources = Vec::new();
        let (mut read, mut filled) = (Vec::new(), Vec::new());
        for address in &request.from {
            if let Some(shelf) = open(address, "read") {
                let image = match address {
                    // What an image says of itself has no seal.
                    Address::Registry(reference) if key.is_none() => Some(reference.clone()),
                    Address::Registry(_) => None,
                    Address::Directory(_)
                    | Address::S3(_)
                    | Address::Gcs(_)
                    | Address::Azblob(_)
                    | Address::Gha(_) => None,
                };
                let (client, reporter) = (ports.client.clone(), Arc::clone(&ports.reporter));
                addresses.push(address);
                read.push(Arc::clone(&shelf));
                sources.push(Arc::new(Source::new(shelf, image, client, reporter)));
            }
        }
        let mut targets = Vec::new();
        for target in &request.to {
            let CacheTarget::Shelf { address, mode } = target else {
                continue;
            };
            let Some(shelf) = open(address, "filled") else {
                continue;
            };
            filled.push(Arc::clone(&shelf));
            let same = addresses.iter().position(|from| *from == &**address);
            let (sender, receiver) = mpsc::unbounded_channel();
            let stop = Arc::new(Notify::new());
            let watch = Watch::default();
            let writer = Writer {
                shelf: Arc::clone(&shelf),
                source: same.map(|position| Arc::clone(&sources[position])),
                store: ports.store.clone(),
                client: ports.client.clone(),
                origins: origins.clone(),
                reporter: Arc::clone(&ports.reporter),
                repositories: repositories.to_vec(),
                entries: receiver,
                watch: watch.clone(),
                stop: Arc::clone(&stop),
            };
            targets.push(Target {
                mode: *mode,
                address: address.to_string(),
                watch,
                entries: Mutex::new(Some(sender)),
                stop,
                task: Mutex::new(Some(tokio::spawn(writer.run()))),
            });
        }
        Self {
            sources,
            targets,
            origins: origins.clone(),
            store: ports.store.clone(),
            reporter: Arc::clone(&ports.reporter),
            provided: Mutex::default(),
            shelves: Arc::new(Shelves::new(read, filled)),
        }
    }

    /// Where other machines say what is in layers, and are told.
    pub(crate) fn shelves(&self) -> &Arc<Shelves> {
        &self.shelves
    }

    /// Whether there is a cache to look into.
    pub(crate) fn are_read(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Whether there is a cache to fill.
    pub(crate) fn are_filled(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Looks for a key in all caches, in their order. What is found is in the store from now on,
    /// and its layers can be had; the address says who had it.
    pub(crate) async fn find(&self, key: &CacheKey, base: &StepOutput) -> Option<String> {
        futures_util::future::join_all(self.sources.iter().map(|source| source.catalogue())).await;
        self.find_known(key.digest(), base)
    }

    /// As [`Caches::find`], in what was read by now.
    pub(crate) fn find_known(&self, key: &Digest, base: &StepOutput) -> Option<String> {
        let (address, kept) = self.look(key, base)?;
        self.store.records().put(key, &kept.to_record());
        Some(address)
    }

    /// As [`Caches::find`], and the store learns nothing. The layers are those of the record.
    pub(crate) async fn peek(&self, key: &CacheKey, base: &StepOutput) -> Option<StepOutput> {
        futures_util::future::join_all(self.sources.iter().map(|source| source.catalogue())).await;
        let (_, kept) = self.look(key.digest(), base)?;
        let own = kept.layers.get(base.stack.len()..)?;
        let layers = own.iter().map(|layer| (**layer).clone());
        Some(StepOutput {
            stack: base.stack.iter().cloned().chain(layers).collect(),
        })
    }

    /// Who knows a key, and what; its layers can be had from now on.
    fn look(&self, key: &Digest, base: &StepOutput) -> Option<(String, &Kept)> {
        for source in &self.sources {
            let (Some(catalogue), Some(kept)) = (source.known(), source.find(key)) else {
                continue;
            };
            let own = kept.layers.get(base.stack.len()..).unwrap_or_default();
            let can_be_had = |blob: &Descriptor| {
                !self.origins.is_given_up(&blob.digest)
                    && (catalogue.holds(&blob.digest)
                        || self.store.blobs().has(blob)
                        || self.origins.knows(&blob.digest))
            };
            if !own.iter().all(|layer| can_be_had(&layer.blob)) {
                continue;
            }
            let mut provided = self.provided.lock().expect("no panics under this lock");
            for layer in own {
                if catalogue.holds(&layer.blob.digest) && !self.store.blobs().has(&layer.blob) {
                    self.origins.add(layer.blob.digest.clone(), source.origin());
                    provided.insert(layer.blob.digest.clone());
                }
            }
            return Some((source.shelf.address().to_owned(), kept));
        }
        None
    }

    /// Has the caches keep what the store has under a key. The lowest layers are the base's;
    /// `in_image` says that the others are the image's.
    pub(crate) fn keep(&self, key: &Digest, base: &StepOutput, in_image: bool) {
        if !self.are_filled() {
            return;
        }
        let record = self.store.records().get(key);
        let Some(kept) = record.and_then(|record| Kept::of_record(&record, writer::now())) else {
            return;
        };
        let own = kept.layers.get(base.stack.len()..).unwrap_or_default();
        let own = own.iter().map(|layer| layer.blob.clone()).collect();
        let entry = Entry {
            key: key.clone(),
            kept,
            own,
        };
        for target in &self.targets {
            let wanted = match target.mode {
                CacheMode::Min => in_image,
                CacheMode::Max => true,
            };
            if wanted {
                target.send(entry.clone());
            }
        }
    }

    /// After something failed: gives up layers that only a cache said to have, and that could not
    /// be had. Says whether there are any: then the same may go well without them.
    pub(crate) fn give_up(&self) -> bool {
        let provided = self.provided.lock().expect("no panics under this lock");
        let lost = self.origins.give_up(&provided);
        for digest in &lost {
            let message = format!(
                "the layer {} could not be had from a cache: what made it is done again",
                digest.short()
            );
            self.reporter.report(Event::Warning { message });
        }
        !lost.is_empty()
    }

    /// Reads those layers of images that only a cache said to have, to find out whether they can
    /// be had.
    pub(crate) async fn try_layers(&self, images: &ImageSet, ports: &Ports, layers: &Layers) {
        let provided = {
            let provided = self.provided.lock().expect("no panics under this lock");
            provided.clone()
        };
        let tried: Vec<Descriptor> = images
            .layers()
            .filter(|layer| provided.contains(&layer.blob.digest))
            .map(|layer| layer.blob.clone())
            .collect();
        let supply = Supply::new(ports, layers);
        let reading = move || {
            for blob in tried {
                // What fails is noted where it fails.
                if let Ok(mut reader) = supply.open(&blob)
                    && let Err(error) = std::io::copy(&mut reader, &mut std::io::sink())
                {
                    reader.failure(error);
                }
            }
        };
        tokio::task::spawn_blocking(reading)
            .await
            .expect("reading a blob does not panic");
    }

    /// Lets the caches come to their end.
    pub(crate) async fn finish(&self, ending: Ending, interrupt: &Interrupt) {
        for target in &self.targets {
            let mut entries = target.entries.lock().expect("no panics under this lock");
            entries.take();
        }
        let tasks: Vec<(&Target, JoinHandle<()>)> = self
            .targets
            .iter()
            .filter_map(|target| {
                let mut task = target.task.lock().expect("no panics under this lock");
                Some((target, task.take()?))
            })
            .collect();
        for (target, mut task) in tasks {
            let stopping = async {
                match ending {
                    Ending::Done => {
                        tokio::select! {
                            () = interrupt.triggered() => {}
                            () = target.watch.stands_still(STANDSTILL_MAX) => {
                                self.reporter.report(Event::Warning {
                                    message: format!(
                                        "the cache {} was not filled: nothing has moved for {} s",
                                        target.address,
                                        STANDSTILL_MAX.as_secs()
                                    ),
                                });
                            }
                        }
                    }
                    Ending::Failed => {
                        tokio::select! {
                            () = interrupt.triggered() => {}
                            () = tokio::time::sleep(WAIT_AFTER_FAILURE) => {}
                        }
                    }
                    Ending::Interrupted => {}
                }
            };
            let is_finished = tokio::select! {
                _ = &mut task => true,
                () = stopping => false,
            };
            if !is_finished {
                target.stop.notify_one();
                if tokio::time::timeout(WAIT_AFTER_STOP, &mut task)
                    .await
                    .is_err()
                {
                    task.abort();
                }
            }
        }
    }
}

impl Target {
    /// One that has given up has said so.
    fn send(&self, entry: Entry) {
        let entries = self.entries.lock().expect("no panics under this lock");
        if let Some(entries) = &*entries {
            let _ = entries.send(entry);
        }
    }
}
