//! A tree as the kernel wants to know it: numbers for nodes, owners as they are outside, how many
//! names a file has.

use std::collections::HashMap;
use std::sync::Arc;

use store::layer::{EntryKind, Node, NodeId, Tree};

use crate::protocol::BLOCK_BYTES;

/// How owners in the tree become owners of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ids {
    /// They are the same.
    Same,
    /// Id 0 is `base`, and so on for `count` ids. There is no other.
    Shifted {
        /// Outside.
        base: u32,
        /// How many.
        count: u32,
    },
}

impl Ids {
    fn outside(self, id: u32) -> u32 {
        match self {
            Self::Same => id,
            Self::Shifted { base, count } if id < count => base.saturating_add(id),
            // An id that nobody has in there: it is shown as the overflow id.
            Self::Shifted { base, count } => base.saturating_add(count),
        }
    }
}

/// What stat(2) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Of 512 bytes.
    pub(crate) sectors: u64,
    pub(crate) mtime: i64,
    /// Permissions and kind.
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) device: u32,
}

/// The tree, with what must be counted once.
#[derive(Debug)]
pub(crate) struct Nodes {
    tree: Arc<Tree>,
    ids: Ids,
    /// Names of files that have more than one.
    links: HashMap<NodeId, u32>,
    /// Whether some file has an access control list.
    pub(crate) has_access_lists: bool,
    /// For statfs(2).
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// The bytes of a directory, as ext4 has it.
const DIRECTORY_BYTES: u64 = 4096;

/// The extended attributes that are POSIX access control lists.
const ACCESS_LISTS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
/// Of an entry of such a list (`struct posix_acl_xattr_entry`): tag, permissions, id.
const ACCESS_ENTRY_BYTES: usize = 8;
/// The version before the first entry.
const ACCESS_HEADER_BYTES: usize = 4;
/// Tags of entries that have an id: a user, a group.
const TAGS_WITH_ID: [u16; 2] = [0x02, 0x08];

impl Nodes {
    pub(crate) fn new(tree: Arc<Tree>, ids: Ids) -> Self {
        let mut links = HashMap::new();
        let mut has_access_lists = false;
        let (mut files, mut bytes) = (0, 0);
        for node in tree.walk(tree.root().id()) {
            files += 1;
            if let EntryKind::File { size, .. } = node.kind() {
                bytes += size;
            }
            let xattrs = &node.metadata().xattrs;
            has_access_lists |= ACCESS_LISTS.iter().any(|name| xattrs.contains_key(*name));
            // A file with one name is its own content; one with several is named by a link.
            if let Some(content) = node.content()
                && content.id() != node.id()
            {
                *links.entry(content.id()).or_insert(0) += 1;
            }
        }
        for (content, names) in &mut links {
            let own = tree.node(*content);
            // The first name may be hidden by now.
            let seen = own.parent().child(own.name()).map(Node::id) == Some(*content);
            *names += u32::from(seen && is_live(own.parent()));
        }
        Self {
            tree,
            ids,
            links,
            has_access_lists,
            files,
            bytes,
        }
    }

    /// The node that the kernel's number means: 1 is the root.
    pub(crate) fn node(&self, number: u64) -> Option<Node<'_>> {
        let number = u32::try_from(number.checked_sub(1)?).ok()?;
        self.tree.numbered(number)
    }

    /// The node that stands for a name: hard links are one node. `None` for what cannot be shown.
    pub(crate) fn shown<'t>(&'t self, node: Node<'t>) -> Option<Node<'t>> {
        if node.is_directory() {
            return Some(node);
        }
        node.content()
    }

    pub(crate) fn attributes(&self, node: Node<'_>) -> Attributes {
        let metadata = node.metadata();
        let (kind, size, device) = match node.kind() {
            _ if node.is_directory() => (libc::S_IFDIR, DIRECTORY_BYTES, 0),
            EntryKind::Directory => (libc::S_IFDIR, DIRECTORY_BYTES, 0),
            EntryKind::File { size, .. } => (libc::S_IFREG, *size, 0),
            EntryKind::Symlink { target } => (libc::S_IFLNK, target.len() as u64, 0),
            EntryKind::CharacterDevice { major, minor } => {
                (libc::S_IFCHR, 0, device(*major, *minor))
            }
            EntryKind::BlockDevice { major, minor } => (libc::S_IFBLK, 0, device(*major, *minor)),
            EntryKind::Fifo => (libc::S_IFIFO, 0, 0),
            // None of these is a node with content.
            EntryKind::HardLink { .. } | EntryKind::Whiteout | EntryKind::Opaque => {
                (libc::S_IFREG, 0, 0)
            }
        };
        let links = if node.is_directory() {
            let below = node.children().filter(|child| child.is_directory()).count();
            u32::try_from(below + 2).unwrap_or(u32::MAX)
        } else {
            self.links.get(&node.id()).copied().unwrap_or(1)
        };
        Attributes {
            inode: inode(node),
            size,
            sectors: sectors(kind, size),
            mtime: metadata.mtime,
            mode: kind | metadata.mode,
            links,
            uid: self.ids.outside(metadata.uid),
            gid: self.ids.outside(metadata.gid),
            device,
        }
    }

    /// The value of an extended attribute.
    pub(crate) fn extended(&self, node: Node<'_>, name: &[u8]) -> Option<Vec<u8>> {
        let mut value = node.metadata().xattrs.get(name)?.to_vec();
        if ACCESS_LISTS.contains(&name) {
            self.shift_access_list(&mut value);
        }
        Some(value)
    }

    /// The ids in an access control list are owners too.
    fn shift_access_list(&self, value: &mut [u8]) {
        let entries = value.get_mut(ACCESS_HEADER_BYTES..).unwrap_or_default();
        for entry in entries.chunks_exact_mut(ACCESS_ENTRY_BYTES) {
            let tag = u16::from_le_bytes([entry[0], entry[1]]);
            if TAGS_WITH_ID.contains(&tag) {
                let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
                entry[4..].copy_from_slice(&self.ids.outside(id).to_le_bytes());
            }
        }
    }
}

/// The number of a node: the kernel's and that of stat(2).
pub(crate) fn inode(node: Node<'_>) -> u64 {
    u64::from(node.id().number()) + 1
}

/// What `du` counts, as on ext4: whole blocks, and none for a link that fits into its inode.
fn sectors(kind: u32, size: u64) -> u64 {
    const LINK_BYTES_IN_INODE: u64 = 59;
    if kind == libc::S_IFLNK && size <= LINK_BYTES_IN_INODE {
        return 0;
    }
    size.div_ceil(BLOCK_BYTES.into()) * u64::from(BLOCK_BYTES / 512)
}

/// Whether a way from the root leads to a directory.
fn is_live(directory: Node<'_>) -> bool {
    let mut at = directory;
    loop {
        let parent = at.parent();
        if parent.id() == at.id() {
            return true;
        }
        if parent.child(at.name()).map(Node::id) != Some(at.id()) {
            return false;
        }
        at = parent;
    }
}

/// The numbers of a device as the protocol wants them (`new_encode_dev` of the kernel).
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_outside_of_the_range_are_nobodys() {
        let ids = Ids::Shifted {
            base: 1000,
            count: 10,
        };
        assert_eq!(
            [0, 9, 10, u32::MAX].map(|id| ids.outside(id)),
            [1000, 1009, 1010, 1010]
        );
        assert_eq!(Ids::Same.outside(7), 7);
    }

    #[test]
    fn sizes_on_disk_are_those_of_ext4() {
        let regular = [0, 1, 4096, 4097].map(|size| sectors(libc::S_IFREG, size));
        assert_eq!(regular, [0, 8, 8, 16]);
        let links = [1, 59, 60].map(|size| sectors(libc::S_IFLNK, size));
        assert_eq!(links, [0, 0, 8]);
    }

    #[test]
    fn devices_are_packed() {
        assert_eq!(device(1, 3), 0x0103);
        assert_eq!(device(8, 0x1234), 0x0120_0834);
    }
}
