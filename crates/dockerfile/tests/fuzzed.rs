//! What the fuzzer found worth keeping, read again by every test run.

#![allow(missing_docs)]

mod properties;

use std::path::Path;

fn corpus(target: &str, holds: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut count = 0;
    for file in std::fs::read_dir(&directory).expect("the corpus") {
        let file = file.expect("a file").path();
        let input = std::fs::read(&file).expect("an input");
        let result = std::panic::catch_unwind(|| holds(&input));
        assert!(
            result.is_ok(),
            "the property does not hold of {}",
            file.display()
        );
        count += 1;
    }
    assert!(count > 10, "only {count} inputs in {}", directory.display());
}

#[test]
fn texts() {
    corpus("dockerfile", properties::text::holds);
}

#[test]
fn expansions() {
    corpus("expansion", properties::expansion::holds);
}

#[test]
fn ignore_files() {
    corpus("ignore", properties::ignore::holds);
}

#[test]
fn mounts() {
    corpus("mount", properties::mount::holds);
}

#[test]
fn remotes() {
    corpus("remote", properties::remote::holds);
}
