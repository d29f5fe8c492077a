//! Images of which only a part is wanted: how much of them is fetched, and that what is fetched is
//! right whatever the registry does.

use std::fs;
use std::path::{Path, PathBuf};

use oci::Compression;
use testkit::{Action, Endpoint, Layer, Match, Method, image};

use crate::Bench;

/// Files of noise in front of and behind the one that is wanted, 1 MiB each.
const NOISE_FILES: usize = 24;

fn noise(seed: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (seed as u64 + 1);
    let mut bytes = Vec::with_capacity(1 << 20);
    while bytes.len() < 1 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// A bench with an image `big`, whose one layer is a single gzip member.
struct Big {
    bench: Bench,
    blob_bytes: u64,
}

impl Big {
    fn new() -> Self {
        let bench = Bench::new();
        let mut layer = Layer::new()
            .compressed(Compression::Gzip)
            .directory("data", 0o755);
        for number in 0..NOISE_FILES {
            layer = layer.file(&format!("data/n{number:02}"), noise(number));
            if number == NOISE_FILES / 2 {
                layer = layer.file_with("data/tool", 0o755, "the tool");
            }
        }
        let big = image().layer(layer).build();
        let blob_bytes = big.layers[0].bytes.len() as u64;
        bench.registry.seed("big", "1", &big);
        Self { bench, blob_bytes }
    }

    /// Copies these files onto nothing, by a step that was never done before, and compares.
    fn copies(&self, unique: &str, files: &[&str]) {
        let host = self.bench.registry.host();
        let mut dockerfile = "FROM scratch\n".to_owned();
        for file in files {
            dockerfile.push_str(&format!(
                "COPY --from={host}/big:1 /data/{file} /{unique}/\n"
            ));
        }
        let image = self.bench.image(&dockerfile);
        for (layer, file) in image.layers.iter().zip(files) {
            let entries = &layer.entries;
            let found = entries
                .iter()
                .find(|entry| entry.name().ends_with(file))
                .unwrap();
            let expected = match file.strip_prefix('n') {
                Some(number) => noise(number.parse().unwrap()),
                None => b"the tool".to_vec(),
            };
            assert!(found.content == expected, "{file}");
        }
    }

    /// Bytes of the layer that were sent since the log was cleared, and how often all of it was
    /// asked for.
    fn sent(&self) -> (u64, usize) {
        let log = self.bench.registry.log();
        let blobs: Vec<_> = log
            .iter()
            .filter(|request| request.repository == "big")
            .filter(|request| request.method == Method::GET)
            .filter(|request| request.endpoint == Endpoint::Blob)
            .collect();
        let bytes = blobs.iter().map(|request| request.bytes_out).sum();
        let whole = blobs.iter().filter(|request| request.status == 200);
        let large = whole.filter(|request| request.bytes_out > self.blob_bytes / 2);
        (bytes, large.count())
    }

    fn clear(&self) {
        self.bench.registry.clear_log();
    }

    /// Files of the store below a directory.
    fn in_store(&self, directory: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.bench.store.path().join(directory), &mut |path| {
            found.push(path.to_owned());
        });
        found
    }
}

fn blob_get() -> Match {
    Match::new(Method::GET, Endpoint::Blob).repository("big")
}

/// Rows: F13
#[test]
fn one_file_of_a_large_image_takes_one_pass_and_then_its_parts() {
    let big = Big::new();
    big.copies("a", &["tool"]);
    let (bytes, whole) = big.sent();
    assert_eq!(whole, 1, "an unknown layer is read once");
    assert!(bytes < big.blob_bytes + (10 << 20), "{bytes}");
    assert_eq!(big.in_store("unpacked"), Vec::<PathBuf>::new());
    // Now it is known: only what holds the file is fetched, and that is here already.
    big.clear();
    big.copies("b", &["tool"]);
    assert_eq!(big.sent(), (0, 0));
    big.copies("c", &["n02", "n03", "n20"]);
    let (bytes, whole) = big.sent();
    assert_eq!(whole, 0);
    assert!(
        (1..big.blob_bytes / 5 * 4).contains(&bytes),
        "{bytes} of {}",
        big.blob_bytes
    );
    assert_eq!(big.in_store("unpacked"), Vec::<PathBuf>::new());
}

#[test]
fn most_of_an_image_is_fetched_as_a_whole() {
    let big = Big::new();
    let host = big.bench.registry.host();
    big.bench
        .build(&format!("FROM {host}/big:1\nENV A=b\n"))
        .unwrap();
    // The index is asked for by something that needs no contents.
    big.bench.file("x");
    big.bench
        .build(&format!("FROM {host}/big:1\nCOPY x /x\n"))
        .unwrap();
    assert_eq!(big.sent().1, 1);
    assert_eq!(big.in_store("unpacked"), Vec::<PathBuf>::new());
    big.clear();
    let all = format!("FROM scratch\nCOPY --from={host}/big:1 /data /all/\n");
    let image = big.bench.image(&all);
    assert_eq!(image.layers[0].entries.len(), NOISE_FILES + 2);
    assert_eq!(big.sent().1, 1);
}

/// A registry that knows nothing of ranges costs what it always did, and no more.
#[test]
fn a_registry_without_ranges_is_read_as_a_whole_once() {
    let big = Big::new();
    big.bench.registry.fault(blob_get(), Action::IgnoreRange);
    big.copies("a", &["tool", "n05"]);
    let log = big.bench.registry.log();
    let whole = log
        .iter()
        .filter(|request| request.repository == "big" && request.endpoint == Endpoint::Blob)
        .filter(|request| request.header("range").is_none());
    let whole = whole.filter(|request| request.bytes_out >= big.blob_bytes);
    assert_eq!(whole.count(), 1);
}

/// The index and the table are known, and then the registry forgets what ranges are.
#[test]
fn a_registry_that_stops_giving_parts_is_read_as_a_whole() {
    let big = Big::new();
    big.copies("a", &["tool"]);
    big.bench.registry.fault(blob_get(), Action::IgnoreRange);
    big.copies("b", &["n01"]);
    // Wrong parts of the right length, whatever is asked for.
    let big = Big::new();
    big.copies("a", &["tool"]);
    big.bench
        .registry
        .fault(blob_get().times(2), Action::FlipBit { at: 50_000 });
    big.copies("b", &["n01", "n22"]);
}

#[test]
fn a_part_that_was_damaged_on_the_way_is_fetched_again() {
    let big = Big::new();
    big.copies("a", &["tool"]);
    for (number, action) in [
        Action::FlipBit { at: 300_000 },
        Action::Reset { after: 100_000 },
        Action::Truncate { after: 100_000 },
        Action::status(503),
        Action::ReplaceBody(b"short".to_vec()),
    ]
    .into_iter()
    .enumerate()
    {
        big.clear();
        big.bench
            .registry
            .fault(blob_get().times(1), action.clone());
        let file = format!("n{:02}", [0, 5, 9, 16, 21][number]);
        big.copies(&format!("x{number}"), &[&file]);
        let (_, whole) = big.sent();
        let heals_by_part = !matches!(action, Action::ReplaceBody(_));
        assert!(!heals_by_part || whole == 0, "{action:?}: {:?}", big.sent());
        big.bench.registry.clear_faults();
    }
}

/// What the store keeps is not believed either.
#[test]
fn parts_in_the_store_that_were_changed_are_absent() {
    let big = Big::new();
    big.copies("a", &["tool", "n03"]);
    let spans = big.in_store("spans");
    assert!(!spans.is_empty());
    for (number, path) in spans.iter().enumerate() {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.len() / 2;
        match number % 3 {
            0 => bytes[at] ^= 1,
            1 => bytes.truncate(at),
            _ => bytes[0] ^= 1,
        }
        fs::write(path, bytes).unwrap();
    }
    big.clear();
    big.copies("b", &["tool", "n03"]);
    assert!(big.sent().0 > 0);
    let tables = big.in_store("seek");
    assert!(!tables.is_empty());
    for path in tables {
        fs::write(path, b"kilnskt\n nonsense").unwrap();
    }
    big.copies("c", &["tool", "n04"]);
}

/// A machine that knows nothing, with a cache that knows the layer: nothing of it is read but what
/// is copied, and what was copied elsewhere is no hit here.
#[test]
fn a_new_machine_learns_from_a_cache_what_is_in_a_layer() {
    let place = tempfile::tempdir().unwrap();
    let directory = |big: &Big| {
        let registry = big.bench.registry.host();
        let reference = format!("{registry}/cache:main").parse().unwrap();
        [
            shelf::Address::Registry(reference),
            shelf::Address::Directory(shelf::DirectoryAddress {
                path: place.path().join("cache"),
                tag: "latest".parse().unwrap(),
                digest: None,
            }),
        ]
    };
    for number in 0..2 {
        let big = Big::new();
        let cache = directory(&big)[number].clone();
        let host = big.bench.registry.host();
        big.bench.file("x");
        let asks = |copied: &str, from: bool, to: bool| {
            let dockerfile = format!(
                "FROM {host}/big:1 AS big\nFROM {host}/big:1\nCOPY x /x\nWORKDIR /{copied}\n\
                 COPY --from=big /data/{copied} /{copied}/\n"
            );
            let mut request = big.bench.request(&dockerfile);
            if from {
                request.cache.from.push(cache.clone());
            }
            if to {
                request.cache.to.push(engine::CacheTarget::Shelf {
                    address: Box::new(cache.clone()),
                    mode: engine::CacheMode::Min,
                });
            }
            request
        };
        let store = tempfile::tempdir().unwrap();
        big.bench
            .run_with(&asks("n01", false, true), store.path())
            .unwrap();
        assert_eq!(big.sent().1, 1);
        big.clear();
        let store = tempfile::tempdir().unwrap();
        big.bench
            .run_with(&asks("n07", true, false), store.path())
            .unwrap();
        let (bytes, whole) = big.sent();
        assert_eq!(whole, 0);
        assert!((1..8 << 20).contains(&bytes), "{bytes}");
        let made = testkit::validate_image(&big.bench.registry, "out", "1").unwrap();
        let copied = &made.layers.last().unwrap().entries;
        let file = copied
            .iter()
            .find(|entry| entry.name().ends_with("n07/n07"))
            .unwrap();
        assert!(file.content == noise(7));
        // What another machine said is not among what this one knows.
        let indexes = store.path().join("indexes");
        let mut known = 0;
        walk(&indexes, &mut |path| {
            let bytes = fs::read(path).unwrap();
            let needle = b"data/n0";
            known += bytes
                .windows(needle.len())
                .filter(|part| part == needle)
                .count();
        });
        assert_eq!(known, 0);
    }
}

fn walk(path: &Path, seen: &mut dyn FnMut(&Path)) {
    for item in fs::read_dir(path).into_iter().flatten() {
        let path = item.unwrap().path();
        match path.is_dir() {
            true => walk(&path, seen),
            false => seen(&path),
        }
    }
}
