//! The shelves that say what is in layers, and what of it this build believes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use oci::{DiffId, Digest};
use shelf::Shelf;
use store::Store;
use store::layer::{LayerIndex, SeekTable};

use super::shared::{self, Known};
use crate::event::{Event, Reporter};
use crate::output::LayerRef;

/// Layers with smaller blobs are read as quickly as what others say of them: 1 MiB.
const BLOB_BYTES_MIN: u64 = 1 << 20;
/// How long a shelf that was told is not told again: a day.
const TOLD_SECONDS: u64 = 24 * 60 * 60;

/// Shelves, in the order in which they are asked.
#[derive(Default)]
pub(crate) struct Shelves {
    from: Vec<Arc<dyn Shelf>>,
    to: Vec<Arc<dyn Shelf>>,
    /// What shelves said, for this build alone: what the store holds was found out here.
    believed: Mutex<HashMap<DiffId, Arc<LayerIndex>>>,
}

impl Shelves {
    /// `from` are asked what is in layers, `to` are told.
    pub(crate) fn new(from: Vec<Arc<dyn Shelf>>, to: Vec<Arc<dyn Shelf>>) -> Self {
        Self {
            from,
            to,
            believed: Mutex::default(),
        }
    }

    /// What a shelf has said of a layer.
    pub(crate) fn believed(&self, diff_id: &DiffId) -> Option<Arc<LayerIndex>> {
        let believed = self.believed.lock().expect("no panics under this lock");
        believed.get(diff_id).cloned()
    }

    /// Asks one shelf after the other. What is of no use is told and passed over.
    pub(crate) async fn look_up(
        &self,
        layer: &LayerRef,
        reporter: &dyn Reporter,
    ) -> Option<(Arc<LayerIndex>, SeekTable)> {
        if layer.blob.size < BLOB_BYTES_MIN {
            return None;
        }
        for shelf in &self.from {
            match shared::look_up(&**shelf, layer).await {
                Ok(Some(Known { index, table })) => {
                    let index = Arc::new(index);
                    let mut believed = self.believed.lock().expect("no panics under this lock");
                    believed.insert(layer.diff_id.clone(), Arc::clone(&index));
                    return Some((index, table));
                }
                Ok(None) => {}
                Err(error) => warn(reporter, &error),
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
        for shelf in &self.to {
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
            match shared::put(&**shelf, layer, index, table).await {
                Ok(_) => store.records().put(&key, &now().to_le_bytes()),
                Err(error) => warn(reporter, &error),
            }
        }
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
