//! A process that works on a store until it is killed, or until its disk is
//! full: what the tests of the store start and end. No part of kiln.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use oci::{Compression, Digest};
use store::Store;
use store::layer::{EntryPath, LayerError, LayerOptions, LayerWriter, Metadata};
use store::unpacked::UnpackedKey;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next().expect("a verb");
    let directory = PathBuf::from(arguments.next().expect("a directory"));
    let seed = arguments
        .next()
        .and_then(|seed| seed.to_str()?.parse().ok())
        .expect("a seed");
    match verb.to_str() {
        Some("work-until-killed") => work_until_killed(&directory, seed),
        Some("work-for-a-while") => work_for_a_while(&directory, seed),
        Some("fill-the-disk") => fill_the_disk(&directory),
        _ => panic!("no such verb: {}", verb.display()),
    }
}

fn open(path: &Path) -> Store {
    Store::open(&path.join("store")).unwrap()
}

fn path(text: &str) -> EntryPath {
    EntryPath::parse(text.as_bytes()).unwrap()
}

fn options(compression: Compression, threads: usize) -> LayerOptions {
    let threads = NonZeroUsize::new(threads).unwrap();
    LayerOptions {
        compression,
        level: None,
        threads,
    }
}

fn key(number: u32) -> Digest {
    Digest::of(&number.to_le_bytes())
}

fn add_file(writer: &mut LayerWriter, name: &str, content: &[u8]) {
    let (metadata, size) = (Metadata::root_owned(0o644, 0), content.len() as u64);
    writer
        .add_file(path(name), metadata, size, None, &mut &content[..])
        .unwrap();
}

/// One round of everything that a build does to a store. The record of `number`
/// names the blob; keys repeat between processes, contents do not.
fn work(store: &Store, number: u32, seed: u32) {
    let threads = 1 + number as usize % 2;
    let compression = [Compression::Gzip, Compression::Zstd][number as usize % 2];
    let mut writer = LayerWriter::create(store, options(compression, threads)).unwrap();
    for file in 0..20 {
        let content = format!("{number} {seed} {file} ").repeat(5_000);
        add_file(&mut writer, &format!("file{file:02}"), content.as_bytes());
    }
    let layer = writer.finish().unwrap();
    let scratch = store.scratch().unwrap();
    let tree = scratch.directory().unwrap();
    for file in 0..20 {
        fs::write(tree.join(file.to_string()), number.to_le_bytes()).unwrap();
    }
    let unpacked = UnpackedKey::Layer(layer.diff_id.clone());
    store.unpacked().adopt(&tree, unpacked).unwrap();
    let value = serde_json::to_vec(&layer.descriptor).unwrap();
    store.records().put(&key(number), &value);
    store
        .images()
        .set(&format!("image-{number}"), &layer.descriptor);
}

fn work_until_killed(directory: &Path, seed: u32) {
    let store = open(directory);
    for number in 0.. {
        work(&store, number % 40, seed);
        if number % 5 == 4 {
            store.flush().unwrap();
        }
    }
}

fn work_for_a_while(directory: &Path, seed: u32) {
    for round in 0..5 {
        let store = open(directory);
        for number in 0..8 {
            work(&store, number, seed + round);
        }
        store.flush().unwrap();
    }
}

fn fill_the_disk(directory: &Path) {
    let store = open(directory);
    let mut kept = 0;
    let full = (0..).find_map(|number: u32| {
        let mut writer = LayerWriter::create(&store, options(Compression::None, 2)).ok()?;
        let content = number.to_le_bytes().repeat(64 << 10);
        let size = content.len() as u64;
        let metadata = Metadata::root_owned(0o644, 0);
        let outcome = writer
            .add_file(path("f"), metadata, size, None, &mut &content[..])
            .and_then(|_| writer.finish());
        match outcome {
            Ok(layer) => {
                kept += 1;
                store
                    .records()
                    .put(&key(number), layer.diff_id.to_string().as_bytes());
                None
            }
            Err(LayerError::Disk(error)) => Some(error),
            Err(other) => panic!("{other}"),
        }
    });
    let full = full.unwrap();
    assert!(
        full.is_full() && full.path().starts_with(directory),
        "{full}"
    );
    assert!(full.to_string().contains("inodes are free there"), "{full}");
    assert!(kept > 2);
    assert_eq!(store.verify(false).unwrap().damage, []);
    // With room again, everything works: in the same process, too.
    fs::remove_file(store.path().parent().unwrap().join("ballast")).unwrap();
    assert!(store.blobs().put(&[1; 100_000]).is_ok());
    store.flush().unwrap();
    assert!(store.records().get(&key(0)).is_some());
    fs::write(store.path().parent().unwrap().join("passed"), "").unwrap();
}
