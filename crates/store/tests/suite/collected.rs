//! What goes when something must go, and what stays.

use std::fs;
use std::time::{Duration, SystemTime};

use oci::{Compression, Descriptor, Digest, MediaType};
use store::Store;
use store::gc::{PruneError, PruneOptions};
use store::inventory::{Among, Part};
use store::layer::{Layer, LayerWriter};
use store::unpacked::UnpackedKey;

use crate::{add_file, directory, open, options};

fn layer(store: &Store, name: &str) -> Layer {
    let mut writer = LayerWriter::create(store, options(Compression::Gzip, 1)).unwrap();
    add_file(&mut writer, name, name.repeat(10_000).as_bytes());
    writer.finish().unwrap()
}

/// An image of one layer, as documents.
fn image(store: &Store, layer: &Layer) -> Descriptor {
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        layer.diff_id
    );
    let config_digest = store.blobs().put(config.as_bytes()).unwrap();
    let config = Descriptor::new(MediaType::OciConfig, config_digest, config.len() as u64);
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest,
        "config": config,
        "layers": [layer.descriptor],
    })
    .to_string();
    let digest = store.blobs().put(manifest.as_bytes()).unwrap();
    Descriptor::new(MediaType::OciManifest, digest, manifest.len() as u64)
}

/// Two images, one of them named, with all that a build leaves.
fn fill(store: &Store) -> [Layer; 2] {
    let layers = [layer(store, "kept"), layer(store, "loose")];
    let targets = [image(store, &layers[0]), image(store, &layers[1])];
    store.images().set("kept:1", &targets[0]);
    store.records().put(&Digest::of(b"step"), b"answer");
    let scratch = store.scratch().unwrap();
    let tree = scratch.directory().unwrap();
    fs::write(tree.join("file"), "x".repeat(10_000)).unwrap();
    let key = UnpackedKey::Layer(layers[0].diff_id.clone());
    store.unpacked().adopt(&tree, key).unwrap();
    store.flush().unwrap();
    layers
}

#[derive(Debug, PartialEq)]
struct Left {
    blobs: u64,
    indexes: u64,
    records: u64,
    unpacked: u64,
    images: u64,
}

fn check(prepare: impl FnOnce(&Store), options: PruneOptions, expected: Left) {
    let directory = directory();
    fill(&open(directory.path()));
    let store = open(directory.path());
    prepare(&store);
    let before = store.du().unwrap().bytes();
    let pruned = store.prune(&options).unwrap();
    let usage = store.du().unwrap();
    let left = Left {
        blobs: usage.blobs.count,
        indexes: usage.indexes.count,
        records: usage.records.count,
        unpacked: usage.unpacked.count,
        images: usage.images.count,
    };
    assert_eq!(left, expected, "{options:?}");
    assert_eq!(usage.trash.count, 0);
    assert_eq!(pruned.removed == 0, usage.bytes() == before, "{options:?}");
    assert_eq!(store.verify(false).unwrap().damage, []);
}

const ALL: Left = Left {
    blobs: 6,
    indexes: 2,
    records: 1,
    unpacked: 1,
    images: 1,
};

const NEEDED: Left = Left {
    blobs: 3,
    indexes: 1,
    records: 0,
    unpacked: 0,
    images: 1,
};

fn set_ages(store: &Store, time: SystemTime) {
    let mut todo = vec![store.path().to_owned()];
    while let Some(directory) = todo.pop() {
        for item in fs::read_dir(directory).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.parent() != Some(store.path()) {
                let times = fs::FileTimes::new().set_accessed(time).set_modified(time);
                fs::File::open(path).unwrap().set_times(times).unwrap();
            }
        }
    }
}

#[test]
fn named_images_stay_and_the_rest_goes_as_asked() {
    let nothing = PruneOptions::default();
    let day = Duration::from_secs(86_400);
    let all = PruneOptions {
        all: true,
        ..nothing.clone()
    };
    let old = PruneOptions {
        older_than: Some(day),
        ..nothing.clone()
    };
    check(|_| {}, nothing.clone(), ALL);
    check(|_| {}, all, NEEDED);
    check(|_| {}, old.clone(), ALL);
    check(
        |store| set_ages(store, SystemTime::now() - 2 * day),
        old.clone(),
        NEEDED,
    );
    // A clock that was wrong makes nothing old.
    check(
        |store| set_ages(store, SystemTime::now() + 2 * day),
        old,
        ALL,
    );
    let keep = |bytes| PruneOptions {
        keep_bytes: Some(bytes),
        ..nothing.clone()
    };
    check(|_| {}, keep(1 << 30), ALL);
    check(|_| {}, keep(0), NEEDED);
}

#[test]
fn what_is_not_named_is_not_looked_at() {
    let day = Duration::from_secs(86_400);
    let among = |parts: &[Part], unused_for: Option<Duration>, name: Option<&str>| PruneOptions {
        among: Among {
            parts: (!parts.is_empty()).then(|| parts.iter().copied().collect()),
            unused_for,
            name: name.map(str::to_owned),
        },
        all: true,
        ..PruneOptions::default()
    };
    let records = Left { records: 0, ..ALL };
    check(|_| {}, among(&[Part::Record], None, None), records);
    let layers = Left {
        blobs: 3,
        unpacked: 0,
        ..ALL
    };
    check(
        |_| {},
        among(&[Part::Blob, Part::Unpacked], None, None),
        layers,
    );
    check(|_| {}, among(&[Part::CacheMount], None, None), ALL);
    check(|_| {}, among(&[], Some(day), None), ALL);
    check(
        |store| set_ages(store, SystemTime::now() - 2 * day),
        among(&[], Some(day), None),
        NEEDED,
    );
    let key = Digest::of(b"step");
    let records = Left { records: 0, ..ALL };
    check(|_| {}, among(&[], None, Some(&key.hex()[..12])), records);
    check(|_| {}, among(&[], None, Some("nothing")), ALL);
    // A limit holds for what is looked at.
    let kept = PruneOptions {
        keep_bytes: Some(0),
        ..among(&[], Some(day), None)
    };
    check(|_| {}, kept, ALL);
    // There is more free than can be asked for, or nothing ever is enough.
    let free = |bytes| PruneOptions {
        free_bytes: Some(bytes),
        ..PruneOptions::default()
    };
    check(|_| {}, free(1), ALL);
    check(|_| {}, free(u64::MAX), NEEDED);
}

#[test]
fn the_inventory_says_what_is_there() {
    let directory = directory();
    let layers = fill(&open(directory.path()));
    let store = open(directory.path());
    let items = store.inventory().unwrap();
    let count = |part| items.iter().filter(|item| item.part == part).count();
    assert_eq!(Part::ALL.map(count), [1, 6, 1, 2, 2, 0, 0, 0]);
    for layer in layers {
        let digest = layer.descriptor.digest;
        let item = items.iter().find(|item| item.name == digest.hex()).unwrap();
        let needed = store.images().list()[0].target.digest.clone();
        assert_eq!(item.part, Part::Blob);
        assert!(item.bytes > 0 && item.used >= item.made);
        assert!(
            items
                .iter()
                .any(|item| item.name == needed.hex() && item.needed)
        );
    }
    let needed = |part| {
        items
            .iter()
            .filter(|item| item.part == part && item.needed)
            .count()
    };
    assert_eq!(Part::ALL.map(needed), [0, 3, 0, 1, 1, 0, 0, 0]);
}

#[test]
fn directories_without_a_record_go_with_any_pruning() {
    let directory = directory();
    fill(&open(directory.path()));
    let store = open(directory.path());
    let orphan = store.path().join("unpacked/ab/abcdef.1-0-7");
    fs::create_dir_all(orphan.join("deep/down")).unwrap();
    fs::set_permissions(
        orphan.join("deep"),
        std::os::unix::fs::PermissionsExt::from_mode(0o000),
    )
    .unwrap();
    store.prune(&PruneOptions::default()).unwrap();
    assert!(!orphan.exists());
    assert_eq!(store.du().unwrap().unpacked.count, 1);
}

#[test]
fn nothing_is_pruned_while_somebody_works() {
    let directory = directory();
    let (one, two) = (open(directory.path()), open(directory.path()));
    let refused = one.prune(&PruneOptions::default()).unwrap_err();
    let PruneError::InUse { processes } = refused else {
        panic!("{refused}");
    };
    assert_eq!(processes, [std::process::id().to_string()]);
    drop(two);
    let clone = one.clone();
    let refused = one.prune(&PruneOptions::default()).unwrap_err();
    assert!(matches!(refused, PruneError::InUseHere));
    drop(clone);
    one.prune(&PruneOptions::default()).unwrap();
}
