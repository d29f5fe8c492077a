//! `--link`, `--parents` and `--exclude`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use engine::{Event, Reporter, StepOutcome};

use crate::{Bench, explain};

/// Rows: C29
#[test]
fn a_linked_copy_does_not_know_what_is_below() {
    let bench = Bench::new();
    bench.file("0640 a: A").file("b: 1");
    let dockerfile = "FROM BASE\nCOPY b /b\nCOPY --link a /srv/deep/a\n";
    let first = bench.image(dockerfile);
    let listing = [
        "d0755 0:0 0 srv",
        "d0755 0:0 0 srv/deep",
        "-0640 0:0 1 srv/deep/a",
    ];
    // `/srv` is 0750 below.
    assert_eq!(first.layers.last().unwrap().listing(), listing);
    assert_eq!(first.layers.len(), 3);
    let history = first.config["history"].as_array().unwrap();
    let made: Vec<_> = history[history.len() - 2..]
        .iter()
        .map(|entry| (entry["created_by"].as_str(), entry["empty_layer"].as_bool()))
        .map(|(text, empty)| (text.unwrap(), empty.unwrap_or(false)))
        .collect();
    assert_eq!(
        made,
        [
            ("COPY b /b # buildkit", false),
            ("COPY a /srv/deep/a # buildkit", false)
        ]
    );

    bench.file("b: 2");
    let report = bench.build(dockerfile).unwrap();
    let outcomes: Vec<_> = report.steps.iter().map(|step| step.outcome).collect();
    assert_eq!(outcomes, [StepOutcome::Ran, StepOutcome::Cached]);
    let second = testkit::validate_image(&bench.registry, "out", "1").unwrap();
    let diff_id = |image: &testkit::ValidImage, layer: usize| {
        image.config["rootfs"]["diff_ids"][layer].to_string()
    };
    assert_eq!(diff_id(&first, 2), diff_id(&second, 2));
    assert_ne!(diff_id(&first, 1), diff_id(&second, 1));

    // And the file is a miss by its content, not by its name alone.
    bench.file("a: C");
    let report = bench.build(dockerfile).unwrap();
    let outcomes: Vec<_> = report.steps.iter().map(|step| step.outcome).collect();
    assert_eq!(outcomes, [StepOutcome::Cached, StepOutcome::Ran]);
}

/// Rows: C14, C29
#[test]
fn a_linked_copy_follows_no_link_of_the_image() {
    let bench = Bench::new();
    bench.file("a: A");
    bench.check(
        "COPY --link a /link-to-srv/",
        &["d0755 0:0 0 link-to-srv", "-0644 0:0 1 link-to-srv/a"],
    );
    // What stands on it sees a directory there.
    bench.check(
        "COPY --link a /link-to-srv/\nCOPY a /link-to-srv",
        &["d0755 0:0 0 link-to-srv", "-0644 0:0 1 link-to-srv/a"],
    );
    bench.check(
        "ADD --link --chown=7 a /etc/passwd/x/",
        &[
            "d0755 7:7 0 etc",
            "d0755 7:7 0 etc/passwd",
            "d0755 7:7 0 etc/passwd/x",
            "-0644 7:7 1 etc/passwd/x/a",
        ],
    );
}

/// Rows: C2, C29
#[test]
fn a_mode_makes_a_linked_copy_an_ordinary_one() {
    let bench = Bench::new();
    bench.file("a: A");
    bench.check(
        "COPY --link --chmod=600 --chown=app a /srv/",
        &["d0750 0:0 0 srv", "-0600 1000:1001 1 srv/a"],
    );
    bench.check_error(
        "COPY --link --chown=app a /srv/",
        "`app` cannot be looked up: --link copies without the image",
    );
}

/// Rows: C28
#[test]
fn parents_are_kept() {
    let bench = Bench::new();
    bench
        .file("x/y/a.txt: A")
        .file("x/y/b.md: B")
        .file("x/z/c.txt: C")
        .file("0750 x/y/")
        .file("0711 x/")
        .file("top.txt: T");
    let (n, x, y) = ("d0755 0:0 0 n", "d0711 0:0 0 n/x", "d0750 0:0 0 n/x/y");
    let a = "-0644 0:0 1 n/x/y/a.txt";
    bench.check("COPY --parents x/y/a.txt /n", &[n, x, y, a]);
    bench.check("COPY --parents ./x/../x/y/a.txt /n/", &[n, x, y, a]);
    bench.check("COPY --parents x/*/a.txt /n", &[n, x, y, a]);
    bench.check(
        "COPY --parents **/*.txt /n",
        &[
            n,
            "-0644 0:0 1 n/top.txt",
            x,
            y,
            a,
            "d0755 0:0 0 n/x/z",
            "-0644 0:0 1 n/x/z/c.txt",
        ],
    );
    bench.check(
        "COPY --parents x/./y/a.txt x/./z /n",
        &[
            n,
            "d0750 0:0 0 n/y",
            "-0644 0:0 1 n/y/a.txt",
            "d0755 0:0 0 n/z",
            "-0644 0:0 1 n/z/c.txt",
        ],
    );
    bench.check(
        "COPY --parents x/?/./*.txt /n",
        &[n, "-0644 0:0 1 n/a.txt", "-0644 0:0 1 n/c.txt"],
    );
    bench.check(
        "COPY --parents --chmod=700 --chown=3:4 x/y/b.md /n",
        &[
            "d0700 3:4 0 n",
            "d0700 3:4 0 n/x",
            "d0700 3:4 0 n/x/y",
            "-0700 3:4 1 n/x/y/b.md",
        ],
    );
    bench.check("COPY --parents none/* x/none* n*/./a /n", &[]);
    bench.check_error("COPY --parents x/none /n", "`x/none` was not found");
    bench.check_error("COPY --parents x/y/a.txt/b /n", "was not found");
    bench.check_error("COPY --parents none/./a /n", "was not found");
    let image = bench.image(
        "FROM BASE AS one\nCOPY --chown=5 x /x\nFROM scratch\nCOPY --parents --from=one /x/./y /x/z/c.txt /\n",
    );
    assert_eq!(
        image.layers[0].listing(),
        [
            "d0755 5:5 0 x",
            "d0755 5:5 0 x/z",
            "-0644 5:5 1 x/z/c.txt",
            "d0750 5:5 0 y",
            "-0644 5:5 1 y/a.txt",
            "-0644 5:5 1 y/b.md",
        ]
    );
}

/// Rows: C13, C28
#[test]
fn links_are_kept_as_they_are_where_parents_are() {
    let bench = Bench::new();
    bench.file("x/a: A").file("y -> x").file("x/l -> a");
    bench.check(
        "COPY --parents y x/l /n/",
        &[
            "d0755 0:0 0 n",
            "d0755 0:0 0 n/x",
            "l0777 0:0 -> a n/x/l",
            "l0777 0:0 -> x n/y",
        ],
    );
    bench.check_error(
        "COPY --parents y/a /n/",
        "goes through the symbolic link `y`",
    );
    bench.check(
        "COPY --parents y/./a /n/",
        &["d0755 0:0 0 n", "-0644 0:0 1 n/a"],
    );
}

/// Rows: C27
#[test]
fn excluded_files_are_left_out() {
    let bench = Bench::new();
    bench
        .file("d/a.txt: A")
        .file("d/b.md: B")
        .file("d/e/c.md: C")
        .file("d/e/keep.md: K")
        .file("d/only/x.md: X");
    let n = "d0755 0:0 0 n";
    bench.check(
        "COPY --exclude=*.md d /n",
        &[
            n,
            "-0644 0:0 1 n/a.txt",
            "d0755 0:0 0 n/e",
            "-0644 0:0 1 n/e/c.md",
            "-0644 0:0 1 n/e/keep.md",
            "d0755 0:0 0 n/only",
            "-0644 0:0 1 n/only/x.md",
        ],
    );
    bench.check(
        "COPY --exclude=**/*.md --exclude=!e/keep.md --exclude=only d /n",
        &[
            n,
            "-0644 0:0 1 n/a.txt",
            "d0755 0:0 0 n/e",
            "-0644 0:0 1 n/e/keep.md",
        ],
    );
    // A directory that is left out itself is there where something in it is not.
    bench.check(
        "COPY --exclude=* --exclude=!e/c.md d /n",
        &[n, "d0755 0:0 0 n/e", "-0644 0:0 1 n/e/c.md"],
    );
    // What is named or matched itself is not left out.
    bench.check("COPY --exclude=*.md d/b.md /n", &["-0644 0:0 1 n"]);
    bench.check("COPY --exclude=*.md d/*.md /n/", &[n, "-0644 0:0 1 n/b.md"]);
    bench.check(
        "COPY --exclude=d --exclude=only d /n/",
        &[
            n,
            "-0644 0:0 1 n/a.txt",
            "-0644 0:0 1 n/b.md",
            "d0755 0:0 0 n/e",
            "-0644 0:0 1 n/e/c.md",
            "-0644 0:0 1 n/e/keep.md",
        ],
    );
    bench.check("ADD --exclude=** d /n", &[n]);
    // With parents, paths begin at the pivot.
    bench.check(
        "COPY --parents --exclude=**/*.md --exclude=e d/./a.txt d/./e d/./b.md /n",
        &[n, "-0644 0:0 1 n/a.txt"],
    );
    let image = bench.image(
        "FROM BASE AS one\nCOPY d /d\nFROM scratch\nCOPY --from=one --exclude=e --exclude=only /d /n\n",
    );
    assert_eq!(
        image.layers[0].listing(),
        [n, "-0644 0:0 1 n/a.txt", "-0644 0:0 1 n/b.md"]
    );
}

/// Rows: C27
#[test]
fn what_is_excluded_is_neither_read_nor_part_of_the_key() {
    let bench = Bench::new();
    bench.file("d/a: A").file("d/b.log: 1").file("d/no/x: X");
    let dockerfile = "FROM BASE\nCOPY --exclude=*.log --exclude=no d /n\nCOPY --parents --exclude=d/no --exclude=**/*.log d /m\n";
    bench.build(dockerfile).unwrap();
    bench.file("d/b.log: 2").file("d/no/y: Y");
    // Nobody but root may look into these; for root, they are only unchanged in effect.
    for (path, mode) in [("d/b.log", 0o111), ("d/no", 0o000)] {
        let path = bench.context.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let report = bench.build(dockerfile);
    let no = bench.context.path().join("d/no");
    fs::set_permissions(no, fs::Permissions::from_mode(0o755)).unwrap();
    let report = report.unwrap();
    assert!(
        report
            .steps
            .iter()
            .all(|step| step.outcome == StepOutcome::Cached),
        "{:?}",
        report.steps
    );
}

/// Rows: C2
#[test]
fn unknown_owners_are_pointed_at() {
    let bench = Bench::new();
    bench.file("a: A");
    let check = |value: &str, message: &str, hint: &str| {
        let dockerfile = format!("FROM BASE\nCOPY --chown={value} a /n\n");
        let error = bench.run(&bench.request(&dockerfile)).unwrap_err();
        let engine::BuildError::Step(step) = &error else {
            panic!("{}", explain(&error));
        };
        let span = step.span.unwrap();
        assert_eq!(&step.text[span.start..span.end], value);
        assert_eq!(step.message, message);
        assert_eq!(step.hint.as_deref(), Some(hint));
    };
    let passwd = "is not in the image's /etc/passwd";
    let group = "is not in the image's /etc/group";
    check("ap", &format!("user `ap` {passwd}"), "did you mean `app`?");
    check(
        "app:staf",
        &format!("group `staf` {group}"),
        "did you mean `staff`?",
    );
    check(
        "zzz",
        &format!("user `zzz` {passwd}"),
        "add the user in a RUN before this line, or use its number",
    );
}

/// Rows: C3
#[test]
fn user_databases_that_are_no_files() {
    let bench = Bench::new();
    bench
        .file("a: A")
        .file("large: ")
        .file("database/me: me:x:70:71::/:/bin/sh\n")
        .file("link/etc/passwd -> /usr/lib/passwd")
        .file("lib/passwd: me:x:70:71::/:/bin/sh\n")
        .file("other/etc/passwd -> ../me");
    fs::write(bench.context.path().join("large"), vec![b'x'; 65_537]).unwrap();
    let check_error = |make: &str, part: &str| {
        let dockerfile = format!("FROM scratch\n{make}\nCOPY --chown=me a /n\n");
        let error = bench.build(&dockerfile).unwrap_err();
        assert!(error.contains(part), "{make}: {error}");
        bench
            .build(&dockerfile.replace("=me", "=7:8"))
            .expect("numbers need no file");
    };
    check_error("WORKDIR /etc/passwd", "/etc/passwd is not a regular file");
    check_error(
        "COPY large /etc/passwd",
        "/etc/passwd is larger than 64 KiB",
    );
    check_error(
        "COPY database/me /\nCOPY other /",
        "/etc/passwd is a link to a file of another name",
    );
    check_error("WORKDIR /etc", "`me` is not in the image's /etc/passwd");
    let image =
        bench.image("FROM scratch\nCOPY lib /usr/lib/\nCOPY link /\nCOPY --chown=me a /n\n");
    assert_eq!(image.layers[2].listing(), ["-0644 70:71 1 n"]);
}

/// Rows: H12
#[test]
fn what_is_written_in_the_dockerfile_is_in_the_key() {
    let bench = Bench::new();
    let outcome = |body: &str| {
        let dockerfile = format!("FROM BASE\nCOPY <<f /d/\n{body}\nf\n");
        bench.build(&dockerfile).unwrap().steps[0].outcome
    };
    assert_eq!(outcome("one"), StepOutcome::Ran);
    assert_eq!(outcome("one"), StepOutcome::Cached);
    assert_eq!(outcome("two"), StepOutcome::Ran);
}

/// Writes to a file when a step begins: after it was fingerprinted, before it is copied.
struct Meddler {
    path: std::path::PathBuf,
    content: Vec<u8>,
}

impl Reporter for Meddler {
    fn report(&self, event: Event) {
        if matches!(event, Event::StepStarted { .. }) {
            fs::write(&self.path, &self.content).unwrap();
        }
    }
}

/// Never a layer with other content than its key says, even where size and time are the same.
///
/// Rows: C21
#[test]
fn a_file_that_changes_before_it_is_copied_is_an_error() {
    let tar = |content: &str| testkit::tar::write(&[crate::entry("a", b'0', content, "")]);
    let check = |instruction: &str, before: &[u8], after: &[u8]| {
        let bench = Bench::new();
        bench.file("d/file: x").file("d/other: O");
        let path = bench.context.path().join("d/file");
        fs::write(&path, before).unwrap();
        let request = bench.request(&format!("FROM BASE\n{instruction}\n"));
        let meddler = Meddler {
            path,
            content: after.to_vec(),
        };
        let error = bench
            .run_under(&request, bench.store.path(), Arc::new(meddler))
            .expect_err(instruction);
        let error = explain(&error);
        assert!(
            error.contains("d/file changed while"),
            "{instruction}: {error}"
        );
        // What is built next is what is there now.
        let image = bench.image(&format!("FROM BASE\n{instruction}\n"));
        let entries = &image.layers.last().unwrap().entries;
        let found = entries
            .iter()
            .find(|entry| matches!(entry.content.as_slice(), b"2" | b"after!"));
        assert!(found.is_some(), "{instruction}: {entries:?}");
    };
    for instruction in [
        "COPY d /n/",
        "COPY --link d/file /n/",
        "COPY --parents d/f* /n/",
        "ADD --exclude=other d /n/",
    ] {
        check(instruction, b"before", b"after!");
    }
    check("ADD d/file /n/", &tar("1"), &tar("2"));
}
