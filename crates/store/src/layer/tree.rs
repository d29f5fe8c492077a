//! The file system that a stack of layers makes, as a value: what COPY looks
//! into, what names of users are looked up in, where links lead. Nothing is
//! unpacked for it.
//!
//! It knows no disk. What a layer does to a tree is in `merge`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock};

use oci::{DiffId, Digest};

use super::merge::Merge;
use super::{Entries, EntryKind, EntryPath, Extents, FileExtent, LayerIndex, Metadata, PathError};

/// How many symbolic links one path may lead through: MAXSYMLINKS of Linux.
pub const LINKS_MAX: usize = 40;

/// The merged view of a stack of layers: what it says of an entry is in the layers, so that a node
/// has 24 bytes, and it is cheap to clone.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(super) layers: Vec<Arc<LayerIndex>>,
    /// Nodes that a later layer replaced stay: hard links may mean them.
    pub(super) records: Vec<Record>,
    /// What only directories have.
    pub(super) directories: Vec<Directory>,
    /// Names of directories that no layer named when they were made.
    pub(super) implicit: Vec<Box<[u8]>>,
}

/// A node of one tree. It stays valid in trees made from that one by
/// [`Tree::with_layer`], as the node of the lower tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    /// Its number in its tree: the root is 0.
    pub fn number(self) -> u32 {
        self.0
    }
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) parent: NodeId,
    /// Or [`NO_LAYER`].
    pub(super) layer: u32,
    /// In that layer; without one, the number of an implicit name.
    pub(super) entry: u32,
    /// Of a directory, where the rest of it is. Else the node with the content, which for all but
    /// hard links is the node itself; [`NO_CONTENT`] for a link to nothing.
    pub(super) more: u32,
    pub(super) directory: bool,
    /// False once removed from its parent.
    pub(super) live: bool,
}

/// The layer of a directory that no layer names.
pub(super) const NO_LAYER: u32 = u32::MAX;
/// The content of a link to nothing.
pub(super) const NO_CONTENT: u32 = u32::MAX;

impl Record {
    /// Layer and entry; `None` for a directory that no layer names.
    pub(super) fn origin(&self) -> Option<(u32, u32)> {
        (self.layer != NO_LAYER).then_some((self.layer, self.entry))
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    /// The last layer that put this or something below it (number from 1).
    pub(super) touched: u32,
    /// The last layer that hid what was below it (number from 1).
    pub(super) hidden: u32,
    /// Sorted by name.
    pub(super) children: Vec<NodeId>,
}

/// A node with its tree at hand.
#[derive(Clone, Copy)]
pub struct Node<'t> {
    tree: &'t Tree,
    id: NodeId,
}

/// Which symbolic links [`Tree::resolve`] follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Every one.
    All,
    /// All but one in last place.
    AllButLast,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The part that exists, with links resolved.
    pub path: EntryPath,
    /// What stands there.
    pub node: NodeId,
    /// The components that do not exist, below `path`; empty when all do.
    pub missing: Vec<Box<[u8]>>,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// More than [`LINKS_MAX`] symbolic links.
    #[error("`{0}` leads through more than {LINKS_MAX} symbolic links")]
    Links(String),
    /// It goes on below something that is not a directory.
    #[error("`{path}` goes through `{at}`, which is not a directory")]
    NotDirectory {
        /// As asked.
        path: String,
        /// The file, links resolved.
        at: EntryPath,
    },
    /// A component that no file system can have.
    #[error(transparent)]
    Path(#[from] PathError),
}

pub(super) const ROOT: NodeId = NodeId(0);

/// What a directory is that no layer describes.
static IMPLICIT_KIND: EntryKind = EntryKind::Directory;
/// And what it has.
static IMPLICIT: LazyLock<Metadata> = LazyLock::new(|| Metadata::root_owned(0o755, 0));

impl Resolved {
    /// The whole path, existing part and missing part.
    ///
    /// # Errors
    ///
    /// Too long for any kernel.
    pub fn full_path(&self) -> Result<EntryPath, PathError> {
        let mut path = self.path.as_bytes().to_vec();
        for name in &self.missing {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        EntryPath::parse(&path)
    }

    /// The node, when nothing is missing.
    pub fn found(&self) -> Option<NodeId> {
        self.missing.is_empty().then_some(self.node)
    }
}

impl Tree {
    /// Only a root, 0755.
    pub fn empty() -> Self {
        let root = Record {
            parent: ROOT,
            layer: NO_LAYER,
            entry: 0,
            more: 0,
            directory: true,
            live: true,
        };
        Self {
            layers: Vec::new(),
            records: vec![root],
            directories: vec![Directory::default()],
            implicit: vec![Box::default()],
        }
    }

    /// Of several layers, the lowest first.
    pub fn stack(layers: &[Arc<LayerIndex>]) -> Self {
        Self::empty().with_layers(layers)
    }

    /// With one more layer on top.
    #[must_use]
    pub fn with_layer(&self, layer: Arc<LayerIndex>) -> Self {
        Merge::of_index(self.clone(), layer)
    }

    /// With several more layers on top, the lowest first: the same as a
    /// [`Tree::stack`] of all of them, without merging again what is below.
    #[must_use]
    pub fn with_layers(self, layers: &[Arc<LayerIndex>]) -> Self {
        layers
            .iter()
            .fold(self, |tree, layer| Merge::of_index(tree, layer.clone()))
    }

    /// The layers, the lowest first.
    pub fn layers(&self) -> &[Arc<LayerIndex>] {
        &self.layers
    }

    /// The root.
    pub fn root(&self) -> Node<'_> {
        self.node(ROOT)
    }

    /// A node by its id.
    ///
    /// # Panics
    ///
    /// With an id of another tree, perhaps.
    pub fn node(&self, id: NodeId) -> Node<'_> {
        assert!((id.0 as usize) < self.records.len(), "a node of this tree");
        Node { tree: self, id }
    }

    /// The node of this number ([`NodeId::number`]), if there are so many.
    pub fn numbered(&self, number: u32) -> Option<Node<'_>> {
        let id = NodeId(number);
        ((number as usize) < self.records.len()).then_some(Node { tree: self, id })
    }

    /// What stands at exactly this path; follows no links.
    pub fn lookup(&self, path: &EntryPath) -> Option<Node<'_>> {
        path.components()
            .try_fold(self.root(), |node, name| node.child(name))
    }

    /// Follows a path from the root, inside the root: absolute targets start
    /// again there, `..` stops there. Where nothing exists, `..` takes back the
    /// component before it.
    ///
    /// # Errors
    ///
    /// Link loops, and paths through what is not a directory.
    pub fn resolve(&self, path: &[u8], follow: Follow) -> Result<Resolved, ResolveError> {
        let mut pending = VecDeque::new();
        push_front(&mut pending, path);
        let trailing_slash = path.ends_with(b"/") || path.ends_with(b"/.");
        let mut at = self.root();
        let mut missing: Vec<Box<[u8]>> = Vec::new();
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if &*name == b".." {
                if missing.pop().is_none() {
                    at = at.parent();
                }
                continue;
            }
            if !missing.is_empty() {
                missing.push(name);
                continue;
            }
            if !at.is_directory() {
                return Err(ResolveError::NotDirectory {
                    path: String::from_utf8_lossy(path).into_owned(),
                    at: at.path(),
                });
            }
            let Some(child) = at.child(&name) else {
                EntryPath::parse(&name)?;
                missing.push(name);
                continue;
            };
            let last = pending.is_empty() && !trailing_slash;
            match child.link_target() {
                Some(target) if !last || follow == Follow::All => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(ResolveError::Links(
                            String::from_utf8_lossy(path).into_owned(),
                        ));
                    }
                    if target.starts_with(b"/") {
                        at = self.root();
                    }
                    push_front(&mut pending, target);
                }
                Some(_) | None => at = child,
            }
        }
        Ok(Resolved {
            path: at.path(),
            node: at.id,
            missing,
        })
    }

    /// A node and all below it, depth first, in the order of [`EntryPath`].
    pub fn walk(&self, from: NodeId) -> impl Iterator<Item = Node<'_>> {
        let mut pending = vec![self.node(from)];
        std::iter::from_fn(move || {
            let node = pending.pop()?;
            pending.extend(self.children(node.id).iter().rev().map(|id| self.node(*id)));
            Some(node)
        })
    }

    /// The content of a file called `passwd` or `group`, links followed; `None`
    /// when there is none, or when its layer does not keep it.
    pub fn small_file(&self, path: &[u8]) -> Option<&[u8]> {
        let found = self.resolve(path, Follow::All).ok()?.found()?;
        let content = self.node(found).content()?;
        let (layer, entry) = self.records[content.id.0 as usize].origin()?;
        let layer = &self.layers[layer as usize];
        let path = layer.entries.path(entry as usize);
        layer.small_files.get(&path).map(|bytes| &**bytes)
    }

    pub(super) fn name(&self, id: NodeId) -> &[u8] {
        let record = &self.records[id.0 as usize];
        match record.origin() {
            Some((layer, entry)) => self.layers[layer as usize].entries.name(entry as usize),
            None => &self.implicit[record.entry as usize],
        }
    }

    /// Of what is no directory, none.
    pub(super) fn children(&self, id: NodeId) -> &[NodeId] {
        let record = &self.records[id.0 as usize];
        if record.directory {
            &self.directories[record.more as usize].children
        } else {
            &[]
        }
    }
}

/// Puts the components of `path` before what is pending.
pub(super) fn push_front(pending: &mut VecDeque<Box<[u8]>>, path: &[u8]) {
    for name in path.split(|byte| *byte == b'/').rev() {
        if !name.is_empty() && name != b"." {
            pending.push_front(name.into());
        }
    }
}

impl<'t> Node<'t> {
    fn record(self) -> &'t Record {
        &self.tree.records[self.id.0 as usize]
    }

    /// Its id.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// Its path. Asked of a node that a later layer hid, the path it had.
    pub fn path(self) -> EntryPath {
        let mut names = Vec::new();
        let mut at = self;
        while at.id != ROOT {
            names.push(at.name());
            at = at.parent();
        }
        names.reverse();
        // Merging leaves out what would lie deeper than a path can say.
        EntryPath::parse(&names.join(&b'/')).unwrap_or_else(|_| EntryPath::root())
    }

    /// Its name; empty for the root.
    pub fn name(self) -> &'t [u8] {
        self.tree.name(self.id)
    }

    /// The directory that it is in; the root is in itself.
    pub fn parent(self) -> Node<'t> {
        self.tree.node(self.record().parent)
    }

    /// The entries of its layer, and its number there.
    fn entry(self) -> Option<(&'t Entries, usize)> {
        let (layer, entry) = self.record().origin()?;
        Some((&self.tree.layers[layer as usize].entries, entry as usize))
    }

    /// What it is; a hard link as itself.
    pub fn kind(self) -> &'t EntryKind {
        self.entry()
            .map_or(&IMPLICIT_KIND, |(entries, at)| entries.kind(at))
    }

    /// Owner, permissions, time, attributes; for a hard link, its file's.
    pub fn metadata(self) -> &'t Metadata {
        let node = self.content().unwrap_or(self);
        node.entry()
            .map_or(&*IMPLICIT, |(entries, at)| entries.metadata(at))
    }

    /// The place in the stack of the layer that holds its entry; `None` for a
    /// directory that no layer names.
    pub fn layer(self) -> Option<usize> {
        self.record().origin().map(|(layer, _)| layer as usize)
    }

    /// The node whose entry has the content: itself, or what a hard link names
    /// (perhaps hidden under that name by a later layer). `None` for a link to
    /// nothing. All names of one file have one content node.
    pub fn content(self) -> Option<Node<'t>> {
        let record = self.record();
        if record.directory {
            return Some(self);
        }
        (record.more != NO_CONTENT).then(|| self.tree.node(NodeId(record.more)))
    }

    /// Where the content of a regular file lies in the tar of [`Self::layer`]; asked of a hard
    /// link's [`Self::content`]. `None` for what is no file, and for a file that can only be had by
    /// unpacking its layer.
    pub fn extent(self) -> Option<FileExtent> {
        let (layer, entry) = self.record().origin()?;
        self.tree.layers[layer as usize].extent(entry as usize)
    }

    /// Whether it is a directory.
    pub fn is_directory(self) -> bool {
        self.record().directory
    }

    /// The target of a symbolic link, or of a hard link to one.
    pub fn link_target(self) -> Option<&'t [u8]> {
        match self.content()?.kind() {
            EntryKind::Symlink { target } => Some(target),
            EntryKind::Directory
            | EntryKind::File { .. }
            | EntryKind::HardLink { .. }
            | EntryKind::CharacterDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo
            | EntryKind::Whiteout
            | EntryKind::Opaque => None,
        }
    }

    /// What is in this directory, by name in byte order.
    pub fn children(self) -> impl DoubleEndedIterator<Item = Node<'t>> + ExactSizeIterator {
        self.tree.children(self.id).iter().map(move |id| Node {
            tree: self.tree,
            id: *id,
        })
    }

    /// The same without the first `count` of them.
    pub fn children_from(self, count: usize) -> impl Iterator<Item = Node<'t>> {
        let children = self.tree.children(self.id);
        let children = children.get(count..).unwrap_or_default();
        children.iter().map(move |id| Node {
            tree: self.tree,
            id: *id,
        })
    }

    /// The child of that name.
    pub fn child(self, name: &[u8]) -> Option<Node<'t>> {
        let children = self.tree.children(self.id);
        let found = children
            .binary_search_by(|id| self.tree.name(*id).cmp(name))
            .ok()?;
        Some(self.tree.node(children[found]))
    }
}

impl std::fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.path(), self.kind())
    }
}

/// A layer that does not exist on any registry, for the top of a stack while its
/// entries become known.
pub(super) fn unfinished(entries: Entries) -> LayerIndex {
    LayerIndex {
        diff_id: DiffId(Digest::of(b"")),
        entries,
        tar_bytes: 0,
        small_files: BTreeMap::new(),
        implicit_parents: false,
        extents: Extents::default(),
    }
}
