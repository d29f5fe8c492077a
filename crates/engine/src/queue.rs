//! Several builds on one store that all want the same layer: one fetches it, and the others wait
//! and have it too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use store::Store;
use store::turns::Turn;

use crate::event::{Event, Reporter};
use crate::output::LayerRef;

/// How often somebody who waits looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// How long somebody waits for a process that may have been stopped half-way.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Who fetched this much tells the others at once. Less is fetched again sooner than the disk has
/// written it.
const TOLD_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// Where processes stand in line for layers.
pub(crate) struct Queue {
    store: Store,
    reporter: Arc<dyn Reporter>,
    left: AtomicBool,
}

impl Queue {
    pub(crate) fn new(store: Store, reporter: Arc<dyn Reporter>) -> Self {
        Self {
            store,
            reporter,
            left: AtomicBool::new(false),
        }
    }

    /// Returns when nobody else is at work on a layer: look then whether it is still to be done.
    /// Nothing where the store's file system knows no locks, or patience has ended: work that is
    /// done twice is done right.
    pub(crate) async fn wait(&self, layer: &LayerRef) -> Option<Turn> {
        let began = Instant::now();
        let mut told = false;
        while !self.left.load(Ordering::Relaxed) && began.elapsed() < PATIENCE {
            match self.store.turns().take(&layer.diff_id.0) {
                Ok(Some(turn)) => return Some(turn),
                Err(_) => return None,
                Ok(None) => {}
            }
            if !told {
                told = true;
                let layer = layer.blob.digest.short();
                self.reporter.report(Event::Note {
                    message: format!("another kiln reads layer {layer}: waiting for it"),
                });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        None
    }

    /// Nobody waits any longer: the build is being stopped.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Lets the others see what was unpacked in a turn. They see only what is durable, so that is
    /// written meanwhile and not at the end of the build.
    pub(crate) fn tell(&self, turn: Option<Turn>, bytes: u64) {
        if bytes < TOLD_BYTES_MIN {
            return;
        }
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            // The flush at the end of the build tells of errors.
            let _ = store.flush();
            drop(turn);
        });
    }
}
