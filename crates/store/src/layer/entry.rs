//! One thing in a layer: a file, a link, a node, or a mark that hides something
//! below.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ContentHash;

/// Where an entry stands in a root file system: components joined by `/`, in
/// bytes, without a leading or trailing slash and without `.` and `..`. The
/// root itself is the empty path.
///
/// Bytes and not text, because file names are bytes; normalised, because two
/// spellings of one path would be two entries.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryPath(Box<[u8]>);

/// Why bytes are not the path of an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A component `..`.
    #[error("the path `{0}` leaves the root: it has a component `..`")]
    Parent(String),
    /// A zero byte.
    #[error("the path `{0}` contains a zero byte")]
    Zero(String),
    /// Longer than the kernel takes (PATH_MAX, NAME_MAX).
    #[error(
        "the path `{0}…` is too long: {1} bytes, at most {PATH_BYTES_MAX} with components of at most {NAME_BYTES_MAX}"
    )]
    Long(String, usize),
}

/// PATH_MAX without its terminator.
pub const PATH_BYTES_MAX: usize = 4095;
/// NAME_MAX.
pub const NAME_BYTES_MAX: usize = 255;

impl EntryPath {
    /// The root.
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// Normalises a path: drops leading and repeated slashes and `.`.
    ///
    /// # Errors
    ///
    /// `..`, a zero byte, and lengths that no kernel takes.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let mut normal = Vec::with_capacity(bytes.len());
        for component in bytes.split(|b| *b == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(PathError::Parent(shown())),
                _ => {}
            }
            if component.contains(&0) {
                return Err(PathError::Zero(shown()));
            }
            if component.len() > NAME_BYTES_MAX {
                return Err(PathError::Long(shown(), component.len()));
            }
            if !normal.is_empty() {
                normal.push(b'/');
            }
            normal.extend_from_slice(component);
        }
        if normal.len() > PATH_BYTES_MAX {
            return Err(PathError::Long(shown(), normal.len()));
        }
        Ok(Self(normal.into()))
    }

    /// The bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory that the entry is in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// What comes before the name.
    pub(super) fn directory(&self) -> &[u8] {
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        &self.0[..end]
    }

    /// What [`Self::directory`] and [`Self::name`] make of a path.
    pub(super) fn of_parts(directory: &[u8], name: &[u8]) -> Self {
        if directory.is_empty() {
            return Self(name.into());
        }
        Self([directory, b"/", name].concat().into())
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let start = self
            .0
            .iter()
            .rposition(|b| *b == b'/')
            .map_or(0, |slash| slash + 1);
        &self.0[start..]
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    ///
    /// As for [`EntryPath::parse`].
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let mut joined = self.0.to_vec();
        joined.push(b'/');
        joined.extend_from_slice(name);
        Self::parse(&joined)
    }

    /// The components from the root down.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|b| *b == b'/')
            .filter(|component| !component.is_empty())
    }

    /// Whether this is `ancestor` or below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self.0 == ancestor.0
            || (self.0.starts_with(&ancestor.0) && self.0.get(ancestor.0.len()) == Some(&b'/'))
    }
}

/// Component by component, so that a directory is followed by all that is below
/// it before its next sibling: the order of entries in our layers.
impl Ord for EntryPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }
}

impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it stands.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// Owner, permissions, time and extended attributes.
    pub metadata: Metadata,
}

/// What every entry has beside its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Metadata {
    /// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Extended attributes by full name. Never overlayfs' own.
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl Metadata {
    /// Owned by root, with no extended attributes.
    pub fn root_owned(mode: u32, mtime: i64) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            mtime,
            xattrs: BTreeMap::new(),
        }
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes of content, holes included.
        size: u64,
        /// Hash of the content.
        content: ContentHash,
    },
    /// A symbolic link, with its target as written.
    Symlink {
        /// Never resolved here.
        target: Box<[u8]>,
    },
    /// Another name of a file in the same layer or below.
    HardLink {
        /// The first name.
        target: EntryPath,
    },
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// Hides the entry of this path in the layers below (image specification,
    /// "Whiteouts"). The path is that of the hidden entry, without `.wh.`.
    Whiteout,
    /// Hides all that the layers below have in the directory of this path
    /// ("Opaque Whiteout"). The path is that of the directory.
    Opaque,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Option<&str>) {
        let parsed = EntryPath::parse(raw.as_bytes()).ok();
        assert_eq!(parsed.map(|p| p.to_string()).as_deref(), expected, "{raw}");
    }

    #[test]
    fn paths_are_normalised_or_refused() {
        check("", Some("/"));
        check("./", Some("/"));
        check("/a//b/./c/", Some("/a/b/c"));
        check("a/../b", None);
        check("..", None);
        check("...", Some("/..."));
        check("a\0b", None);
        check(&"n".repeat(256), None);
        check(&"n/".repeat(2100), None);
    }

    #[test]
    fn a_directory_sorts_before_its_content_and_that_before_its_siblings() {
        let mut paths: Vec<_> = ["a.b", "a", "a/z", "a-b", "a/b/c", ""]
            .iter()
            .map(|p| EntryPath::parse(p.as_bytes()).unwrap())
            .collect();
        paths.sort();
        let shown: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["/", "/a", "/a/b/c", "/a/z", "/a-b", "/a.b"]);
    }

    #[test]
    fn parents_and_names() {
        let path = EntryPath::parse(b"a/bc/d").unwrap();
        assert_eq!(path.parent().unwrap().to_string(), "/a/bc");
        assert_eq!(path.name(), b"d");
        assert!(path.starts_with(&EntryPath::parse(b"a/bc").unwrap()));
        assert!(!path.starts_with(&EntryPath::parse(b"a/b").unwrap()));
        assert_eq!(EntryPath::root().parent(), None);
    }
}
