//! Which entries an overlay has, as lines.

use std::num::NonZeroUsize;
use std::sync::Arc;

use oci::Compression;
use store::Store;
use store::layer::{Entry, LayerOptions, LayerWriter, Metadata};

use super::*;

/// A tree of lines such as `d /bin`, `f /bin/sh 755`, `l /bin/ls -> sh`, `h /bin/[ -> /bin/sh`.
fn tree(lines: &[&str]) -> Tree {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("a store");
    let options = LayerOptions {
        compression: Compression::None,
        level: None,
        threads: NonZeroUsize::MIN,
    };
    let mut writer = LayerWriter::create(&store, options).expect("a layer");
    for line in lines {
        let (line, target) = line.split_once(" -> ").unwrap_or((line, ""));
        let words: Vec<&str> = line.split(' ').collect();
        let path = EntryPath::parse(words[1].as_bytes()).expect("a path");
        let mode = words.get(2).copied().unwrap_or("755");
        let mode = u32::from_str_radix(mode, 8).expect("a mode");
        let metadata = Metadata {
            uid: 7,
            ..Metadata::root_owned(mode, 99)
        };
        let kind = match words[0] {
            "d" => EntryKind::Directory,
            "l" => EntryKind::Symlink {
                target: target.as_bytes().into(),
            },
            "h" => EntryKind::HardLink {
                target: EntryPath::parse(target.as_bytes()).expect("a path"),
            },
            "p" => EntryKind::Fifo,
            _ => {
                let mut content = words[1].as_bytes();
                let size = content.len() as u64;
                let added = writer.add_file(path, metadata, size, None, &mut content);
                added.expect("a file");
                continue;
            }
        };
        let entry = Entry {
            path,
            kind,
            metadata,
        };
        writer.add(entry).expect("an entry");
    }
    let layer = writer.finish().expect("a layer");
    Tree::stack(&[Arc::clone(&layer.index)])
}

fn selected(lines: &[&str], paths: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let paths = paths
        .iter()
        .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
        .collect();
    let entries = select(&tree(lines), &paths).map_err(|error| error.to_string())?;
    let shown = entries.into_iter().map(|entry| {
        let Selected { path, mode, kind } = entry;
        match kind {
            SelectedKind::Directory => format!("d {path} {mode:o}"),
            SelectedKind::File { size, .. } => format!("f {path} {mode:o} {size}"),
            SelectedKind::Symlink(target) => {
                format!("l {path} -> {}", String::from_utf8_lossy(&target))
            }
            SelectedKind::HardLink(target) => format!("h {path} -> {target}"),
        }
    });
    Ok(shown.collect())
}

fn check(lines: &[&str], paths: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(selected(lines, paths).expect("an overlay"), expected);
}

fn check_refused(lines: &[&str], paths: &[(&str, &str)], expected: &str) {
    let error = selected(lines, paths).expect_err(expected);
    assert!(error.contains(expected), "{error}");
}

const BUSYBOX: &[&str] = &[
    "d /bin",
    "f /bin/[ 4700",
    "h /bin/busybox -> /bin/[",
    "l /bin/ls -> busybox",
    "l /bin/sh -> /bin/busybox",
    "d /etc",
    "f /etc/motd 600",
];

#[test]
fn names_of_one_file_stay_names_of_one_file_and_links_lead_where_they_led() {
    check(
        BUSYBOX,
        &[("/bin", "/busybox")],
        &[
            "d /busybox 755",
            "f /busybox/[ 755 6",
            "h /busybox/busybox -> /busybox/[",
            "l /busybox/ls -> busybox",
            "l /busybox/sh -> /busybox/busybox",
        ],
    );
}

#[test]
fn files_are_for_everybody_and_directories_above_are_not_touched() {
    check(
        BUSYBOX,
        &[("/etc", "/opt/debug/etc")],
        &["d /opt/debug/etc 755", "f /opt/debug/etc/motd 644 9"],
    );
    check(
        BUSYBOX,
        &[("/bin/busybox", "/debug/sh")],
        &["f /debug/sh 755 6"],
    );
}

#[test]
fn links_between_several_parts_and_to_what_stays_behind_are_absolute() {
    check(
        &[
            "l /bin -> usr/bin",
            "d /usr",
            "d /usr/bin",
            "l /usr/bin/awk -> /etc/alternatives/awk",
            "l /usr/bin/ld -> ../lib/ld.so",
            "l /usr/bin/sh -> /bin/dash",
            "l /usr/bin/up -> ../../../etc/hosts",
            "d /usr/lib",
            "f /usr/lib/ld.so",
        ],
        &[("/bin", "/debug/bin"), ("/usr/lib", "/debug/lib")],
        &[
            "d /debug/bin 755",
            "l /debug/bin/awk -> /etc/alternatives/awk",
            "l /debug/bin/ld -> /debug/lib/ld.so",
            "l /debug/bin/sh -> /debug/bin/dash",
            "l /debug/bin/up -> /etc/hosts",
            "d /debug/lib 755",
            "f /debug/lib/ld.so 755 14",
        ],
    );
}

#[test]
fn what_cannot_be_an_overlay_is_refused() {
    let pipe = &["d /bin", "p /bin/pipe"];
    check_refused(BUSYBOX, &[("/sbin", "/busybox")], "has no /sbin");
    check_refused(BUSYBOX, &[("/bin", "/")], "needs a directory to go to");
    check_refused(BUSYBOX, &[("bin", "/busybox")], "begin with a slash");
    check_refused(BUSYBOX, &[("/bin", "/a/../b")], "no `..`");
    check_refused(pipe, &[("/bin", "/busybox")], "neither a file");
    check_refused(
        BUSYBOX,
        &[("/bin", "/x"), ("/etc", "/x")],
        "two paths of the overlay go to /x",
    );
}
