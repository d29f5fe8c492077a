//! The entries of one layer, a million of them in 90 MB: what many of them have in common is there once.
//!
//! A path is a directory, which its siblings share, and a name in one long text. Metadata that
//! several entries have, as the files of one package do, is kept once.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, RandomState};

use super::{Entry, EntryKind, EntryPath, Metadata};

/// The entries of a layer in the order of its tar.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    places: Vec<Place>,
    kinds: Vec<EntryKind>,
    /// All names, one behind the other.
    names: Vec<u8>,
    /// Paths that the names are in.
    directories: Vec<Box<[u8]>>,
    metadata: Vec<Metadata>,
}

/// An entry without what it is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its name ends where that of the next begins.
    name_start: u64,
    /// By their numbers.
    directory: u32,
    metadata: u32,
}

impl Entries {
    /// How many.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Each as a whole.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Entry> + ExactSizeIterator {
        (0..self.len()).map(|at| Entry {
            path: self.path(at),
            kind: self.kinds[at].clone(),
            metadata: self.metadata(at).clone(),
        })
    }

    /// Each as a whole, to be changed.
    pub fn to_vec(&self) -> Vec<Entry> {
        self.iter().collect()
    }

    /// What they are.
    pub fn kinds(&self) -> &[EntryKind] {
        &self.kinds
    }

    /// What the entry of that number is.
    ///
    /// # Panics
    ///
    /// As all that take a number, when there are not so many.
    pub fn kind(&self, at: usize) -> &EntryKind {
        &self.kinds[at]
    }

    /// Owner, permissions, time and attributes.
    pub fn metadata(&self, at: usize) -> &Metadata {
        &self.metadata[self.places[at].metadata as usize]
    }

    /// Where it stands.
    pub fn path(&self, at: usize) -> EntryPath {
        EntryPath::of_parts(self.directory(at), self.name(at))
    }

    /// The last component of its path; empty for the root.
    pub fn name(&self, at: usize) -> &[u8] {
        let end = match self.places.get(at + 1) {
            Some(next) => next.name_start as usize,
            None => self.names.len(),
        };
        &self.names[self.places[at].name_start as usize..end]
    }

    /// The path without its name.
    pub(super) fn directory(&self, at: usize) -> &[u8] {
        &self.directories[self.places[at].directory as usize]
    }

    /// Two of one number are in one directory.
    pub(super) fn directory_number(&self, at: usize) -> u32 {
        self.places[at].directory
    }

    /// Whether the entry of that number is `entry`, but for the content of a file.
    pub(super) fn is_like(&self, at: usize, entry: &Entry) -> bool {
        let Some(kind) = self.kinds.get(at) else {
            return false;
        };
        let same_kind = match (kind, &entry.kind) {
            (EntryKind::File { size, .. }, EntryKind::File { size: other, .. }) => size == other,
            (kind, other) => kind == other,
        };
        same_kind
            && self.name(at) == entry.path.name()
            && self.directory(at) == entry.path.directory()
            && *self.metadata(at) == entry.metadata
    }
}

/// Whatever is kept once in the one and twice in the other.
impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.kinds == other.kinds
            && self.names == other.names
            && (0..self.len()).all(|at| {
                self.name(at) == other.name(at)
                    && self.directory(at) == other.directory(at)
                    && self.metadata(at) == other.metadata(at)
            })
    }
}

impl Eq for Entries {}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut writer = EntriesWriter::default();
        for entry in entries {
            writer.push(&entry.path, entry.kind, entry.metadata);
        }
        writer.finish()
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Self {
        entries.into_iter().collect()
    }
}

/// Takes entries one by one.
#[derive(Debug, Default)]
pub(super) struct EntriesWriter {
    entries: Entries,
    directories: Recent,
    metadata: Recent,
}

impl EntriesWriter {
    /// With room for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        let mut writer = Self::default();
        writer.entries.places.reserve_exact(count);
        writer.entries.kinds.reserve_exact(count);
        writer
    }

    /// Those that it has so far.
    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(super) fn push(&mut self, path: &EntryPath, kind: EntryKind, metadata: Metadata) {
        let entries = &mut self.entries;
        let directory = path.directory();
        let last = entries.places.last().copied();
        let directory = match last {
            Some(last) if *entries.directories[last.directory as usize] == *directory => {
                last.directory
            }
            Some(_) | None => self
                .directories
                .number(&mut entries.directories, directory, || directory.into()),
        };
        let metadata = match last {
            Some(last) if entries.metadata[last.metadata as usize] == metadata => last.metadata,
            Some(_) | None => self
                .metadata
                .number(&mut entries.metadata, &metadata, || metadata.clone()),
        };
        entries.places.push(Place {
            name_start: entries.names.len() as u64,
            directory,
            metadata,
        });
        entries.names.extend_from_slice(path.name());
        entries.kinds.push(kind);
    }

    /// Replaces what the last one is.
    pub(super) fn amend_last(&mut self, kind: EntryKind) {
        if let Some(last) = self.entries.kinds.last_mut() {
            *last = kind;
        }
    }

    pub(super) fn finish(self) -> Entries {
        let mut entries = self.entries;
        entries.places.shrink_to_fit();
        entries.kinds.shrink_to_fit();
        entries.names.shrink_to_fit();
        entries.directories.shrink_to_fit();
        entries.metadata.shrink_to_fit();
        entries
    }
}

/// What was put into a list not long ago, so that most of what comes again is found: in as much
/// memory for a million different things as for one.
#[derive(Debug, Default)]
struct Recent {
    /// Numbers from 1 on, by hash.
    slots: Vec<u32>,
    hasher: RandomState,
}

/// Of one list.
const RECENT_MAX: usize = 1 << 13;

impl Recent {
    /// The number of `value` in `list`, to which it is added if need be.
    fn number<T: Borrow<V>, V: ?Sized + Hash + Eq>(
        &mut self,
        list: &mut Vec<T>,
        value: &V,
        own: impl FnOnce() -> T,
    ) -> u32 {
        if self.slots.is_empty() {
            self.slots = vec![0; RECENT_MAX];
        }
        let slot = self.hasher.hash_one(value) as usize % RECENT_MAX;
        if let Some(known) = self.slots[slot].checked_sub(1)
            && list[known as usize].borrow() == value
        {
            return known;
        }
        let number = u32::try_from(list.len() + 1).expect("each of 2³² has bytes in memory");
        list.push(own());
        self.slots[slot] = number;
        number - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, mtime: i64) -> Entry {
        Entry {
            path: EntryPath::parse(path.as_bytes()).unwrap(),
            kind: EntryKind::Symlink {
                target: path.as_bytes().into(),
            },
            metadata: Metadata::root_owned(0o777, mtime),
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let paths = ["", "a", "a/b", "a/b", "a/b/c", "d", "a/e", "a/b/f"];
        let entries: Vec<Entry> = (0..).zip(paths).map(|(n, p)| entry(p, n % 3)).collect();
        let kept: Entries = entries.iter().cloned().collect();
        assert_eq!(kept.to_vec(), entries);
        for (at, entry) in entries.iter().enumerate() {
            assert!(kept.is_like(at, entry), "{at}");
            assert!(!kept.is_like(at + 1, entry), "{at}");
            assert_eq!(kept.name(at), entry.path.name(), "{at}");
        }
    }

    /// More of everything than is remembered.
    #[test]
    fn what_is_not_remembered_is_kept_twice_and_no_worse() {
        let many = (0..3).flat_map(|_| 0..2 * RECENT_MAX);
        let entries: Vec<Entry> = many.map(|n| entry(&format!("{n}/f"), n as i64)).collect();
        let kept: Entries = entries.iter().cloned().collect();
        assert_eq!(kept.to_vec(), entries);
        let mut other: Entries = entries.iter().cloned().collect();
        assert_eq!(kept, other);
        other.metadata[0].mode = 0;
        assert_ne!(kept, other);
    }

    #[test]
    fn what_entries_share_is_there_once() {
        let entries = (0..100).map(|n| entry(&format!("{}/{n}", n % 2), n % 5));
        let kept: Entries = entries.collect();
        assert_eq!((kept.directories.len(), kept.metadata.len()), (2, 5));
    }
}
