//! Contents of a base that was not unpacked: parts of its layers, fetched when they are read. What
//! was read is written down, so that the next run of the same command finds it at hand.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt as _, stream};
use graph::RunStep;
use oci::{ChainId, Digest, Hasher};
use serde::{Deserialize, Serialize};
use store::Store;
use store::layer::{FileExtent, Follow, Node, Piece, Tree};

use super::ground::Source;
use crate::lazy::{Lazy, LazyError};
use crate::output::LayerRef;

/// Names what is remembered of a command among other records.
const RECORD: &str = "kiln: what a command read of its base, 1";
/// Ranges that are remembered of one command: what a compiler reads of a large base are some
/// hundred.
const RANGES_MAX: usize = 8192;
/// Bytes of tar that are fetched because they were read the last time: 512 MiB. What is read beyond
/// them comes when it is asked for.
const AHEAD_BYTES_MAX: u64 = 512 << 20;
/// Ranges that are nearer to each other count as one: spans are larger.
const NEAR_BYTES: u64 = 256 << 10;
/// Layers that are prefetched at once; each of them has requests of its own.
const LAYERS_AT_ONCE: usize = 2;
/// Where a command without a slash is looked for, when its PATH does not say.
const PROGRAM_DIRECTORIES: &str = "/bin:/usr/bin";

/// Parts of the tars of layers, by their number in the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts(BTreeMap<usize, Vec<(u64, u64)>>);

impl Parts {
    fn add(&mut self, layer: usize, extent: &FileExtent, offset: u64, bytes: u64) {
        for piece in extent.pieces(offset, bytes) {
            let Piece::Tar { offset, bytes } = piece else {
                continue;
            };
            let of_layer = self.0.entry(layer).or_default();
            let end = offset + bytes;
            // Reads mostly go on where the last one ended.
            match of_layer.last_mut() {
                Some((from, to)) if *from <= offset && offset <= *to + NEAR_BYTES => {
                    *to = end.max(*to);
                }
                Some(_) | None => of_layer.push((offset, end)),
            }
        }
    }

    /// In order, what is near together as one, and not too many.
    fn settled(&self) -> Self {
        let mut left = RANGES_MAX;
        let mut settle = |ranges: &Vec<(u64, u64)>| {
            let mut sorted = ranges.clone();
            sorted.sort_unstable();
            let mut merged: Vec<(u64, u64)> = Vec::new();
            for (from, to) in sorted {
                match merged.last_mut() {
                    Some((_, end)) if from <= *end + NEAR_BYTES => *end = to.max(*end),
                    Some(_) | None => merged.push((from, to)),
                }
            }
            merged.truncate(left);
            left -= merged.len();
            merged
        };
        let layers = self.0.iter();
        Self(
            layers
                .map(|(layer, ranges)| (*layer, settle(ranges)))
                .collect(),
        )
    }

    fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }
}

/// Reads layers in parts.
#[derive(Debug)]
pub(crate) struct Ranges {
    lazy: Arc<Lazy>,
    stack: Vec<LayerRef>,
    read: Arc<Mutex<Parts>>,
}

impl Ranges {
    pub(crate) fn new(lazy: Arc<Lazy>, stack: &[LayerRef]) -> Self {
        Self {
            lazy,
            stack: stack.to_vec(),
            read: Arc::default(),
        }
    }

    /// What has been read so far, for as long as somebody wants to know.
    pub(crate) fn read_so_far(&self) -> Arc<Mutex<Parts>> {
        Arc::clone(&self.read)
    }
}

impl Source for Ranges {
    fn read(
        &self,
        file: Node<'_>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let unknown = || std::io::Error::other("nobody knows where its content is");
        let (layer, extent) = file.layer().zip(file.extent()).ok_or_else(unknown)?;
        {
            let mut read = self.read.lock().expect("no panics under this lock");
            read.add(layer, &extent, offset, buffer.len() as u64);
        }
        let layer = self.stack.get(layer).ok_or_else(unknown)?;
        let count = self.lazy.read(layer, &extent, offset, buffer);
        let count = count.map_err(|error| {
            // Its reason, without the wrapping.
            match error.downcast::<LazyError>() {
                Ok(lazy) => {
                    if lazy.wants_whole() {
                        // The next build unpacks it, which shows if it is whole.
                        self.lazy.give_up(&layer.blob);
                    }
                    Box::<dyn std::error::Error + Send + Sync>::from(lazy)
                }
                Err(other) => other.into(),
            }
        })?;
        if count < buffer.len() {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    fn stop(&self) {
        self.lazy.stop();
    }
}

/// Under which digest it is remembered what a command reads of its base: not its input, which may
/// have changed above the base.
pub(crate) fn record_of(base: &ChainId, step: &RunStep) -> Digest {
    let mut hash = Hasher::default();
    let mut word = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    word(RECORD.as_bytes());
    word(base.0.as_str().as_bytes());
    for argument in &step.argv {
        word(argument.as_bytes());
    }
    for file in &step.files {
        word(file.content.as_bytes());
    }
    word(step.cwd.as_bytes());
    hash.finish()
}

/// What a command read the last time.
pub(crate) fn remembered(store: &Store, record: &Digest) -> Option<Parts> {
    serde_json::from_slice(&store.records().get(record)?).ok()
}

/// Keeps what a command has read for the next time.
pub(crate) fn remember(store: &Store, record: &Digest, read: &Mutex<Parts>) {
    let parts = read.lock().expect("no panics under this lock").settled();
    if !parts.is_empty() && remembered(store, record).as_ref() != Some(&parts) {
        let bytes = serde_json::to_vec(&parts).expect("numbers are JSON");
        store.records().put(record, &bytes);
    }
}

/// The program of a command, which is needed whatever it does.
pub(crate) fn program(tree: &Tree, step: &RunStep) -> Parts {
    let mut parts = Parts::default();
    let Some(word) = step.argv.first() else {
        return parts;
    };
    let path = step.env.iter().find(|variable| variable.name == "PATH");
    let path = path.map_or(PROGRAM_DIRECTORIES, |variable| &variable.value);
    let candidates: Vec<String> = if word.contains('/') {
        vec![word.clone()]
    } else {
        let directories = path.split(':');
        directories
            .map(|directory| format!("{directory}/{word}"))
            .collect()
    };
    for candidate in candidates {
        let resolved = tree.resolve(candidate.as_bytes(), Follow::All);
        let found = resolved.ok().and_then(|resolved| resolved.found());
        let Some(content) = found.and_then(|id| tree.node(id).content()) else {
            continue;
        };
        if let Some((layer, extent)) = content.layer().zip(content.extent()) {
            parts.add(layer, &extent, 0, extent.size());
            break;
        }
    }
    parts
}

/// Fetches parts before they are asked for. The first thing that goes wrong ends it: whoever needs
/// what is missing then asks for it.
pub(crate) async fn bring(
    lazy: Arc<Lazy>,
    stack: Vec<LayerRef>,
    parts: Parts,
) -> Result<(), LazyError> {
    let mut left = AHEAD_BYTES_MAX;
    let mut wanted: Vec<(LayerRef, Vec<Range<u64>>)> = Vec::new();
    for (layer, ranges) in parts.0 {
        let Some(layer) = stack.get(layer) else {
            continue;
        };
        let mut of_layer = Vec::new();
        for (from, to) in ranges {
            let bytes = to.saturating_sub(from);
            if bytes > 0 && bytes <= left {
                left -= bytes;
                of_layer.push(from..to);
            }
        }
        wanted.push((layer.clone(), of_layer));
    }
    let mut fetched = stream::iter(wanted)
        .map(|(layer, ranges)| {
            let lazy = Arc::clone(&lazy);
            async move { lazy.prefetch(&layer, &ranges).await }
        })
        .buffer_unordered(LAYERS_AT_ONCE);
    while let Some(result) = fetched.next().await {
        result?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_are_near_are_one() {
        let far = 10 * NEAR_BYTES;
        let parts = Parts(BTreeMap::from([(
            1,
            vec![(far, far + 5), (0, 10), (5, 20), (30, 40)],
        )]));
        let settled = Parts(BTreeMap::from([(1, vec![(0, 40), (far, far + 5)])]));
        assert_eq!(parts.settled(), settled);
        assert_eq!(settled.settled(), settled);
    }
}
