//! Who may open a store, and where.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use store::{Store, StoreError};

use crate::{directory, open};

#[derive(Debug, PartialEq)]
enum Outcome {
    Opened,
    OpenToOthers,
    NotAStore,
    Format,
}

fn check(prepare: impl FnOnce(&Path), expected: Outcome) {
    let directory = directory();
    let path = directory.path().join("store");
    prepare(&path);
    let outcome = match Store::open(&path) {
        Ok(_) => Outcome::Opened,
        Err(StoreError::Open { .. }) => Outcome::OpenToOthers,
        Err(StoreError::NotAStore { .. }) => Outcome::NotAStore,
        Err(StoreError::Format { .. }) => Outcome::Format,
        Err(other) => panic!("{other}"),
    };
    assert_eq!(outcome, expected);
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_store_is_private_and_nothing_else() {
    check(|_| {}, Outcome::Opened);
    check(|path| drop(Store::open(path).unwrap()), Outcome::Opened);
    check(
        |path| {
            fs::create_dir(path).unwrap();
            chmod(path, 0o755);
        },
        Outcome::Opened,
    );
    // Others could write to it: empty it may become a store, otherwise what is
    // in it may be theirs.
    for (part, expected) in [
        (None, Outcome::Opened),
        (Some("blobs"), Outcome::OpenToOthers),
    ] {
        check(
            |path| {
                fs::create_dir(path).unwrap();
                part.map_or(Ok(()), |part| fs::create_dir(path.join(part)))
                    .unwrap();
                chmod(path, 0o777);
            },
            expected,
        );
    }
    for mode in [0o770, 0o701, 0o707, 0o740] {
        check(
            |path| {
                drop(Store::open(path).unwrap());
                chmod(path, mode);
            },
            Outcome::OpenToOthers,
        );
    }
    check(
        |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("letter.txt"), "dear").unwrap();
        },
        Outcome::NotAStore,
    );
    check(
        |path| {
            drop(Store::open(path).unwrap());
            fs::write(path.join("format"), "kiln store 99\n").unwrap();
        },
        Outcome::Format,
    );
    // What a power cut makes of a format file that was never synced.
    check(
        |path| {
            drop(Store::open(path).unwrap());
            fs::write(path.join("format"), "").unwrap();
        },
        Outcome::Opened,
    );
}

#[test]
fn an_open_store_is_not_writable_by_others_whatever_the_mask_was() {
    let directory = directory();
    let store = crate::open(directory.path());
    let mode = fs::metadata(store.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn a_clean_end_leaves_nothing_under_tmp() {
    let directory = directory();
    let store = crate::open(directory.path());
    let tmp = store.path().join("tmp");
    let scratch = store.scratch().unwrap();
    fs::write(scratch.path().join("half"), "done").unwrap();
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 2);
    drop((scratch, store));
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
}

#[test]
fn many_threads_may_make_one_store_at_once() {
    for _ in 0..20 {
        let directory = directory();
        let path = directory.path().join("store");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| drop(open(&path)));
            }
        });
        let left: Vec<_> = fs::read_dir(&path).unwrap().collect();
        let temporary = left.iter().filter(|item| {
            let name = item.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with("format.")
        });
        assert_eq!(temporary.count(), 0);
    }
}
