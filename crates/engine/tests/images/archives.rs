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
