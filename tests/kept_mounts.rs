//! What `--cache-mounts-to` and `--cache-mounts-from` promise: a machine that has nothing finds in
//! its cache mounts what another one left there, nobody writes what is another's, and whatever is
//! wrong with what is kept, the build is right.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::{Action, Bucket, BucketAuth, BucketFault, Endpoint, Match, Method};

use crate::site::{Caller, REGISTRY, Site};

/// Both kinds of caller that this machine can play.
fn for_each_caller(test: impl Fn(&Site)) {
    for caller in [Caller::Ourselves, Caller::Ordinary] {
        if let Some(site) = Site::new(caller) {
            test(&site);
        }
    }
}

/// A build of this Dockerfile, which must succeed, on a machine that has this store; what its
/// command and kiln said.
#[track_caller]
fn build(site: &Site, machine: &str, dockerfile: &str, more: &[&str]) -> String {
    let context = site.context("context", dockerfile);
    let context = context.to_str().expect("UTF-8");
    let fixed = ["--progress", "plain"];
    let output = site
        .kiln("build", machine, &[&fixed, more, &[context]].concat())
        .output()
        .expect("kiln starts");
    site.success(&output);
    site.describe(&output)
}

/// Leaves one of everything, with old times.
const WRITE: &str = "FROM REGISTRY/base:1\n\
    RUN --mount=type=cache,target=/c mkdir -p /c/deep; echo hello > /c/deep/file; \
    ln /c/deep/file /c/again; ln -s deep/file /c/link; echo mine > /c/mine; chown 5:6 /c/mine; \
    chmod 640 /c/mine; head -c 3000000 /dev/urandom > /c/large; \
    touch -d '2020-02-02 02:02:02' /c/deep/file /c/large /c/mine; sha256sum /c/large | sed s/^/SUM-/\n";

/// Says what is there.
const READ: &str = "FROM REGISTRY/base:1\n\
    RUN --mount=type=cache,target=/c cat /c/link; \
    stat -c 'SEEN-%n-%a-%u-%g-%h-%Y' /c/deep/file /c/mine; sha256sum /c/large | sed s/^/SUM-/; \
    ls /c | sed s/^/HAS-/\n";

/// The words that begin so.
fn words(said: &str, prefix: &str) -> Vec<String> {
    let words = said.split_whitespace();
    let found = words.filter(|word| word.starts_with(prefix));
    found.map(str::to_owned).collect()
}

/// Files below a directory whose path has this in it.
fn files(directory: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).expect("our directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.to_string_lossy().contains(part) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn another_machine_finds_what_was_left() {
    for_each_caller(|site| {
        for spec in [
            "type=local,DIR=shelf",
            "type=registry,ref=REGISTRY/kept:cache",
        ] {
            let to = spec.replace("DIR", "dest");
            let from = spec.replace("DIR", "src");
            let name = if spec.contains("local") { "l" } else { "r" };
            let (one, other) = (format!("{name}-one"), format!("{name}-other"));
            let wrote = build(site, &one, WRITE, &["--cache-mounts-to", &to]);
            assert!(wrote.contains("kept in"), "{wrote}");
            assert!(!wrote.contains("warning"), "{wrote}");
            let read = build(site, &other, READ, &["--cache-mounts-from", &from]);
            assert!(!read.contains("warning"), "{read}");
            let seen = [
                "SEEN-/c/deep/file-644-0-0-2-1580608922",
                "SEEN-/c/mine-640-5-6-1-1580608922",
            ];
            assert_eq!(words(&read, "SEEN-"), seen, "{read}");
            assert_eq!(words(&read, "SUM-"), words(&wrote, "SUM-"), "{read}");
            assert_eq!(words(&read, "SUM-").len(), 1, "{read}");
            assert!(read.contains("hello"), "{read}");
            // A build that runs nothing asks for nothing.
            site.registry.clear_log();
            let cached = build(site, &other, READ, &["--cache-mounts-from", &from]);
            assert!(!cached.contains("files from"), "{cached}");
            let asked = site.registry.lines();
            assert!(
                !asked.iter().any(|line| line.contains("/kept/")),
                "{asked:?}"
            );
            site.verify(&other);
        }
    });
}

#[test]
fn only_what_changed_is_moved() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let to = ["--cache-mounts-to", "type=registry,ref=REGISTRY/kept:cache"];
    let from = [
        "--cache-mounts-from",
        "type=registry,ref=REGISTRY/kept:cache",
    ];
    build(&site, "one", WRITE, &to);
    build(&site, "other", READ, &from);
    let sent = |said: &str| -> u64 {
        let line = said.lines().find(|line| line.contains("bytes sent"));
        let line = line.unwrap_or_else(|| panic!("{said}"));
        let number = line.split("cache, ").last().unwrap_or(line);
        let digits: String = number
            .split("bytes sent")
            .next()
            .unwrap_or("")
            .chars()
            .rev()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        digits
            .chars()
            .rev()
            .collect::<String>()
            .parse()
            .expect(line)
    };
    let more = "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/c echo more > /c/more\n";
    let said = build(&site, "one", more, &to);
    // The new file and the names of all; the large one stays where it is.
    assert!(sent(&said) < 10_000, "{said}");
    // And nothing where nothing changed.
    let same = "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/c ls /c\n";
    let said = build(&site, "one", same, &to);
    assert!(!said.contains("kept in"), "{said}");
    // The other machine has all but one file.
    let read = READ.replace("cat /c/link", "cat /c/link /c/more");
    let said = build(&site, "other", &read, &from);
    assert_eq!(words(&said, "HAS-more").len(), 1, "{said}");
    let line = said.lines().find(|line| line.contains("files from"));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(!line.contains(" 0 files were here"), "{line}");
}

#[test]
fn a_scope_is_written_by_name_and_read_in_order() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let write = |machine: &str, scope: &str, text: &str, from: &[&str]| {
        let dockerfile = format!(
            "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/c \
             cat /c/text 2>/dev/null | sed s/^/FOUND-/; echo {text} > /c/text\n"
        );
        let to = format!("type=registry,ref=REGISTRY/kept:cache,scope={scope}");
        let mut more = vec!["--cache-mounts-to", &to];
        for spec in from {
            more.extend(["--cache-mounts-from", spec]);
        }
        build(&site, machine, &dockerfile, &more)
    };
    let main = "type=registry,ref=REGISTRY/kept:cache,scope=main";
    let request = "type=registry,ref=REGISTRY/kept:cache,scope=PR/7";
    write("m1", "main", "of-main", &[]);
    // A pull request begins with the main branch's, and keeps its own.
    let said = write("m2", "PR/7", "of-pr", &[request, main]);
    assert_eq!(words(&said, "FOUND-"), ["FOUND-of-main"], "{said}");
    let said = write("m3", "PR/7", "of-pr-2", &[request, main]);
    assert_eq!(words(&said, "FOUND-"), ["FOUND-of-pr"], "{said}");
    let said = write("m4", "main", "of-main-2", &[main]);
    assert_eq!(words(&said, "FOUND-"), ["FOUND-of-main"], "{said}");
}

#[test]
fn a_namespace_is_another_mount_and_read_only_ones_are_not_kept() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let to = ["--cache-mounts-to", "type=local,dest=shelf"];
    let from = ["--cache-mounts-from", "type=local,src=shelf"];
    build(&site, "one", WRITE, &to);
    let other = ["--build-arg", "BUILDKIT_CACHE_MOUNT_NS=other"];
    let read = "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/c ls /c | sed s/^/HAS-/\n";
    let said = build(&site, "other", read, &[&from[..], &other].concat());
    assert_eq!(words(&said, "HAS-"), [""; 0], "{said}");
    let read = "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/c,ro ls /c | sed s/^/HAS-/\n";
    let said = build(&site, "third", read, &[&from[..], &to].concat());
    assert_eq!(words(&said, "HAS-").len(), 5, "{said}");
    assert!(!said.contains("kept in"), "{said}");
}

#[test]
fn what_a_failed_build_left_is_kept_unless_it_is_not_to_be() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let fail = "FROM REGISTRY/base:1\n\
        RUN --mount=type=cache,target=/c echo kept > /c/file\n\
        RUN --mount=type=cache,target=/d echo kept > /d/file; false\n";
    for (spec, kept) in [
        ("type=local,dest=skipped,on-failure=skip", false),
        ("type=local,dest=saved", true),
    ] {
        let context = site.context("context", fail);
        let arguments = ["--cache-mounts-to", spec, context.to_str().expect("UTF-8")];
        let output = site
            .kiln("build", "one", &arguments)
            .output()
            .expect("kiln starts");
        assert!(!output.status.success());
        let directory = if kept { "saved" } else { "skipped" };
        let shelf = site.path("work").join(directory);
        assert_eq!(shelf.exists(), kept, "{}", site.describe(&output));
    }
    let read = "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/d ls /d | sed s/^/HAS-/\n";
    let said = build(
        &site,
        "other",
        read,
        &["--cache-mounts-from", "type=local,src=saved"],
    );
    assert_eq!(words(&said, "HAS-"), ["HAS-file"], "{said}");
}

#[test]
fn damage_is_a_warning_and_the_mount_stays() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    build(
        &site,
        "one",
        WRITE,
        &["--cache-mounts-to", "type=local,dest=shelf"],
    );
    let shelf = site.path("work").join("shelf");
    for (number, blob) in files(&shelf, "/blobs/").into_iter().enumerate() {
        let whole = fs::read(&blob).expect("a blob");
        for (kind, bytes) in [
            ("flipped", {
                let mut bytes = whole.clone();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                bytes
            }),
            ("cut", whole[..whole.len() / 2].to_vec()),
            ("longer", [&whole[..], b"more"].concat()),
        ] {
            fs::write(&blob, bytes).expect("a blob");
            let machine = format!("{kind}-{number}");
            let read = "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/c \
                        ls /c | sed s/^/HAS-/; echo DONE\n";
            let from = ["--cache-mounts-from", "type=local,src=shelf"];
            let said = build(&site, &machine, read, &from);
            let has = words(&said, "HAS-").len();
            let whole_or_nothing = match has {
                0 => said.contains("warning: "),
                // What is behind the end of a pack, or in a file that is not read, is nothing.
                5 => true,
                _ => false,
            };
            assert!(whole_or_nothing, "{kind} {}: {said}", blob.display());
        }
        fs::write(&blob, whole).expect("a blob");
    }
}

#[test]
fn a_shelf_that_fails_is_a_warning_and_a_right_build() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    build(
        &site,
        "one",
        WRITE,
        &["--cache-mounts-to", "type=registry,ref=REGISTRY/kept:cache"],
    );
    let both = [
        "--cache-mounts-from",
        "type=registry,ref=REGISTRY/kept:cache",
        "--cache-mounts-to",
        "type=registry,ref=REGISTRY/kept:cache",
    ];
    for (number, (what, matching, action)) in [
        ("401", Match::any(), Action::status(401)),
        ("403", Match::any(), Action::status(403)),
        ("500", Match::any(), Action::status(500)),
        (
            "blobs 404",
            Match::any().endpoint(Endpoint::Blob),
            Action::status(404),
        ),
        (
            "manifests 404",
            Match::new(Method::GET, Endpoint::Manifest),
            Action::status(404),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        site.registry.fault(matching.repository("kept"), action);
        let machine = format!("m{number}");
        let dockerfile = "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/c \
                          ls /c | sed s/^/HAS-/; echo new > /c/new; echo DONE > /done\n";
        let said = build(&site, &machine, dockerfile, &both);
        if what != "manifests 404" {
            assert!(said.contains("warning: "), "{what}: {said}");
        }
        assert_eq!(words(&said, "HAS-"), [""; 0], "{what}: {said}");
        site.registry.clear_faults();
        site.verify(&machine);
    }
    // Somebody else's is left alone.
    let tag = format!("{REGISTRY}/app:1");
    build(&site, "one", WRITE, &["--push", "-t", &tag]);
    site.nothing_is_left();
}

/// A bucket and a CI's cache, and how they are named on the command line.
fn services() -> Vec<(&'static str, Bucket, String)> {
    let s3 = Bucket::start(BucketAuth::Aws {
        key: "id".to_owned(),
        secret: "secret".to_owned(),
        region: "eu-1".to_owned(),
    });
    let s3_spec = format!(
        "type=s3,bucket=b,region=eu-1,endpoint_url={},use_path_style=true,access_key_id=id,\
         secret_access_key=secret",
        s3.url()
    );
    let gha = Bucket::start(BucketAuth::Bearer("token".to_owned()));
    let gha_spec = format!("type=gha,url_v2={},token=token", gha.url());
    vec![("s3", s3, s3_spec), ("gha", gha, gha_spec)]
}

#[test]
fn buckets_and_the_caches_of_a_ci_keep_mounts_too() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    for (name, service, spec) in services() {
        let both = ["--cache-mounts-from", &spec, "--cache-mounts-to", &spec];
        let wrote = build(&site, &format!("{name}-one"), WRITE, &both);
        assert!(wrote.contains("kept in"), "{wrote}");
        let other = format!("{name}-other");
        let read = build(&site, &other, READ, &["--cache-mounts-from", &spec]);
        assert_eq!(words(&read, "SUM-"), words(&wrote, "SUM-"), "{read}");
        assert_eq!(words(&read, "SUM-").len(), 1, "{read}");
        assert!(!read.contains("warning"), "{read}");
        assert!(!wrote.contains("secret_access_key") && !wrote.contains("token=token"));
        // What is new goes there too.
        let more = "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/c echo more > /c/more\n";
        build(&site, &format!("{name}-one"), more, &both);
        let again = READ.replace("ls /c", "ls /c /");
        let read = build(
            &site,
            &format!("{name}-third"),
            &again,
            &["--cache-mounts-from", &spec],
        );
        assert_eq!(words(&read, "HAS-more").len(), 1, "{read}");

        // Slow comes first: a machine that could not read what is there keeps what it has.
        for (number, fault) in [
            BucketFault::Slow,
            BucketFault::Status(401, None),
            BucketFault::Status(403, None),
            BucketFault::Status(404, None),
            BucketFault::Status(429, Some(3600)),
            BucketFault::Status(500, Some(0)),
            BucketFault::Reset,
            BucketFault::Truncate,
            BucketFault::Flip,
        ]
        .into_iter()
        .enumerate()
        {
            service.fault(fault.clone(), u32::MAX);
            let machine = format!("{name}-{number}");
            let dockerfile = "FROM REGISTRY/base:1\nRUN --mount=type=cache,target=/c \
                              ls /c | sed s/^/HAS-/; echo new > /c/new; echo right > /done\n";
            let said = build(&site, &machine, dockerfile, &both);
            service.fault(BucketFault::None, 0);
            let has = words(&said, "HAS-").len();
            match fault {
                BucketFault::Slow => assert_eq!(has, 6, "{said}"),
                _ => assert_eq!(has, 0, "{fault:?}: {said}"),
            }
            let is_silent = matches!(fault, BucketFault::Slow | BucketFault::Status(404, _));
            assert!(is_silent || said.contains("warning: "), "{fault:?}: {said}");
            site.verify(&machine);
        }
    }
}
