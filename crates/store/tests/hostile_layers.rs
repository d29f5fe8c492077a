//! Layers that somebody made to break the reader. The cases are those of group A
//! of the specification page on reliability and security; the number is in each
//! test's name. Everything is unpacked beside a tree that must stay as it is, to
//! the inode and the nanosecond.

#![allow(clippy::print_stderr)] // a skipped test says why

mod hostile_support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::Arc;

use hostile_support::{
    Cage, Header, Tar, descriptor, gzip, index, is_root, record, scan_bytes, tree, zeros, zstd,
};
use oci::{Compression, DiffId, Digest};
use store::layer::{
    ContentHash, DecompressError, EntryError, EntryKind, EntryPath, LayerIndex, Limits,
    OPAQUE_XATTR, PlaceError, ScanError, ScanOptions, TarReadError, Tree, UnpackError, scan,
};

fn path(text: &str) -> EntryPath {
    EntryPath::parse(text.as_bytes()).unwrap()
}

/// Must be refused with an error that says `reason`, reading and unpacking alike.
fn refused(tar: &[u8], reason: &str) {
    let cage = Cage::new();
    let unpacked = cage.unpack(tar, None).expect_err(reason);
    let read = scan_bytes(tar, Compression::None, Limits::default(), None).expect_err(reason);
    for error in [unpacked.to_string(), read.to_string()] {
        assert!(error.contains(reason), "expected `{reason}`, got `{error}`");
    }
}

/// Must be taken; the index.
fn taken(tar: &[u8]) -> (Cage, LayerIndex) {
    let cage = Cage::new();
    let unpacked = cage.unpack(tar, None).unwrap();
    assert_eq!(unpacked, index(tar), "unpacking must not change the index");
    (cage, unpacked)
}

/// Rows: L6
#[test]
fn a01_names_with_parent_components() {
    for name in [
        "../evil",
        "a/../../evil",
        "./../x",
        "a/b/../../../x",
        "a/..",
    ] {
        refused(&Tar::new().file(name, b"x").end(), "leaves the root");
    }
}

/// Rows: L6
#[test]
fn a02_absolute_names_are_inside() {
    let (cage, index) = taken(&Tar::new().file("/etc/shadow2", b"x").end());
    assert!(cage.root().join("etc/shadow2").is_file());
    assert_eq!(index.entries.to_vec()[0].path, path("etc/shadow2"));
    assert!(index.implicit_parents && index.needs_lower());
}

#[test]
fn a03_writing_through_a_link_stays_inside() {
    let cage = Cage::new();
    let outside = cage.outside();
    let tar = Tar::new()
        .symlink("a", &outside)
        .file("a/pwn", b"x")
        .symlink("b", "../../../../other")
        .file("b/pwn", b"y")
        .end();
    cage.unpack(&tar, None).unwrap();
    assert!(cage.inside(&outside).join("pwn").is_file());
    assert!(cage.root().join("other/pwn").is_file());
    let seen = tree(&[&tar]);
    let lookup = |text: &str| seen.lookup(&path(text)).map(|node| node.kind().clone());
    assert!(matches!(
        lookup(&format!("{outside}/pwn")),
        Some(EntryKind::File { .. })
    ));
    assert!(matches!(lookup("other/pwn"), Some(EntryKind::File { .. })));
    assert!(matches!(lookup("a"), Some(EntryKind::Symlink { .. })));
}

#[test]
fn a04_a_chain_that_leaves_in_the_end() {
    let cage = Cage::new();
    let tar = Tar::new()
        .symlink("x", "y/..")
        .symlink("y", "/")
        .file("x/deep/file", b"x")
        .end();
    cage.unpack(&tar, None).unwrap();
    assert!(cage.root().join("deep/file").is_file());
}

#[test]
fn a04_links_without_end() {
    let tar = Tar::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", b"")
        .end();
    refused(&tar, "more than 40 symbolic links");
}

#[test]
fn a04_links_to_where_no_path_leads() {
    let name = format!("{}/y", "n".repeat(300));
    let tar = Tar::new().symlink("a", &name).file("a/x", b"").end();
    refused(&tar, "longer than the kernel takes");
    let deep = "d/".repeat(1_000);
    let tar = Tar::new()
        .symlink("a", &deep)
        .symlink(&format!("{deep}b")[1_950..], &deep)
        .file("a/x", b"")
        .end();
    taken(&tar);
    let mut tar = Tar::new();
    for (from, to) in [("a", "b"), ("b", "c")] {
        tar = tar.symlink(from, &format!("{to}/{deep}"));
    }
    refused(
        &tar.symlink("c", &deep).file("a/x", b"").end(),
        "longer than the kernel takes",
    );
}

#[test]
fn a05_the_root_is_a_directory() {
    for name in [".", "./", "/.", "/"] {
        refused(&Tar::new().symlink(name, "/etc").end(), "the root itself");
    }
    refused(&Tar::new().file("./.", b"").end(), "the root itself");
}

#[test]
fn a06_metadata_does_not_go_through_a_link() {
    let cage = Cage::new();
    let tar = Tar::new()
        .symlink("a", &cage.outside())
        .raw(Header::new("a", b'5').mode(0o777).mtime(77), b"")
        .end();
    cage.unpack(&tar, None).unwrap();
    let made = fs::symlink_metadata(cage.root().join("a")).unwrap();
    assert!(made.is_dir());
    assert_eq!((made.mode() & 0o7777, made.mtime()), (0o777, 77));
}

/// Rows: L8
#[test]
fn a07_hard_links_to_what_is_not_in_the_layer() {
    let cage = Cage::new();
    let outside = format!("{}/file", cage.outside());
    for target in ["/etc/passwd", outside.as_str(), "Cargo.toml", "missing"] {
        let error = cage
            .unpack(&Tar::new().hard_link("h", target).end(), None)
            .unwrap_err();
        assert!(
            matches!(error, ScanError::Unpack(UnpackError::HardLink { .. })),
            "{target}: {error}"
        );
    }
    refused(
        &Tar::new().hard_link("h", "../../etc/passwd").end(),
        "leaves the root",
    );
}

#[test]
fn a07_hard_links_are_resolved_inside() {
    let cage = Cage::new();
    let tar = Tar::new()
        .file("etc/passwd", b"ours")
        .hard_link("h", "/etc/passwd")
        .symlink("s", "/etc")
        .hard_link("through", "s/passwd")
        .end();
    cage.unpack(&tar, None).unwrap();
    assert_eq!(fs::read(cage.root().join("h")).unwrap(), b"ours");
    let names: Vec<_> = ["etc/passwd", "h", "through"]
        .iter()
        .map(|name| fs::metadata(cage.root().join(name)).unwrap().ino())
        .collect();
    assert_eq!(names, [names[0]; 3]);
    let seen = tree(&[&tar]);
    let content = |name: &str| seen.lookup(&path(name)).unwrap().content().unwrap().id();
    assert_eq!(content("h"), content("etc/passwd"));
    assert_eq!(content("through"), content("etc/passwd"));
}

#[test]
fn a07_directories_have_no_hard_links() {
    let cage = Cage::new();
    let tar = Tar::new().dir("d").hard_link("h", "d").end();
    assert!(cage.unpack(&tar, None).is_err());
    let seen = tree(&[&tar]);
    assert!(seen.lookup(&path("h")).unwrap().content().is_none());
}

#[test]
fn a08_a_hard_link_to_a_link_is_that_link() {
    let cage = Cage::new();
    let target = format!("{}/file", cage.outside());
    let tar = Tar::new().symlink("s", &target).hard_link("h", "s").end();
    cage.unpack(&tar, None).unwrap();
    let link = |name| fs::symlink_metadata(cage.root().join(name)).unwrap();
    assert!(link("h").is_symlink());
    assert_eq!(link("h").ino(), link("s").ino());
}

#[test]
fn a09_a_file_over_a_link_replaces_the_link() {
    let cage = Cage::new();
    let target = format!("{}/file", cage.outside());
    let tar = Tar::new().symlink("s", &target).file("s", b"new").end();
    cage.unpack(&tar, None).unwrap();
    let made = fs::symlink_metadata(cage.root().join("s")).unwrap();
    assert!(made.is_file());
    assert_eq!(fs::read(cage.root().join("s")).unwrap(), b"new");
}

#[test]
fn a10_whiteouts_through_a_link_of_the_layer_below() {
    let cage = Cage::new();
    let outside = cage.outside();
    let lower = Tar::new()
        .symlink("etc", &outside)
        .file(&format!("{}/file", &outside[1..]), b"inside")
        .end();
    let upper = Tar::new().file("etc/.wh.file", b"").end();
    let below = tree(&[&lower]);
    let name = format!("{outside}/file");
    assert!(below.lookup(&path(&name)).is_some());
    cage.unpack(&upper, Some(&below)).unwrap();
    let both = tree(&[&lower, &upper]);
    assert!(both.lookup(&path(&name)).is_none());
    assert!(both.lookup(&path(&outside)).is_some());
    if is_root() {
        let mark = fs::symlink_metadata(cage.inside(&name)).unwrap();
        assert!(mark.file_type().is_char_device());
    }
}

#[test]
fn a11_whiteouts_of_nothing_that_can_be() {
    for name in [".wh.", ".wh..", ".wh...", ".wh..wh.x", "a/.wh."] {
        refused(
            &Tar::new().file(name, b"").end(),
            "must be followed by a name",
        );
    }
    for tar in [
        Tar::new().dir(".wh.d"),
        Tar::new().file(".wh.f", b"content"),
        Tar::new().file(".wh.d/x", b""),
        Tar::new().symlink(".wh.l", "x"),
    ] {
        refused(&tar.end(), "begins with `.wh.`");
    }
}

/// What is visible of `layers`, in the order of a walk; and the same when each
/// was read with its lower ones known and unpacked, and wherever the stack is
/// cut and grown again.
fn visible(layers: &[Vec<u8>]) -> Vec<String> {
    let paths = |tree: &Tree| -> Vec<String> {
        let root = tree.root().id();
        tree.walk(root)
            .map(|node| node.path().to_string())
            .collect()
    };
    let mut stack = Tree::empty();
    for layer in layers {
        let cage = Cage::new();
        let known = Arc::new(cage.unpack(layer, Some(&stack)).unwrap());
        stack = stack.with_layer(known);
    }
    for cut in 0..=layers.len() {
        let (lower, upper) = stack.layers().split_at(cut);
        let grown = Tree::stack(lower).with_layers(upper);
        assert_eq!(paths(&grown), paths(&stack), "cut at {cut}");
    }
    paths(&stack)
}

/// Rows: L1, L2
#[test]
fn a11_the_order_of_marks_and_files_does_not_matter() {
    let lower = Tar::new()
        .dir("d")
        .file("d/old", b"old")
        .dir("d/sub")
        .file("d/sub/old", b"old")
        .file("f", b"old")
        .end();
    let parts: [&dyn Fn(Tar) -> Tar; 5] = [
        &|tar| tar.file("d/.wh..wh..opq", b""),
        &|tar| tar.file("d/new", b"new"),
        &|tar| tar.file(".wh.f", b""),
        &|tar| tar.file("f", b"new"),
        &|tar| tar.file("d/.wh..wh..opq", b"").file(".wh.absent", b""),
    ];
    let orders = [
        [0, 1, 2, 3, 4],
        [4, 3, 2, 1, 0],
        [1, 3, 0, 2, 4],
        [3, 1, 4, 2, 0],
    ];
    for order in orders {
        let upper = order
            .iter()
            .fold(Tar::new(), |tar, at| parts[*at](tar))
            .end();
        assert_eq!(
            visible(&[lower.clone(), upper]),
            ["/", "/d", "/d/new", "/f"],
            "{order:?}"
        );
    }
}

/// Rows: L2
#[test]
fn a11_a_directory_hidden_and_made_again() {
    let lower = Tar::new()
        .dir("d")
        .file("d/old", b"")
        .dir("d/s")
        .file("d/s/old", b"")
        .end();
    for upper in [
        Tar::new().file(".wh.d", b"").dir("d").file("d/new", b""),
        Tar::new().dir("d").file("d/new", b"").file(".wh.d", b""),
        Tar::new().file(".wh.d", b"").file("d/new", b""),
        Tar::new().file("d", b"").dir("d").file("d/new", b""),
    ] {
        let upper = upper.end();
        assert_eq!(
            visible(&[lower.clone(), upper.clone()]),
            ["/", "/d", "/d/new"]
        );
        // On disk it must hide what lies below, whether that is known or not.
        if !is_root() {
            continue;
        }
        for below in [None, Some(tree(&[&lower]))] {
            let cage = Cage::new();
            cage.unpack(&upper, below.as_ref()).unwrap();
            let made = store::dir::Dir::open(&cage.root().join("d")).unwrap();
            let attributes = store::dir::xattrs(&made).unwrap();
            assert_eq!(attributes.get(OPAQUE_XATTR).map(|v| &**v), Some(&b"y"[..]));
            assert_eq!(made.read_dir().unwrap().len(), 1);
        }
    }
}

/// Rows: L4, L1
#[test]
fn a11_whiteouts_of_what_is_absent_leave_nothing_on_disk() {
    let lower = Tar::new().dir("d").end();
    let upper = Tar::new().file("d/.wh.x", b"").file("e/.wh.y", b"").end();
    let cage = Cage::new();
    cage.unpack(&upper, Some(&tree(&[&lower]))).unwrap();
    assert_eq!(fs::read_dir(cage.root()).unwrap().count(), 0);
}

#[test]
fn a12_a_file_is_no_directory() {
    let tar = Tar::new()
        .dir("d")
        .file("d/one", b"1")
        .file("d", b"2")
        .file("d/x", b"3")
        .end();
    let cage = Cage::new();
    let error = cage.unpack(&tar, None).unwrap_err();
    assert!(
        matches!(error, ScanError::Place(PlaceError::NotDirectory { .. })),
        "{error}"
    );
    refused(&tar, "lies below");
    let deep = Tar::new().file("d", b"").file("d/x/y/z", b"").end();
    refused(&deep, "lies below");
    // Without the third it is a legal, if odd, layer.
    let tar = Tar::new()
        .dir("d")
        .file("d/one", b"1")
        .file("d", b"2")
        .end();
    let (cage, _) = taken(&tar);
    assert_eq!(fs::read(cage.root().join("d")).unwrap(), b"2");
}

#[test]
fn a13_a_size_said_twice() {
    let hidden = Tar::new().file("hidden", b"").0;
    // The header says nothing, PAX says 512: the hidden header is content.
    let tar = Tar::new()
        .pax(&[("size", b"512")])
        .raw(Header::new("f", b'0'), &hidden)
        .file("after", b"")
        .end();
    let (_, read) = taken(&tar);
    let names: Vec<_> = read.entries.iter().map(|e| e.path.to_string()).collect();
    assert_eq!(names, ["/f", "/after"]);
    assert!(matches!(
        *read.entries.kind(0),
        EntryKind::File { size: 512, .. }
    ));
    // The other way round it is an entry.
    let tar = Tar::new()
        .pax(&[("size", b"0")])
        .raw(Header::new("f", b'0').size(512), &hidden)
        .end();
    let (_, read) = taken(&tar);
    let names: Vec<_> = read.entries.iter().map(|e| e.path.to_string()).collect();
    assert_eq!(names, ["/f", "/hidden"]);
    // Twice in one header: the last. Two headers: readers disagree.
    let tar = Tar::new()
        .pax(&[("size", b"0"), ("size", b"512")])
        .raw(Header::new("f", b'0'), &hidden)
        .end();
    assert_eq!(taken(&tar).1.entries.len(), 1);
    let tar = Tar::new()
        .pax(&[("size", b"0")])
        .pax(&[("size", b"512")])
        .raw(Header::new("f", b'0'), &hidden)
        .end();
    refused(&tar, "repeated");
    let tar = Tar::new()
        .pax_body(b'g', &record("size", b"512"))
        .file("f", b"")
        .end();
    refused(&tar, "global header");
    // Links and directories with content.
    for letter in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let tar = Tar::new()
            .raw(Header::new("l", letter).link("x").size(512), &hidden)
            .end();
        refused(&tar, "bytes of content");
    }
    refused(
        &Tar::new().file("looks-like-a-directory/", b"x").end(),
        "bytes of content",
    );
}

#[test]
fn a14_broken_pax_headers_are_not_skipped() {
    for (body, reason) in [
        (&b"x path=a\n"[..], "no proper length"),
        (b"999 path=a\n", "no proper length"),
        (b"9 pathxa\n", "keyword=value"),
        (b"9 path=a\x20", "keyword=value"),
        (b"9 path=\0\n", "cannot be"),
        (b"6 \xff=a\n", "not UTF-8"),
        (b"13 mtime=NaN\n", "cannot be"),
    ] {
        let tar = Tar::new().pax_body(b'x', body).file("f", b"").end();
        refused(&tar, reason);
    }
    // A header that belongs to nothing.
    refused(
        &Tar::new().pax(&[("path", b"a")]).end(),
        "belongs to no entry",
    );
}

#[test]
fn a15_metadata_bombs() {
    for letter in [b'x', b'g', b'L', b'K'] {
        let header = Header::new("././@LongLink", letter).size(3 << 30);
        refused(&Tar::new().raw(header, b"").end(), "at most 1048576");
    }
    // As many as one likes below that, but not all in memory.
    let value = vec![b'v'; 60_000];
    let mut tar = Tar::new();
    for at in 0..40 {
        tar = tar
            .pax(&[(&format!("SCHILY.xattr.user.{at}"), &value)])
            .file("f", b"");
    }
    let limits = Limits {
        names_bytes: 1 << 20,
        ..Limits::default()
    };
    let error = scan_bytes(&tar.end(), Compression::None, limits, None).unwrap_err();
    assert!(
        matches!(error, ScanError::Entry(EntryError::NamesBytes(_))),
        "{error}"
    );
}

#[test]
fn a16_sizes_that_lie() {
    let negative = [0xff; 12];
    let huge: [u8; 12] = [
        0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ];
    let beyond: [u8; 12] = [
        0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ];
    let with_size = |size: &[u8]| {
        Tar::new()
            .raw(Header::new("f", b'0').bytes(124, size), b"")
            .end()
    };
    refused(&with_size(&negative), "out of range");
    refused(&with_size(&beyond), "out of range");
    refused(&with_size(&huge), "exceed");
    refused(&with_size(b"12345678x\0"), "not a number");
    let sparse = |size: &str, map: &str| {
        Tar::new()
            .pax(&[
                ("GNU.sparse.size", size.as_bytes()),
                ("GNU.sparse.map", map.as_bytes()),
            ])
            .raw(Header::new("f", b'0').size(10), &[7; 10])
            .end()
    };
    refused(&sparse("4611686018427387904", "0,10"), "exceed");
    refused(&sparse("100", "0,5,3,5"), "overlap");
    refused(&sparse("100", "50,5,0,5"), "out of order");
    refused(&sparse("100", "98,10"), "beyond its end");
    refused(&sparse("100", "0,9"), "parts have 9 bytes");
    refused(&sparse("100", "0"), "cannot be");
    let (cage, read) = taken(&sparse("100", "10,10"));
    let content = fs::read(cage.root().join("f")).unwrap();
    assert_eq!(content, [&[0; 10][..], &[7; 10], &[0; 80]].concat());
    let EntryKind::File {
        size,
        content: hash,
    } = read.entries.kind(0)
    else {
        panic!("a file");
    };
    assert_eq!(*size, 100);
    assert_eq!(*hash, ContentHash::of(&content));
}

#[test]
fn a17_bombs_stop_at_the_limit() {
    let limits = Limits {
        tar_bytes: 8 << 20,
        ..Limits::default()
    };
    let mut tar = Tar::new()
        .raw(Header::new("zeros", b'0').size(1 << 30), b"")
        .0;
    std::io::copy(&mut zeros(256 << 20), &mut tar).unwrap();
    for (blob, compression) in [
        (gzip(&tar), Compression::Gzip),
        (zstd(&tar), Compression::Zstd),
    ] {
        let error = scan_bytes(&blob, compression, limits, None).unwrap_err();
        // The declared size alone is already too much.
        assert!(error.to_string().contains("exceed"), "{error}");
    }
    // Without a size that says so.
    let nothing = [vec![0; 1024], vec![0; 16 << 20]].concat();
    let error = scan_bytes(&gzip(&nothing), Compression::Gzip, limits, None).unwrap_err();
    assert!(
        matches!(error, ScanError::Refused(DecompressError::Bytes(_))),
        "{error}"
    );
    let error = scan_bytes(&zstd(&tar), Compression::Zstd, Limits::default(), None).unwrap_err();
    assert!(
        matches!(error, ScanError::Refused(DecompressError::Ratio { .. })),
        "{error}"
    );
}

#[test]
fn a17_a_zstd_window_of_two_gibibytes() {
    // RFC 8878: magic, descriptor without single segment, window descriptor
    // with exponent 21 (2^31), one raw last block of no bytes.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
    let error = scan_bytes(&frame, Compression::Zstd, Limits::default(), None).unwrap_err();
    assert!(matches!(error, ScanError::Damaged(_)), "{error}");
    let good = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 16 << 3, 0x01, 0x00, 0x00];
    let error = scan_bytes(&good, Compression::Zstd, Limits::default(), None).unwrap_err();
    assert!(
        matches!(error, ScanError::Tar(TarReadError::NoEndMarker(0))),
        "{error}"
    );
}

#[test]
fn a18_what_is_behind_the_end_is_hashed_and_not_extracted() {
    let first = Tar::new().file("seen", b"").end();
    let second = Tar::new().file("hidden", b"").end();
    let both = [first.clone(), second].concat();
    let (cage, read) = taken(&both);
    assert_eq!(read.entries.len(), 1);
    assert_eq!(read.diff_id, DiffId(Digest::of(&both)));
    assert_eq!(read.tar_bytes, both.len() as u64);
    assert!(!cage.root().join("hidden").exists());

    let trailing = [gzip(&first), b"trailing".to_vec()].concat();
    let error = scan_bytes(&trailing, Compression::Gzip, Limits::default(), None).unwrap_err();
    assert!(matches!(error, ScanError::Damaged(_)), "{error}");
}

#[test]
fn a18_other_bytes_than_promised() {
    let tar = Tar::new().file("f", b"content").end();
    for (compression, blob) in [
        (Compression::None, tar.clone()),
        (Compression::Gzip, gzip(&tar)),
        (Compression::Zstd, zstd(&tar)),
    ] {
        let expected = descriptor(&blob, compression);
        let other = DiffId(Digest::of(b"other"));
        let run = |bytes: &[u8], diff_id: Option<&DiffId>| {
            scan(
                bytes,
                ScanOptions {
                    compression,
                    expected_blob: Some(&expected),
                    expected_diff_id: diff_id,
                    limits: Limits::default(),
                    unpack: None,
                },
            )
        };
        assert!(run(&blob, Some(&DiffId(Digest::of(&tar)))).is_ok());
        assert!(matches!(
            run(&blob, Some(&other)),
            Err(ScanError::DiffId { .. })
        ));
        // Whatever the damage does to the stream, it is told as a wrong copy.
        for at in (0..blob.len()).step_by(7) {
            let mut flipped = blob.clone();
            flipped[at] ^= 0x20;
            let error = run(&flipped, None).unwrap_err();
            assert!(matches!(error, ScanError::Digest { .. }), "{at}: {error}");
            let error = run(&blob[..at], None).unwrap_err();
            assert!(matches!(error, ScanError::Size { .. }), "{at}: {error}");
        }
        let longer = [&blob[..], &[0; 512]].concat();
        assert!(matches!(run(&longer, None), Err(ScanError::Size { .. })));
    }
}

#[test]
fn a18_a_source_that_fails_is_not_a_bad_layer() {
    struct Fails(usize);
    impl std::io::Read for Fails {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
            }
            self.0 -= 1;
            buffer[..2].copy_from_slice(&[0x1f, 0x8b]);
            Ok(2)
        }
    }
    for reads in [0, 1, 5] {
        let expected = descriptor(b"whatever", Compression::Gzip);
        let error = scan(
            Fails(reads),
            ScanOptions {
                compression: Compression::Gzip,
                expected_blob: Some(&expected),
                expected_diff_id: None,
                limits: Limits::default(),
                unpack: None,
            },
        )
        .unwrap_err();
        // After five reads more came than was promised, which is told first.
        match error {
            ScanError::Read(source) => {
                assert_eq!(source.kind(), std::io::ErrorKind::ConnectionReset);
            }
            ScanError::Size { .. } => assert_eq!(reads, 5),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a19_members_and_frames() {
    let tar = Tar::new().file("f", &[b'x'; 3000]).end();
    let (head, tail) = tar.split_at(1000);
    let members = [gzip(head), gzip(b""), gzip(tail)].concat();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let frames = [zstd(head), zstd(b""), skippable.clone(), zstd(tail)].concat();
    let first_skipped = [skippable, zstd(&tar)].concat();
    for (blob, compression) in [
        (&members, Compression::Gzip),
        (&frames, Compression::Zstd),
        (&first_skipped, Compression::Zstd),
    ] {
        let read = scan_bytes(blob, compression, Limits::default(), None).unwrap();
        assert_eq!(read.diff_id, DiffId(Digest::of(&tar)));
    }
    for (mut blob, compression, last) in [
        (members, Compression::Gzip, gzip(tail).len()),
        (frames, Compression::Zstd, zstd(tail).len()),
    ] {
        let at = blob.len() - last + 12;
        blob[at] ^= 0xff;
        blob[at + 1] ^= 0xff;
        let result = scan_bytes(&blob, compression, Limits::default(), None);
        let refused = !matches!(&result, Ok(index) if index.diff_id == DiffId(Digest::of(&tar)));
        assert!(refused, "{result:?}");
        let cut = &blob[..blob.len() - last / 2];
        assert!(scan_bytes(cut, compression, Limits::default(), None).is_err());
    }
}

#[test]
fn a20_labels_that_lie() {
    let tar = Tar::new().file("f", b"").end();
    for (blob, label, names) in [
        (zstd(&tar), Compression::Gzip, ["gzip", "zstd"]),
        (tar.clone(), Compression::Gzip, ["gzip", "not compressed"]),
        (gzip(&tar), Compression::Zstd, ["zstd", "gzip"]),
        (gzip(&tar), Compression::None, ["not compressed", "gzip"]),
        (Vec::new(), Compression::Gzip, ["gzip", "not compressed"]),
    ] {
        let error = scan_bytes(&blob, label, Limits::default(), None).unwrap_err();
        let wanted = format!("labelled {}, but the bytes are {}", names[0], names[1]);
        assert!(error.to_string().contains(&wanted), "{error}");
    }
}

#[test]
fn a21_many_things() {
    let mut tar = Tar::new();
    for at in 0..2_000 {
        tar = tar.file(&format!("f{at}"), b"");
    }
    let limits = Limits {
        entries: 1_000,
        ..Limits::default()
    };
    let error = scan_bytes(&tar.end(), Compression::None, limits, None).unwrap_err();
    assert!(
        matches!(error, ScanError::Tar(TarReadError::Entries(1_000))),
        "{error}"
    );

    let deep = "d/".repeat(1_500);
    let tar = Tar::new().pax(&[("path", deep.as_bytes())]).dir("x").end();
    refused(&tar, "deeper than 1024");
    let long = vec!["n".repeat(100); 41].join("/");
    let tar = Tar::new()
        .pax(&[("path", long.as_bytes())])
        .file("x", b"")
        .end();
    refused(&tar, "too long");
    let tar = Tar::new()
        .pax(&[("path", "n".repeat(256).as_bytes())])
        .file("x", b"")
        .end();
    refused(&tar, "too long");
}

#[test]
fn a21_one_name_again_and_again() {
    // Ten thousand times, in one directory with as many other names, with marks
    // between: what is not linear takes minutes.
    let mut tar = Tar::new().dir("d");
    for at in 0..10_000 {
        tar = tar
            .file(&format!("d/{}", 10_000 - at), b"")
            .file("d/same", b"")
            .file("d/.wh..wh..opq", b"")
            .file(&format!("d/.wh.{at}"), b"");
    }
    let layer = Arc::new(index(&tar.end()));
    let stack = Tree::stack(&[layer.clone(), layer.clone(), layer]);
    let directory = stack.lookup(&path("d")).unwrap();
    assert_eq!(directory.children().len(), 10_001);
}

#[test]
fn a21_deep_trees_are_unpacked_and_removed() {
    let mut name = String::new();
    let mut tar = Tar::new();
    for _ in 0..900 {
        name.push_str("d/");
        tar = tar.pax(&[("path", name.as_bytes())]).dir("x");
    }
    name.push('f');
    tar = tar.pax(&[("path", name.as_bytes())]).file("x", b"deep");
    let (cage, _) = taken(&tar.end());
    let root = store::dir::Dir::open(&cage.root()).unwrap();
    assert!(root.open_file(name.as_bytes()).is_ok());
    root.remove_tree(b"d").unwrap();
    assert!(root.is_empty().unwrap());
    cage.assert_untouched("removing");
}

/// Several processes empty the trash of one store.
#[test]
fn several_may_remove_one_tree() {
    for _ in 0..40 {
        let place = tempfile::tempdir().unwrap();
        for a in 0..6 {
            for b in 0..6 {
                let directory = place.path().join(format!("tree/{a}/{b}"));
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(directory.join("file"), "").unwrap();
            }
        }
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let root = store::dir::Dir::open(place.path()).unwrap();
                    root.remove_tree(b"tree").unwrap();
                });
            }
        });
        assert!(!place.path().join("tree").exists());
    }
}

#[test]
fn a22_special_files() {
    refused(
        &Tar::new().raw(Header::new("z", b'Z'), b"").end(),
        "has the type `Z`",
    );
    let tar = Tar::new()
        .raw(Header::new("null", b'3').mode(0o666).device(1, 3), b"")
        .raw(Header::new("disk", b'4').mode(0o660).device(8, 1), b"")
        .raw(Header::new("pipe", b'6').mode(0o622).mtime(9), b"")
        .end();
    let (cage, read) = taken(&tar);
    assert_eq!(
        *read.entries.kind(0),
        EntryKind::CharacterDevice { major: 1, minor: 3 }
    );
    assert_eq!(
        *read.entries.kind(1),
        EntryKind::BlockDevice { major: 8, minor: 1 }
    );
    assert_eq!(*read.entries.kind(2), EntryKind::Fifo);
    let pipe = fs::symlink_metadata(cage.root().join("pipe")).unwrap();
    assert!(pipe.file_type().is_fifo());
    assert_eq!((pipe.mode() & 0o7777, pipe.mtime()), (0o622, 9));
    if !is_root() {
        eprintln!("skipped: device nodes need root");
        return;
    }
    let null = fs::symlink_metadata(cage.root().join("null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!(null.mode() & 0o7777, 0o666);
    let disk = fs::symlink_metadata(cage.root().join("disk")).unwrap();
    assert!(disk.file_type().is_block_device());
    let mark = Tar::new()
        .raw(Header::new("w", b'3').device(0, 0), b"")
        .end();
    let error = Cage::new().unpack(&mark, None).unwrap_err();
    assert!(
        matches!(error, ScanError::Unpack(UnpackError::WhiteoutDevice(_))),
        "{error}"
    );
}

#[test]
fn a24_a25_extended_attributes() {
    let capability_3 = [&[1, 0, 0, 3][..], &[0; 16], &[0xe8, 3, 0, 0]].concat();
    let capability_2 = [&[1, 0, 0, 2][..], &[0; 16]].concat();
    let tar = Tar::new()
        .pax(&[
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/../.."),
            ("SCHILY.xattr.user.overlay.metacopy", b""),
            ("SCHILY.xattr.security.selinux", b"label"),
            ("SCHILY.xattr.security.capability", &capability_3),
            ("SCHILY.xattr.user.kept", b"value"),
        ])
        .file("f", b"x")
        .end();
    let (cage, read) = taken(&tar);
    let names: Vec<_> = read
        .entries
        .metadata(0)
        .xattrs
        .keys()
        .map(|k| &**k)
        .collect();
    assert_eq!(names, [&b"security.capability"[..], b"user.kept"]);
    let kept = &read.entries.metadata(0).xattrs[&b"security.capability"[..]];
    assert_eq!(**kept, capability_2);
    if is_root() {
        let file = fs::File::open(cage.root().join("f")).unwrap();
        let on_disk = store::dir::xattrs(&file).unwrap();
        assert_eq!(on_disk, read.entries.metadata(0).xattrs);
    } else {
        eprintln!("skipped: file capabilities need root");
    }
    for (name, value) in [
        ("SCHILY.xattr.user.big", vec![0; 65_537]),
        ("SCHILY.xattr.security.capability", vec![1; 3]),
    ] {
        let tar = Tar::new().pax(&[(name, &value)]).file("f", b"").end();
        refused(&tar, "extended attribute");
    }
    let long = format!("SCHILY.xattr.user.{}", "n".repeat(251));
    refused(
        &Tar::new().pax(&[(&long, b"")]).file("f", b"").end(),
        "extended attribute",
    );
    refused(
        &Tar::new()
            .pax(&[("SCHILY.xattr.", b"x")])
            .file("f", b"")
            .end(),
        "cannot be",
    );
}

#[test]
fn a26_ids_are_never_wrapped() {
    for number in ["4294967295", "4294967296", "9223372036854775807"] {
        for keyword in ["uid", "gid"] {
            let tar = Tar::new()
                .pax(&[(keyword, number.as_bytes())])
                .file("f", b"")
                .end();
            refused(&tar, number);
        }
    }
    refused(
        &Tar::new().pax(&[("uid", b"-1")]).file("f", b"").end(),
        "cannot be",
    );
    let negative = Header::new("f", b'0').bytes(108, &[0xff; 8]);
    refused(&Tar::new().raw(negative, b"").end(), "out of range");
    if !is_root() {
        eprintln!("skipped: chown needs root");
        return;
    }
    let tar = Tar::new()
        .pax(&[("uid", b"2147483648"), ("gid", b"4294967294")])
        .raw(Header::new("f", b'0').mode(0o6755), b"")
        .end();
    let (cage, _) = taken(&tar);
    let made = fs::metadata(cage.root().join("f")).unwrap();
    assert_eq!((made.uid(), made.gid()), (2_147_483_648, 4_294_967_294));
    assert_eq!(made.mode() & 0o7777, 0o6755);
}

#[test]
fn a27_times() {
    for (text, seconds) in [
        ("-1", -1),
        ("1.9999999999999", 1),
        ("1099511627776", 1_099_511_627_776),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ] {
        let tar = Tar::new()
            .pax(&[("mtime", text.as_bytes())])
            .file("f", b"")
            .end();
        let (_, read) = taken(&tar);
        assert_eq!(read.entries.metadata(0).mtime, seconds);
    }
    for text in ["NaN", "inf", "1e3", "", " 1", "99999999999999999999"] {
        let tar = Tar::new()
            .pax(&[("mtime", text.as_bytes())])
            .file("f", b"")
            .end();
        if text.is_empty() {
            taken(&tar); // takes the record back
        } else {
            refused(&tar, "cannot be");
        }
    }
}

/// Rows: C3
#[test]
fn a31_user_databases() {
    let big = vec![b'x'; 70_000];
    let passwd = |tar: Tar| tree(&[&tar.end()]);
    let read = |tree: &Tree| tree.small_file(b"/etc/passwd").map(<[u8]>::to_vec);
    assert_eq!(
        read(&passwd(Tar::new().file("etc/passwd", b"root:x:0:0"))),
        Some(b"root:x:0:0".to_vec())
    );
    assert_eq!(read(&passwd(Tar::new().file("etc/passwd", &big))), None);
    assert_eq!(
        read(&passwd(Tar::new().symlink("etc/passwd", "/dev/zero"))),
        None
    );
    assert_eq!(
        read(&passwd(Tar::new().symlink("etc/passwd", "/etc/shadow"))),
        None
    );
    assert_eq!(
        read(&passwd(
            Tar::new().raw(Header::new("etc/passwd", b'6'), b"")
        )),
        None
    );
    let link = Tar::new()
        .file("usr/lib/passwd", b"through")
        .symlink("etc/passwd", "../usr/lib/passwd");
    assert_eq!(read(&passwd(link)), Some(b"through".to_vec()));
    // A big one later must not leave an earlier small one visible.
    let twice = Tar::new()
        .file("etc/passwd", b"small")
        .file("etc/passwd", &big);
    assert_eq!(read(&passwd(twice)), None);
}

#[test]
fn a34_damaged_archives() {
    let tar = Tar::new().file("f", &[b'x'; 1000]).0;
    refused(&tar[..tar.len() - 600], "in the middle of");
    refused(&tar, "without an end marker");
    refused(&[], "without an end marker");
    refused(&tar[..300], "in the middle of");
    refused(&[&tar[..], &[0; 512], &tar].concat(), "single zero block");
    let mut flipped = [&tar[..], &[0; 1024]].concat();
    flipped[3] ^= 1;
    refused(&flipped, "wrong checksum");
    // Only the second zero block is missing: common.
    taken(&[&tar[..], &[0; 512]].concat());
    refused(&[&tar[..], &[0; 700]].concat(), "in the middle of");
}

/// Rows: L15
#[test]
fn long_names_and_big_numbers_of_gnu() {
    let long = format!("{}/{}", "d".repeat(120), "n".repeat(120));
    let tar = Tar::new()
        .raw(
            Header::new("././@LongLink", b'L').size(long.len() as u64 + 1),
            &[long.as_bytes(), b"\0"].concat(),
        )
        .raw(
            Header::new("short", b'0').bytes(108, &[0x80, 0, 0, 0, 0, 0x20, 0, 0]),
            b"",
        )
        .end();
    let read = index(&tar);
    assert_eq!(read.entries.path(0), path(&long));
    assert_eq!(read.entries.metadata(0).uid, 0x20_0000);
}

/// Rows: L9
#[test]
fn old_sparse_files_of_gnu() {
    let mut header = Header::new("f", b'S').size(3).bytes(257, b"ustar  \0");
    header.octal(386, 12, 5);
    header.octal(398, 12, 3);
    header.octal(483, 12, 20);
    let tar = Tar::new().raw(header, b"abc").file("after", b"").end();
    let (cage, read) = taken(&tar);
    assert_eq!(read.entries.len(), 2);
    let content = fs::read(cage.root().join("f")).unwrap();
    assert_eq!(content, [&[0; 5][..], b"abc", &[0; 12]].concat());
}

#[test]
fn an_unfinished_layer_is_never_waited_for() {
    // More entries than fit between the threads, refused at the first.
    let mut tar = Tar::new().file("../x", b"").0;
    tar.write_all(&vec![0; 8 << 20]).unwrap();
    refused(&tar, "leaves the root");
}
