//! The shelves that say what is in layers, and what of it this build believes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use oci::{DiffId, Digest};
use shelf::{Shelf, ShelfError, ShelfErrorKind};
use store::Store;
use store::layer::{LayerIndex, SeekTable};

use super::shared::{self, Known, SharedError};
use crate::event::{Event, Reporter};
use crate::output::LayerRef;

/// Layers with smaller blobs are read as quickly as what others say of them: 1 MiB.
const BLOB_BYTES_MIN: u64 = 1 << 20;
/// How long a shelf that was told is not told again: a day.
const TOLD_SECONDS: u64 = 24 * 60 * 60;

/// How long a shelf may take to say what is in a layer: reading the layer would be done by then, or
/// nearly so.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many times as long it may take to be told, which ways out of a house often do.
const TELLING: u32 = 4;

/// Shelves, in the order in which they are asked.
pub(crate) struct Shelves {
    from: Vec<Arc<dyn Shelf>>,
    to: Vec<Arc<dyn Shelf>>,
    /// How long one may take.
    patience: Duration,
    /// Addresses of those that did not answer, or do not answer us: once is enough.
    silent: Mutex<HashSet<String>>,
    belief: Mutex<Belief>,
}

/// What shelves said, for this build alone: what the store holds was found out here.
#[derive(Default)]
struct Belief {
    indexes: HashMap<DiffId, Arc<LayerIndex>>,
    /// Keys under which something was remembered that may rest on it.
    resting: Vec<Digest>,
    /// Something was found out not to be so.
    is_broken: bool,
    /// Nobody is believed any more.
    is_lost: bool,
}

impl Default for Shelves {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

impl Shelves {
    /// `from` are asked what is in layers, `to` are told.
    pub(crate) fn new(from: Vec<Arc<dyn Shelf>>, to: Vec<Arc<dyn Shelf>>) -> Self {
        Self {
            from,
            to,
            patience: PATIENCE,
            silent: Mutex::default(),
            belief: Mutex::default(),
        }
    }

    fn belief(&self) -> MutexGuard<'_, Belief> {
        self.belief.lock().expect("no panics under this lock")
    }

    /// What a shelf has said of a layer.
    pub(crate) fn believed(&self, diff_id: &DiffId) -> Option<Arc<LayerIndex>> {
        self.belief().indexes.get(diff_id).cloned()
    }

    /// Something is remembered under a key: it may rest on what was believed by now.
    pub(crate) fn remembered(&self, key: &Digest) {
        let mut belief = self.belief();
        if !belief.indexes.is_empty() {
            belief.resting.push(key.clone());
        }
    }

    /// What was said of a layer was found out not to be so.
    pub(crate) fn was_a_lie(&self) {
        self.belief().is_broken = true;
    }

    /// Whether something was that [`Self::disbelieve`] has not dealt with yet.
    pub(crate) fn is_broken(&self) -> bool {
        self.belief().is_broken
    }

    /// Nobody is asked or believed any more in this build. Gives the keys of what may rest on what was.
    pub(crate) fn disbelieve(&self) -> Vec<Digest> {
        let mut belief = self.belief();
        let resting = std::mem::take(&mut belief.resting);
        *belief = Belief {
            is_lost: true,
            ..Belief::default()
        };
        resting
    }

    /// Asks one shelf after the other. What is of no use is told and passed over.
    pub(crate) async fn look_up(
        &self,
        layer: &LayerRef,
        reporter: &dyn Reporter,
    ) -> Option<(Arc<LayerIndex>, SeekTable)> {
        if layer.blob.size < BLOB_BYTES_MIN || self.belief().is_lost {
            return None;
        }
        for shelf in self.from.iter().filter(|shelf| self.answers(shelf)) {
            let asked = self.within(self.patience, shelf, shared::look_up(&**shelf, layer));
            match asked.await {
                Ok(Some(Known { index, table })) => {
                    let index = Arc::new(index);
                    let mut belief = self.belief();
                    belief
                        .indexes
                        .insert(layer.diff_id.clone(), Arc::clone(&index));
                    return Some((index, table));
                }
                Ok(None) => {}
                Err(error) => self.failed(shelf, &error, reporter),
            }
        }
        None
    }

    /// Tells all shelves what this machine has found out of a layer. The store remembers for a day
    /// that it was told: builds that change nothing ask nothing.
    pub(crate) async fn tell(
        &self,
        store: &Store,
        layer: &LayerRef,
        index: &LayerIndex,
        table: &SeekTable,
        reporter: &dyn Reporter,
    ) {
        if layer.blob.size < BLOB_BYTES_MIN {
            return;
        }
        for shelf in self.to.iter().filter(|shelf| self.answers(shelf)) {
            let key = Digest::of(
                format!(
                    "told of a layer\0{}\0{}",
                    shelf.address(),
                    layer.blob.digest
                )
                .as_bytes(),
            );
            let told = store.records().get(&key).and_then(|seconds| {
                let seconds = u64::from_le_bytes(*seconds.first_chunk()?);
                now().checked_sub(seconds)
            });
            if told.is_some_and(|age| age < TOLD_SECONDS) {
                continue;
            }
            let told = self.within(
                self.patience * TELLING,
                shelf,
                shared::put(&**shelf, layer, index, table),
            );
            match told.await {
                Ok(_) => store.records().put(&key, &now().to_le_bytes()),
                Err(error) => self.failed(shelf, &error, reporter),
            }
        }
    }

    /// Does something that ends in time.
    async fn within<T>(
        &self,
        patience: Duration,
        shelf: &Arc<dyn Shelf>,
        work: impl Future<Output = Result<T, SharedError>>,
    ) -> Result<T, SharedError> {
        let done = tokio::time::timeout(patience, work).await;
        done.unwrap_or_else(|_elapsed| {
            let unreachable = ShelfErrorKind::Unreachable;
            let error = ShelfError::new(unreachable, "learn of layers from", shelf.address());
            let seconds = patience.as_secs();
            Err(error
                .because(format!("it takes longer than {seconds} s"))
                .into())
        })
    }

    /// Whether a shelf may be asked.
    fn answers(&self, shelf: &Arc<dyn Shelf>) -> bool {
        let silent = self.silent.lock().expect("no panics under this lock");
        !silent.contains(shelf.address())
    }

    /// Warns, and remembers whom not to ask again.
    fn failed(&self, shelf: &Arc<dyn Shelf>, error: &SharedError, reporter: &dyn Reporter) {
        let is_silent = match error {
            SharedError::Shelf(error) => match error.kind() {
                ShelfErrorKind::Unreachable
                | ShelfErrorKind::Denied
                | ShelfErrorKind::Unusable
                | ShelfErrorKind::Full => true,
                ShelfErrorKind::Absent
                | ShelfErrorKind::Damaged
                | ShelfErrorKind::Foreign
                | ShelfErrorKind::Ranges
                | ShelfErrorKind::Source
                | ShelfErrorKind::Refused => false,
            },
            SharedError::Unusable { .. } => false,
        };
        if is_silent {
            let mut silent = self.silent.lock().expect("no panics under this lock");
            if !silent.insert(shelf.address().to_owned()) {
                // Several were asked at once; one warning says it.
                return;
            }
        }
        warn(reporter, error);
    }

    /// Whether anybody wants to be told.
    pub(crate) fn are_told(&self) -> bool {
        !self.to.is_empty()
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn warn(reporter: &dyn Reporter, error: &dyn std::error::Error) {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    reporter.report(Event::Warning { message });
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use futures_util::future::{BoxFuture, pending};
    use oci::{Compression, Descriptor, MediaType, Repository};
    use registry::BlobSource;
    use shelf::{BlobReader, Document, DocumentName};

    use super::*;

    /// A shelf that is asked and says nothing.
    #[derive(Debug, Default)]
    struct Silent(AtomicUsize);

    impl Silent {
        fn asked<'a, T: Send + 'a>(&self) -> BoxFuture<'a, Result<T, ShelfError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(pending())
        }
    }

    impl Shelf for Silent {
        fn address(&self) -> &str {
            "silent"
        }

        fn document<'a>(
            &'a self,
            _: &'a DocumentName,
        ) -> BoxFuture<'a, Result<Option<Document>, ShelfError>> {
            self.asked()
        }

        fn put_document<'a>(
            &'a self,
            _: &'a DocumentName,
            _: &'a Document,
        ) -> BoxFuture<'a, Result<(), ShelfError>> {
            self.asked()
        }

        fn has<'a>(&'a self, _: &'a Descriptor) -> BoxFuture<'a, Result<bool, ShelfError>> {
            self.asked()
        }

        fn open<'a>(&'a self, _: &'a Descriptor) -> BoxFuture<'a, Result<BlobReader, ShelfError>> {
            self.asked()
        }

        fn range<'a>(
            &'a self,
            _: &'a Descriptor,
            _: Range<u64>,
        ) -> BoxFuture<'a, Result<Bytes, ShelfError>> {
            self.asked()
        }

        fn put<'a>(
            &'a self,
            _: &'a Descriptor,
            _: Arc<dyn BlobSource>,
            _: &'a [Repository],
        ) -> BoxFuture<'a, Result<(), ShelfError>> {
            self.asked()
        }
    }

    #[derive(Default)]
    struct Warnings(Mutex<Vec<String>>);

    impl Reporter for Warnings {
        fn report(&self, event: Event) {
            if let Event::Warning { message } = event {
                self.0.lock().unwrap().push(message);
            }
        }
    }

    #[tokio::test]
    async fn one_that_does_not_answer_is_waited_for_once() {
        let shelf = Arc::new(Silent::default());
        let mut shelves = Shelves::new(vec![Arc::clone(&shelf) as _], vec![]);
        shelves.patience = Duration::from_millis(20);
        let warnings = Warnings::default();
        for name in ["a", "b", "c"] {
            let layer = LayerRef {
                diff_id: DiffId(Digest::of(name.as_bytes())),
                blob: Descriptor::new(
                    MediaType::OciLayer(Compression::Gzip),
                    Digest::of(name.as_bytes()),
                    BLOB_BYTES_MIN,
                ),
            };
            assert!(shelves.look_up(&layer, &warnings).await.is_none());
        }
        assert_eq!(shelf.0.load(Ordering::Relaxed), 1);
        let warnings = warnings.0.lock().unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("takes longer"), "{warnings:?}");
    }
}
