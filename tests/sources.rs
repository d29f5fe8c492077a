//! Sources of files that mean no good, or change at a bad moment: an error that names them, never
//! a wrong layer, and nobody is kept waiting.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use testkit::{Page, PageFault};

use crate::contexts::Kitchen;

/// SHA-256 of `one`.
const ONE: &str = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";

/// A file of the store whose name has a text in it.
fn stored(directory: &Path, name: &str) -> Option<PathBuf> {
    // What goes away meanwhile was not it.
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = stored(&path, name) {
                return Some(found);
            }
        } else if path.to_string_lossy().contains(name) {
            return Some(path);
        }
    }
    None
}

/// A server says that nothing has changed, and then sends something else: under the key of what
/// it was there must never be what it is.
/// Rows: C24
#[test]
fn a_server_that_lies_makes_no_wrong_layer() {
    let kitchen = Kitchen::new();
    let page = |body: &str, etag: &str| {
        kitchen.web.put(
            "/f",
            Page {
                body: body.as_bytes().to_vec(),
                etag: Some(etag.to_owned()),
                ..Page::default()
            },
        );
    };
    kitchen.write("Dockerfile", "FROM scratch\nADD http://WEB/f /\n");
    page("one", "\"a\"");
    assert_eq!(kitchen.build(&["."]), "600 f one\n");

    let home = kitchen.work("../home");
    let (directory, rest) = ONE.split_at(2);
    let blob = stored(&home, ONE).or_else(|| stored(&home, &format!("{directory}/{rest}")));
    fs::remove_file(blob.expect("the file is kept")).unwrap();
    page("two", "\"a\"");
    let said = kitchen.build(&["--no-cache", "."]);
    assert!(
        said.contains("http://WEB/f is no longer what the server said"),
        "{said}"
    );
    assert!(said.contains("Dockerfile:2:5"), "{said}");
    assert_eq!(kitchen.build(&["."]), "600 f two\n");

    page("one", "\"b\"");
    assert_eq!(kitchen.build(&["."]), "600 f one\n");
}

/// An answer that is no failure and yet not the file.
/// Rows: C24
#[test]
fn a_part_is_not_the_file() {
    let kitchen = Kitchen::new();
    kitchen.write("Dockerfile", "FROM scratch\nADD http://WEB/f /\n");
    for (status, expected) in [
        (202, "202 Accepted"),
        (204, "204 No Content"),
        (206, "206 Partial Content"),
    ] {
        kitchen.web.put(
            "/f",
            Page {
                body: b"half".to_vec(),
                fault: PageFault::Status(status),
                ..Page::default()
            },
        );
        let said = kitchen.build(&["."]);
        assert!(said.contains(&format!("answered {expected}")), "{said}");
    }
}

/// Links to devices and pipes that nobody writes to, where a build reads files by itself.
/// Rows: D1
#[test]
fn what_is_no_file_is_not_waited_for() {
    let kitchen = Kitchen::new();
    let pipe = |path: &str| {
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, kitchen.work(path), FileType::Fifo, mode, 0).unwrap();
    };
    let check = |name: &str, arguments: &[&str], path: &str| {
        let said = kitchen.build(arguments);
        assert!(said.starts_with("exit 2\n"), "{name}: {said}");
        assert!(said.contains(path), "{name}: {said}");
        let cause = "cause: it is not a regular file";
        assert!(said.contains(cause), "{name}: {said}");
    };
    for context in ["ignored", "endless", "beside"] {
        let path = format!("{context}/Dockerfile");
        kitchen.write(&path, "FROM scratch\nCOPY . /\n");
    }
    kitchen.write("named/Dockerfile", "FROM scratch\nCOPY --from=other . /\n");
    pipe("ignored/.dockerignore");
    check("ignore file", &["ignored"], "ignored/.dockerignore");
    symlink("/dev/zero", kitchen.work("endless/.dockerignore")).unwrap();
    check("device", &["endless"], "endless/.dockerignore");
    pipe("beside/Dockerfile.dockerignore");
    check("beside", &["beside"], "beside/Dockerfile.dockerignore");

    fs::create_dir(kitchen.work("other")).unwrap();
    pipe("other/.dockerignore");
    let other = ["--build-context", "other=other", "named"];
    check("named context", &other, "other/.dockerignore");

    fs::create_dir(kitchen.work("text")).unwrap();
    pipe("text/Dockerfile");
    check("Dockerfile", &["text"], "text/Dockerfile");
    check("--file", &["-f", "text/Dockerfile", "."], "text/Dockerfile");

    fs::create_dir(kitchen.work("layout")).unwrap();
    kitchen.write("layout/oci-layout", "{}");
    pipe("layout/index.json");
    let layout = ["--build-context", "other=oci-layout://layout", "named"];
    check("layout", &layout, "layout/index.json");
}

/// The user need not wait for what never comes: stdin, a context, a file, a commit.
#[test]
fn who_waits_for_a_source_can_be_interrupted() {
    let kitchen = Kitchen::new();
    for path in ["/f", "/repo.git/info/refs?service=git-upload-pack"] {
        kitchen.web.put(
            path,
            Page {
                body: b"content".to_vec(),
                fault: PageFault::Stall(3),
                ..Page::default()
            },
        );
    }
    kitchen.write("file/Dockerfile", "FROM scratch\nADD http://WEB/f /\n");
    kitchen.write(
        "commit/Dockerfile",
        "FROM scratch\nADD http://WEB/repo.git /\n",
    );
    let check = |context: &str| {
        let context = context.replace("WEB", &kitchen.web.host());
        kitchen.web.take();
        let mut command = kitchen.environment.kiln(&["build", "-o", "out"]);
        let mut child = command
            .args(["--progress", "quiet", &context])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kiln starts");
        let input = child.stdin.take();
        // It listens for signals before it opens anything.
        let began = || match context == "-" {
            true => stored(&kitchen.work("../home"), "stdin").is_some(),
            false => !kitchen.web.visits().is_empty(),
        };
        while !began() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let process = Pid::from_raw(child.id().cast_signed()).expect("a process");
        kill_process(process, Signal::INT).expect("it runs");
        let output = child.wait_with_output().expect("an end");
        drop(input);
        let said = kitchen.environment.describe(&output);
        assert_eq!(said, "exit 130\nstderr:\ninterrupted\n", "{context}");
        let home = kitchen.work("../home").display().to_string();
        let found = Command::new("pgrep").args(["-f", &home]).output();
        let found = found.expect("pgrep starts");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{context}");
    };
    for context in ["-", "http://WEB/f", "http://WEB/repo.git", "file", "commit"] {
        check(context);
    }
}

/// BuildKit takes it without a word.
/// Rows: C25
#[test]
fn a_flag_for_repositories_says_when_there_is_none() {
    let kitchen = Kitchen::new();
    kitchen.write("f", "file");
    kitchen.write("Dockerfile", "FROM scratch\nADD --keep-git-dir f /\n");
    let said = kitchen
        .environment
        .run(&["build", "--progress", "plain", "."]);
    assert!(said.starts_with("exit 0\n"), "{said}");
    assert!(
        said.contains("--keep-git-dir does nothing for files of the context"),
        "{said}"
    );
}

/// Tools that copy an index into a layout list it there in an index of its own, without saying of
/// which platforms it is.
/// Rows: F7
#[test]
fn an_index_that_lists_an_index_is_looked_into() {
    let kitchen = Kitchen::new();
    kitchen.write("base/Dockerfile", "FROM scratch\nCOPY f /f\n");
    kitchen.write("base/f", "base");
    kitchen.write("Dockerfile", "FROM scratch\nCOPY --from=other f /\n");
    let platforms = ["--platform", "linux/amd64,linux/arm64"];
    let layout = ["build", "-o", "type=oci,dest=layout,tar=false", "base"];
    let said = kitchen.environment.run(&[&layout[..], &platforms].concat());
    assert!(said.starts_with("exit 0\n"), "{said}");
    let index = kitchen.work("layout/index.json");
    let arguments = ["--build-context", "other=oci-layout://layout", "."];
    for expected in [
        "644 f base\n",
        "644 f base\n",
        "is an index of indices of indices",
    ] {
        let said = kitchen.build(&arguments);
        assert!(said.contains(expected), "{said}");
        // One more around it.
        let bytes = fs::read(&index).unwrap();
        let digest = oci::Digest::of(&bytes);
        fs::write(
            kitchen.work("layout/blobs/sha256").join(digest.hex()),
            &bytes,
        )
        .unwrap();
        let outer = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "digest": digest.to_string(),
                "size": bytes.len(),
            }],
        });
        fs::write(&index, outer.to_string()).unwrap();
    }
}

/// A name that means an image means that image: with its tag, whose case counts.
/// Rows: F7
#[test]
fn a_named_context_is_for_its_tag_only() {
    let kitchen = Kitchen::new();
    kitchen.write("one/f", "one");
    kitchen.write("two/f", "two");
    let build = |tag: &str| {
        let dockerfile = format!("FROM scratch\nCOPY --from=example.org/a:{tag} f /\n");
        kitchen.write("Dockerfile", &dockerfile);
        kitchen.build(&[
            "--build-context",
            "example.org/a:Tag=one",
            "--build-context",
            "example.org/a:tag=two",
            ".",
        ])
    };
    assert_eq!(build("Tag"), "644 f one\n");
    assert_eq!(build("tag"), "644 f two\n");
}
