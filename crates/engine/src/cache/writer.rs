//! Fills one cache while a build runs: layers go there as soon as they exist, records as
//! soon as their layers are there. One task for each cache; never more than one catalogue
//! on its way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, stream};
use oci::{Descriptor, Digest, Repository};
use registry::Client;
use shelf::{DocumentName, Shelf, ShelfErrorKind};
use store::Store;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::catalogue::{Catalogue, Kept};
use super::load::{LoadError, load, told};
use super::source::Source;
use super::watch::Watch;
use crate::blob_source::blob_source;
use crate::event::{Event, Reporter};
use crate::origins::{Origin, Origins};

/// Blobs sent at once.
const UPLOADS_MAX: usize = 4;
/// Blobs that are asked for at once.
const LOOKS_MAX: usize = 8;
/// Between two catalogues: what comes in the meantime is in the next.
const PAUSE: Duration = Duration::from_secs(2);

/// A step that is to be in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Digest,
    pub(crate) kept: Kept,
    /// The layers that a cache has to hold: those above the base image, which everybody who
    /// looks for the key has.
    pub(crate) own: Vec<Descriptor>,
}

/// One cache that is filled.
pub(crate) struct Writer {
    pub(crate) shelf: Arc<dyn Shelf>,
    /// The same cache, where it is looked into as well.
    pub(crate) source: Option<Arc<Source>>,
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) origins: Origins,
    pub(crate) reporter: Arc<dyn Reporter>,
    /// Repositories that get the layers too.
    pub(crate) repositories: Vec<Repository>,
    pub(crate) entries: mpsc::UnboundedReceiver<Entry>,
    /// Is shown whatever moves.
    pub(crate) watch: Watch,
    /// Write down what is there, and end.
    pub(crate) stop: Arc<Notify>,
}

/// How far it is.
#[derive(Default)]
struct Progress {
    /// Blobs that are in the cache.
    there: HashMap<Digest, Descriptor>,
    /// Blobs that are on their way, or cannot be had.
    begun: HashSet<Digest>,
    lost: HashSet<Digest>,
    waiting: Vec<Entry>,
    ready: Vec<Entry>,
}

type Upload = (Descriptor, Result<(), String>);

impl Writer {
    /// Works until all is written, and says why if it is not.
    pub(crate) async fn run(mut self) {
        if let Err(reason) = self.fill().await {
            let address = self.shelf.address();
            let message = format!("the cache {address} was not filled: {reason}");
            self.reporter.report(Event::Warning { message });
        }
    }

    async fn fill(&mut self) -> Result<(), String> {
        let mut progress = Progress::default();
        let mut uploads: JoinSet<Upload> = JoinSet::new();
        let mut puts: JoinSet<Result<(), LoadError>> = JoinSet::new();
        let mut known: Option<Catalogue> = None;
        let (mut is_open, mut is_stopped) = (true, false);
        let mut due = Instant::now() + PAUSE;
        let stop = Arc::clone(&self.stop);
        let mut failed = None;
        loop {
            let is_last = !is_open && uploads.is_empty();
            if !progress.ready.is_empty() && puts.is_empty() && (is_last || Instant::now() >= due) {
                let entries = std::mem::take(&mut progress.ready);
                let blobs = progress.there.values().cloned().collect();
                let shelf = Arc::clone(&self.shelf);
                puts.spawn(async move { put(&*shelf, entries, blobs).await });
            }
            if is_last && puts.is_empty() && progress.ready.is_empty() {
                return failed.map_or(Ok(()), Err);
            }
            tokio::select! {
                entry = self.entries.recv(), if is_open => match entry {
                    None => is_open = false,
                    Some(entry) => {
                        if known.is_none() {
                            known = Some(self.catalogue().await?);
                            for blob in known.iter().flat_map(Catalogue::blobs) {
                                progress.there.insert(blob.digest.clone(), blob.clone());
                            }
                        }
                        let known = known.as_ref().expect("it was just read");
                        if known.lacks(&entry.key, &entry.kept) {
                            self.start(entry, &mut progress, &mut uploads);
                        }
                    }
                },
                Some(upload) = uploads.join_next() => {
                    self.watch.saw(1);
                    // One that was stopped is as if it had never begun.
                    if let Ok((blob, sent)) = upload {
                        match sent {
                            Ok(()) => { progress.there.insert(blob.digest.clone(), blob); }
                            Err(reason) => {
                                progress.lost.insert(blob.digest.clone());
                                failed.get_or_insert(reason);
                            }
                        }
                    }
                    progress.sort();
                }
                Some(put) = puts.join_next() => {
                    self.watch.saw(1);
                    put.expect("a catalogue is written without panics")
                        .map_err(|error| error.told())?;
                    due = Instant::now() + PAUSE;
                }
                () = tokio::time::sleep_until(due), if !progress.ready.is_empty() && puts.is_empty() => {}
                () = stop.notified(), if !is_stopped => {
                    (is_open, is_stopped) = (false, true);
                    uploads.abort_all();
                }
            }
        }
    }

    /// What the cache knows at the beginning.
    async fn catalogue(&self) -> Result<Catalogue, String> {
        // What was asked for to be read, and could be, is not asked for again.
        match self.source.as_ref().and_then(|source| source.outcome()) {
            Some(Ok(known)) => return Ok(known.clone()),
            Some(Err(unread)) if unread.may_be_replaced => return Ok(Catalogue::default()),
            Some(Err(unread)) => return Err(unread.reason.clone()),
            None => {}
        }
        match load(&*self.shelf).await {
            Ok(catalogue) => Ok(catalogue),
            Err(error) if error.may_be_replaced() => Ok(Catalogue::default()),
            Err(error) => Err(refusal(&error)),
        }
    }

    fn start(&self, entry: Entry, progress: &mut Progress, uploads: &mut JoinSet<Upload>) {
        for blob in &entry.own {
            // What turned out to be lost is no longer there, whatever the catalogue says.
            if self.origins.is_given_up(&blob.digest) && !progress.begun.contains(&blob.digest) {
                progress.there.remove(&blob.digest);
            }
            if progress.there.contains_key(&blob.digest)
                || !progress.begun.insert(blob.digest.clone())
            {
                continue;
            }
            let origin = self.origins.get(&blob.digest);
            let Some(source) = blob_source(&self.store, &self.client, origin.as_ref(), blob) else {
                progress.lost.insert(blob.digest.clone());
                continue;
            };
            let from = origin.iter().filter_map(Origin::repository).cloned();
            let elsewhere: Vec<Repository> =
                from.chain(self.repositories.iter().cloned()).collect();
            let (shelf, blob) = (Arc::clone(&self.shelf), blob.clone());
            let source = self.watch.over(source);
            let turn = Arc::clone(&TURNS);
            uploads.spawn(async move {
                let _turn = turn.acquire().await;
                let sent = shelf.put(&blob, source, &elsewhere).await;
                (blob, sent.map_err(|error| told(&error)))
            });
        }
        progress.waiting.push(entry);
        progress.sort();
    }
}

/// Uploads of all caches of this process together.
static TURNS: std::sync::LazyLock<Arc<tokio::sync::Semaphore>> =
    std::sync::LazyLock::new(|| Arc::new(tokio::sync::Semaphore::new(UPLOADS_MAX)));

impl Progress {
    /// Finds the entries whose blobs are all there.
    fn sort(&mut self) {
        for entry in std::mem::take(&mut self.waiting) {
            let is = |known: &dyn Fn(&Digest) -> bool| {
                entry
                    .own
                    .iter()
                    .map(|blob| known(&blob.digest))
                    .collect::<Vec<_>>()
            };
            if is(&|digest| self.lost.contains(digest)).contains(&true) {
                continue;
            }
            if is(&|digest| self.there.contains_key(digest)).contains(&false) {
                self.waiting.push(entry);
            } else {
                self.ready.push(entry);
            }
        }
    }
}

/// Adds records to what the cache knows by now. Another build may have written in between:
/// what it wrote stays.
async fn put(
    shelf: &dyn Shelf,
    entries: Vec<Entry>,
    blobs: Vec<Descriptor>,
) -> Result<(), LoadError> {
    let mut catalogue = match load(shelf).await {
        Ok(catalogue) => catalogue,
        Err(error) if error.may_be_replaced() => Catalogue::default(),
        Err(error) => return Err(error),
    };
    let own: HashSet<&Digest> = entries
        .iter()
        .flat_map(|entry| &entry.own)
        .map(|blob| &blob.digest)
        .collect();
    for blob in &blobs {
        if own.contains(&blob.digest) {
            catalogue.hold(blob);
        }
    }
    let mut is_changed = false;
    for Entry { key, kept, .. } in entries.clone() {
        is_changed |= catalogue.add(key, kept);
    }
    if !is_changed {
        return Ok(());
    }
    catalogue.prune();
    let name = DocumentName::main();
    match shelf.put_document(&name, &catalogue.to_document()).await {
        Err(error) if error.kind() == ShelfErrorKind::Absent => {}
        written => return Ok(written?),
    }
    // Something that the catalogue names has gone.
    let named: Vec<Descriptor> = catalogue.blobs().cloned().collect();
    let looks = stream::iter(named).map(|blob| async move {
        let is_there = shelf.has(&blob).await.unwrap_or(false);
        (blob.digest, is_there)
    });
    let looks: Vec<(Digest, bool)> = looks.buffer_unordered(LOOKS_MAX).collect().await;
    for (digest, is_there) in looks {
        if !is_there {
            catalogue.lose(&digest);
        }
    }
    Ok(shelf.put_document(&name, &catalogue.to_document()).await?)
}

/// Why nothing is written over what is there.
fn refusal(error: &LoadError) -> String {
    match error.is_foreign() {
        true => format!("{}, and stays as it is", error.told()),
        false => error.told(),
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
