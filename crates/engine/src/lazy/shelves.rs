//! The shelves that say what is in layers, and what of it this build believes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use oci::DiffId;
use shelf::Shelf;
use store::layer::{LayerIndex, SeekTable};

use super::shared::{self, Known};
use crate::event::{Event, Reporter};
use crate::output::LayerRef;

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

    /// Tells all shelves what this machine has found out of a layer.
    pub(crate) async fn tell(
        &self,
        layer: &LayerRef,
        index: &LayerIndex,
        table: &SeekTable,
        reporter: &dyn Reporter,
    ) {
        for shelf in &self.to {
            if let Err(error) = shared::put(&**shelf, layer, index, table).await {
                warn(reporter, &error);
            }
        }
    }

    /// Whether anybody wants to be told.
    pub(crate) fn are_told(&self) -> bool {
        !self.to.is_empty()
    }
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
