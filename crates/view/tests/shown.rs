//! What the kernel shows of a tree. Needs root and `/dev/fuse`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use oci::Compression;
use store::layer::{Limits, NodeId, ScanOptions, Tree, scan};
use testkit::Layer;
use testkit::tar::Entry;
use view::{Contents, Ids, View};

/// Contents that can be computed: each byte from its file and its place.
#[derive(Debug, Default)]
struct Computed {
    reads: AtomicU64,
    /// Nothing can be read.
    broken: bool,
    /// Reads wait until this is true.
    gate: Option<(Mutex<bool>, Condvar)>,
}

fn byte(offset: u64) -> u8 {
    (offset % 251) as u8
}

impl Contents for Computed {
    fn read(&self, _file: NodeId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if let Some((open, opened)) = &self.gate {
            let guard = open.lock().unwrap();
            drop(opened.wait_while(guard, |open| !*open).unwrap());
        }
        if self.broken {
            return Err(io::Error::other("broken"));
        }
        for (at, to) in buffer.iter_mut().enumerate() {
            *to = byte(offset + at as u64);
        }
        Ok(())
    }
}

fn tree(layers: &[Layer]) -> Arc<Tree> {
    let indexes: Vec<_> = layers
        .iter()
        .map(|layer| {
            let blob = layer.build();
            let options = ScanOptions {
                compression: Compression::Gzip,
                expected_blob: None,
                expected_diff_id: None,
                limits: Limits::default(),
                unpack: None,
            };
            Arc::new(
                scan(&blob.bytes[..], options)
                    .expect("a layer of ours")
                    .index,
            )
        })
        .collect();
    Arc::new(Tree::stack(&indexes))
}

/// A tree and a mount of it, under a path that only this process has.
struct Shown {
    view: View,
    mount: OwnedFd,
}

impl Shown {
    fn new(tree: Arc<Tree>, ids: Ids, contents: Computed) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || fs::File::open("/dev/fuse").is_err() {
            #[expect(clippy::print_stderr, reason = "a skipped test says why")]
            {
                eprintln!("skipped: needs root and /dev/fuse");
            }
            return None;
        }
        let contents: Arc<dyn Contents> = Arc::new(contents);
        let view = View::new(tree, ids, &contents).expect("FUSE works here");
        let mount = view.mount().expect("a mount");
        Some(Self { view, mount })
    }

    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.mount.as_raw_fd())).join(path)
    }
}

fn entry(path: &str, kind: u8) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o640,
        mtime: 1_000_000,
        ..Entry::default()
    }
}

/// One of every kind.
fn zoo() -> Vec<Layer> {
    let below = Layer::new()
        .directory("d", 0o755)
        .file("d/gone", "x")
        .file("d/first", "12345")
        .hardlink("d/second", "d/first")
        .directory("opaque", 0o755)
        .file("opaque/hidden", "x")
        .symlink("link", "d/first")
        .file_with("set-uid", 0o4755, "program")
        .entry(Entry {
            uid: 7,
            gid: 70_000,
            xattrs: BTreeMap::from([
                (b"user.note".to_vec(), b"hello".to_vec()),
                (b"user.empty".to_vec(), Vec::new()),
            ]),
            ..entry("owned", b'0')
        })
        .entry(Entry {
            device: (1, 3),
            ..entry("null", b'3')
        })
        .entry(Entry {
            device: (8, 300),
            ..entry("disk", b'4')
        })
        .entry(entry("pipe", b'6'));
    let above = Layer::new()
        .whiteout("d/gone")
        .opaque("opaque")
        .file("opaque/seen", "y")
        .file("deep/er/file", "z");
    vec![below, above]
}

#[test]
fn everything_has_its_kind_owner_and_attributes() {
    let shifted = Ids::Shifted {
        base: 100_000,
        count: 65_536,
    };
    let Some(shown) = Shown::new(tree(&zoo()), shifted, Computed::default()) else {
        return;
    };
    let names = |path: &str| {
        let listed = fs::read_dir(shown.path(path)).expect("a directory");
        let mut names: Vec<String> = listed
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(""), "d deep disk link null opaque owned pipe set-uid");
    assert_eq!(names("d"), "first second");
    assert_eq!(names("opaque"), "seen");

    let stat = |path: &str| fs::symlink_metadata(shown.path(path)).expect(path);
    let (first, second) = (stat("d/first"), stat("d/second"));
    assert_eq!(first.ino(), second.ino());
    assert_eq!((first.nlink(), second.nlink(), first.size()), (2, 2, 5));
    assert_eq!(stat("set-uid").mode(), 0o104_755);
    let owned = stat("owned");
    assert_eq!((owned.uid(), owned.gid()), (100_007, 165_536));
    assert_eq!((owned.mode(), owned.mtime()), (0o100_640, 1_000_000));
    assert_eq!(stat("d").uid(), 100_000);
    assert_eq!(stat("").nlink(), 5);
    assert!(stat("null").file_type().is_char_device());
    assert_eq!(stat("null").rdev(), rustix::fs::makedev(1, 3));
    assert!(stat("disk").file_type().is_block_device());
    assert_eq!(stat("disk").rdev(), rustix::fs::makedev(8, 300));
    assert!(stat("pipe").file_type().is_fifo());
    let target = fs::read_link(shown.path("link")).expect("a link");
    assert_eq!(target, Path::new("d/first"));
    for absent in ["d/gone", "opaque/hidden", "nothing", "d/first/x"] {
        assert!(
            fs::symlink_metadata(shown.path(absent)).is_err(),
            "{absent}"
        );
    }

    let mut value = [0_u8; 64];
    let owned = shown.path("owned");
    let count = rustix::fs::getxattr(&owned, "user.note", &mut value).expect("it has one");
    assert_eq!(&value[..count], b"hello");
    assert_eq!(
        rustix::fs::getxattr(&owned, "user.empty", &mut value),
        Ok(0)
    );
    let absent = rustix::fs::getxattr(&owned, "user.other", &mut value);
    assert_eq!(absent, Err(rustix::io::Errno::NODATA));
    let count = rustix::fs::listxattr(&owned, &mut value).expect("a list");
    assert_eq!(&value[..count], b"user.empty\0user.note\0");
    let short = rustix::fs::getxattr(&owned, "user.note", &mut [0_u8; 2]);
    assert_eq!(short, Err(rustix::io::Errno::RANGE));
    assert!(
        fs::write(shown.path("new"), "x").is_err(),
        "it can be written to"
    );
    assert!(
        fs::write(shown.path("d/first"), "x").is_err(),
        "it can be written to"
    );
}

#[test]
fn contents_are_read_once_and_where_they_are_needed() {
    let size = 3 * 1024 * 1024 + 17;
    let layer = Layer::new().file("big", vec![0; size]).file("empty", "");
    let Some(shown) = Shown::new(tree(&[layer]), Ids::Same, Computed::default()) else {
        return;
    };
    let expected: Vec<u8> = (0..size as u64).map(byte).collect();
    assert!(fs::read(shown.path("big")).unwrap() == expected);
    assert!(fs::read(shown.path("empty")).unwrap().is_empty());
    // From the kernel's memory.
    let file = fs::File::open(shown.path("big")).unwrap();
    let mut part = [0; 1000];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut part, 2_000_000).unwrap();
    assert!(part[..] == expected[2_000_000..2_001_000]);
    // Of another mount, too.
    let again = shown.view.mount().expect("a second mount");
    let path = format!("/proc/self/fd/{}/big", again.as_raw_fd());
    assert!(fs::read(path).unwrap() == expected);
}

#[test]
fn large_directories_are_listed_to_their_end() {
    let mut layer = Layer::new();
    let mut expected = Vec::new();
    for number in 0..3000 {
        let name = format!("d/{number:04}-{}", "n".repeat(number % 200));
        expected.push(name[2..].to_owned());
        layer = layer.file(&name, "");
    }
    let Some(shown) = Shown::new(tree(&[layer]), Ids::Same, Computed::default()) else {
        return;
    };
    for _from_the_view_then_from_the_cache in 0..2 {
        let listed = fs::read_dir(shown.path("d")).expect("a directory");
        let mut names: Vec<String> = listed
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, expected);
    }
}

#[test]
fn what_cannot_be_read_is_an_error_of_the_reader() {
    let broken = Computed {
        broken: true,
        ..Computed::default()
    };
    let layer = Layer::new().file("file", "12345");
    let Some(shown) = Shown::new(tree(&[layer]), Ids::Same, broken) else {
        return;
    };
    let error = fs::read(shown.path("file")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert!(fs::symlink_metadata(shown.path("file")).is_ok());
}

/// Whoever waits for contents that do not come waits no longer, and a view can be dropped under
/// those who use it.
#[test]
fn an_abort_ends_what_waits() {
    let gated = Computed {
        gate: Some((Mutex::new(false), Condvar::new())),
        ..Computed::default()
    };
    let layer = (0..20).fold(Layer::new(), |layer, number| {
        layer.file(&format!("file-{number}"), "12345")
    });
    let Some(shown) = Shown::new(tree(&[layer]), Ids::Same, gated) else {
        return;
    };
    // More than there are threads that wait for contents.
    let readers: Vec<_> = (0..20)
        .map(|number| {
            let path = shown.path(&format!("file-{number}"));
            std::thread::spawn(move || fs::read(path).map_err(|error| error.raw_os_error()))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(50));
    assert!(
        readers.iter().all(|reader| !reader.is_finished()),
        "somebody read"
    );
    // Names are answered all the while.
    assert_eq!(fs::read_dir(shown.path("")).unwrap().count(), 20);
    shown.view.abort();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), Err(Some(libc::EIO)));
    }
    let file = fs::File::open(shown.path("file-0")).unwrap();
    drop(shown.view);
    let gone = rustix::fs::fgetxattr(&file, "user.x", &mut [0_u8; 8]);
    assert_eq!(gone, Err(rustix::io::Errno::NOTCONN));
}
