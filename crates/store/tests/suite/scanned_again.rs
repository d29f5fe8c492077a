//! Layers whose index is known already.

use std::sync::Arc;

use oci::{Compression, DiffId, Digest};
use store::layer::{
    ContentHash, Entry, EntryKind, EntryPath, LayerIndex, Limits, ScanError, ScanOptions, scan,
    scan_again,
};
use testkit::tar;

fn options() -> ScanOptions<'static> {
    ScanOptions {
        compression: Compression::None,
        expected_blob: None,
        expected_diff_id: None,
        limits: Limits::default(),
        unpack: None,
    }
}

fn tar() -> Vec<u8> {
    let entry = |path: &str, kind, link: &str, content: &[u8]| tar::Entry {
        path: path.into(),
        kind,
        link: link.into(),
        mode: 0o755,
        content: content.into(),
        ..tar::Entry::default()
    };
    tar::write(&[
        entry("etc", b'5', "", b""),
        entry("etc/passwd", b'0', "", b"root:x:0:0::/:/bin/sh\n"),
        entry("link", b'2', "etc", b""),
        entry("f", b'0', "", b"content"),
    ])
}

/// Whatever an index says that is not so is noticed.
fn check(what: &str, lie: impl FnOnce(&mut LayerIndex)) {
    let mut index = scan(&tar()[..], options()).unwrap().index;
    lie(&mut index);
    let again = scan_again(&tar()[..], options(), &Arc::new(index));
    assert!(matches!(again, Err(ScanError::Index)), "{what}: {again:?}");
}

fn check_entry(what: &str, at: usize, lie: impl FnOnce(&mut Entry)) {
    check(what, |index| {
        let mut entries = index.entries.to_vec();
        lie(&mut entries[at]);
        index.entries = entries.into();
    });
}

#[test]
fn a_layer_gives_the_same_table_again() {
    let first = scan(&tar()[..], options()).unwrap();
    let again = scan_again(&tar()[..], options(), &Arc::new(first.index)).unwrap();
    let name = Digest::of(b"blob");
    assert_eq!(again.encode(&name), first.table.encode(&name));
}

#[test]
fn an_index_of_something_else_is_noticed() {
    let path = |text: &str| EntryPath::parse(text.as_bytes()).unwrap();
    check_entry("a path", 3, |entry| entry.path = path("g"));
    check_entry("a directory", 1, |entry| entry.path = path("usr/passwd"));
    check_entry("a mode", 0, |entry| entry.metadata.mode ^= 1);
    check_entry("a target", 2, |entry| {
        let target = b"usr"[..].into();
        entry.kind = EntryKind::Symlink { target };
    });
    check_entry("a size", 3, |entry| {
        let content = ContentHash::of(b"content");
        entry.kind = EntryKind::File { size: 8, content };
    });
    check_entry("a content", 3, |entry| {
        let content = ContentHash::of(b"another");
        entry.kind = EntryKind::File { size: 7, content };
    });
    check("an entry less", |index| {
        let mut entries = index.entries.to_vec();
        entries.pop();
        index.entries = entries.into();
    });
    check("an entry more", |index| {
        let mut entries = index.entries.to_vec();
        entries.push(entries[3].clone());
        index.entries = entries.into();
    });
    check("a length", |index| index.tar_bytes += 512);
    check("a small file", |index| index.small_files.clear());
    check("parents", |index| index.implicit_parents ^= true);
    check("another layer", |index| {
        index.diff_id = DiffId(Digest::of(b"another"));
    });
    check("places", |index| {
        index.extents = store::layer::Extents::default();
    });
}
