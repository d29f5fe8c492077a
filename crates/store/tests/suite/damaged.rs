//! What is damaged is found, and is absent to whoever asks for it.

use std::fs;
use std::path::{Path, PathBuf};

use oci::{Compression, DiffId, Digest};
use store::blob::BlobError;
use store::gc::Kind;
use store::layer::{ContentHash, LayerWriter};
use store::unpacked::UnpackedKey;
use store::{Store, dir::Dir};

use crate::{add_file, directory, open, options, plain};

const BLOB: &[u8] = b"the content of a blob";

/// One thing of each kind.
fn fill(store: &Store, context: &Path) -> DiffId {
    store.blobs().put(BLOB).unwrap();
    let mut writer = LayerWriter::create(store, options(Compression::Gzip, 1)).unwrap();
    add_file(&mut writer, "etc/passwd", b"root:x:0:0::/:/bin/sh\n");
    let layer = writer.finish().unwrap();
    store.records().put(&Digest::of(b"key"), b"value");
    store.images().set("name", &layer.descriptor);
    let scratch = store.scratch().unwrap();
    let tree = scratch.directory().unwrap();
    store
        .unpacked()
        .adopt(&tree, UnpackedKey::Layer(layer.diff_id.clone()))
        .unwrap();
    fs::write(context.join("file"), "x").unwrap();
    let mut stat = Dir::open(context).unwrap().stat(b"file").unwrap();
    stat.ctime -= 10;
    let mut cache = store.stat_cache(context);
    cache.put(&stat, ContentHash([1; 32]));
    cache.save().unwrap();
    store.flush().unwrap();
    layer.diff_id
}

/// The objects of a store that have bytes.
fn objects(store: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo: Vec<PathBuf> = ["blobs", "indexes", "records", "images", "unpacked", "stat"]
        .map(|name| store.join(name))
        .into();
    while let Some(directory) = todo.pop() {
        for item in fs::read_dir(directory).unwrap() {
            let path = item.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

type Mutation = (&'static str, fn(&Path));

const MUTATIONS: [Mutation; 10] = [
    ("first byte", |path| flip(path, |_| 0)),
    ("middle byte", |path| flip(path, |length| length / 2)),
    ("last byte", |path| flip(path, |length| length - 1)),
    ("empty", |path| fs::write(path, "").unwrap()),
    ("half", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("longer", |path| {
        let mut bytes = fs::read(path).unwrap();
        bytes.push(0);
        fs::write(path, bytes).unwrap();
    }),
    ("zeros", |path| {
        let length = fs::metadata(path).unwrap().len();
        fs::write(path, vec![0; usize::try_from(length).unwrap()]).unwrap();
    }),
    ("directory", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("link", |path| {
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
    }),
    ("pipe", |path| {
        fs::remove_file(path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
    }),
];

fn flip(path: &Path, at: fn(usize) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let position = at(bytes.len());
    bytes[position] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_damage_to_every_object_is_found_and_repaired() {
    let directory = directory();
    let context = directory.path().join("context");
    fs::create_dir(&context).unwrap();
    let store = open(directory.path());
    fill(&store, &context);
    let count = objects(store.path()).len();
    assert_eq!(count, 7, "{:?}", objects(store.path()));
    assert_eq!(store.verify(false).unwrap().damage, []);
    drop(store);
    for number in 0..count {
        for (name, mutate) in MUTATIONS {
            let store = open(directory.path());
            let object = objects(store.path()).remove(number);
            mutate(&object);
            // A mark that became a directory is one without a mark: garbage,
            // not damage.
            let is_mark = object
                .components()
                .any(|part| part.as_os_str() == "unpacked");
            let found = store.verify(true).unwrap();
            let damaged: Vec<_> = found.damage.iter().map(|damage| &damage.path).collect();
            if !(is_mark && name == "directory") {
                assert_eq!(damaged, [&object], "{name}: {:?}", found.damage);
            }
            assert_eq!(store.verify(false).unwrap().damage, [], "{name}");
            let again = fill(&store, &context);
            assert!(store.indexes().get(&again).is_some());
            if is_mark {
                fs::remove_dir_all(store.path().join("unpacked")).unwrap();
                fs::create_dir(store.path().join("unpacked")).unwrap();
                drop(store);
                fill(&open(directory.path()), &context);
            }
        }
    }
}

#[test]
fn a_damaged_blob_is_an_error_once_and_absent_from_then_on() {
    for (name, mutate) in MUTATIONS {
        let directory = directory();
        let store = open(directory.path());
        let digest = store.blobs().put(BLOB).unwrap();
        let descriptor = plain(&digest, BLOB.len() as u64);
        let spoil = || {
            store.blobs().put(BLOB).unwrap();
            mutate(&store.blobs().path(&digest));
        };
        spoil();
        let outcome = store
            .blobs()
            .open(&descriptor)
            .map_err(|error| error.to_string());
        let outcome = outcome.and_then(|mut reader| {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut bytes).map_err(|error| error.to_string())
        });
        assert!(outcome.is_err(), "{name}");
        assert!(!store.blobs().path(&digest).exists(), "{name}");
        spoil();
        assert!(store.blobs().read(&digest, 1 << 20).is_err(), "{name}");
        let absent = store.blobs().read(&digest, 1 << 20);
        assert!(matches!(absent, Err(BlobError::Absent(_))), "{name}");
    }
}

#[test]
fn a_record_with_any_byte_changed_or_missing_is_absent() {
    let directory = directory();
    let store = open(directory.path());
    let (key, other) = (Digest::of(b"key"), Digest::of(b"other"));
    store.records().put(&key, b"value");
    store.records().put(&other, b"another value");
    drop(store);
    let store = open(directory.path());
    let file = |key: &Digest| {
        let hex = key.hex();
        store.path().join("records").join(&hex[..2]).join(hex)
    };
    let whole = fs::read(file(&key)).unwrap();
    assert_eq!(store.records().get(&key).unwrap(), b"value");
    let check = |bytes: &[u8]| {
        fs::write(file(&key), bytes).unwrap();
        assert_eq!(store.records().get(&key), None, "{bytes:02x?}");
    };
    for position in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[position] ^= 1 << bit;
            check(&bytes);
        }
        check(&whole[..position]);
    }
    // Whole, but under another name.
    check(&fs::read(file(&other)).unwrap());
}

#[test]
fn strangers_are_named_and_a_swapped_blob_is_no_blob() {
    let directory = directory();
    let store = open(directory.path());
    let (one, two) = (
        store.blobs().put(b"one").unwrap(),
        store.blobs().put(b"two").unwrap(),
    );
    fs::copy(store.blobs().path(&one), store.blobs().path(&two)).unwrap();
    fs::write(store.path().join("blobs/note"), "x").unwrap();
    let damage = store.verify(true).unwrap().damage;
    let kinds: Vec<_> = damage.iter().map(|damage| damage.kind).collect();
    assert_eq!(kinds.len(), 2, "{damage:?}");
    assert!(kinds.contains(&Kind::Blob) && kinds.contains(&Kind::Stray));
    assert!(store.blobs().contains(&one) && !store.blobs().contains(&two));
}
