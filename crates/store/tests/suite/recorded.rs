//! Blobs, records, names, unpacked directories and the cache of context files.

use std::fs;
use std::io::{Read as _, Write as _};

use oci::{DiffId, Digest};
use store::Store;
use store::blob::BlobError;
use store::dir::Dir;
use store::layer::ContentHash;
use store::unpacked::UnpackedKey;

use crate::{directory, open, plain};

#[test]
fn a_blob_is_what_its_digest_says() {
    let directory = directory();
    let store = open(directory.path());
    let blobs = store.blobs();
    let digest = blobs.put(b"hello").unwrap();
    assert_eq!(digest, Digest::of(b"hello"));
    assert_eq!(blobs.size(&digest), Some(5));
    assert!(blobs.has(&plain(&digest, 5)) && !blobs.has(&plain(&digest, 6)));
    assert_eq!(blobs.read(&digest, 5).unwrap(), b"hello");
    let large = blobs.read(&digest, 4).unwrap_err();
    assert!(matches!(
        large,
        BlobError::Large {
            found: 5,
            max: 4,
            ..
        }
    ));

    let mut reader = blobs.open(&plain(&digest, 5)).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");

    let mut writer = blobs.writer().unwrap();
    writer.write_all(b"wrong").unwrap();
    writer.restart().unwrap();
    writer.write_all(b"right").unwrap();
    let expected = plain(&Digest::of(b"right"), 5);
    writer.finish_as(&expected).unwrap();
    assert!(blobs.has(&expected));

    let mut writer = blobs.writer().unwrap();
    writer.write_all(b"other").unwrap();
    let refused = writer.finish_as(&plain(&Digest::of(b"else"), 5));
    assert!(matches!(refused, Err(BlobError::Unexpected { .. })));
    assert!(!blobs.contains(&Digest::of(b"other")));
}

#[test]
fn a_blob_of_the_wrong_size_is_gone_after_the_error() {
    let directory = directory();
    let store = open(directory.path());
    let digest = store.blobs().put(b"hello").unwrap();
    let wrong = store.blobs().open(&plain(&digest, 7)).unwrap_err();
    assert!(matches!(wrong, BlobError::Size { found: 5, .. }), "{wrong}");
    assert!(!store.blobs().contains(&digest));
}

#[test]
fn records_are_seen_at_once_here_and_elsewhere_after_a_flush() {
    let directory = directory();
    let (one, two) = (open(directory.path()), open(directory.path()));
    let key = Digest::of(b"step");
    assert_eq!(one.records().get(&key), None);
    one.records().put(&key, b"first");
    one.records().put(&key, b"second");
    assert_eq!(one.records().get(&key).unwrap(), b"second");
    one.flush().unwrap();
    assert_eq!(two.records().get(&key).unwrap(), b"second");
    two.records().remove(&key);
    assert_eq!(two.records().get(&key), None);
    drop(two);
    assert_eq!(one.records().get(&key), None);
}

#[test]
fn names_are_listed_in_order_committed_or_not() {
    let directory = directory();
    let store = open(directory.path());
    let names = |store: &Store| -> Vec<String> {
        let images = store.images().list();
        images.into_iter().map(|image| image.name).collect()
    };
    let target = plain(&Digest::of(b"manifest"), 8);
    store.images().set("example.org/b:1", &target);
    store.flush().unwrap();
    store.images().set("example.org/a:1", &target);
    assert_eq!(names(&store), ["example.org/a:1", "example.org/b:1"]);
    assert!(store.images().remove("example.org/b:1"));
    assert!(!store.images().remove("example.org/c:1"));
    assert_eq!(names(&store), ["example.org/a:1"]);
    drop(store);
    let store = open(directory.path());
    assert_eq!(names(&store), ["example.org/a:1"]);
    assert_eq!(store.images().get("example.org/a:1"), Some(target));
}

#[test]
fn an_unpacked_layer_is_seen_when_it_is_complete_and_the_first_one_wins() {
    let directory = directory();
    let (one, two) = (open(directory.path()), open(directory.path()));
    let key = UnpackedKey::Layer(DiffId(Digest::of(b"layer")));
    let unpack = |store: &Store, content: &str| {
        let scratch = store.scratch().unwrap();
        let tree = scratch.directory().unwrap();
        fs::write(tree.join("file"), content).unwrap();
        let path = store.unpacked().adopt(&tree, key.clone()).unwrap();
        fs::read_to_string(path.join("file")).unwrap()
    };
    assert_eq!(one.unpacked().get(&key), None);
    assert_eq!(unpack(&one, "first"), "first");
    // Complete, but nobody else may rely on it before it is durable.
    assert_eq!(two.unpacked().get(&key), None);
    one.flush().unwrap();
    assert!(two.unpacked().get(&key).is_some());
    assert_eq!(unpack(&two, "second"), "first");
    two.unpacked().remove(&key);
    assert_eq!(two.unpacked().get(&key), None);
}

/// In a container every process has the same number, so what one left behind has the very names
/// that the next one is going to use.
#[test]
fn a_directory_that_was_left_is_in_nobodys_way() {
    let directory = directory();
    let key = UnpackedKey::Layer(DiffId(Digest::of(b"layer")));
    for content in ["first", "second", "third"] {
        let store = open(directory.path());
        let scratch = store.scratch().unwrap();
        let tree = scratch.directory().unwrap();
        fs::write(tree.join("file"), content).unwrap();
        let path = store.unpacked().adopt(&tree, key.clone()).unwrap();
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), content);
        store.unpacked().remove(&key);
    }
}

#[test]
fn only_files_that_have_settled_are_remembered() {
    let directory = directory();
    let store = open(directory.path());
    let context = directory.path().join("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("file"), "content").unwrap();
    let dir = Dir::open(&context).unwrap();
    let fresh = dir.stat(b"file").unwrap();
    let hash = ContentHash([7; 32]);
    let mut settled = fresh;
    settled.ctime -= 3;

    let mut cache = store.stat_cache(&context);
    cache.put(&fresh, hash);
    cache.put(&settled, hash);
    cache.save().unwrap();

    let mut cache = store.stat_cache(&context);
    assert_eq!(cache.get(&fresh), None);
    assert_eq!(cache.get(&settled), Some(hash));
    let changes: [fn(&mut store::dir::Stat); 8] = [
        |stat| stat.inode += 1,
        |stat| stat.device += 1,
        |stat| stat.size += 1,
        |stat| stat.mode ^= 0o100,
        |stat| stat.mtime += 1,
        |stat| stat.mtime_nanoseconds ^= 1,
        |stat| stat.ctime += 1,
        |stat| stat.ctime_nanoseconds ^= 1,
    ];
    for change in changes {
        let mut other = settled;
        change(&mut other);
        assert_eq!(cache.get(&other), None, "{other:?}");
    }
    cache.save().unwrap();
    assert_eq!(store.stat_cache(&context).get(&settled), Some(hash));
    // Another context knows nothing, and what was not asked for is dropped.
    assert_eq!(store.stat_cache(directory.path()).get(&settled), None);
    store.stat_cache(&context).save().unwrap();
    assert_eq!(store.stat_cache(&context).get(&settled), None);
}

#[test]
fn a_record_that_could_not_be_written_is_written_by_the_next_flush() {
    let directory = directory();
    let store = open(directory.path());
    let key = Digest::of(b"step");
    // A file in the place of the records' directory: nobody can write there.
    let place = store.path().join("records");
    fs::remove_dir(&place).unwrap();
    fs::write(&place, "").unwrap();
    store.records().put(&key, b"value");
    let refused = store.flush().unwrap_err();
    assert!(matches!(refused, store::commit::CommitError::Write(_)));
    assert_eq!(store.records().get(&key).unwrap(), b"value");
    fs::remove_file(&place).unwrap();
    store.flush().unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.records().get(&key).unwrap(), b"value");
}
