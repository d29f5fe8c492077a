//! Lists of the files that a step takes from outside: what each is and the beginning of the digest
//! of its content, in a form that is small. Two lists say which files are not what they were.
//!
//! ```text
//! list  = format, 'more files than are listed', entries, compressed as one
//! entry = bytes shared with the path before, length of the rest, rest,
//!         kind, mode, uid, gid, the first eight bytes of a digest
//! ```

use std::collections::BTreeMap;
use std::io::Read as _;

use oci::Digest;

use super::explanation::FileChange;
use crate::copy::files::{Files, FilesError, NodeKind};
use crate::copy::select::Selection;

/// Files in a list; what is beyond is only known to be there.
pub(crate) const FILES_MAX: usize = 100_000;

/// The bytes of a list, not compressed: bounds what a damaged one can cost.
const LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Changes when the bytes mean something else.
const FORMAT: u8 = 1;

/// The compression: a list is written by builds that have changed files to pack, and hashes do not
/// become smaller.
const LEVEL: i32 = 1;

/// What is known of the files that a step takes from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileList {
    entries: Vec<Entry>,
    /// There are more.
    more: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: Vec<u8>,
    kind: u8,
    mode: u32,
    owner: (u32, u32),
    hash: [u8; 8],
}

/// The kinds, by the letter that stands for each.
const KINDS: [(u8, &str); 8] = [
    (b'f', "a file"),
    (b'd', "a directory"),
    (b'l', "a symbolic link"),
    (b'c', "a character device"),
    (b'b', "a block device"),
    (b'p', "a named pipe"),
    (b's', "a socket"),
    (b'u', "fetched"),
];

impl FileList {
    /// Adds all that a selection holds, named as in its source.
    ///
    /// # Errors
    ///
    /// When content that has not been hashed yet cannot be read.
    pub(crate) fn add(
        &mut self,
        selection: &Selection,
        source: &dyn Files,
    ) -> Result<(), FilesError> {
        for found in &selection.matches {
            let top =
                (found.node.kind != NodeKind::Directory).then_some((&found.path, &found.node));
            let below = found.below.iter().map(|below| (&below.path, &below.node));
            for (path, node) in top.into_iter().chain(below) {
                if self.entries.len() >= FILES_MAX {
                    self.more = true;
                    return Ok(());
                }
                let (kind, hash) = match &node.kind {
                    NodeKind::Directory => (b'd', [0; 8]),
                    NodeKind::File { .. } => (b'f', first_bytes(&source.content(path, node)?.0)),
                    NodeKind::Symlink(target) => (b'l', hash_of(target)),
                    NodeKind::CharacterDevice { .. } => (b'c', [0; 8]),
                    NodeKind::BlockDevice { .. } => (b'b', [0; 8]),
                    NodeKind::Fifo => (b'p', [0; 8]),
                    NodeKind::Socket => (b's', [0; 8]),
                };
                self.entries.push(Entry {
                    path: path.as_bytes().to_vec(),
                    kind,
                    mode: node.metadata.mode,
                    owner: (node.metadata.uid, node.metadata.gid),
                    hash,
                });
            }
        }
        Ok(())
    }

    /// Adds what came from an address.
    pub(crate) fn add_address(&mut self, shown: &str, digest: &Digest) {
        self.entries.push(Entry {
            path: shown.as_bytes().to_vec(),
            kind: b'u',
            mode: 0,
            owner: (0, 0),
            hash: hash_of_hex(digest),
        });
    }

    /// Whether there are more files than it lists.
    pub(crate) fn is_cut(&self) -> bool {
        self.more
    }

    /// The bytes that are kept.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT, u8::from(self.more)];
        let mut before: &[u8] = &[];
        for Entry {
            path,
            kind,
            mode,
            owner,
            hash,
        } in &self.entries
        {
            let shared = before.iter().zip(path).take_while(|(a, b)| a == b).count();
            number(&mut bytes, shared as u64);
            number(&mut bytes, (path.len() - shared) as u64);
            bytes.extend_from_slice(&path[shared..]);
            bytes.push(*kind);
            number(&mut bytes, u64::from(*mode));
            number(&mut bytes, u64::from(owner.0));
            number(&mut bytes, u64::from(owner.1));
            bytes.extend_from_slice(hash);
            before = path;
        }
        zstd::encode_all(&bytes[..], LEVEL).unwrap_or_default()
    }

    /// What was written; nothing when it is damaged or of another format.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut plain = Vec::new();
        let decoder = zstd::Decoder::new(bytes).ok()?;
        decoder
            .take(LIST_BYTES_MAX + 1)
            .read_to_end(&mut plain)
            .ok()?;
        let [FORMAT, more, rest @ ..] = &plain[..] else {
            return None;
        };
        if plain.len() as u64 > LIST_BYTES_MAX {
            return None;
        }
        let mut rest = Bytes(rest);
        let mut list = Self {
            entries: Vec::new(),
            more: *more != 0,
        };
        let mut path: Vec<u8> = Vec::new();
        while !rest.0.is_empty() {
            let shared = rest.number()?;
            let length = rest.number()?;
            path.truncate(usize::try_from(shared).ok().filter(|n| *n <= path.len())?);
            path.extend_from_slice(rest.take(usize::try_from(length).ok()?)?);
            let kind = *rest.take(1)?.first()?;
            let mode = u32::try_from(rest.number()?).ok()?;
            let uid = u32::try_from(rest.number()?).ok()?;
            let gid = u32::try_from(rest.number()?).ok()?;
            let hash = rest.take(8)?.try_into().ok()?;
            list.entries.push(Entry {
                path: path.clone(),
                kind,
                mode,
                owner: (uid, gid),
                hash,
            });
        }
        Some(list)
    }

    /// What is another here than in `old`, in the order of paths.
    pub(crate) fn changes_since(&self, old: &Self) -> Vec<FileChange> {
        let (old, new) = (old.by_path(), self.by_path());
        let mut changes = Vec::new();
        let mut paths: Vec<&[u8]> = old.keys().chain(new.keys()).copied().collect();
        paths.sort_unstable();
        paths.dedup();
        for name in paths {
            let path = String::from_utf8_lossy(name).into_owned();
            match (old.get(name), new.get(name)) {
                (None, Some(_)) => changes.push(FileChange::Added { path }),
                (Some(_), None) => changes.push(FileChange::Removed { path }),
                (Some(old), Some(new)) => changes.extend(difference(path, old, new)),
                (None, None) => {}
            }
        }
        changes
    }

    fn by_path(&self) -> BTreeMap<&[u8], &Entry> {
        let entries = self.entries.iter();
        entries.map(|entry| (&entry.path[..], entry)).collect()
    }
}

/// The first thing that is another.
fn difference(path: String, old: &Entry, new: &Entry) -> Option<FileChange> {
    if old.kind != new.kind {
        let (old, new) = (kind_name(old.kind), kind_name(new.kind));
        return Some(FileChange::Kind { path, old, new });
    }
    if old.hash != new.hash {
        return Some(match old.kind {
            b'l' => FileChange::Target { path },
            _ => FileChange::Content {
                path,
                old: hex(&old.hash),
                new: hex(&new.hash),
            },
        });
    }
    if old.mode != new.mode {
        let (old, new) = (old.mode, new.mode);
        return Some(FileChange::Mode { path, old, new });
    }
    if old.owner != new.owner {
        let shown = |(uid, gid): (u32, u32)| format!("{uid}:{gid}");
        let (old, new) = (shown(old.owner), shown(new.owner));
        return Some(FileChange::Owner { path, old, new });
    }
    None
}

fn kind_name(kind: u8) -> String {
    let known = KINDS.iter().find(|(letter, _)| *letter == kind);
    known.map_or("something else", |(_, name)| name).to_owned()
}

fn first_bytes(hash: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(hash) {
        *to = *from;
    }
    first
}

fn hash_of(bytes: &[u8]) -> [u8; 8] {
    hash_of_hex(&Digest::of(bytes))
}

fn hash_of_hex(digest: &Digest) -> [u8; 8] {
    let mut first = [0; 8];
    for (to, pair) in first.iter_mut().zip(digest.hex().as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *to = u8::from_str_radix(pair, 16).unwrap_or_default();
    }
    first
}

/// As much as is shown: eight digits.
fn hex(hash: &[u8; 8]) -> String {
    hash[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seven bits in a byte, the lowest first.
fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(lines: &[(&str, u8, u32, u32, &str)]) -> FileList {
        let entries = lines.iter().map(|(path, kind, mode, uid, content)| Entry {
            path: path.as_bytes().to_vec(),
            kind: *kind,
            mode: *mode,
            owner: (*uid, 0),
            hash: hash_of(content.as_bytes()),
        });
        FileList {
            entries: entries.collect(),
            more: false,
        }
    }

    #[test]
    fn a_list_is_what_was_written() {
        let mut written = list(&[
            ("src/a", b'f', 0o644, 0, "a"),
            ("src/abc", b'f', 0o755, 1000, "b"),
            ("x", b'l', 0o777, 0, "to"),
        ]);
        written.more = true;
        let bytes = written.to_bytes();
        assert_eq!(FileList::from_bytes(&bytes), Some(written));
        for end in 0..bytes.len() {
            assert_eq!(FileList::from_bytes(&bytes[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn every_kind_of_change_is_told() {
        let old = list(&[
            ("gone", b'f', 0o644, 0, ""),
            ("link", b'l', 0o777, 0, "a"),
            ("mode", b'f', 0o644, 0, ""),
            ("owner", b'f', 0o644, 0, ""),
            ("same", b'f', 0o644, 0, ""),
            ("text", b'f', 0o644, 0, "a"),
            ("turned", b'f', 0o644, 0, ""),
        ]);
        let new = list(&[
            ("link", b'l', 0o777, 0, "b"),
            ("mode", b'f', 0o755, 0, ""),
            ("new", b'd', 0o755, 0, ""),
            ("owner", b'f', 0o644, 7, ""),
            ("same", b'f', 0o644, 0, ""),
            ("text", b'f', 0o600, 0, "b"),
            ("turned", b'd', 0o755, 0, ""),
        ]);
        let path = str::to_owned;
        assert_eq!(
            new.changes_since(&old),
            [
                FileChange::Removed { path: path("gone") },
                FileChange::Target { path: path("link") },
                FileChange::Mode {
                    path: path("mode"),
                    old: 0o644,
                    new: 0o755
                },
                FileChange::Added { path: path("new") },
                FileChange::Owner {
                    path: path("owner"),
                    old: "0:0".to_owned(),
                    new: "7:0".to_owned()
                },
                FileChange::Content {
                    path: path("text"),
                    old: "ca978112".to_owned(),
                    new: "3e23e816".to_owned()
                },
                FileChange::Kind {
                    path: path("turned"),
                    old: "a file".to_owned(),
                    new: "a directory".to_owned()
                },
            ]
        );
    }
}
