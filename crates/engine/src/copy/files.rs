//! A place that files are copied from: the build context, or the tree of an
//! earlier stage. Paths in it never leave its root.

use std::io;

use store::dir::Stat;
use store::layer::{ContentHash, EntryPath, Metadata};

/// Something in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Owner, permissions, time, attributes, as they are to be copied: context
    /// files belong to root already (spec row C1).
    pub metadata: Metadata,
    /// Excluded by the ignore file itself, but something below it may not be.
    pub shadow: bool,
}

/// What a node of a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes of content.
        size: u64,
        /// Equal for two names of one file; `None` when there is one name.
        link: Option<LinkGroup>,
        /// What identifies this state of a file on disk; `None` in trees, whose
        /// files have known content.
        stamp: Option<Stat>,
    },
    /// A symbolic link with its target.
    Symlink(Box<[u8]>),
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
    /// A socket, which no layer can hold.
    Socket,
}

/// Names one file among those with several names in one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LinkGroup {
    /// A file of this machine, by device and inode.
    Inode(u64, u64),
    /// A file of a tree, by the node that has the content.
    Node(store::layer::NodeId),
    /// A file of an archive, by the place of its first entry in the plan of the layer.
    Entry(usize),
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    /// The operating system said no.
    #[error("could not read {path}")]
    Read {
        /// In the source.
        path: EntryPath,
        /// Why.
        source: io::Error,
    },
    /// Symbolic links that lead in a circle, or further than the kernel goes.
    #[error("{path}: too many levels of symbolic links")]
    Loop {
        /// Where it began.
        path: EntryPath,
    },
    /// A name that cannot be a path.
    #[error(transparent)]
    Path(#[from] store::layer::PathError),
}

/// A node and its name in its directory.
pub(crate) type Named = (Box<[u8]>, Node);

/// A source of files.
pub(crate) trait Files {
    /// What stands at `path`; a link in the last place is not followed, and
    /// there are no links before it.
    ///
    /// # Errors
    ///
    /// When the source cannot be read.
    fn lookup(&self, path: &EntryPath) -> Result<Option<Node>, FilesError>;

    /// What is in a directory of the names that are wanted, sorted by name. Of
    /// anything else nothing but its name is read.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    fn list(
        &self,
        directory: &EntryPath,
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Vec<Named>, FilesError>;

    /// Hash of a regular file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    fn content(&self, path: &EntryPath, node: &Node) -> Result<ContentHash, FilesError>;
}

/// The levels of symbolic links that the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Follows every symbolic link of a path inside the source's root: absolute
/// targets start at that root and `..` stops there. `None` when it leads
/// nowhere.
pub(crate) fn follow(
    files: &dyn Files,
    path: &EntryPath,
) -> Result<Option<(EntryPath, Node)>, FilesError> {
    let mut pending: Vec<Box<[u8]>> = path.components().map(Into::into).collect();
    pending.reverse();
    let mut at = EntryPath::root();
    let mut links = 0;
    let mut node = files.lookup(&at)?;
    while let Some(component) = pending.pop() {
        match &*component {
            b"" | b"." => continue,
            b".." => {
                at = at.parent().unwrap_or_else(EntryPath::root);
                node = files.lookup(&at)?;
                continue;
            }
            _ => {}
        }
        if !matches!(
            node,
            Some(Node {
                kind: NodeKind::Directory,
                ..
            })
        ) {
            return Ok(None);
        }
        let next = at.join(&component)?;
        node = files.lookup(&next)?;
        match &node {
            None => return Ok(None),
            Some(Node {
                kind: NodeKind::Symlink(target),
                ..
            }) => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(FilesError::Loop { path: path.clone() });
                }
                pending.extend(target.split(|b| *b == b'/').rev().map(Into::into));
                if target.starts_with(b"/") {
                    at = EntryPath::root();
                }
                node = files.lookup(&at)?;
            }
            Some(_) => at = next,
        }
    }
    Ok(node.map(|node| (at, node)))
}

/// A path as people know it who look at the context: from where they stand, not from a root.
pub(crate) fn in_context(path: &EntryPath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

/// Feeds all of a node that a copy of it depends on into a hash. Times do not
/// count (spec row C21).
pub(crate) fn describe(
    files: &dyn Files,
    path: &EntryPath,
    node: &Node,
    hash: &mut oci::Hasher,
) -> Result<(), FilesError> {
    let mut word = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    let Metadata {
        mode,
        uid,
        gid,
        mtime: _,
        xattrs,
    } = &node.metadata;
    word(&mode.to_le_bytes());
    word(&uid.to_le_bytes());
    word(&gid.to_le_bytes());
    word(&(xattrs.len() as u64).to_le_bytes());
    for (name, value) in xattrs {
        word(name);
        word(value);
    }
    match &node.kind {
        NodeKind::Directory => word(b"directory"),
        NodeKind::File {
            size,
            link: _,
            stamp: _,
        } => {
            word(b"file");
            word(&size.to_le_bytes());
            word(&files.content(path, node)?.0);
        }
        NodeKind::Symlink(target) => {
            word(b"symlink");
            word(target);
        }
        NodeKind::CharacterDevice { major, minor } => {
            word(b"character device");
            word(&major.to_le_bytes());
            word(&minor.to_le_bytes());
        }
        NodeKind::BlockDevice { major, minor } => {
            word(b"block device");
            word(&major.to_le_bytes());
            word(&minor.to_le_bytes());
        }
        NodeKind::Fifo => word(b"fifo"),
        NodeKind::Socket => word(b"socket"),
    }
    Ok(())
}
