//! Layers as they are written, read by others and by ourselves.

use std::io::Read;
use std::num::NonZeroUsize;
use std::process::Command;

use oci::Compression;
use store::Store;
use store::layer::{
    Entry, EntryKind, EntryPath, Layer, LayerError, LayerOptions, LayerWriter, Limits, Metadata,
    ScanOptions, recompress, scan,
};

use crate::{add_file, directory, open, options, path};

fn add(writer: &mut LayerWriter, name: &str, kind: EntryKind) -> Result<(), LayerError> {
    writer.add(Entry {
        path: path(name),
        kind,
        metadata: Metadata::root_owned(0o755, 0),
    })
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// A layer with one of everything.
fn sample(store: &Store, options: LayerOptions) -> Layer {
    let mut writer = LayerWriter::create(store, options).unwrap();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(255));
    add_file(&mut writer, "a/empty", b"");
    add_file(&mut writer, "a/noise", &noise(3 << 20));
    add_file(&mut writer, "a/text", "word ".repeat(500_000).as_bytes());
    let not_utf8 = EntryPath::parse(b"caf\xe9").unwrap();
    writer
        .add(Entry {
            path: not_utf8,
            kind: EntryKind::Symlink {
                target: vec![b't'; 300].into(),
            },
            metadata: Metadata::root_owned(0o777, -5),
        })
        .unwrap();
    add_file(&mut writer, &long, b"deep");
    add(&mut writer, "e", EntryKind::Directory).unwrap();
    add(&mut writer, "e", EntryKind::Opaque).unwrap();
    let mut capable = Metadata::root_owned(0o4755, 7);
    let mut capability = [0; 20];
    capability[..6].copy_from_slice(&[1, 0, 0, 2, 0, 0x20]);
    capable
        .xattrs
        .insert(b"security.capability".as_slice().into(), capability.into());
    capable.uid = 4_000_000_000;
    writer
        .add_file(path("e/capable"), capable, 1, None, &mut &b"x"[..])
        .unwrap();
    add_file(&mut writer, "e/passwd", b"root:x:0:0::/:\n");
    let target = path("e/capable");
    add(&mut writer, "e/zlink", EntryKind::HardLink { target }).unwrap();
    add(&mut writer, "f", EntryKind::Fifo).unwrap();
    let null = EntryKind::CharacterDevice { major: 1, minor: 3 };
    add(&mut writer, "null", null).unwrap();
    add(&mut writer, "z", EntryKind::Whiteout).unwrap();
    writer.finish().unwrap()
}

/// Rows: L13
#[test]
fn stores_threads_and_days_do_not_change_a_layer() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let layers: Vec<_> = [1, 2, 3]
            .map(|threads| {
                let directory = directory();
                sample(&open(directory.path()), options(compression, threads))
            })
            .into();
        for layer in &layers[1..] {
            assert_eq!(layer.descriptor, layers[0].descriptor);
            assert_eq!(layer.index, layers[0].index);
        }
    }
}

/// Rows: L15
#[test]
fn our_own_reader_finds_what_was_written() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let directory = directory();
        let store = open(directory.path());
        let layer = sample(&store, options(compression, 2));
        let found = scan(
            store.blobs().open(&layer.descriptor).unwrap(),
            ScanOptions {
                compression,
                expected_blob: Some(&layer.descriptor),
                expected_diff_id: Some(&layer.diff_id),
                limits: Limits::default(),
                unpack: None,
            },
        )
        .unwrap();
        assert_eq!(found.index, *layer.index);
        let table = store.seek_tables().get(&layer.descriptor).unwrap();
        assert_eq!(found.table, *table);
        drop(store);
        let store = open(directory.path());
        assert_eq!(store.indexes().get(&layer.diff_id), Some(layer.index));
    }
}

/// Rows: L6, L7, L13
#[test]
fn gnu_tar_lists_what_was_written() {
    let directory = directory();
    let store = open(directory.path());
    let layer = sample(&store, options(Compression::Gzip, 2));
    let listed = Command::new("tar")
        .args([
            "--quoting-style=escape",
            "--utc",
            "--numeric-owner",
            "-tvzf",
        ])
        .arg(store.blobs().path(&layer.descriptor.digest))
        .env("LC_ALL", "C")
        .output();
    let Ok(listed) = listed else {
        eprintln!("skipped: tar is not there");
        return;
    };
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(String::from_utf8_lossy(&listed.stderr), "");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let lines: Vec<_> = listed.lines().map(words).collect();
    let expected = [
        "-rw-r--r-- 0/0 0 1970-01-01 00:00 a/empty".to_owned(),
        "-rw-r--r-- 0/0 3145728 1970-01-01 00:00 a/noise".into(),
        "-rw-r--r-- 0/0 2500000 1970-01-01 00:00 a/text".into(),
        format!(
            "lrwxrwxrwx 0/0 0 1969-12-31 23:59 caf\\351 -> {}",
            "t".repeat(300)
        ),
        format!(
            "-rw-r--r-- 0/0 4 1970-01-01 00:00 {}/{}",
            "d".repeat(200),
            "f".repeat(255)
        ),
        "drwxr-xr-x 0/0 0 1970-01-01 00:00 e/".into(),
        "---------- 0/0 0 1970-01-01 00:00 e/.wh..wh..opq".into(),
        "-rwsr-xr-x 4000000000/0 1 1970-01-01 00:00 e/capable".into(),
        "-rw-r--r-- 0/0 15 1970-01-01 00:00 e/passwd".into(),
        "hrwxr-xr-x 0/0 0 1970-01-01 00:00 e/zlink link to e/capable".into(),
        "prwxr-xr-x 0/0 0 1970-01-01 00:00 f".into(),
        "crwxr-xr-x 0/0 1,3 1970-01-01 00:00 null".into(),
        "---------- 0/0 0 1970-01-01 00:00 .wh.z".into(),
    ];
    assert_eq!(lines, expected.map(|line| words(&line)));
}

/// Rows: L12
#[test]
fn recompressing_keeps_the_diff_id() {
    let directory = directory();
    let store = open(directory.path());
    let layer = sample(&store, options(Compression::None, 1));
    let gzip = sample(&store, options(Compression::Gzip, 1));
    let mut tar = store.blobs().open(&layer.descriptor).unwrap();
    let (descriptor, diff_id) =
        recompress(&store, &mut tar, options(Compression::Gzip, 2)).unwrap();
    assert_eq!((descriptor, diff_id), (gzip.descriptor, layer.diff_id));
}

/// Goes through in the memory of a few blocks.
/// Rows: L15
#[test]
fn files_larger_than_a_tar_header_can_say() {
    let directory = directory();
    let store = open(directory.path());
    let mut writer = LayerWriter::create(&store, options(Compression::Zstd, 2)).unwrap();
    let size = (8 << 30) + 5;
    let known = Some(store::layer::ContentHash([9; 32]));
    let mut zeros = std::io::repeat(0).take(size);
    let metadata = Metadata::root_owned(0o600, 0);
    writer
        .add_file(path("big"), metadata, size, known, &mut zeros)
        .unwrap();
    add_file(&mut writer, "small", b"behind it");
    let layer = writer.finish().unwrap();
    assert_eq!(layer.index.tar_bytes % 512, 0);
    assert!(layer.index.tar_bytes > size);
    assert!(layer.descriptor.size < 4 << 20, "{}", layer.descriptor.size);
}

fn check_refused(attempt: impl FnOnce(&mut LayerWriter) -> Result<(), LayerError>, message: &str) {
    let directory = directory();
    let store = open(directory.path());
    let mut writer = LayerWriter::create(&store, options(Compression::Gzip, 1)).unwrap();
    let error = attempt(&mut writer).unwrap_err();
    assert_eq!(error.to_string(), message);
}

/// Rows: L3, L6, L13
#[test]
fn what_is_not_a_layer_is_refused_by_name() {
    let file = |size: u64, content: &'static [u8]| {
        move |writer: &mut LayerWriter| {
            let metadata = Metadata::root_owned(0o644, 0);
            let outcome = writer.add_file(path("f"), metadata, size, None, &mut &content[..]);
            outcome.map(|_| ())
        }
    };
    check_refused(
        file(4, b"abc"),
        "`/f` changed while it was read: it had 4 bytes and then 3",
    );
    check_refused(
        file(2, b"abc"),
        "`/f` changed while it was read: it had 2 bytes and then more",
    );
    check_refused(
        file(0, b"a"),
        "`/f` changed while it was read: it had 0 bytes and then more",
    );
    for second in ["b", "a/z", "a-b"] {
        check_refused(
            |writer| {
                add(writer, "b", EntryKind::Fifo)?;
                add(writer, second, EntryKind::Fifo)
            },
            &format!("`/{second}` was added to a layer behind `/b`"),
        );
    }
    check_refused(
        |writer| {
            let target = path("l2");
            add(writer, "l1", EntryKind::HardLink { target })
        },
        "the hard link `/l1` names `/l2`, which is not an earlier file of its layer",
    );
    check_refused(
        |writer| add(writer, ".wh.x", EntryKind::Fifo),
        "`/.wh.x` cannot be in a layer: names that begin with `.wh.` mean deletions there (image specification, \"Whiteouts\")",
    );
    check_refused(
        |writer| {
            let _ = add(writer, "", EntryKind::Directory);
            add(writer, "a", EntryKind::Fifo)
        },
        "the layer is incomplete: an entry could not be written",
    );
    let directory = directory();
    let wrong = LayerOptions {
        compression: Compression::Gzip,
        level: Some(10),
        threads: NonZeroUsize::MIN,
    };
    let error = LayerWriter::create(&open(directory.path()), wrong).unwrap_err();
    assert_eq!(error.to_string(), "Gzip has no level 10: expected 0 to 9");
}

#[test]
fn an_unfinished_layer_leaves_nothing() {
    let directory = directory();
    let store = open(directory.path());
    let mut writer = LayerWriter::create(&store, options(Compression::Gzip, 2)).unwrap();
    add_file(&mut writer, "f", &noise(4 << 20));
    drop(writer);
    let used = store.du().unwrap();
    assert_eq!((used.blobs.count, used.indexes.count), (0, 0));
}
