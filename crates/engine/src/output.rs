//! What a step comes to: a stack of layers, and how that is remembered.

use std::sync::Arc;

use graph::{BaseImage, BuildGraph, CacheKey, StepId, StepKind};
use oci::{ChainId, Descriptor, DiffId, Digest};
use serde::{Deserialize, Serialize};
use store::Store;

use crate::layers::Layers;
use crate::trace::{self, Made};

/// A layer by its two names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRef {
    /// What it unpacks to.
    pub diff_id: DiffId,
    /// Its compressed bytes.
    pub blob: Descriptor,
}

/// A file system: the layers that make it, bottom first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepOutput {
    /// The layers.
    pub stack: Arc<[LayerRef]>,
}

/// What the store keeps of a step under its keys. A field that a kiln does not know is nothing to
/// it, and one that it does not find is empty.
#[derive(Serialize, Deserialize)]
struct Record {
    layers: Vec<LayerRef>,
    /// How they came to be; decides nothing.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "trace::lenient"
    )]
    made: Option<Made>,
}

/// What was found under a key.
pub(crate) struct Found {
    /// The layers.
    pub output: StepOutput,
    /// How they came to be, where that is known.
    pub made: Option<Made>,
}

impl StepOutput {
    /// No layers.
    pub(crate) fn scratch() -> Self {
        Self {
            stack: Arc::new([]),
        }
    }

    /// The layers of a base image.
    pub(crate) fn of_base(base: &BaseImage) -> Self {
        let layers = base.layers.iter();
        Self {
            stack: layers
                .map(|layer| LayerRef {
                    diff_id: layer.diff_id.clone(),
                    blob: layer.blob.clone(),
                })
                .collect(),
        }
    }

    /// The layers that a step's output begins with: those of its stage's base.
    pub(crate) fn base_of(graph: &BuildGraph, step: StepId) -> Self {
        let mut at = step;
        while let Some(parent) = graph.step(at).parent {
            at = parent;
        }
        match &graph.step(at).kind {
            StepKind::Base(base) => Self::of_base(base),
            StepKind::Scratch
            | StepKind::Run(_)
            | StepKind::Copy(_)
            | StepKind::Workdir(_)
            | StepKind::Merge(_) => Self::scratch(),
        }
    }

    /// The same with one more layer on top.
    pub(crate) fn with(&self, layer: LayerRef) -> Self {
        Self {
            stack: self.stack.iter().cloned().chain([layer]).collect(),
        }
    }

    /// The same with the layers of another output on top.
    pub(crate) fn on_top(&self, upper: &Self) -> Self {
        Self {
            stack: self
                .stack
                .iter()
                .chain(upper.stack.iter())
                .cloned()
                .collect(),
        }
    }

    /// The diff ids, bottom first.
    pub(crate) fn diff_ids(&self) -> Vec<DiffId> {
        self.stack
            .iter()
            .map(|layer| layer.diff_id.clone())
            .collect()
    }

    /// Remembers this output under a key, and how it came to be.
    pub(crate) fn remember(&self, layers: &Layers, key: &CacheKey, made: Option<Made>) {
        self.put(layers, key.digest(), made);
    }

    /// Remembers this output under a name that is no key of a step.
    pub(crate) fn remember_at(&self, layers: &Layers, name: &Digest) {
        self.put(layers, name, None);
    }

    fn put(&self, layers: &Layers, name: &Digest, made: Option<Made>) {
        let record = Record {
            layers: self.stack.to_vec(),
            made,
        };
        let bytes = serde_json::to_vec(&record).expect("a list of descriptors is JSON");
        layers.store.records().put(name, &bytes);
        layers.remembered(name);
    }

    /// What was remembered under such a name, if the store has all of its layers.
    pub(crate) fn recall_at(store: &Store, name: &Digest) -> Option<Self> {
        let Record { layers, .. } = serde_json::from_slice(&store.records().get(name)?).ok()?;
        let complete = layers.iter().all(|layer| store.blobs().has(&layer.blob));
        complete.then(|| Self {
            stack: layers.into(),
        })
    }

    /// What was remembered under a key, if all of its layers can be had:
    /// `available` says of a blob that some registry holds it.
    ///
    /// The lowest layers are those of `base`. A key knows them by their content, so the record may
    /// be of a base with the same files in other blobs.
    pub(crate) fn recall(
        store: &Store,
        key: &CacheKey,
        base: &Self,
        available: impl Fn(&Digest) -> bool,
    ) -> Option<Found> {
        let bytes = store.records().get(key.digest())?;
        let Record { mut layers, made } = serde_json::from_slice(&bytes).ok()?;
        let lowest = layers.get_mut(..base.stack.len())?;
        for (layer, own) in lowest.iter_mut().zip(base.stack.iter()) {
            if layer.diff_id != own.diff_id {
                return None;
            }
            layer.clone_from(own);
        }
        let complete = layers
            .iter()
            .all(|layer| available(&layer.blob.digest) || store.blobs().has(&layer.blob));
        complete.then(|| Found {
            output: Self {
                stack: layers.into(),
            },
            made,
        })
    }
}

impl graph::Output for StepOutput {
    fn content(&self) -> Digest {
        match ChainId::of(&self.diff_ids()) {
            Some(chain) => chain.0,
            None => Digest::of(b"scratch"),
        }
    }
}
