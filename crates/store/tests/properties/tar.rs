//! Whatever the bytes: reading them ends within the limits, both readers agree whether they are an
//! archive, and an archive that is read, written by somebody else and read again is the same.

use std::io::Read;

use oci::{Compression, Hasher};
use store::layer::{
    Archive, Chunk, EntryKind, LayerIndex, Limits, ScanOptions, TarEntry, TarKind, TarReader, scan,
};
use testkit::tar::{Entry, write};

const BLOCK: usize = 512;

/// Small, so that bombs are found by their limits and not by patience.
const LIMITS: Limits = Limits {
    tar_bytes: 1 << 20,
    entries: 100,
    names_bytes: 64 << 10,
    ratio: 1000,
    depth: 32,
};

/// Panics where the property does not hold of `input`.
pub(crate) fn holds(input: &[u8]) {
    check(input);
    // Nobody guesses checksums.
    let repaired = with_checksums(input);
    if repaired != input {
        check(&repaired);
    }
}

fn check(tar: &[u8]) {
    let entries = read(tar);
    let index = index(tar);
    if let Some(index) = &index {
        let entries = entries.as_ref().expect("a layer is an archive");
        assert!(index.entries.len() <= entries.len());
        let opaque = |entry: &store::layer::Entry| matches!(entry.kind, EntryKind::Opaque);
        let mut names: Vec<_> = (index.entries.iter())
            .map(|entry| (entry.path.clone(), opaque(&entry)))
            .collect();
        names.sort();
        assert!(
            names.is_sorted_by(|a, b| a < b),
            "each path once: {names:?}"
        );
        assert_eq!(index.tar_bytes, tar.len() as u64);
        let decoded = LayerIndex::decode(&index.encode()).expect("our own index");
        assert_eq!(&decoded, index);
        unpacks_alike(tar);
    }
    let Some(entries) = entries.filter(|entries| entries.iter().all(can_be_written)) else {
        return;
    };
    let again = write(&entries.iter().map(plain).collect::<Vec<_>>());
    let read_again = read(&again).expect("what was written");
    assert_eq!(canonical(read_again), canonical(entries));
    if let Some(index) = index {
        let of_again = self::index(&again).expect("what was written");
        assert_eq!(of_again.entries, index.entries);
        assert_eq!(of_again.small_files, index.small_files);
        assert_eq!(of_again.implicit_parents, index.implicit_parents);
    }
}

/// Entries and their content; nothing when this is not an archive.
fn read(tar: &[u8]) -> Option<Vec<(TarEntry, Vec<u8>)>> {
    let mut reader = TarReader::new(tar, LIMITS);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        let mut content = Vec::new();
        while let Some(chunk) = reader.next_chunk().ok()? {
            match chunk {
                Chunk::Data(bytes) => {
                    assert!(!bytes.is_empty());
                    content.extend_from_slice(bytes);
                }
                Chunk::Hole(bytes) => {
                    content.resize(content.len() + usize::try_from(bytes).ok()?, 0);
                }
            }
            assert!(content.len() as u64 <= LIMITS.tar_bytes);
        }
        assert_eq!(content.len() as u64, entry.size, "as long as it says");
        entries.push((entry, content));
        assert!(entries.len() as u64 <= LIMITS.entries);
    }
    Some(entries)
}

fn index(tar: &[u8]) -> Option<LayerIndex> {
    let options = ScanOptions {
        compression: Compression::None,
        expected_blob: None,
        expected_diff_id: None,
        limits: LIMITS,
        unpack: None,
    };
    let index = scan(tar, options).ok()?.index;
    let mut hasher = Hasher::default();
    hasher.update(tar);
    assert_eq!(
        index.diff_id.0,
        hasher.finish(),
        "every byte is part of the diff id"
    );
    Some(index)
}

/// ADD reads it too, and finds the same content.
fn unpacks_alike(tar: &[u8]) {
    let Ok(Some(mut archive)) = Archive::open(tar, LIMITS) else {
        return;
    };
    while let Ok(Some(entry)) = archive.next_entry() {
        let mut content = Vec::new();
        archive
            .read_to_end(&mut content)
            .expect("a layer is readable");
        if let store::layer::ArchiveKind::File { size } = entry.kind {
            assert_eq!(content.len() as u64, size);
        }
    }
}

/// What the other writer does not know how to write: it was made for tests that are not that odd.
fn can_be_written((entry, _): &(TarEntry, Vec<u8>)) -> bool {
    let number_max = 0o777_7777;
    let a_file_named_like_a_directory = entry.kind == TarKind::File && entry.path.ends_with(b"/");
    let zero = entry.path.contains(&0) || entry.link.contains(&0);
    let (major, minor) = entry.device;
    !a_file_named_like_a_directory && !zero && major <= number_max && minor <= number_max
}

/// A directory is one with a slash behind it and without.
fn canonical(mut entries: Vec<(TarEntry, Vec<u8>)>) -> Vec<(TarEntry, Vec<u8>)> {
    for (entry, _) in &mut entries {
        if entry.kind == TarKind::Directory && entry.path.ends_with(b"/") {
            entry.path.pop();
        }
    }
    entries
}

fn plain((entry, content): &(TarEntry, Vec<u8>)) -> Entry {
    let mut path = entry.path.clone();
    let kind = match entry.kind {
        TarKind::File => b'0',
        TarKind::HardLink => b'1',
        TarKind::Symlink => b'2',
        TarKind::CharacterDevice => b'3',
        TarKind::BlockDevice => b'4',
        TarKind::Directory => b'5',
        TarKind::Fifo => b'6',
    };
    if kind == b'5' && path.ends_with(b"/") {
        path.pop();
    }
    Entry {
        path,
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        link: entry.link.clone(),
        device: entry.device,
        xattrs: (entry.xattrs.iter())
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect(),
        content: content.clone(),
    }
}

/// The same with right checksums in all that look like headers.
fn with_checksums(input: &[u8]) -> Vec<u8> {
    let mut repaired = input.to_vec();
    for block in repaired.chunks_exact_mut(BLOCK) {
        if !block[257..].starts_with(b"ustar") {
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    repaired
}
