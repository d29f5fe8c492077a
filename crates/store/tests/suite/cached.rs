//! Directories that outlive builds: who may use one, and what becomes of it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

use store::cache_mounts::{CacheMaker, CacheMountError, CacheSharing};
use store::gc::PruneOptions;

use crate::{directory, open};

/// Writes `first` into a new cache, and waits as often as it is told.
struct Maker<'c> {
    made: &'c AtomicU32,
    waits: u32,
    fails: bool,
}

impl<'c> Maker<'c> {
    fn new(made: &'c AtomicU32) -> Self {
        Self {
            made,
            waits: 0,
            fails: false,
        }
    }
}

impl CacheMaker for Maker<'_> {
    type Error = io::Error;

    fn make(&mut self, directory: &Path) -> io::Result<()> {
        self.made.fetch_add(1, Ordering::SeqCst);
        fs::write(directory.join("first"), "content")?;
        if self.fails {
            return Err(io::Error::other("no seed"));
        }
        Ok(())
    }

    fn wait(&mut self) -> bool {
        let go_on = self.waits > 0;
        self.waits = self.waits.saturating_sub(1);
        go_on
    }
}

/// Rows: R8
#[test]
fn who_may_use_a_cache_depends_on_its_sharing() {
    use CacheSharing::{Locked, Private, Shared};

    let directory = directory();
    let store = open(directory.path());
    let made = AtomicU32::new(0);
    let take = |id: &str, sharing| {
        let taken = store
            .cache_mounts()
            .take(id, sharing, &mut Maker::new(&made));
        taken.map(|cache| (cache.path().to_owned(), cache))
    };
    let (first, held) = take("a", Shared).unwrap();
    let (second, held_too) = take("a", Shared).unwrap();
    assert_eq!(first, second);
    assert_eq!(made.load(Ordering::SeqCst), 1, "content is given once");
    assert!(matches!(take("a", Locked), Err(CacheMountError::Cancelled)));
    let (other, held_alone) = take("a", Private).unwrap();
    assert_ne!(other, first);
    assert!(other.join("first").exists());
    let (third, _) = take("a", Private).unwrap();
    assert!(third != other && third != first);
    drop((held, held_too));
    let (again, locked) = take("a", Locked).unwrap();
    assert_eq!(again, first);
    assert!(matches!(take("a", Shared), Err(CacheMountError::Cancelled)));
    drop((locked, held_alone));
    let (alone, _) = take("a", Private).unwrap();
    assert_eq!(alone, first, "the first that is free");
    let (b, _) = take("b", Shared).unwrap();
    assert_ne!(b, first);
}

#[test]
fn a_cache_that_could_not_be_made_is_not_there() {
    let directory = directory();
    let store = open(directory.path());
    let made = AtomicU32::new(0);
    let mut maker = Maker::new(&made);
    maker.fails = true;
    let failed = store
        .cache_mounts()
        .take("a", CacheSharing::Locked, &mut maker);
    assert!(matches!(failed, Err(CacheMountError::Make(_))));
    let mut maker = Maker::new(&made);
    let cache = store
        .cache_mounts()
        .take("a", CacheSharing::Locked, &mut maker)
        .unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 2);
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
}

#[test]
fn of_many_who_come_at_once_one_makes_the_cache() {
    let directory = directory();
    let store = open(directory.path());
    let made = AtomicU32::new(0);
    let together = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut maker = Maker {
                    waits: u32::MAX,
                    ..Maker::new(&made)
                };
                together.wait();
                let cache = store
                    .cache_mounts()
                    .take("a", CacheSharing::Shared, &mut maker)
                    .unwrap();
                assert!(cache.path().join("first").exists());
            });
        }
    });
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[test]
fn caches_are_counted_and_pruned_when_all_is() {
    let directory = directory();
    let store = open(directory.path());
    let made = AtomicU32::new(0);
    let take = || {
        let mut maker = Maker::new(&made);
        let cache = store
            .cache_mounts()
            .take("a", CacheSharing::Shared, &mut maker);
        cache.unwrap().path().to_owned()
    };
    let path = take();
    fs::write(path.join("more"), vec![0; 5000]).unwrap();
    let amount = store.du().unwrap().cache_mounts;
    assert_eq!(amount.count, 1);
    assert!(amount.bytes >= 5000, "{amount:?}");
    store.prune(&PruneOptions::default()).unwrap();
    assert!(
        path.join("more").exists(),
        "what is in use by somebody's builds stays"
    );
    let old = PruneOptions {
        older_than: Some(std::time::Duration::from_secs(3600)),
        ..PruneOptions::default()
    };
    store.prune(&old).unwrap();
    assert!(path.join("more").exists(), "it was used just now");
    let all = PruneOptions {
        all: true,
        ..PruneOptions::default()
    };
    store.prune(&all).unwrap();
    assert!(!path.exists());
    assert_eq!(store.du().unwrap().cache_mounts.count, 0);
    assert_eq!(take(), path, "and can be made again");
    assert_eq!(store.verify(false).unwrap().damage, []);
}
