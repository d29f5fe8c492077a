//! `kiln cache`: listing, measuring and emptying the build cache of a store that is made for the
//! test.

use super::{Environment, check, check_in};

/// A store with two steps in its cache.
fn built() -> Environment {
    let environment = Environment::new();
    environment.write("Dockerfile", "FROM scratch\nCOPY a /\nCOPY b /\n");
    environment.write("a", "one");
    environment.write("b", "two");
    let said = environment.run(&["build", "--store", "s", "-q", "-t", "kept:1", "."]);
    assert!(said.starts_with("exit 0\n"), "{said}");
    environment
}

#[test]
fn an_empty_cache_is_shown_and_pruned() {
    let environment = Environment::new();
    check_in(
        &environment,
        &["cache", "--store", "s", "ls"],
        "exit 0\nstdout:\nKEY                LAYER  LAST USED        STEP\n",
    );
    check_in(
        &environment,
        &["cache", "prune", "--force", "--store", "s"],
        "exit 0\nstdout:\n0 objects removed, 0 B freed\n",
    );
    let said = environment.run(&["cache", "du", "--store", "s"]);
    assert!(said.starts_with("exit 0\nstdout:\nTYPE "), "{said}");
    assert!(said.contains("\ntotal             0        0 B"), "{said}");
}

#[test]
fn steps_are_listed_and_counted() {
    let environment = built();
    let said = environment.run(&["cache", "ls", "--store", "s"]);
    assert_eq!(said.lines().count(), 2 + 1 + 2, "{said}");
    let said = environment.run(&["cache", "ls", "--store", "s", "--format", "json"]);
    let first: serde_json::Value = said
        .lines()
        .nth(2)
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("{said}"));
    assert_eq!(first["is_here"], true, "{said}");
    let said = environment.run(&["cache", "ls", "--store", "s", "--verbose"]);
    assert_eq!(said.matches("\nLast used:  ").count(), 2, "{said}");
    let said = environment.run(&["cache", "du", "--store", "s", "--filter", "type=blobs"]);
    // Two layers, the configuration and the manifest, all of an image with a name.
    assert!(said.contains("\nblobs             4 "), "{said}");
    assert!(said.contains("\nrecords           0 "), "{said}");
    let said = environment.run(&["cache", "du", "--store", "s", "--verbose"]);
    assert!(said.contains("Type:         blobs\n"), "{said}");
    assert!(said.contains("Reclaimable:  false\n"), "{said}");
    let said = environment.run(&["cache", "du", "--store", "s", "--format", "json"]);
    for line in said.lines().skip(2) {
        let object: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(object["bytes"].is_u64(), "{line}");
    }
}

#[test]
fn pruning_takes_the_cache_and_leaves_the_image() {
    let environment = built();
    let prune = |more: &[&str]| {
        let arguments = [&["cache", "prune", "--store", "s"][..], more].concat();
        environment.run(&arguments)
    };
    let said = prune(&["--filter", "until=1h"]);
    assert_eq!(said, "exit 0\nstdout:\n0 objects removed, 0 B freed\n");
    let said = prune(&["--keep-storage", "1GB"]);
    assert_eq!(said, "exit 0\nstdout:\n0 objects removed, 0 B freed\n");
    let said = prune(&["--older-than", "1h", "--all"]);
    assert_eq!(said, "exit 0\nstdout:\n0 objects removed, 0 B freed\n");
    let said = prune(&["--filter", "type=records", "--verbose"]);
    assert!(said.contains("\nrecords "), "{said}");
    assert!(!said.contains("\nblobs "), "{said}");
    check_in(
        &environment,
        &["cache", "--store", "s", "ls"],
        "exit 0\nstdout:\nKEY                LAYER  LAST USED        STEP\n",
    );
    let said = prune(&["-a", "-f"]);
    assert!(said.starts_with("exit 0\n"), "{said}");
    let said = environment.run(&["store", "--store", "s", "ls"]);
    assert!(said.contains("kept:1"), "{said}");
    let said = environment.run(&["store", "verify", "--store", "s"]);
    assert!(said.contains(", 0 damaged"), "{said}");
    // What went is made again.
    let said = environment.run(&["build", "--store", "s", "-q", "-t", "kept:1", "."]);
    assert!(said.starts_with("exit 0\n"), "{said}");
}

#[test]
fn options_are_checked() {
    check(
        &["cache", "prune", "--filter", "age=1h"],
        "exit 2\nstderr:\nerror: --filter age=1h: there are until, type, id\n",
    );
    check(
        &["cache", "prune", "--keep-storage", "much"],
        "exit 2
stderr:
error: invalid value 'much' for '--keep-storage <BYTES>': expected a number of bytes, such as 500MB or 10GiB

For more information, try '--help'.
",
    );
}
