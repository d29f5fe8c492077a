//! What one layer does to the tree below it, entry by entry, in the order of
//! its tar.
//!
//! The tree and the disk follow the same decisions: `unpack` asks here where an
//! entry goes and never resolves a path itself. Whiteouts touch only what the
//! layers below have, so it does not matter whether they come before or after
//! what the layer itself puts at that place (image specification, "Whiteouts").

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::tree::{LINKS_MAX, NodeId, ROOT, Record, Tree, push_front};
use super::{Entry, EntryKind, EntryPath, LayerIndex, Metadata, NAME_BYTES_MAX, PATH_BYTES_MAX};

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
    Growing(Vec<Entry>),
}

impl Top {
    fn entry(&self, at: usize) -> &Entry {
        match self {
            Self::Known(index) => &index.entries[at],
            Self::Growing(entries) => &entries[at],
        }
    }
}

/// A tree to which a layer is being applied.
pub(super) struct Merge {
    tree: Tree,
    top: Top,
    /// The layer's number, from 1.
    number: u32,
    /// Children that the layer added, by directory: sorted in at the end.
    added: HashMap<NodeId, HashMap<Box<[u8]>, NodeId>>,
    /// Directories that lost children.
    thinned: HashSet<NodeId>,
    /// The last directory looked up, which is usually the next one too.
    recent: Option<(EntryPath, NodeId)>,
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
        Self::start(tree, Top::Growing(Vec::new()), lower.is_some())
    }

    fn start(tree: Tree, top: Top, lower_known: bool) -> Self {
        let number = u32::try_from(tree.layers.len() + 1).expect("layers fit into memory");
        Self {
            tree,
            top,
            number,
            added: HashMap::new(),
            thinned: HashSet::new(),
            recent: None,
            lower_known,
            implicit_parents: false,
        }
    }

    /// Takes one more entry.
    pub(super) fn apply(&mut self, entry: Entry) -> Result<Effect, PlaceError> {
        let Top::Growing(entries) = &mut self.top else {
            unreachable!("a known layer is applied as a whole");
        };
        entries.push(entry);
        let last = entries.len() - 1;
        self.apply_at(last, Manner::Strict)
    }

    /// Replaces the kind of the last entry, once its content was read.
    pub(super) fn amend_last(&mut self, kind: EntryKind) {
        if let Top::Growing(entries) = &mut self.top
            && let Some(last) = entries.last_mut()
        {
            last.kind = kind;
        }
    }

    /// The entries, and whether one had a parent that the layer does not name.
    pub(super) fn into_entries(self) -> (Vec<Entry>, bool) {
        match self.top {
            Top::Growing(entries) => (entries, self.implicit_parents),
            Top::Known(index) => (index.entries.clone(), self.implicit_parents),
        }
    }

    fn apply_at(&mut self, at: usize, manner: Manner) -> Result<Effect, PlaceError> {
        let entry = self.top.entry(at);
        let path = entry.path.clone();
        // Only what the decisions below need, so that the entry is not borrowed.
        let step = match &entry.kind {
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
        let origin = (
            self.number - 1,
            u32::try_from(at).expect("entries are fewer than 2³²: each has bytes in memory"),
        );
        if let Step::HideBelow = step {
            let Some(directory) = self.directory(&path, &path, true, manner)? else {
                return Ok(Effect::Nothing);
            };
            self.touch(directory);
            self.hide_below(directory);
            return Ok(Effect::Opaque(directory));
        }
        let Some(parent_path) = path.parent() else {
            // The root: always there, only its metadata can change.
            self.tree.records[ROOT.0 as usize].origin = Some(origin);
            return Ok(Effect::Directory(ROOT));
        };
        let name = path.name();
        let creates = !matches!(step, Step::Hide) || !self.lower_known;
        let Some(parent) = self.directory(&parent_path, &path, creates, manner)? else {
            return Ok(Effect::Nothing);
        };
        let there = self.child(parent, name);
        match step {
            Step::Hide => Ok(self.hide(parent, there)),
            Step::HideBelow => unreachable!("returned above"),
            Step::Directory => {
                let node = match there {
                    Some(node) if self.record(node).directory => node,
                    Some(_) | None => self.put(parent, name, true),
                };
                let record = self.record_mut(node);
                record.origin = Some(origin);
                self.touch(node);
                Ok(Effect::Directory(node))
            }
            Step::Put => {
                let node = self.put(parent, name, false);
                self.record_mut(node).origin = Some(origin);
                Ok(Effect::Place(parent))
            }
            Step::Link(target) => {
                // Found first: the link may stand where its own target was.
                let content = self.link_target(&target, manner)?;
                let node = self.put(parent, name, false);
                let record = self.record_mut(node);
                record.origin = Some(origin);
                record.content = content;
                Ok(Effect::Place(parent))
            }
        }
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
            .and_then(|node| self.record(node).content))
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
                    let named_here =
                        matches!(self.record(at).origin, Some((l, _)) if l == self.number - 1);
                    self.implicit_parents |= !named_here;
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
                } else if manner == Manner::Strict && self.record(child).touched == self.number {
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
            at = self.put(at, &name, true);
        }
        // Only links make a path longer than that of the entry, which was checked.
        if links > 0 && self.path_bytes(at).len() + 1 + NAME_BYTES_MAX > PATH_BYTES_MAX {
            return too_long(entry, manner);
        }
        self.recent = Some((path.clone(), at));
        Ok(Some(at))
    }

    fn symlink_target(&self, node: NodeId) -> Option<Box<[u8]>> {
        let content = self.record(node).content?;
        let (layer, entry) = self.record(content).origin?;
        match &self.entry(layer, entry).kind {
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

    fn entry(&self, layer: u32, entry: u32) -> &Entry {
        if layer == self.number - 1 {
            self.top.entry(entry as usize)
        } else {
            &self.tree.layers[layer as usize].entries[entry as usize]
        }
    }

    /// What a directory is to look like; `None` when no layer names it.
    pub(super) fn metadata(&self, node: NodeId) -> Option<&Metadata> {
        let (layer, entry) = self.record(node).origin?;
        Some(&self.entry(layer, entry).metadata)
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
            names.push(self.tree.name(at));
            at = self.record(at).parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    pub(super) fn name(&self, node: NodeId) -> &[u8] {
        self.tree.name(node)
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
        for child in &self.record(directory).children {
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
        if let Some(node) = self.added.get(&directory).and_then(|added| added.get(name)) {
            return Some(*node);
        }
        let children = &self.record(directory).children;
        let found = children
            .binary_search_by(|id| self.tree.name(*id).cmp(name))
            .ok()?;
        Some(children[found]).filter(|child| self.record(*child).live)
    }

    /// A new node under that name, over what is there.
    fn put(&mut self, parent: NodeId, name: &[u8], directory: bool) -> NodeId {
        if let Some(there) = self.child(parent, name) {
            self.remove(there);
        }
        let id = u32::try_from(self.tree.records.len()).expect("2³² nodes fit into no memory");
        let id = NodeId(id);
        let name_start = self.tree.names.len();
        self.tree.names.extend_from_slice(name);
        self.tree.records.push(Record {
            parent,
            name_start,
            name_bytes: name.len(),
            origin: None,
            content: Some(id),
            directory,
            live: true,
            touched: 0,
            hidden: 0,
            children: Vec::new(),
        });
        self.added
            .entry(parent)
            .or_default()
            .insert(name.into(), id);
        self.touch(id);
        id
    }

    fn remove(&mut self, node: NodeId) {
        let record = self.record_mut(node);
        record.live = false;
        let parent = record.parent;
        // It may be the recent directory, or on the way there.
        self.recent = None;
        let (start, bytes) = (self.record(node).name_start, self.record(node).name_bytes);
        let name = &self.tree.names[start..start + bytes];
        let was_added = self
            .added
            .get_mut(&parent)
            .is_some_and(|added| added.remove(name).is_some());
        if !was_added {
            self.thinned.insert(parent);
        }
    }

    /// Marks a node and all above it as this layer's.
    fn touch(&mut self, node: NodeId) {
        let mut at = node;
        while self.record(at).touched != self.number {
            self.record_mut(at).touched = self.number;
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
        if self.record(node).touched != self.number {
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
            if self.record(directory).hidden == self.number {
                continue;
            }
            self.record_mut(directory).hidden = self.number;
            let children = std::mem::take(&mut self.record_mut(directory).children);
            for child in &children {
                let record = self.record(*child);
                if !record.live {
                    continue;
                }
                if record.touched != self.number {
                    self.remove(*child);
                } else if record.directory {
                    pending.push(*child);
                }
            }
            self.record_mut(directory).children = children;
        }
        self.recent = None;
    }

    /// Sorts the changes in.
    fn finish(self) -> (Tree, bool) {
        let Self {
            mut tree,
            top,
            added,
            thinned,
            implicit_parents,
            ..
        } = self;
        let live = |tree: &Tree, id: &NodeId| tree.records[id.0 as usize].live;
        for directory in thinned {
            let mut children = std::mem::take(&mut tree.records[directory.0 as usize].children);
            children.retain(|child| live(&tree, child));
            tree.records[directory.0 as usize].children = children;
        }
        for (directory, added) in added {
            let mut children = std::mem::take(&mut tree.records[directory.0 as usize].children);
            children.extend(added.into_values());
            children.sort_unstable_by(|a, b| tree.name(*a).cmp(tree.name(*b)));
            tree.records[directory.0 as usize].children = children;
        }
        let layer = match top {
            Top::Known(index) => index,
            Top::Growing(entries) => Arc::new(super::tree::unfinished(entries)),
        };
        tree.layers.push(layer);
        (tree, implicit_parents)
    }
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
