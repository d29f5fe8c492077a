//! ADD of archives that are not as tidy as most.

use std::fs;

use testkit::tar::Entry;

use crate::{Bench, entry};

/// What ADD makes of an archive; `Err` has a part of the message.
fn check(entries: &[Entry], destination: &str, expected: Result<&[&str], &str>) {
    let bench = Bench::new();
    let tar = testkit::tar::write(entries);
    fs::write(bench.context.path().join("t.tar"), tar).unwrap();
    let instruction = format!("ADD t.tar {destination}");
    match expected {
        Ok(listing) => bench.check(&instruction, listing),
        Err(part) => bench.check_error(&instruction, part),
    }
}

/// Rows: C22, L13
#[test]
fn entries_come_in_any_order_and_more_than_once() {
    check(
        &[
            entry("d/b", b'0', "B", ""),
            entry("a", b'0', "old", ""),
            entry("d", b'5', "", ""),
            entry("a", b'0', "A", ""),
        ],
        "/n/",
        Ok(&[
            "d0755 0:0 0 n",
            "-0755 7:8 1 n/a",
            "d0755 7:8 0 n/d",
            "-0755 7:8 1 n/d/b",
        ]),
    );
}

/// Rows: C17, C22
#[test]
fn a_link_has_the_content_that_its_file_had_then() {
    check(
        &[
            entry("a", b'0', "1", ""),
            entry("b", b'1', "", "a"),
            entry("c", b'1', "", "b"),
            entry("a", b'0', "22", ""),
        ],
        "/n/",
        Ok(&[
            "d0755 0:0 0 n",
            "-0755 7:8 2 n/a",
            "-0755 7:8 1 n/b",
            "h0755 7:8 -> n/b n/c",
        ]),
    );
}

/// Rows: C22, L8
#[test]
fn a_link_to_nothing_or_to_a_directory_is_refused() {
    let file = entry("a", b'0', "A", "");
    check(
        &[file.clone(), entry("b", b'1', "", "z")],
        "/n/",
        Err("the hard link /n/b names /n/z"),
    );
    check(
        &[entry("d", b'5', "", ""), file, entry("b", b'1', "", "d")],
        "/n/",
        Err("the hard link /n/b names /n/d"),
    );
}

/// Rows: C22
#[test]
fn links_of_the_image_are_followed() {
    let below_a_link = [
        "d0750 0:0 0 srv",
        "-0755 7:8 1 srv/a",
        "h0755 7:8 -> srv/a srv/b",
    ];
    check(
        &[
            entry("link-to-srv/a", b'0', "A", ""),
            entry("link-to-srv/b", b'1', "", "link-to-srv/a"),
        ],
        "/",
        Ok(&below_a_link),
    );
    // With an entry for the directory, as archives of merged-usr trees have it.
    let with_directory = ["d0755 7:8 0 srv", "-0755 7:8 1 srv/a"];
    check(
        &[
            entry("link-to-srv", b'5', "", ""),
            entry("link-to-srv/a", b'0', "A", ""),
        ],
        "/",
        Ok(&with_directory),
    );
}

/// Rows: C22
#[test]
fn links_of_the_archive_are_not() {
    check(
        &[
            entry("link-to-srv", b'2', "", "tmp"),
            entry("link-to-srv/a", b'0', "A", ""),
        ],
        "/",
        Err("cannot replace the file /link-to-srv with a directory"),
    );
    // Unless the image has the very same link.
    check(
        &[
            entry("link-to-srv", b'2', "", "/srv"),
            entry("link-to-srv/a", b'0', "A", ""),
        ],
        "/",
        Ok(&[
            "l0755 7:8 -> /srv link-to-srv",
            "d0750 0:0 0 srv",
            "-0755 7:8 1 srv/a",
        ]),
    );
}

/// Rows: C9, C22
#[test]
fn what_cannot_be_replaced_is_an_error() {
    check(
        &[entry("srv", b'0', "A", "")],
        "/",
        Err("cannot replace the directory /srv with a file"),
    );
    check(
        &[entry("etc/passwd", b'5', "", "")],
        "/",
        Err("cannot replace the file /etc/passwd with a directory"),
    );
}

/// Rows: C5, C22, C23
#[test]
fn owners_are_the_archives_unless_said_otherwise() {
    let bench = Bench::new();
    let tar = testkit::tar::write(&[entry("a", b'0', "A", "")]);
    fs::write(bench.context.path().join("t.tar"), tar).unwrap();
    bench.check(
        "ADD --chown=app --chmod=700 t.tar /n/",
        &["d0700 1000:1001 0 n", "-0755 1000:1001 1 n/a"],
    );
    bench.check("ADD --unpack=false t.tar /n", &["-0644 0:0 2048 n"]);
}

/// What ADD makes of bytes, whatever they are called.
fn check_bytes(name: &str, bytes: &[u8], expected: Result<&[&str], &str>) {
    let bench = Bench::new();
    fs::write(bench.context.path().join(name), bytes).unwrap();
    let instruction = format!("ADD {name} /n/");
    match expected {
        Ok(listing) => bench.check(&instruction, listing),
        Err(part) => bench.check_error(&instruction, part),
    }
}

/// Rows: C22
#[test]
fn archives_are_known_by_their_content() {
    let tree = ["d0755 0:0 0 n", "d0750 7:8 0 n/d", "-0640 7:8 1 n/d/a"];
    let wrapped: [&[u8]; 4] = [
        include_bytes!("fixtures/gzip.bin"),
        include_bytes!("fixtures/bzip2.bin"),
        include_bytes!("fixtures/xz.bin"),
        include_bytes!("fixtures/zstd.bin"),
    ];
    for bytes in wrapped {
        check_bytes("picture.png", bytes, Ok(&tree));
        // Cut off before its first entry it is no archive.
        check_bytes(
            "t.tar",
            &bytes[..10],
            Ok(&["d0755 0:0 0 n", "-0644 0:0 10 n/t.tar"]),
        );
    }
    let empty = testkit::tar::write(&[]);
    check_bytes(
        "empty.tar",
        &empty,
        Ok(&["d0755 0:0 0 n", "-0644 0:0 1024 n/empty.tar"]),
    );
    check_bytes(
        "nothing.tar",
        b"",
        Ok(&["d0755 0:0 0 n", "-0644 0:0 0 n/nothing.tar"]),
    );
}

/// Rows: C22, C23
#[test]
fn archives_are_unpacked_where_it_is_asked_for() {
    let bench = Bench::new();
    let tar = testkit::tar::write(&[entry("a", b'0', "A", "")]);
    fs::write(bench.context.path().join("t.tar"), tar).unwrap();
    let tree = ["d0755 0:0 0 n", "-0755 7:8 1 n/a"];
    bench.check("ADD --unpack=true t.tar /n", &tree);
    bench.check("ADD --link t.tar /n", &tree);
    bench.check("ADD --link --unpack=false t.tar /n", &["-0644 0:0 2048 n"]);
    bench.check("ADD t.* /n", &tree);
    // What is in a directory is a file among others.
    bench.file("d/x: X");
    let into = bench.context.path().join("d/t.tar");
    fs::copy(bench.context.path().join("t.tar"), into).unwrap();
    bench.check(
        "ADD d /n/",
        &["d0755 0:0 0 n", "-0644 0:0 2048 n/t.tar", "-0644 0:0 1 n/x"],
    );
    bench.check(
        "COPY --chown=3 t.tar /n/",
        &["d0755 3:3 0 n", "-0644 3:3 2048 n/t.tar"],
    );
    bench.check(
        "ADD --exclude=a t.tar /n/",
        &["d0755 0:0 0 n", "-0755 7:8 1 n/a"],
    );
}

/// Rows: C22
#[test]
fn a_destination_of_an_archive_is_a_directory_that_the_archive_does_not_change() {
    check(
        &[entry(".", b'5', "", ""), entry("./a", b'0', "A", "")],
        "/srv",
        Ok(&["d0750 0:0 0 srv", "-0755 7:8 1 srv/a"]),
    );
    check(
        &[entry("a", b'0', "A", "")],
        "/etc/passwd",
        Err("cannot replace the file /etc/passwd with a directory"),
    );
    check(
        &[entry("a", b'0', "A", "")],
        "/link-to-srv",
        Ok(&["d0750 0:0 0 srv", "-0755 7:8 1 srv/a"]),
    );
}

/// Rows: C22, L6
#[test]
fn names_in_archives_stay_below_the_destination() {
    check(
        &[
            entry("/etc/new", b'0', "A", ""),
            entry("//./b", b'0', "B", ""),
        ],
        "/n/",
        Ok(&[
            "d0755 0:0 0 n",
            "-0755 7:8 1 n/b",
            "d0755 0:0 0 n/etc",
            "-0755 7:8 1 n/etc/new",
        ]),
    );
    check(&[entry("../a", b'0', "A", "")], "/n/", Err("`..`"));
    check(&[entry("a/../../b", b'0', "A", "")], "/n/", Err("`..`"));
    check(
        &[
            entry("a", b'0', "A", ""),
            entry("b", b'1', "", "../etc/passwd"),
        ],
        "/n/",
        Err("`..`"),
    );
    // A hard link begins where the archive does: not at the root of the image.
    check(
        &[entry("b", b'1', "", "/etc/passwd")],
        "/n/",
        Err("the hard link /n/b names /n/etc/passwd"),
    );
    // A symbolic link may say what it likes: whoever follows it does so inside of the image.
    check(
        &[entry("b", b'2', "", "../../../etc/passwd")],
        "/n/",
        Ok(&["d0755 0:0 0 n", "l0755 7:8 -> ../../../etc/passwd n/b"]),
    );
    check(
        &[entry("b", b'2', "", "/tmp"), entry("b/x", b'0', "A", "")],
        "/n/",
        Err("cannot replace the file /n/b with a directory"),
    );
}

/// Rows: C18, C22, L3
#[test]
fn archives_with_what_is_no_ordinary_file() {
    let device = testkit::tar::Entry {
        device: (1, 3),
        ..entry("null", b'3', "", "")
    };
    let block = testkit::tar::Entry {
        device: (7, 0),
        ..entry("loop", b'4', "", "")
    };
    check(
        &[device, block, entry("pipe", b'6', "", "")],
        "/n/",
        Ok(&[
            "d0755 0:0 0 n",
            "b0755 7:8 7,0 n/loop",
            "c0755 7:8 1,3 n/null",
            "p0755 7:8 0 n/pipe",
        ]),
    );
    check(
        &[entry("d/.wh.x", b'0', "", "")],
        "/n/",
        Err("delete the files of other layers"),
    );
    check(
        &[entry("d/.wh.x/y", b'0', "", "")],
        "/n/",
        Err("delete the files of other layers"),
    );
}

/// Rows: C22, L9
#[test]
fn holes_in_archives_are_filled() {
    let sparse: [&[u8]; 2] = [
        include_bytes!("fixtures/sparse.bin"),
        include_bytes!("fixtures/sparse-pax.bin"),
    ];
    for bytes in sparse {
        let bench = Bench::new();
        fs::write(bench.context.path().join("t"), bytes).unwrap();
        let image = bench.image("FROM BASE\nADD t /n/\n");
        let file = image.layers.last().unwrap().entries.last().unwrap().clone();
        assert_eq!(file.name(), "n/sp");
        assert_eq!(file.content.len(), 1 << 20);
        assert_eq!(file.content[1 << 19], b'x');
        assert!(file.content[..1 << 19].iter().all(|byte| *byte == 0));
    }
}

/// Rows: C22
#[test]
fn bombs_and_damage_in_archives_are_refused() {
    let bomb = include_bytes!("fixtures/bomb.zstd.bin");
    check_bytes("t", bomb, Err("decompress to more than 1100 times"));
    let whole = testkit::tar::write(&[
        entry("a", b'0', "A", ""),
        entry("b", b'0', &"B".repeat(4096), ""),
    ]);
    check_bytes("t", &whole[..3000], Err("t cannot be unpacked"));
    let gzip = include_bytes!("fixtures/sparse.bin");
    check_bytes("t", &gzip[..gzip.len() - 20], Err("t cannot be unpacked"));
}
