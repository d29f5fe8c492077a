//! Directories that another machine takes over, and snapshots that lie.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::{self, FileTimes};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use store::Store;
use store::dir::Dir;
use store::snapshot::{
    Chunk, ChunkId, ChunkSink, Extent, FillError, Filler, Frame, Known, Metadata, Node, NodeKind,
    Pack, PackWriter, Scanned, Snapshot, Tree, decode, encode, scan,
};

use crate::{directory, open};

/// Chunks in memory.
#[derive(Default)]
struct Memory(HashMap<ChunkId, Vec<u8>>);

impl ChunkSink for Memory {
    fn has(&self, id: &ChunkId) -> bool {
        self.0.contains_key(id)
    }

    fn put(&mut self, chunk: Chunk, bytes: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        assert_eq!(Chunk::of(bytes), chunk);
        self.0.insert(chunk.id, bytes.to_vec());
        Ok(())
    }

    fn go_on(&self) -> bool {
        true
    }
}

fn scanned(path: &Path, known: Option<&Known>, memory: &mut Memory) -> Scanned {
    scan(&Dir::open(path).unwrap(), known, memory).unwrap()
}

/// All chunks in one pack, and the bytes of that.
fn packed(store: &Store, memory: &Memory) -> (Pack, Vec<u8>) {
    let scratch = store.scratch().unwrap();
    let mut writer = PackWriter::new(&scratch).unwrap();
    let sorted: BTreeMap<_, _> = memory.0.iter().collect();
    for (_, bytes) in sorted {
        writer.add(Chunk::of(bytes), bytes).unwrap();
    }
    match writer.finish().unwrap() {
        Some((pack, file)) => (pack, fs::read(file.path()).unwrap()),
        None => panic!("there are chunks"),
    }
}

/// Fills `fresh` with a snapshot whose packs' bytes are at hand; says how many bytes were written
/// and how many frames were asked for.
fn fill(
    fresh: &Path,
    present: Option<(&Path, &Known)>,
    snapshot: Snapshot,
    packs: &[Vec<u8>],
) -> Result<(Known, u64, usize), FillError> {
    let filler = Filler::begin(fresh, present, snapshot, u64::MAX)?;
    let mut frames = 0;
    for (pack, numbers) in filler.wanted() {
        for number in numbers {
            let frame = &filler.snapshot().packs[pack].frames[number];
            let start = frame.offset as usize;
            let stored = &packs[pack][start..start + frame.stored as usize];
            filler.frame(pack, number, stored)?;
            frames += 1;
        }
    }
    let filled = filler.finish()?;
    Ok((filled.known, filled.written_bytes, frames))
}

/// Everything about a directory that a restore must bring back.
fn describe(root: &Path) -> Vec<String> {
    fn walk(root: &Path, path: &Path, found: &mut Vec<String>) {
        let metadata = fs::symlink_metadata(path).unwrap();
        let content = match metadata.file_type() {
            kind if kind.is_symlink() => format!("-> {:?}", fs::read_link(path).unwrap()),
            kind if kind.is_file() => {
                let bytes = fs::read(path).unwrap();
                let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
                format!(
                    "{} bytes, sum {sum}, {} names",
                    bytes.len(),
                    metadata.nlink()
                )
            }
            _ => String::new(),
        };
        let mode = match metadata.is_symlink() {
            true => 0,
            false => metadata.mode(),
        };
        found.push(format!(
            "{} {mode:o} {}:{} {}.{:09} {content}",
            path.strip_prefix(root).unwrap().display(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        ));
        if metadata.is_dir() {
            let mut names: Vec<_> = fs::read_dir(path)
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect();
            names.sort();
            for name in names {
                walk(root, &name, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found
}

fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) * 2 + 0x9e37_79b9_7f4a_7c15;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(byte).collect()
}

/// A tree with one of everything, done with long ago.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::write(root.join("small"), "small").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("deep/large"), noise(1, 3 << 20)).unwrap();
    fs::hard_link(root.join("deep/large"), root.join("same")).unwrap();
    fs::write(root.join("deep/er/script"), "#!/bin/sh\n").unwrap();
    symlink("../..", root.join("deep/er/up")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(2, 100_000), 8 << 20).unwrap();
    sparse.set_len(32 << 20).unwrap();
    fs::set_permissions(
        root.join("deep/er/script"),
        PermissionsExt::from_mode(0o555),
    )
    .unwrap();
    fs::set_permissions(root.join("deep/er"), PermissionsExt::from_mode(0o1777)).unwrap();
    settle(root);
}

/// Gives everything a time that is over, with nanoseconds.
fn settle(root: &Path) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    for path in [
        "small",
        "empty",
        "deep/large",
        "deep/er/script",
        "sparse",
        "deep/er",
        "deep",
        "",
    ] {
        let file = fs::File::open(root.join(path)).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }
}

#[test]
fn a_directory_comes_back_as_it_was() {
    let directory = directory();
    let store = open(&directory.path().join("store"));
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::create_dir_all(&from).unwrap();
    fs::create_dir_all(&to).unwrap();
    tree(&from);
    let mut memory = Memory::default();
    let found = scanned(&from, None, &mut memory);
    // Hard links are read once, and holes not at all.
    assert!(found.read_bytes < (4 << 20), "{}", found.read_bytes);
    let (pack, bytes) = packed(&store, &memory);
    let snapshot = Snapshot {
        tree: found.tree,
        packs: vec![pack],
    };
    let encoded = encode(&snapshot).unwrap();
    let decoded = decode(&encoded).unwrap();
    assert_eq!(decoded, snapshot);
    let (known, written, _) = fill(&to, None, decoded, &[bytes]).unwrap();
    assert_eq!(describe(&to), describe(&from));
    assert_eq!(written, found.read_bytes);
    let restored = fs::metadata(to.join("sparse")).unwrap();
    assert!(restored.blocks() * 512 < (2 << 20), "holes stay holes");

    // What is known then is what is there: nothing is read again, and it survives the disk.
    let path = directory.path().join("known");
    known.save(&path, &store.scratch().unwrap()).unwrap();
    let loaded = Known::load(&path).unwrap();
    assert_eq!(loaded, known);
    let again = scanned(&to, Some(&loaded), &mut memory);
    assert_eq!(again.read_bytes, 0);
    assert_eq!(again.tree, snapshot.tree);
    let mut torn = fs::read(&path).unwrap();
    let middle = torn.len() / 2;
    torn[middle] ^= 1;
    fs::write(&path, torn).unwrap();
    assert_eq!(Known::load(&path), None, "a damaged one is none");
}

#[test]
fn only_what_changed_is_read_and_moved() {
    let directory = directory();
    let store = open(&directory.path().join("store"));
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::create_dir_all(&from).unwrap();
    fs::create_dir_all(&to).unwrap();
    tree(&from);
    let mut memory = Memory::default();
    let first = scanned(&from, None, &mut memory);
    let known = Known {
        snapshot: None,
        tree: first.tree.clone(),
        inodes: first.inodes,
    };
    let old_chunks: Vec<ChunkId> = memory.0.keys().copied().collect();
    // A few bytes in the middle of a large file, and a new small one.
    let mut content = fs::read(from.join("deep/large")).unwrap();
    content.splice(1_500_000..1_500_000, *b"inserted");
    fs::write(from.join("deep/large"), content).unwrap();
    fs::write(from.join("new"), "new").unwrap();
    let second = scanned(&from, Some(&known), &mut memory);
    assert!(second.read_bytes < (3 << 20) + 100, "{}", second.read_bytes);
    let added: Vec<_> = memory
        .0
        .iter()
        .filter(|(id, _)| !old_chunks.contains(id))
        .collect();
    let moved: usize = added.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(moved < (2 << 20), "{moved} bytes are new");

    // The other machine has the first state, and gets the second.
    let (pack, bytes) = packed(&store, &memory);
    let snapshot = |tree: &Tree| Snapshot {
        tree: tree.clone(),
        packs: vec![pack.clone()],
    };
    let (known, _, all) = fill(
        &to,
        None,
        snapshot(&first.tree),
        std::slice::from_ref(&bytes),
    )
    .unwrap();
    let next = directory.path().join("next");
    fs::create_dir(&next).unwrap();
    let before = describe(&to);
    let present = Some((to.as_path(), &known));
    let (_, written, frames) = fill(&next, present, snapshot(&second.tree), &[bytes]).unwrap();
    assert_eq!(describe(&next).len(), describe(&from).len());
    assert_eq!(
        fs::read(next.join("deep/large")).unwrap(),
        fs::read(from.join("deep/large")).unwrap()
    );
    assert!(frames < all, "{frames} of {all} frames came");
    assert!(written < (3 << 20) + 100, "{written}");
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(
        inode(&next.join("sparse")),
        inode(&to.join("sparse")),
        "it is taken over"
    );
    assert_ne!(inode(&next.join("same")), inode(&to.join("same")));
    fs::remove_dir_all(&next).unwrap();
    assert_eq!(describe(&to), before, "and the present one is as it was");
}

#[test]
fn what_was_written_just_now_is_read_again() {
    let directory = directory();
    let from = directory.path().join("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("a"), "one").unwrap();
    let mut memory = Memory::default();
    let first = scanned(&from, None, &mut memory);
    let known = Known {
        snapshot: None,
        tree: first.tree,
        inodes: first.inodes,
    };
    let time = fs::metadata(from.join("a")).unwrap().modified().unwrap();
    fs::write(from.join("a"), "two").unwrap();
    let file = fs::File::options()
        .write(true)
        .open(from.join("a"))
        .unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
    let second = scanned(&from, Some(&known), &mut memory);
    assert_ne!(second.tree, known.tree);
}

#[test]
fn privileges_do_not_travel() {
    let directory = directory();
    let from = directory.path().join("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("a"), "one").unwrap();
    fs::set_permissions(from.join("a"), PermissionsExt::from_mode(0o6755)).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    let found = scanned(&from, None, &mut Memory::default());
    assert_eq!(found.left_out, 1);
    assert_eq!(found.tree.nodes.len(), 2);
    assert_eq!(found.tree.nodes[1].metadata.mode, 0o755);
}

fn node(parent: u32, name: &str, mode: u32, kind: NodeKind) -> Node {
    Node {
        parent,
        name: name.as_bytes().into(),
        metadata: Metadata {
            mode,
            uid: rustix_uid(),
            gid: rustix_gid(),
            ..Metadata::default()
        },
        kind,
    }
}

fn rustix_uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

fn rustix_gid() -> u32 {
    fs::metadata("/proc/self").unwrap().gid()
}

/// A snapshot with these nodes below its root, as bytes of the format.
fn lying(nodes: Vec<Node>) -> Result<Snapshot, String> {
    let root = node(0, "", 0o755, NodeKind::Directory);
    let tree = Tree {
        nodes: std::iter::once(root).chain(nodes).collect(),
    };
    let snapshot = Snapshot {
        tree,
        packs: Vec::new(),
    };
    decode(&encode(&snapshot).unwrap()).map_err(|error| error.to_string())
}

#[test]
fn snapshots_that_lie_are_none() {
    let check = |nodes: Vec<Node>, expected: &str| {
        let error = lying(nodes).expect_err(expected);
        assert!(error.contains(expected), "{error}");
    };
    let file = |name: &str, mode| node(0, name, mode, NodeKind::File(Vec::new()));
    for name in ["..", ".", "", "a/b", "/", "a\0b"] {
        check(vec![file(name, 0o644)], "not one name");
    }
    check(vec![file("a", 0o4755)], "permissions");
    check(vec![file("a", 0o2755)], "permissions");
    check(vec![file("a", 0o177_777)], "permissions");
    check(
        vec![
            file("a", 0o644),
            node(1, "b", 0o644, NodeKind::File(Vec::new())),
        ],
        "what is no directory",
    );
    check(
        vec![node(7, "b", 0o644, NodeKind::Directory)],
        "what is no directory",
    );
    check(
        vec![node(0, "b", 0, NodeKind::HardLink(0))],
        "hard link leads nowhere",
    );
    check(
        vec![node(0, "b", 0, NodeKind::HardLink(9))],
        "hard link leads nowhere",
    );
    check(
        vec![node(0, "b", 0, NodeKind::Symlink(Box::default()))],
        "link leads nowhere",
    );
    let huge = NodeKind::File(vec![Extent::Hole(1 << 60)]);
    check(vec![node(0, "b", 0o644, huge)], "larger than any");
    let mut attribute = file("a", 0o644);
    attribute.metadata.xattrs = vec![(b"security.capability"[..].into(), b"x"[..].into())];
    check(vec![attribute], "not one of users");
    // A link may say what it likes, and nothing is made through it.
    let directory = directory();
    let outside = directory.path().join("outside");
    let inside = directory.path().join("inside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(&inside).unwrap();
    let target = outside.as_os_str().as_encoded_bytes();
    let trick = lying(vec![
        node(0, "a", 0, NodeKind::Symlink(target.into())),
        node(0, "a", 0o755, NodeKind::Directory),
        node(2, "b", 0o644, NodeKind::File(Vec::new())),
    ]);
    let refused = fill(&inside, None, trick.unwrap(), &[]);
    assert!(
        matches!(refused, Err(FillError::Make { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn packs_that_lie_are_refused() {
    let directory = directory();
    let store = open(&directory.path().join("store"));
    let mut memory = Memory::default();
    for seed in 0..3 {
        let bytes = noise(seed, 700_000);
        memory.put(Chunk::of(&bytes), &bytes).unwrap();
    }
    let (pack, bytes) = packed(&store, &memory);
    let extents = memory
        .0
        .values()
        .map(|bytes| Extent::Data(Chunk::of(bytes)));
    let kind = NodeKind::File(extents.collect());
    let snapshot = |pack: &Pack| Snapshot {
        tree: Tree {
            nodes: vec![
                node(0, "", 0o755, NodeKind::Directory),
                node(0, "a", 0o644, kind.clone()),
            ],
        },
        packs: vec![pack.clone()],
    };
    let mut number = 0;
    let mut check = |pack: &Pack, bytes: &[u8], expected: &str| {
        number += 1;
        let fresh = directory.path().join(number.to_string());
        fs::create_dir(&fresh).unwrap();
        let outcome = fill(&fresh, None, snapshot(pack), &[bytes.to_vec()]);
        let outcome = match outcome {
            Ok(_) => "whole".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(outcome.contains(expected), "{outcome}");
    };
    check(&pack, &bytes, "whole");
    let mut other = bytes.clone();
    other[1000] ^= 1;
    check(&pack, &other, "damaged");
    // A frame that unpacks to more than it says.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
    let mut bombed = pack.clone();
    let frame = &mut bombed.frames[0];
    frame.offset = 0;
    frame.stored = bomb.len() as u32;
    let padded = [&bomb[..], &vec![0; bytes.len()]].concat();
    check(&bombed, &padded, "damaged");
    // One that lacks what the tree needs.
    let mut short = pack.clone();
    short.frames.pop();
    check(&short, &bytes, "chunks are in no pack");
    let filled = Filler::begin(directory.path(), None, snapshot(&pack), 1 << 20);
    assert!(matches!(filled, Err(FillError::Space { .. })));
    // What a snapshot may not say of its packs.
    let wrong = |change: fn(&mut Pack)| {
        let mut pack = pack.clone();
        change(&mut pack);
        decode(&encode(&snapshot(&pack)).unwrap())
            .map(|_| ())
            .expect_err("it lies")
    };
    wrong(|pack| pack.size -= 1);
    wrong(|pack| pack.frames[0].offset = 1);
    wrong(|pack| pack.frames[0].chunks[0].length = 0);
    wrong(|pack| pack.frames[0].chunks[0].length = u32::MAX);
    wrong(|pack| {
        let frame: Frame = pack.frames[1].clone();
        pack.frames[0].chunks.extend(frame.chunks);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes is a snapshot or an error, and never a panic or a lot of memory.
    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200), compressed: bool) {
        let bytes = match compressed {
            true => {
                let body = [&b"kiln-mount\x00\x01"[..], &bytes].concat();
                zstd::bulk::compress(&body, 1).unwrap()
            }
            false => bytes,
        };
        let _ = decode(&bytes);
    }
}

#[test]
fn a_snapshot_that_unpacks_to_too_much_is_refused() {
    let zeros = vec![0; 70 << 20];
    let error = decode(&zstd::bulk::compress(&zeros, 3).unwrap()).unwrap_err();
    assert!(error.to_string().contains("larger"), "{error}");
    let later = zstd::bulk::compress(b"kiln-mount\x00\x02rest", 1).unwrap();
    assert!(decode(&later).unwrap_err().to_string().contains("knows"));
}
