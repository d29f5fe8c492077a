//! What a shared cache knows: which layers each key stands for. One document, so that
//! one look answers for a whole build.
//!
//! ```text
//! "kilncat" 0x01 │ SHA-256 of what follows │ zstd of
//! { format, layers: […], stacks: [[stack below, layer]…], records: [{key, stack, used, more}…] }
//! ```
//!
//! A record is what the store has under its key, verbatim, but for its layers: the stacks
//! of a build stand on each other, so each is written as one more than another.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use oci::{Descriptor, Digest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shelf::Document;

use crate::output::LayerRef;

/// Changes when an older kiln could misread it.
const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"kilncat\x01";
const CHECKSUM_BYTES: usize = 32;
/// The longest text, in bytes: against small documents that unpack to large ones.
const TEXT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The largest window that a reader has to have, as a power of two.
const WINDOW_LOG_MAX: u32 = 25;
/// The most records. Beyond, those that were not used for the longest time go.
const RECORDS_MAX: usize = 4000;
/// The most blobs: the manifest that names them has to stay small enough for all registries.
const BLOBS_MAX: usize = 2000;
/// The most that records say beside their layers, in bytes.
const MORE_BYTES_MAX: usize = 24 * 1024 * 1024;
/// The most values that are read: each takes some 100 bytes of memory, and as little as two of text.
const VALUES_MAX: usize = 1_000_000;
/// The most values that records say beside their layers: then there is room for the rest.
const MORE_VALUES_MAX: usize = 500_000;
/// The deepest stack.
const STACK_MAX: u32 = 1000;
/// A use is written down when the last one that was is so long ago, in seconds: else every
/// build would write.
const USED_NOTED_AFTER: u64 = 24 * 60 * 60;
/// Where the store's record has its layers.
const LAYERS_FIELD: &str = "layers";

/// What a cache knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Catalogue {
    records: BTreeMap<Digest, Kept>,
    /// The blobs that are there.
    held: BTreeMap<Digest, Descriptor>,
}

/// What is known under a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// The layers, bottom first.
    pub layers: Vec<Arc<LayerRef>>,
    /// Seconds since 1970.
    used: u64,
    /// The rest of the record.
    more: Map<String, Value>,
}

/// Why a document is no catalogue that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CatalogueError {
    /// Bytes that are not what was written.
    #[error("its catalogue is damaged")]
    Damaged,
    /// It is to be left alone.
    #[error("it was written by a newer kiln")]
    Newer,
}

#[derive(Serialize, Deserialize)]
struct Text {
    layers: Vec<LayerRef>,
    stacks: Vec<(Option<u32>, u32)>,
    records: Vec<RecordText>,
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    format: u32,
    #[serde(flatten)]
    text: Text,
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct RecordText {
    key: Digest,
    stack: Option<u32>,
    used: u64,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    more: Map<String, Value>,
}

impl Kept {
    /// Splits what the store has under a key; nothing when it is of no form that is known.
    pub(crate) fn of_record(record: &[u8], now: u64) -> Option<Self> {
        let mut more: Map<String, Value> = serde_json::from_slice(record).ok()?;
        let layers: Vec<LayerRef> = serde_json::from_value(more.remove(LAYERS_FIELD)?).ok()?;
        Some(Self {
            layers: layers.into_iter().map(Arc::new).collect(),
            used: now,
            more,
        })
    }

    /// Some layers and nothing else.
    pub(crate) fn of_layers(layers: Vec<Arc<LayerRef>>) -> Self {
        Self {
            layers,
            used: 0,
            more: Map::new(),
        }
    }

    /// Something that stands for no layers.
    pub(crate) fn of_something_else(more: Map<String, Value>, now: u64) -> Self {
        Self {
            layers: Vec::new(),
            used: now,
            more,
        }
    }

    /// What the record says beside its layers.
    pub(crate) fn more(&self) -> &Map<String, Value> {
        &self.more
    }

    /// What the store is to have under the key.
    pub(crate) fn to_record(&self) -> Vec<u8> {
        let layers: Vec<&LayerRef> = self.layers.iter().map(|layer| &**layer).collect();
        let mut record = self.more.clone();
        let layers = serde_json::to_value(layers).expect("a list of descriptors is JSON");
        record.insert(LAYERS_FIELD.to_owned(), layers);
        serde_json::to_vec(&record).expect("a map of values is JSON")
    }
}

impl Catalogue {
    /// What is known under a key.
    pub(crate) fn get(&self, key: &Digest) -> Option<&Kept> {
        self.records.get(key)
    }

    /// Whether a blob is there.
    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        self.held.contains_key(digest)
    }

    /// The blobs that are there.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.held.values()
    }

    /// Whether [`Catalogue::add`] would change something.
    pub(crate) fn lacks(&self, key: &Digest, kept: &Kept) -> bool {
        let Some(known) = self.records.get(key) else {
            return true;
        };
        // What stands for no layers says all that it has to say beside them.
        let says_more = kept.layers.is_empty() && known.more != kept.more;
        known.layers != kept.layers
            || says_more
            || kept.used.saturating_sub(known.used) > USED_NOTED_AFTER
    }

    /// Adds a record. Says whether that changed something.
    pub(crate) fn add(&mut self, key: Digest, kept: Kept) -> bool {
        let lacked = self.lacks(&key, &kept);
        if lacked {
            self.records.insert(key, kept);
        }
        lacked
    }

    /// Adds a blob that is there.
    pub(crate) fn hold(&mut self, blob: &Descriptor) {
        let plain = Descriptor::new(blob.media_type.clone(), blob.digest.clone(), blob.size);
        self.held.insert(blob.digest.clone(), plain);
    }

    /// Forgets a blob that is not there after all, and the records that need it.
    pub(crate) fn lose(&mut self, digest: &Digest) {
        if self.held.remove(digest).is_some() {
            self.records
                .retain(|_, kept| kept.layers.iter().all(|layer| layer.blob.digest != *digest));
        }
    }

    /// Drops what is too much, oldest first, and the blobs that nothing needs any more.
    pub(crate) fn prune(&mut self) {
        let mut by_use: Vec<(u64, Digest)> = self
            .records
            .iter()
            .map(|(key, kept)| (kept.used, key.clone()))
            .collect();
        by_use.sort_by(|a, b| b.cmp(a));
        let (mut records, mut blobs) = (0, HashSet::new());
        let (mut more_bytes, mut more_values) = (0, 0);
        for (_, key) in by_use {
            let kept = &self.records[&key];
            let layers = kept.layers.iter().map(|layer| &layer.blob.digest);
            let own: Vec<Digest> = layers
                .filter(|digest| self.held.contains_key(digest) && !blobs.contains(*digest))
                .cloned()
                .collect();
            let text = serde_json::to_vec(&kept.more).unwrap_or_default();
            let (more, values) = (text.len(), values(&text));
            let fits = records < RECORDS_MAX
                && more_bytes + more <= MORE_BYTES_MAX
                && more_values + values <= MORE_VALUES_MAX
                && blobs.len() + own.len() <= BLOBS_MAX;
            if fits {
                records += 1;
                more_bytes += more;
                more_values += values;
                blobs.extend(own);
            } else {
                self.records.remove(&key);
            }
        }
        self.held.retain(|digest, _| blobs.contains(digest));
    }

    /// The document that says all this.
    pub(crate) fn to_document(&self) -> Document {
        let mut layers: Vec<LayerRef> = Vec::new();
        let mut numbers: HashMap<(Digest, Digest), u32> = HashMap::new();
        let mut stacks: Vec<(Option<u32>, u32)> = Vec::new();
        let mut known: HashMap<(Option<u32>, u32), u32> = HashMap::new();
        let mut records = Vec::new();
        for (key, kept) in &self.records {
            let mut stack = None;
            for layer in &kept.layers {
                let names = (layer.diff_id.0.clone(), layer.blob.digest.clone());
                let number = *numbers.entry(names).or_insert_with(|| {
                    layers.push((**layer).clone());
                    (layers.len() - 1) as u32
                });
                let next = (stack, number);
                let place = known.entry(next).or_insert_with(|| {
                    stacks.push(next);
                    (stacks.len() - 1) as u32
                });
                stack = Some(*place);
            }
            records.push(RecordText {
                key: key.clone(),
                stack,
                used: kept.used,
                more: kept.more.clone(),
            });
        }
        let text = Versioned {
            format: FORMAT,
            text: Text {
                layers,
                stacks,
                records,
            },
        };
        let text = serde_json::to_vec(&text).expect("a catalogue is JSON");
        let packed = zstd::bulk::compress(&text, 3).expect("zstd takes any bytes");
        let mut body = MAGIC.to_vec();
        body.extend(checksum(&packed));
        body.extend(packed);
        Document {
            body: body.into(),
            blobs: self.held.values().cloned().collect(),
        }
    }

    /// Reads a document.
    pub(crate) fn read(document: &Document) -> Result<Self, CatalogueError> {
        let text = unpack(&document.body)?;
        let version: Version =
            serde_json::from_slice(&text).map_err(|_| CatalogueError::Damaged)?;
        if version.format > FORMAT {
            return Err(CatalogueError::Newer);
        }
        let text: Text = serde_json::from_slice(&text).map_err(|_| CatalogueError::Damaged)?;
        let layers: Vec<Arc<LayerRef>> = text.layers.into_iter().map(Arc::new).collect();
        // Each with its depth: what stands on itself is no stack.
        let mut stacks: Vec<(Option<u32>, u32, u32)> = Vec::new();
        for (below, layer) in text.stacks {
            let depth = match below {
                None => 1,
                Some(below) => {
                    let below = stacks.get(below as usize).ok_or(CatalogueError::Damaged)?;
                    below.2 + 1
                }
            };
            if depth > STACK_MAX || layer as usize >= layers.len() {
                return Err(CatalogueError::Damaged);
            }
            stacks.push((below, layer, depth));
        }
        if text.records.len() > RECORDS_MAX {
            return Err(CatalogueError::Damaged);
        }
        let mut records = BTreeMap::new();
        for record in text.records {
            let mut of_record = Vec::new();
            let mut at = record.stack;
            while let Some(stack) = at {
                let (below, layer, _) =
                    stacks.get(stack as usize).ok_or(CatalogueError::Damaged)?;
                of_record.push(Arc::clone(&layers[*layer as usize]));
                at = *below;
            }
            of_record.reverse();
            let kept = Kept {
                layers: of_record,
                used: record.used,
                more: record.more,
            };
            records.insert(record.key, kept);
        }
        let held = document.blobs.iter();
        Ok(Self {
            records,
            held: held
                .map(|blob| (blob.digest.clone(), blob.clone()))
                .collect(),
        })
    }
}

/// At least how many values a text of JSON has: commas, of which some are in texts.
fn values(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b',').count() + 1
}

fn checksum(packed: &[u8]) -> [u8; CHECKSUM_BYTES] {
    use sha2::Digest as _;
    sha2::Sha256::digest(packed).into()
}

fn unpack(body: &Bytes) -> Result<Vec<u8>, CatalogueError> {
    let damaged = CatalogueError::Damaged;
    let (magic, rest) = body.split_first_chunk::<8>().ok_or(damaged)?;
    let (sum, packed) = rest.split_first_chunk::<CHECKSUM_BYTES>().ok_or(damaged)?;
    if *sum != checksum(packed) {
        return Err(damaged);
    }
    if magic != MAGIC {
        // Whole, and of another form.
        return Err(match magic.strip_prefix(b"kilncat") {
            Some(_) => CatalogueError::Newer,
            None => damaged,
        });
    }
    let mut decoder = zstd::stream::read::Decoder::new(packed).map_err(|_| damaged)?;
    decoder
        .window_log_max(WINDOW_LOG_MAX)
        .map_err(|_| damaged)?;
    let mut text = Vec::new();
    decoder
        .take(TEXT_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|_| damaged)?;
    (text.len() as u64 <= TEXT_BYTES_MAX && values(&text) <= VALUES_MAX)
        .then_some(text)
        .ok_or(damaged)
}

#[cfg(test)]
mod tests {
    use oci::{Compression, DiffId, MediaType};

    use super::*;

    fn layer(name: &str) -> Arc<LayerRef> {
        let digest = Digest::of(name.as_bytes());
        Arc::new(LayerRef {
            diff_id: DiffId(Digest::of(digest.as_str().as_bytes())),
            blob: Descriptor::new(
                MediaType::OciLayer(Compression::Gzip),
                digest,
                name.len() as u64,
            ),
        })
    }

    fn key(name: &str) -> Digest {
        Digest::of(format!("key of {name}").as_bytes())
    }

    fn kept(layers: &[&str], used: u64) -> Kept {
        Kept {
            layers: layers.iter().map(|name| layer(name)).collect(),
            used,
            more: Map::from_iter([("made".to_owned(), Value::from(layers.len()))]),
        }
    }

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::default();
        for layers in [&["base", "a"][..], &["base", "a", "b"], &["c"], &[]] {
            let name = layers.join("+");
            catalogue.add(key(&name), kept(layers, 7));
        }
        for name in ["a", "b", "c"] {
            catalogue.hold(&layer(name).blob);
        }
        catalogue
    }

    #[test]
    fn what_was_written_is_read() {
        let written = catalogue();
        assert_eq!(Catalogue::read(&written.to_document()), Ok(written));
    }

    #[test]
    fn records_of_the_store_come_back_whole() {
        let record = kept(&["base", "a"], 7).to_record();
        let again = Kept::of_record(&record, 7).unwrap();
        assert_eq!(again, kept(&["base", "a"], 7));
        assert_eq!(Kept::of_record(b"{}", 7), None);
        assert_eq!(Kept::of_record(b"<html>", 7), None);
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let document = catalogue().to_document();
        for at in 0..document.body.len() {
            for bit in [0x01, 0x80] {
                let mut body = document.body.to_vec();
                body[at] ^= bit;
                let flipped = Document {
                    body: body.into(),
                    blobs: document.blobs.clone(),
                };
                assert!(Catalogue::read(&flipped).is_err(), "byte {at}");
            }
        }
        for bytes in 0..document.body.len() {
            let cut = Document {
                body: document.body.slice(..bytes),
                blobs: Vec::new(),
            };
            assert_eq!(Catalogue::read(&cut), Err(CatalogueError::Damaged));
        }
    }

    fn body_of(text: &[u8]) -> Document {
        let packed = zstd::bulk::compress(text, 19).unwrap();
        let mut body = MAGIC.to_vec();
        body.extend(checksum(&packed));
        body.extend(packed);
        Document {
            body: body.into(),
            blobs: Vec::new(),
        }
    }

    #[test]
    fn hostile_texts_are_no_catalogues() {
        let check = |text: &str, expected: CatalogueError| {
            let read = Catalogue::read(&body_of(text.as_bytes()));
            assert_eq!(read, Err(expected), "{text}");
        };
        let damaged = CatalogueError::Damaged;
        check("", damaged);
        check("[]", damaged);
        check(r#"{"format":1}"#, damaged);
        check(r#"{"format":2,"anything":true}"#, CatalogueError::Newer);
        check(
            r#"{"format":1,"layers":[],"stacks":[[null,0]],"records":[]}"#,
            damaged,
        );
        check(
            r#"{"format":1,"layers":[],"stacks":[[0,0]],"records":[]}"#,
            damaged,
        );
        let record = format!(
            r#"{{"format":1,"layers":[],"stacks":[],"records":[{{"key":"{}","stack":0,"used":0}}]}}"#,
            key("a")
        );
        check(&record, damaged);
        let zeros = "0,".repeat(VALUES_MAX);
        let many = format!(
            r#"{{"format":1,"layers":[],"stacks":[],"records":[{{"key":"{}","stack":null,"used":0,"more":{{"a":[{zeros}0]}}}}]}}"#,
            key("a")
        );
        assert_eq!(Catalogue::read(&body_of(many.as_bytes())), Err(damaged));
        let bomb = vec![b' '; TEXT_BYTES_MAX as usize + 2];
        assert_eq!(Catalogue::read(&body_of(&bomb)), Err(damaged));
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut catalogue = Catalogue::default();
        for number in 0..RECORDS_MAX as u64 + 10 {
            let name = number.to_string();
            catalogue.add(key(&name), kept(&[&name], number));
            if number < BLOBS_MAX as u64 + 20 {
                catalogue.hold(&layer(&name).blob);
            }
        }
        catalogue.prune();
        assert!(catalogue.records.len() <= RECORDS_MAX);
        assert!(catalogue.held.len() <= BLOBS_MAX);
        assert!(catalogue.get(&key("0")).is_none());
        assert!(!catalogue.holds(&layer("0").blob.digest));
        let newest = (RECORDS_MAX + 9).to_string();
        assert!(catalogue.get(&key(&newest)).is_some());
    }

    /// What is written can be read.
    #[test]
    fn records_that_say_much_go_before_they_are_too_much() {
        let mut catalogue = Catalogue::default();
        for number in 0..8 {
            let name = number.to_string();
            let much = Value::from(vec![0; MORE_VALUES_MAX / 4]);
            let more = Map::from_iter([("much".to_owned(), much)]);
            catalogue.add(key(&name), Kept::of_something_else(more, number));
        }
        catalogue.prune();
        assert!(catalogue.get(&key("7")).is_some());
        assert_eq!(catalogue.records.len(), 4);
        assert_eq!(Catalogue::read(&catalogue.to_document()), Ok(catalogue));
    }

    #[test]
    fn a_lost_blob_takes_its_records_along() {
        let mut catalogue = catalogue();
        catalogue.lose(&layer("a").blob.digest);
        assert!(catalogue.get(&key("base+a")).is_none());
        assert!(catalogue.get(&key("base+a+b")).is_none());
        assert!(catalogue.get(&key("c")).is_some());
    }

    #[test]
    fn uses_are_noted_once_a_day() {
        let mut catalogue = catalogue();
        assert!(!catalogue.add(key("c"), kept(&["c"], 8)));
        assert!(catalogue.add(key("c"), kept(&["c"], 8 + USED_NOTED_AFTER)));
        assert!(catalogue.add(key("c"), kept(&["a"], 8)));
    }
}
