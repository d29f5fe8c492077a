//! The tree of an earlier stage, or of an image, as a source of files.

use std::sync::Arc;

use store::layer::{ContentHash, EntryKind, EntryPath, FileExtent, Node as TreeNode, Tree};

use super::files::{Files, FilesError, LinkGroup, Named, Node, NodeKind};

/// A tree to copy from.
pub(crate) struct StageFiles {
    tree: Arc<Tree>,
}

impl StageFiles {
    pub(crate) fn new(tree: Arc<Tree>) -> Self {
        Self { tree }
    }

    /// Whether the name that the content of the file at `path` has in its layer still leads to it
    /// from the root.
    pub(crate) fn is_in_sight(&self, path: &EntryPath) -> bool {
        let content = self.tree.lookup(path).and_then(TreeNode::content);
        content.is_some_and(|content| {
            let seen = self.tree.lookup(&content.path());
            seen.map(TreeNode::id) == Some(content.id())
        })
    }

    /// The layer, counted from the bottom, that holds the content of the file
    /// at `path`, and the file's name there: another one where it is a hard
    /// link.
    pub(crate) fn place_of_content(&self, path: &EntryPath) -> Option<(usize, EntryPath)> {
        let content = self.tree.lookup(path)?.content()?;
        Some((content.layer()?, content.path()))
    }

    /// Where the content of the file at `path` lies in the tar of that layer.
    pub(crate) fn extent(&self, path: &EntryPath) -> Option<FileExtent> {
        self.tree.lookup(path)?.content()?.extent()
    }
}

fn node(found: TreeNode<'_>) -> Node {
    // A hard link is what it names, which need not be a file.
    let content = found.content().unwrap_or(found);
    let kind = match content.kind() {
        EntryKind::Directory => NodeKind::Directory,
        EntryKind::File { size, .. } => NodeKind::File {
            size: *size,
            link: group(content),
            stamp: None,
        },
        // One that names nothing: its content cannot be read, which is when that is said.
        EntryKind::HardLink { .. } => NodeKind::File {
            size: 0,
            link: None,
            stamp: None,
        },
        EntryKind::Symlink { target } => NodeKind::Symlink(target.clone()),
        EntryKind::CharacterDevice { major, minor } => NodeKind::CharacterDevice {
            major: *major,
            minor: *minor,
        },
        EntryKind::BlockDevice { major, minor } => NodeKind::BlockDevice {
            major: *major,
            minor: *minor,
        },
        EntryKind::Fifo => NodeKind::Fifo,
        EntryKind::Whiteout | EntryKind::Opaque => {
            unreachable!("marks have done their work when a tree exists")
        }
    };
    let mut metadata = found.metadata().clone();
    metadata
        .xattrs
        .retain(|name, _| &**name == b"security.capability");
    Node {
        kind,
        metadata,
        shadow: false,
    }
}

/// All names of one file have the node of its content in common. A file with
/// one name is a group of one, which costs nothing but an entry in a map.
fn group(content: TreeNode<'_>) -> Option<LinkGroup> {
    Some(LinkGroup::Node(content.id()))
}

impl Files for StageFiles {
    fn lookup(&self, path: &EntryPath) -> Result<Option<Node>, FilesError> {
        Ok(self.tree.lookup(path).map(node))
    }

    fn list(
        &self,
        directory: &EntryPath,
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Vec<Named>, FilesError> {
        let Some(found) = self.tree.lookup(directory) else {
            return Ok(Vec::new());
        };
        Ok(found
            .children()
            .filter(|child| wanted(child.name()))
            .map(|child| (child.name().into(), node(child)))
            .collect())
    }

    fn content(&self, path: &EntryPath, _: &Node) -> Result<ContentHash, FilesError> {
        match self
            .tree
            .lookup(path)
            .and_then(TreeNode::content)
            .map(TreeNode::kind)
        {
            Some(EntryKind::File { content, .. }) => Ok(*content),
            _ => Err(FilesError::Read {
                path: path.clone(),
                source: std::io::Error::other("a hard link in the image leads nowhere"),
            }),
        }
    }
}
