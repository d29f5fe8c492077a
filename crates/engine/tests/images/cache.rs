//! What the cache may answer: an edit that changes a layer must miss, one that
//! does not must hit, and a hit must be what a build from nothing gives.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use engine::StepOutcome;
use oci::Compression;
use testkit::{Layer, image, validate_image};

use crate::Bench;

const DOCKERFILE: &str = "FROM BASE\nCOPY dir /d/\n";

/// Builds, edits the context, builds again: whether the copy was done again.
/// A hit must then have the digest of a build with an empty store.
fn check(what: &str, edit: impl FnOnce(&Path), misses: bool) {
    let bench = Bench::new();
    bench
        .file("0644 dir/a: A")
        .file("0755 dir/b: B")
        .file("dir/l -> a")
        .file("0755 dir/empty/");
    let root = bench.context.path();
    fs::copy(root.join("dir/a"), root.join("dir/c")).unwrap();
    bench.build(DOCKERFILE).unwrap();
    edit(root);
    let second = bench.build(DOCKERFILE).unwrap();
    let expected = match misses {
        true => StepOutcome::Ran,
        false => StepOutcome::Cached,
    };
    assert_eq!(second.steps[0].outcome, expected, "{what}");
    let fresh = tempfile::tempdir().unwrap();
    let fresh = bench
        .run_with(&bench.request(DOCKERFILE), fresh.path())
        .unwrap();
    assert_eq!(second.manifest, fresh.manifest, "{what}");
}

/// Rows: C17, C21
#[test]
fn every_field_that_a_layer_holds_is_in_the_key() {
    let mode = |path: &'static str, mode: u32| {
        move |root: &Path| {
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    check(
        "content",
        |root| fs::write(root.join("dir/a"), "B").unwrap(),
        true,
    );
    check("mode", mode("dir/a", 0o600), true);
    check("set-user-id", mode("dir/b", 0o4755), true);
    check("mode of a directory", mode("dir/empty", 0o700), true);
    check("sticky bit", mode("dir/empty", 0o1777), true);
    let relink = |root: &Path| {
        fs::remove_file(root.join("dir/l")).unwrap();
        symlink("b", root.join("dir/l")).unwrap();
    };
    check("link target", relink, true);
    let rename = |root: &Path| fs::rename(root.join("dir/a"), root.join("dir/z")).unwrap();
    check("name", rename, true);
    let one_file = |root: &Path| {
        fs::remove_file(root.join("dir/c")).unwrap();
        fs::hard_link(root.join("dir/a"), root.join("dir/c")).unwrap();
    };
    check("two files that become one", one_file, true);
    check(
        "new file",
        |root| fs::write(root.join("dir/n"), "").unwrap(),
        true,
    );
    check(
        "new directory",
        |root| fs::create_dir(root.join("dir/n")).unwrap(),
        true,
    );
    check(
        "gone",
        |root| fs::remove_dir(root.join("dir/empty")).unwrap(),
        true,
    );
    let pipe = |root: &Path| {
        fs::remove_file(root.join("dir/a")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("dir/a"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
    };
    check("a file that becomes a pipe", pipe, true);
}

/// Rows: C21
#[test]
fn what_no_layer_holds_is_not_in_the_key() {
    let touch = |root: &Path| {
        let file = fs::File::options()
            .write(true)
            .open(root.join("dir/a"))
            .unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1))
            .unwrap();
    };
    check("time", touch, false);
    let copied = |root: &Path| {
        fs::rename(root.join("dir/a"), root.join("old")).unwrap();
        fs::copy(root.join("old"), root.join("dir/a")).unwrap();
    };
    check("inode", copied, false);
    let mode = |root: &Path| {
        fs::set_permissions(root.join("dir"), fs::Permissions::from_mode(0o700)).unwrap();
    };
    check(
        "mode of the directory whose contents are copied",
        mode,
        false,
    );
    check(
        "a file that is not copied",
        |root| fs::write(root.join("x"), "x").unwrap(),
        false,
    );
    let linked_elsewhere =
        |root: &Path| fs::hard_link(root.join("dir/a"), root.join("other-name")).unwrap();
    check("another name outside", linked_elsewhere, false);
}

/// Rows: C19, C21
#[test]
fn file_capabilities_are_in_the_key() {
    // Version 2, effective: CAP_NET_BIND_SERVICE.
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let set = |root: &Path| {
        rustix::fs::setxattr(
            root.join("dir/b"),
            "security.capability",
            capability,
            rustix::fs::XattrFlags::empty(),
        )
    };
    let probe = tempfile::tempdir().unwrap();
    fs::create_dir(probe.path().join("dir")).unwrap();
    fs::write(probe.path().join("dir/b"), "").unwrap();
    if let Err(error) = set(probe.path()) {
        println!("skipped: this user cannot set file capabilities: {error}");
        return;
    }
    check("capability", |root| set(root).unwrap(), true);
}

/// Two bases with the same files, compressed in two ways: what was built on one
/// is known on the other, and the image has the blobs of the base that it names.
#[test]
fn a_hit_has_the_blobs_of_its_own_base() {
    let bench = Bench::new();
    bench.file("a: A");
    for (tag, compression) in [("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
        let layer = Layer::new().compressed(compression).file("f", "F");
        bench
            .registry
            .seed("twin", tag, &image().layer(layer).build());
    }
    let dockerfile = |tag: &str| {
        let host = bench.registry.host();
        format!("FROM {host}/twin:{tag}\nCOPY a /a\nWORKDIR /w\n")
    };
    bench.build(&dockerfile("gzip")).unwrap();
    let second = bench.build(&dockerfile("zstd")).unwrap();
    let outcomes: Vec<_> = second.steps.iter().map(|step| step.outcome).collect();
    assert_eq!(outcomes, [StepOutcome::Cached, StepOutcome::Cached]);
    let built = validate_image(&bench.registry, "out", "1").unwrap();
    let base = validate_image(&bench.registry, "twin", "zstd").unwrap();
    assert_eq!(built.layers[0].digest, base.layers[0].digest);
}

/// A level is part of what a layer is, and the default is a level like any other.
#[test]
fn another_level_is_another_layer() {
    let bench = Bench::new();
    bench.file(&format!("a: {}", "one line and another\n".repeat(1000)));
    let built = |level: Option<i32>| {
        let mut request = bench.request("FROM BASE\nCOPY a /a\n");
        request.compression_level = level;
        let report = bench.run(&request).unwrap();
        let image = validate_image(&bench.registry, "out", "1").unwrap();
        (report.steps[0].outcome, image.layers[1].digest.clone())
    };
    let (outcome, default) = built(None);
    assert_eq!(outcome, StepOutcome::Ran);
    let level = store::layer::default_level(Compression::Gzip);
    assert_eq!(built(Some(level)), (StepOutcome::Cached, default.clone()));
    let (outcome, smallest) = built(Some(9));
    assert_eq!(outcome, StepOutcome::Ran);
    assert_ne!(smallest, default);
    assert_eq!(built(Some(9)), (StepOutcome::Cached, smallest));
}

/// A record whose layer is gone is no hit, and the step is done again.
#[test]
fn records_of_lost_blobs_are_no_hits() {
    let bench = Bench::new();
    bench.file("a: A");
    let dockerfile = "FROM BASE\nCOPY a /a\n";
    let first = bench.build(dockerfile).unwrap();
    let layer = validate_image(&bench.registry, "out", "1").unwrap().layers[1]
        .digest
        .clone();
    let name = layer.as_str().strip_prefix("sha256:").unwrap();
    let mut removed = 0;
    let mut pending = vec![bench.store.path().join("blobs")];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .ends_with(&name[2..])
            {
                fs::remove_file(path).unwrap();
                removed += 1;
            }
        }
    }
    assert_eq!(removed, 1, "the layer is one blob of the store");
    let second = bench.build(dockerfile).unwrap();
    assert_eq!(second.steps[0].outcome, StepOutcome::Ran);
    assert_eq!(second.manifest, first.manifest);
}

#[test]
fn equal_steps_of_two_stages_are_done_once() {
    let bench = Bench::new();
    bench.file("a: A").file("b: B");
    let dockerfile = "FROM BASE AS one\nWORKDIR /w\nCOPY a .\nFROM BASE AS two\nWORKDIR /w\nCOPY a .\nCOPY b .\nCOPY --from=one /w/a /w/again\n";
    let report = bench.build(dockerfile).unwrap();
    assert_eq!(report.steps.len(), 4, "{:?}", report.steps);
    let built = validate_image(&bench.registry, "out", "1").unwrap();
    assert_eq!(built.layers.len(), 5);
    assert_eq!(
        built.layers[4].listing(),
        ["d0755 0:0 0 w", "-0644 0:0 1 w/again"]
    );
}

#[test]
fn the_time_of_a_build_is_in_the_key() {
    let mut bench = Bench::new();
    bench.file("a: A");
    let dockerfile = "FROM BASE\nCOPY a /a\n";
    bench.build(dockerfile).unwrap();
    bench.epoch = 1_000_000_000;
    let second = bench.build(dockerfile).unwrap();
    assert_eq!(second.steps[0].outcome, StepOutcome::Ran);
    let built = validate_image(&bench.registry, "out", "1").unwrap();
    assert_eq!(built.layers[1].entries[0].mtime, 1_000_000_000);
}

/// Which steps of a two-stage build run again when a stage is to be built anew, although nothing
/// has changed.
#[test]
fn a_stage_can_be_built_anew() {
    use StepOutcome::{Cached, Ran};

    const STAGES: &str = "FROM BASE AS first\nWORKDIR /one\nCOPY dir /d/\n\
                          FROM first AS second\nWORKDIR /two\n\
                          FROM BASE\nCOPY --from=second /d/ /d/\nWORKDIR /three\n";
    let check = |names: &[&str], expected: &[StepOutcome]| {
        let bench = Bench::new();
        bench.file("0644 dir/a: A");
        let before = bench.build(STAGES).unwrap();
        let mut request = bench.request(STAGES);
        request.graph.no_cache_stages = names.iter().map(|&name| name.to_owned()).collect();
        let after = bench.run(&request).unwrap();
        let outcomes: Vec<StepOutcome> = after.steps.iter().map(|step| step.outcome).collect();
        assert_eq!(outcomes, expected, "{names:?}");
        assert_eq!(after.manifest, before.manifest, "{names:?}");
    };
    check(&[], &[Cached, Cached, Cached, Cached, Cached]);
    // What stands on the stage finds equal inputs, and is spared.
    check(&["first"], &[Ran, Ran, Cached, Cached, Cached]);
    check(&["SECOND"], &[Cached, Cached, Ran, Cached, Cached]);
    check(&["stage-2"], &[Cached, Cached, Cached, Ran, Ran]);
    check(&["elsewhere"], &[Cached, Cached, Cached, Cached, Cached]);
}
