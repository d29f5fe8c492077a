//! What the build cache knows, step by step, for people who look at it. It decides nothing.

use std::collections::BTreeMap;
use std::time::SystemTime;

use oci::Digest;
use serde::Deserialize;
use store::inventory::{Item, Part};
use store::{DiskError, Store};

use crate::output::LayerRef;

/// A step that the build cache has an answer for. What was found under several keys with the same
/// outcome is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedStep {
    /// The keys, the oldest first.
    pub keys: Vec<Digest>,
    /// Such as `[build 2/5] RUN make`, where the record says so.
    pub title: Option<String>,
    /// The line of the instruction, from 1.
    pub line: Option<usize>,
    /// How long it took when it was done, in milliseconds.
    pub took_milliseconds: Option<u64>,
    /// How many layers the file system has that it came to.
    pub layers: usize,
    /// The topmost of them, which is the step's own unless it changed nothing: its compressed
    /// bytes.
    pub layer: Option<Digest>,
    /// What that layer takes, in bytes.
    pub layer_bytes: u64,
    /// Whether the bytes of that layer are in the store. Those of base images are not.
    pub is_here: bool,
    /// When it was done, as far as is known.
    pub made: SystemTime,
    /// When one of its records was used last, to the day where the file system does not keep more.
    pub used: SystemTime,
}

/// As much of a record as is shown.
#[derive(Deserialize)]
struct Record {
    layers: Vec<LayerRef>,
    #[serde(default)]
    made: Option<serde_json::Value>,
}

/// All steps that the build cache has answers for, those used last on top. `items` is the store's
/// inventory.
pub fn cached_steps(store: &Store, items: &[Item]) -> Vec<CachedStep> {
    let mut steps: BTreeMap<(Option<String>, Vec<String>), CachedStep> = BTreeMap::new();
    for item in items.iter().filter(|item| item.part == Part::Record) {
        let Ok(key) = format!("sha256:{}", item.name).parse::<Digest>() else {
            continue;
        };
        // Other answers are kept here too: what is behind addresses, where layers came from.
        let Some(record) = store
            .records()
            .peek(&key)
            .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok())
        else {
            continue;
        };
        let made = record.made.as_ref();
        let title = made.and_then(|made| made.get("title")?.as_str().map(str::to_owned));
        let title = title.filter(|title| !title.is_empty());
        let stack = record.layers.iter();
        let stack: Vec<String> = stack.map(|layer| layer.diff_id.to_string()).collect();
        let top = record.layers.last();
        let step = steps
            .entry((title.clone(), stack))
            .or_insert_with(|| CachedStep {
                keys: Vec::new(),
                title,
                line: made
                    .and_then(|made| made.get("line")?.as_u64())
                    .and_then(|line| usize::try_from(line).ok()),
                took_milliseconds: made
                    .and_then(|made| made.get("seconds")?.as_f64())
                    .map(|seconds| (seconds.max(0.0) * 1000.0) as u64),
                layers: record.layers.len(),
                layer: top.map(|layer| layer.blob.digest.clone()),
                layer_bytes: top.map_or(0, |layer| layer.blob.size),
                is_here: top.is_some_and(|layer| store.blobs().has(&layer.blob)),
                made: item.made,
                used: item.used,
            });
        step.keys.push(key);
        step.made = step.made.min(item.made);
        step.used = step.used.max(item.used);
    }
    let mut steps: Vec<CachedStep> = steps.into_values().collect();
    steps.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.keys.cmp(&b.keys)));
    steps
}

/// The store's inventory and the steps in it.
///
/// # Errors
///
/// The disk's.
pub fn inventory(store: &Store) -> Result<(Vec<Item>, Vec<CachedStep>), DiskError> {
    let items = store.inventory()?;
    let steps = cached_steps(store, &items);
    Ok((items, steps))
}
