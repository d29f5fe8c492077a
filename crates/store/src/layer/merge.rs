//! What one layer does to the tree below it, entry by entry, in the order of
//! its tar.
//!
//! The tree and the disk follow the same decisions: `unpack` asks here where an
//! entry goes and never resolves a path itself. Whiteouts touch only what the
//! layers below have, so it does not matter whether they come before or after
//! what the layer itself puts at that place (image specification, "Whiteouts").

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::added::{Added, sort_in};
use super::entries::EntriesWriter;
use super::tree::{
    Directory, LINKS_MAX, NO_CONTENT, NO_LAYER, NodeId, ROOT, Record, Tree, push_front,
};
use super::{
    ContentHash, Entries, Entry, EntryKind, EntryPath, LayerIndex, Metadata, NAME_BYTES_MAX,
    PATH_BYTES_MAX,
};

/// Why an entry has no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Below something that the same layer put as a file.
    #[error(
        "`{path}` lies below `{at}`, which the same layer makes something else than a directory"
    )]
    NotDirectory {
        /// The entry.
        path: EntryPath,
        /// What is in the way.
        at: EntryPath,
    },
    /// Its parent directory cannot be found.
    #[error("`{0}` lies behind more than {LINKS_MAX} symbolic links")]
    Links(EntryPath),
    /// Links lead to a place that no kernel can name.
    #[error("`{0}` lies behind symbolic links that lead to a path longer than the kernel takes")]
    Long(EntryPath),
}

/// What has to happen on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The entry, under its name, in this directory.
    Place(NodeId),
    /// This directory, made or given new metadata.
    Directory(NodeId),
    /// A whiteout under the entry's name in this directory.
    Whiteout(NodeId),
    /// This directory hides what is below it.
    Opaque(NodeId),
    /// There was nothing to hide.
    Nothing,
}

/// The entries of the layer being applied.
enum Top {
    Known(Arc<LayerIndex>),
    /// Known, too, but coming once more, one by one: so many have come.
    Again(Arc<LayerIndex>, usize),
    Growing(EntriesWriter),
}

impl Top {
    fn entries(&self) -> &Entries {
        match self {
            Self::Known(index) | Self::Again(index, _) => &index.entries,
            Self::Growing(writer) => writer.entries(),
        }
    }
}

/// A tree to which a layer is being applied.
pub(super) struct Merge {
    tree: Tree,
    top: Top,
    /// The layer's number, from 1.
    number: u32,
    /// The nodes from here on are this layer's: sorted in at the end, and found by name until then.
    first: u32,
    added: Added,
    /// Directories that lost children.
    thinned: HashSet<NodeId>,
    /// The last directory looked up, which is usually the next one too.
    recent: Option<(EntryPath, NodeId)>,
    /// The same for one that entries are in, by its number there.
    recent_parent: Option<(u32, NodeId)>,
    /// Whether the tree is really what is below, or nobody knows.
    lower_known: bool,
    implicit_parents: bool,
}

impl Merge {
    /// A tree with the whole of a known layer on top. Entries without a place
    /// get one by force, so that this cannot fail: they were refused when the
    /// layer was read.
    pub(super) fn of_index(tree: Tree, index: Arc<LayerIndex>) -> Tree {
        let count = index.entries.len();
        let mut merge = Self::start(tree, Top::Known(index), true);
        for at in 0..count {
            let placed = merge.apply_at(at, Manner::Forced);
            debug_assert!(placed.is_ok(), "force finds a place");
        }
        merge.finish().0
    }

    /// A layer whose entries come one by one. Without `lower`, whiteouts are
    /// kept for layers that are not known.
    pub(super) fn growing(lower: Option<&Tree>) -> Self {
        let tree = lower.cloned().unwrap_or_else(Tree::empty);
        Self::start(
            tree,
            Top::Growing(EntriesWriter::default()),
            lower.is_some(),
        )
    }

    /// The same for a layer whose index is known: its entries come again, to be unpacked.
    pub(super) fn again(lower: Option<&Tree>, index: Arc<LayerIndex>) -> Self {
        let tree = lower.cloned().unwrap_or_else(Tree::empty);
        Self::start(tree, Top::Again(index, 0), lower.is_some())
    }

    fn start(tree: Tree, top: Top, lower_known: bool) -> Self {
        let number = u32::try_from(tree.layers.len() + 1).expect("layers fit into memory");
        Self {
            first: node_count(&tree),
            tree,
            top,
            number,
            added: Added::default(),
            thinned: HashSet::new(),
            recent: None,
            recent_parent: None,
            lower_known,
            implicit_parents: false,
        }
    }

    /// Takes one more entry; of a layer that comes again, the one that is like it.
    pub(super) fn apply(&mut self, entry: Entry) -> Result<Effect, PlaceError> {
        let at = match &mut self.top {
            Top::Growing(writer) => {
                writer.push(&entry.path, entry.kind, entry.metadata);
                writer.entries().len() - 1
            }
            Top::Again(_, next) => {
                *next += 1;
                *next - 1
            }
            Top::Known(_) => unreachable!("a known layer is applied as a whole"),
        };
        self.apply_at(at, Manner::Strict)
    }

    /// Whether an entry may come next: any, or that of the layer that comes again.
    pub(super) fn expects(&self, entry: &Entry) -> bool {
        match &self.top {
            Top::Again(index, next) => index.entries.is_like(*next, entry),
            Top::Known(_) | Top::Growing(_) => true,
        }
    }

    /// Whether the last entry may have that content.
    pub(super) fn expects_content(&self, content: ContentHash) -> bool {
        match &self.top {
            Top::Again(index, next) => next.checked_sub(1).is_some_and(|last| {
                matches!(index.entries.kind(last),
                    EntryKind::File { content: known, .. } if *known == content)
            }),
            Top::Known(_) | Top::Growing(_) => true,
        }
    }

    /// Replaces the kind of the last entry, once its content was read.
    pub(super) fn amend_last(&mut self, kind: EntryKind) {
        if let Top::Growing(writer) = &mut self.top {
            writer.amend_last(kind);
        }
    }

    /// The entries where they were not known, and whether one had a parent that the layer does not
    /// name.
    pub(super) fn into_entries(self) -> (Entries, bool) {
        let Self {
            tree,
            top,
            implicit_parents,
            ..
        } = self;
        drop(tree);
        match top {
            Top::Growing(writer) => (writer.finish(), implicit_parents),
            Top::Known(_) | Top::Again(..) => (Entries::default(), implicit_parents),
        }
    }

    fn apply_at(&mut self, at: usize, manner: Manner) -> Result<Effect, PlaceError> {
        let entries = self.top.entries();
        // Only what the decisions below need, so that the entry is not borrowed.
        let step = match entries.kind(at) {
            EntryKind::Whiteout => Step::Hide,
            EntryKind::Opaque => Step::HideBelow,
            EntryKind::Directory => Step::Directory,
            EntryKind::HardLink { target } => Step::Link(target.clone()),
            EntryKind::File { .. }
            | EntryKind::Symlink { .. }
            | EntryKind::CharacterDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo => Step::Put,
        };
        let entry =
            u32::try_from(at).expect("entries are fewer than 2³²: each has bytes in memory");
        if let Step::HideBelow = step {
            let path = entries.path(at);
            let Some(directory) = self.directory(&path, &path, true, manner)? else {
                return Ok(Effect::Nothing);
            };
            self.touch(directory);
            self.hide_below(directory);
            return Ok(Effect::Opaque(directory));
        }
        if entries.name(at).is_empty() {
            // The root: always there, only its metadata can change.
            self.originate(ROOT, entry);
            return Ok(Effect::Directory(ROOT));
        }
        let creates = !matches!(step, Step::Hide) || !self.lower_known;
        let Some(parent) = self.parent_of(at, creates, manner)? else {
            return Ok(Effect::Nothing);
        };
        let hash = self.added.hash(parent, self.top.entries().name(at));
        let there = self.child_hashed(parent, self.top.entries().name(at), hash);
        match step {
            Step::Hide => Ok(self.hide(parent, there)),
            Step::HideBelow => unreachable!("returned above"),
            Step::Directory => {
                let node = match there {
                    Some(node) if self.record(node).directory => node,
                    Some(_) | None => self.put(parent, there, hash, entry, true),
                };
                self.originate(node, entry);
                self.touch(node);
                Ok(Effect::Directory(node))
            }
            Step::Put => {
                self.put(parent, there, hash, entry, false);
                Ok(Effect::Place(parent))
            }
            Step::Link(target) => {
                // Found first: the link may stand where its own target was.
                let content = self.link_target(&target, manner)?;
                let node = self.put(parent, there, hash, entry, false);
                self.record_mut(node).more = content.map_or(NO_CONTENT, |content| content.0);
                Ok(Effect::Place(parent))
            }
        }
    }

    /// The directory that an entry is in.
    fn parent_of(
        &mut self,
        at: usize,
        creates: bool,
        manner: Manner,
    ) -> Result<Option<NodeId>, PlaceError> {
        let entries = self.top.entries();
        let number = entries.directory_number(at);
        if let Some((recent, node)) = self.recent_parent
            && recent == number
        {
            return Ok(Some(node));
        }
        let path = entries.path(at);
        let Some(parent) = path.parent() else {
            return Ok(None);
        };
        let found = self.directory(&parent, &path, creates, manner)?;
        self.recent_parent = found.map(|node| (number, node));
        Ok(found)
    }

    /// Notes that a node is what this layer's entry says.
    fn originate(&mut self, node: NodeId, entry: u32) {
        let layer = self.number - 1;
        let record = self.record_mut(node);
        record.layer = layer;
        record.entry = entry;
    }

    /// The file that a hard link means.
    fn link_target(
        &mut self,
        target: &EntryPath,
        manner: Manner,
    ) -> Result<Option<NodeId>, PlaceError> {
        let node = self.locate(target, manner)?;
        Ok(node
            .filter(|node| !self.record(*node).directory)
            .and_then(|node| self.content(node)))
    }

    /// The node at `path`, with links followed up to its parent.
    pub(super) fn locate_parent(&mut self, path: &EntryPath) -> Result<Option<NodeId>, PlaceError> {
        match path.parent() {
            Some(parent) => self.directory(&parent, path, false, Manner::Strict),
            None => Ok(None),
        }
    }

    fn locate(&mut self, path: &EntryPath, manner: Manner) -> Result<Option<NodeId>, PlaceError> {
        let Some(parent) = path.parent() else {
            return Ok(None);
        };
        let parent = self.directory(&parent, path, false, manner)?;
        Ok(parent.and_then(|parent| self.child(parent, path.name())))
    }

    /// The directory that `path` means, through links inside the root, made
    /// where it is missing if it `creates`.
    fn directory(
        &mut self,
        path: &EntryPath,
        entry: &EntryPath,
        creates: bool,
        manner: Manner,
    ) -> Result<Option<NodeId>, PlaceError> {
        if let Some((recent, node)) = &self.recent
            && recent == path
        {
            return Ok(Some(*node));
        }
        let mut pending = VecDeque::new();
        push_front(&mut pending, path.as_bytes());
        let mut at = ROOT;
        let mut links = 0;
        while let Some(name) = pending.pop_front() {
            if &*name == b".." {
                at = self.record(at).parent;
                continue;
            }
            let child = self.child(at, &name);
            if let Some(child) = child {
                if self.record(child).directory {
                    at = child;
                    self.implicit_parents |= self.record(at).layer != self.number - 1;
                    continue;
                }
                if let Some(target) = self.symlink_target(child) {
                    self.implicit_parents = true;
                    links += 1;
                    if links <= LINKS_MAX {
                        if target.starts_with(b"/") {
                            at = ROOT;
                        }
                        push_front(&mut pending, &target);
                        continue;
                    }
                    if manner == Manner::Strict {
                        return Err(PlaceError::Links(entry.clone()));
                    }
                } else if manner == Manner::Strict && self.is_touched(child) {
                    return Err(PlaceError::NotDirectory {
                        path: entry.clone(),
                        at: self.path(child),
                    });
                }
            }
            self.implicit_parents = true;
            if !creates {
                return Ok(None);
            }
            if name.len() > NAME_BYTES_MAX {
                return too_long(entry, manner);
            }
            // A directory takes the place of whatever the layers below had.
            let hash = self.added.hash(at, &name);
            let number = self.tree.implicit.len();
            self.tree.implicit.push(name);
            let number = u32::try_from(number).expect("2³² names fit into no memory");
            at = self.put(at, child, hash, number, true);
            self.record_mut(at).layer = NO_LAYER;
        }
        // Only links make a path longer than that of the entry, which was checked.
        if links > 0 && self.path_bytes(at).len() + 1 + NAME_BYTES_MAX > PATH_BYTES_MAX {
            return too_long(entry, manner);
        }
        self.recent = Some((path.clone(), at));
        Ok(Some(at))
    }

    fn symlink_target(&self, node: NodeId) -> Option<Box<[u8]>> {
        let content = self.content(node)?;
        let (layer, entry) = self.record(content).origin()?;
        match self.entries(layer).kind(entry as usize) {
            EntryKind::Symlink { target } => Some(target.clone()),
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

    fn entries(&self, layer: u32) -> &Entries {
        if layer == self.number - 1 {
            self.top.entries()
        } else {
            &self.tree.layers[layer as usize].entries
        }
    }

    fn content(&self, node: NodeId) -> Option<NodeId> {
        let record = self.record(node);
        if record.directory {
            return Some(node);
        }
        (record.more != NO_CONTENT).then_some(NodeId(record.more))
    }

    fn below(&self, directory: NodeId) -> &Directory {
        &self.tree.directories[self.record(directory).more as usize]
    }

    fn below_mut(&mut self, directory: NodeId) -> &mut Directory {
        let more = self.record(directory).more;
        &mut self.tree.directories[more as usize]
    }

    /// Whether this layer put the node, or something below it.
    fn is_touched(&self, node: NodeId) -> bool {
        if self.record(node).directory {
            self.below(node).touched == self.number
        } else {
            node.0 >= self.first
        }
    }

    /// What a directory is to look like; `None` when no layer names it.
    pub(super) fn metadata(&self, node: NodeId) -> Option<&Metadata> {
        let (layer, entry) = self.record(node).origin()?;
        Some(self.entries(layer).metadata(entry as usize))
    }

    /// The names from the root to `node`.
    pub(super) fn path(&self, node: NodeId) -> EntryPath {
        let bytes = self.path_bytes(node);
        EntryPath::parse(&bytes).unwrap_or_else(|_| EntryPath::root())
    }

    pub(super) fn path_bytes(&self, node: NodeId) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = node;
        while at != ROOT {
            names.push(self.name(at));
            at = self.record(at).parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    pub(super) fn name(&self, node: NodeId) -> &[u8] {
        let record = self.record(node);
        match record.origin() {
            Some((layer, entry)) => self.entries(layer).name(entry as usize),
            None => &self.tree.implicit[record.entry as usize],
        }
    }

    pub(super) fn parent(&self, node: NodeId) -> NodeId {
        self.record(node).parent
    }

    /// Whether the node is still in the tree.
    pub(super) fn is_reachable(&self, node: NodeId) -> bool {
        let mut at = node;
        while at != ROOT {
            if !self.record(at).live {
                return false;
            }
            at = self.record(at).parent;
        }
        true
    }

    /// What the layers below have in `directory`: names that this layer removed
    /// without putting something there, and directories that it keeps.
    pub(super) fn lower_children(&self, directory: NodeId) -> (Vec<Box<[u8]>>, Vec<NodeId>) {
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        for child in self.tree.children(directory) {
            let record = self.record(*child);
            if record.live && record.directory {
                kept.push(*child);
            } else if !record.live && !self.is_child(directory, self.name(*child)) {
                removed.push(self.name(*child).into());
            }
        }
        (removed, kept)
    }

    /// Whether the layers below are known.
    pub(super) fn knows_lower(&self) -> bool {
        self.lower_known
    }

    /// Whether `directory` has something under that name.
    pub(super) fn is_child(&self, directory: NodeId, name: &[u8]) -> bool {
        self.child(directory, name).is_some()
    }

    fn record(&self, node: NodeId) -> &Record {
        &self.tree.records[node.0 as usize]
    }

    fn record_mut(&mut self, node: NodeId) -> &mut Record {
        &mut self.tree.records[node.0 as usize]
    }

    fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.child_hashed(directory, name, self.added.hash(directory, name))
    }

    fn child_hashed(&self, directory: NodeId, name: &[u8], hash: u32) -> Option<NodeId> {
        let added = self.added.find(hash, |node| {
            let record = self.record(node);
            record.live && record.parent == directory && self.name(node) == name
        });
        if added.is_some() {
            return added;
        }
        let children = self.tree.children(directory);
        let found = children
            .binary_search_by(|id| self.name(*id).cmp(name))
            .ok()?;
        Some(children[found]).filter(|child| self.record(*child).live)
    }

    /// A new node of this layer, over what is there. `hash` is that of its name.
    fn put(
        &mut self,
        parent: NodeId,
        there: Option<NodeId>,
        hash: u32,
        entry: u32,
        directory: bool,
    ) -> NodeId {
        if let Some(there) = there {
            self.remove(there);
        }
        let id = node_count(&self.tree);
        let more = if directory {
            self.tree.directories.push(Directory::default());
            // Not more than nodes.
            self.tree.directories.len() as u32 - 1
        } else {
            id
        };
        self.tree.records.push(Record {
            parent,
            layer: self.number - 1,
            entry,
            more,
            directory,
            live: true,
        });
        let id = NodeId(id);
        self.added.insert(hash, id);
        self.touch(id);
        id
    }

    fn remove(&mut self, node: NodeId) {
        let record = self.record_mut(node);
        record.live = false;
        let parent = record.parent;
        // It may be the recent directory, or on the way there.
        self.recent = None;
        self.recent_parent = None;
        if node.0 < self.first {
            self.thinned.insert(parent);
        }
    }

    /// Marks a node and all above it as this layer's.
    fn touch(&mut self, node: NodeId) {
        let mut at = node;
        if !self.record(at).directory {
            at = self.record(at).parent;
        }
        while self.below(at).touched != self.number {
            self.below_mut(at).touched = self.number;
            at = self.record(at).parent;
        }
    }

    fn hide(&mut self, parent: NodeId, there: Option<NodeId>) -> Effect {
        let Some(node) = there else {
            return if self.lower_known {
                Effect::Nothing
            } else {
                Effect::Whiteout(parent)
            };
        };
        if !self.is_touched(node) {
            self.remove(node);
            return Effect::Whiteout(parent);
        }
        if self.record(node).directory {
            self.hide_below(node);
            return Effect::Opaque(node);
        }
        // The layer's own file, which hides what is below it anyway.
        Effect::Nothing
    }

    /// Removes what is below a directory and not from this layer.
    fn hide_below(&mut self, directory: NodeId) {
        let mut pending = vec![directory];
        while let Some(directory) = pending.pop() {
            if self.below(directory).hidden == self.number {
                continue;
            }
            self.below_mut(directory).hidden = self.number;
            let children = std::mem::take(&mut self.below_mut(directory).children);
            for child in &children {
                let record = self.record(*child);
                if !record.live {
                    continue;
                }
                if !self.is_touched(*child) {
                    self.remove(*child);
                } else if record.directory {
                    pending.push(*child);
                }
            }
            self.below_mut(directory).children = children;
        }
        self.recent = None;
        self.recent_parent = None;
    }

    /// Sorts the changes in.
    fn finish(self) -> (Tree, bool) {
        let Self {
            mut tree,
            top,
            first,
            added,
            thinned,
            implicit_parents,
            ..
        } = self;
        drop(added);
        let layer = match top {
            Top::Known(index) | Top::Again(index, _) => index,
            Top::Growing(writer) => Arc::new(super::tree::unfinished(writer.finish())),
        };
        tree.layers.push(layer);
        sort_in(&mut tree, first, &thinned);
        (tree, implicit_parents)
    }
}

/// How many nodes a tree has.
fn node_count(tree: &Tree) -> u32 {
    u32::try_from(tree.records.len()).expect("2³² nodes fit into no memory")
}

/// An entry that is refused, or left out where nothing may be refused.
fn too_long(entry: &EntryPath, manner: Manner) -> Result<Option<NodeId>, PlaceError> {
    match manner {
        Manner::Strict => Err(PlaceError::Long(entry.clone())),
        Manner::Forced => Ok(None),
    }
}

/// What to do with an entry that has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Refuse it.
    Strict,
    /// Make directories where something else stands.
    Forced,
}

/// What an entry asks for.
enum Step {
    Hide,
    HideBelow,
    Directory,
    Put,
    Link(EntryPath),
}
