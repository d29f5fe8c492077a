//! Names, modes, links and ignore files at the edges of what COPY takes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;

use engine::DockerfileSource;
use testkit::validate_image;

use crate::Bench;

const NEW: &str = "d0755 0:0 0 n";

/// Rows: C31, L15
#[test]
fn names_are_bytes() {
    let bench = Bench::new();
    bench.file("dir/größe%20 日本: U").file("dir/two\nlines: N");
    let name = OsStr::from_bytes(b"dir/\xff");
    fs::write(bench.context.path().join(name), "R").unwrap();
    bench.check(
        "COPY dir /n",
        &[
            NEW,
            "-0644 0:0 1 n/größe%20 日本",
            "-0644 0:0 1 n/two\nlines",
            "-0644 0:0 1 n/\u{fffd}",
        ],
    );
    bench.check("COPY dir/gr*e* /n/", &[NEW, "-0644 0:0 1 n/größe%20 日本"]);
    bench.check(
        "COPY [\"dir/größe%20 日本\", \"/n/\"]",
        &[NEW, "-0644 0:0 1 n/größe%20 日本"],
    );
}

/// Rows: C5, C20
#[test]
fn special_modes_are_kept() {
    let bench = Bench::new();
    bench
        .file("4755 dir/program: P")
        .file("2775 dir/shared/")
        .file("1777 dir/tmp/");
    bench.file("0400 dir/none: N");
    bench.check(
        "COPY dir /n",
        &[
            NEW,
            "-0400 0:0 1 n/none",
            "-4755 0:0 1 n/program",
            "d2775 0:0 0 n/shared",
            "d1777 0:0 0 n/tmp",
        ],
    );
    bench.check(
        "COPY --chmod=1750 dir /n",
        &[
            "d1750 0:0 0 n",
            "-1750 0:0 1 n/none",
            "-1750 0:0 1 n/program",
            "d1750 0:0 0 n/shared",
            "d1750 0:0 0 n/tmp",
        ],
    );
}

/// Rows: C4, C6, L15
#[test]
fn trees_may_be_deep_and_empty() {
    let bench = Bench::new();
    let depth = 300;
    bench
        .file(&format!("dir{}/", "/d".repeat(depth)))
        .file("hollow/");
    let image = bench.image("FROM BASE\nCOPY dir /n\n");
    let names = image.layers[1].listing();
    assert_eq!(names.len(), depth + 1);
    assert!(names[depth].ends_with(&format!("n{}", "/d".repeat(depth))));
    bench.check("COPY hollow /n", &[NEW]);
    bench.check("COPY hollow /a/b", &["d0755 0:0 0 a", "d0755 0:0 0 a/b"]);
}

/// Rows: C12, C13
#[test]
fn sources_may_be_links() {
    let bench = Bench::new();
    bench
        .file("dir/x: X")
        .file("dir/sub/l -> ../x")
        .file("to-dir -> dir")
        .file("to-file -> to-dir/x")
        .file("out -> ../../../../etc/hostname")
        .file("absolute -> /dir/x");
    let tree = [
        NEW,
        "d0755 0:0 0 n/sub",
        "l0777 0:0 -> ../x n/sub/l",
        "-0644 0:0 1 n/x",
    ];
    bench.check("COPY to-dir /n", &tree);
    bench.check("COPY to-d* /n", &tree);
    bench.check("COPY to-file /n/", &[NEW, "-0644 0:0 1 n/to-file"]);
    bench.check("COPY to-dir/x /n/", &[NEW, "-0644 0:0 1 n/x"]);
    bench.check("COPY absolute /n/", &[NEW, "-0644 0:0 1 n/absolute"]);
    bench.check_error("COPY out /n/", "was not found");
}

/// Rows: C6, H8
#[test]
fn sources_of_several_kinds_come_together() {
    let bench = Bench::new();
    bench.file("a: A").file("dir/x: X").file("dir/a: FROM-DIR");
    bench.check(
        "COPY a dir <<b /n/\ntext\nb\n",
        &[NEW, "-0644 0:0 8 n/a", "-0644 0:0 5 n/b", "-0644 0:0 1 n/x"],
    );
    bench.check("COPY none* a /n/", &[NEW, "-0644 0:0 1 n/a"]);
}

/// Rows: C8
#[test]
fn several_sources_go_to_what_is_a_directory() {
    let bench = Bench::new();
    bench
        .file("a: A")
        .file("b: B")
        .file("one/x: X")
        .file("two/y: Y");
    bench.check(
        "COPY a b /srv",
        &["d0750 0:0 0 srv", "-0644 0:0 1 srv/a", "-0644 0:0 1 srv/b"],
    );
    bench.check(
        "WORKDIR /srv\nCOPY a b ../srv",
        &["d0750 0:0 0 srv", "-0644 0:0 1 srv/a", "-0644 0:0 1 srv/b"],
    );
    bench.check_error("COPY a b /new", "must be a directory and end with `/`");
    bench.check_error("COPY one a /new", "must be a directory and end with `/`");
    bench.check_error(
        "COPY a b /etc/passwd",
        "must be a directory and end with `/`",
    );
}

/// Rows: C17, L8
#[test]
fn files_with_several_names_stay_one_within_a_source() {
    let bench = Bench::new();
    bench.file("d/a: A").file("e/x: X");
    let root = bench.context.path();
    fs::hard_link(root.join("d/a"), root.join("d/b")).unwrap();
    fs::hard_link(root.join("d/a"), root.join("e/c")).unwrap();
    bench.check(
        "COPY d e /n/",
        &[
            NEW,
            "-0644 0:0 1 n/a",
            "h0644 0:0 -> n/a n/b",
            "-0644 0:0 1 n/c",
            "-0644 0:0 1 n/x",
        ],
    );
    bench.check(
        "COPY d/* /n/",
        &[NEW, "-0644 0:0 1 n/a", "h0644 0:0 -> n/a n/b"],
    );
    // The first name is overwritten by a later source: the other keeps the content.
    bench.file("f/a: later");
    bench.check("COPY d f /n/", &[NEW, "-0644 0:0 5 n/a", "-0644 0:0 1 n/b"]);
}

/// Rows: C6, C9, C14, L5
#[test]
fn directories_meet_what_is_there() {
    let bench = Bench::new();
    bench
        .file("dir/x: X")
        .file("over/etc/passwd/deep: D")
        .file("link/link-to-srv/x: X");
    bench.check(
        "COPY dir /link-to-srv",
        &["d0750 0:0 0 srv", "-0644 0:0 1 srv/x"],
    );
    bench.check(
        "COPY dir /link-to-nowhere",
        &[
            "d0755 0:0 0 new",
            "d0755 0:0 0 new/place",
            "-0644 0:0 1 new/place/x",
        ],
    );
    bench.check_error(
        "COPY over /",
        "cannot replace the file /etc/passwd with a directory",
    );
    // Below the destination links are things, not ways.
    bench.check_error(
        "COPY link /",
        "cannot replace the file /link-to-srv with a directory",
    );
}

/// Rows: C18
#[test]
fn sockets_are_passed_over_unless_named() {
    let bench = Bench::new();
    bench.file("dir/x: X");
    let _socket = UnixListener::bind(bench.context.path().join("dir/socket")).unwrap();
    bench.check("COPY dir /n", &[NEW, "-0644 0:0 1 n/x"]);
    bench.check("COPY dir/s* dir/x /n/", &[NEW, "-0644 0:0 1 n/x"]);
    bench.check_error("COPY dir/socket /n", "is a socket, which no layer can hold");
}

/// Rows: L3
#[test]
fn marks_of_deletion_cannot_be_copied() {
    let bench = Bench::new();
    bench.file("dir/.wh.x: X");
    bench.check_error("COPY dir /n", ".wh.x");
}

/// Rows: C2, C3
#[test]
fn owners_are_looked_up_in_what_lower_layers_say() {
    let bench = Bench::new();
    bench
        .file("a: A")
        .file("passwd: me:x:70:71::/:/bin/sh\n")
        .file("group: us:x:72:\n");
    bench.check(
        "COPY passwd group /etc/\nCOPY --chown=me:us a /n/",
        &["d0755 70:72 0 n", "-0644 70:72 1 n/a"],
    );
}

/// Rows: R3
#[test]
fn working_directories_belong_to_the_user() {
    let bench = Bench::new();
    bench.check("USER 1234\nWORKDIR /w", &["d0755 1234:1234 0 w"]);
    bench.check("USER 1234:5\nWORKDIR /w", &["d0755 1234:5 0 w"]);
    bench.check("USER app:staff\nWORKDIR /w", &["d0755 1000:50 0 w"]);
    bench.check(
        "USER app\nWORKDIR /srv/w",
        &["d0750 0:0 0 srv", "d0755 1000:1001 0 srv/w"],
    );
    bench.check(
        "WORKDIR /link-to-nowhere",
        &["d0755 0:0 0 new", "d0755 0:0 0 new/place"],
    );
    bench.check_error("WORKDIR /etc/passwd", "cannot replace the file");
}

/// What `COPY . /n/` copies under an ignore file.
fn check_ignored(ignore: &str, expected: &[&str]) {
    let bench = Bench::new();
    for path in [
        "a/b/keep.go",
        "a/b/drop.txt",
        "a/top.go",
        "c/drop.txt",
        "c/d/e/keep",
        "z",
    ] {
        bench.file(&format!("{path}: F"));
    }
    let path = bench.context.path().join(".dockerignore");
    fs::write(path, format!("{ignore}\n.dockerignore\n")).unwrap();
    let image = bench.image("FROM BASE\nCOPY . /n/\n");
    let entries = image.layers.last().unwrap().entries.iter();
    let names: Vec<String> = entries.map(|entry| entry.name()).collect();
    assert_eq!(names, expected, "{ignore}");
}

/// Rows: D3, D4, D5, D10
#[test]
fn what_is_included_again_has_its_parents() {
    check_ignored(
        "**\n!**/*.go",
        &["n", "n/a", "n/a/b", "n/a/b/keep.go", "n/a/top.go"],
    );
    check_ignored(
        "*\n!c/*/e",
        &["n", "n/c", "n/c/d", "n/c/d/e", "n/c/d/e/keep"],
    );
    check_ignored(
        "a\nc\n!a/b/*.go",
        &["n", "n/a", "n/a/b", "n/a/b/keep.go", "n/z"],
    );
    check_ignored("*/*\n!a/top.*", &["n", "n/a", "n/a/top.go", "n/c", "n/z"]);
    check_ignored("*\n!none", &["n"]);
    check_ignored(
        "**/drop.txt\na/b",
        &[
            "n",
            "n/a",
            "n/a/top.go",
            "n/c",
            "n/c/d",
            "n/c/d/e",
            "n/c/d/e/keep",
            "n/z",
        ],
    );
}

/// Rows: D1, D2, D6
#[test]
fn the_ignore_file_beside_the_dockerfile_is_the_only_one() {
    let bench = Bench::new();
    bench
        .file("a: A")
        .file("b: B")
        .file("deploy/Dockerfile: FROM BASE\nCOPY . /n/\n")
        .file(".dockerignore: a\n");
    let names = |ignore: Option<&str>| {
        let root = bench.context.path();
        let text = fs::read_to_string(root.join("deploy/Dockerfile")).unwrap();
        let base = format!("{}/base:1", bench.registry.host());
        let path = root.join("deploy/Dockerfile");
        fs::write(&path, text.replace("BASE", &base)).unwrap();
        if let Some(ignore) = ignore {
            fs::write(root.join("deploy/Dockerfile.dockerignore"), ignore).unwrap();
        }
        let mut request = bench.request("FROM BASE\n");
        request.dockerfile = DockerfileSource::Path(path);
        bench.run(&request).unwrap();
        let image = validate_image(&bench.registry, "out", "1").unwrap();
        let entries = image.layers.last().unwrap().entries.iter();
        entries.map(|entry| entry.name()).collect::<Vec<_>>()
    };
    assert_eq!(
        names(None),
        [
            "n",
            "n/.dockerignore",
            "n/b",
            "n/deploy",
            "n/deploy/Dockerfile"
        ]
    );
    let ignore = "\u{feff}b\n#a\n .dockerignore \n/deploy/\n";
    assert_eq!(names(Some(ignore)), ["n", "n/a"]);
    // All is left out, and the Dockerfile is read all the same.
    assert_eq!(names(Some("*\n")), ["n"]);
    assert_eq!(names(Some("**\n!a\n")), ["n", "n/a"]);
}
