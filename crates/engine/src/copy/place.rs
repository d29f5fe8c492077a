//! Where selected files go: the entries of a COPY's layer, worked out from the
//! tree below without a root file system.

use std::collections::HashMap;

use dockerfile::chmod::ModeChange;
use store::layer::{EntryKind, EntryPath, Follow, Metadata, Node as TreeNode, Tree};

use super::files::{LinkGroup, Node, NodeKind};
use super::select::Match;

/// One entry of a layer to be, and where its content comes from.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// Where it goes.
    pub path: EntryPath,
    /// Owner, permissions, time, attributes.
    pub metadata: Metadata,
    /// What it is.
    pub kind: PlannedKind,
}

/// What a planned entry is.
#[derive(Clone, Debug)]
pub(crate) enum PlannedKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes of content.
        size: u64,
        /// Where the content is.
        content: Content,
        /// Which files are one file, within one source.
        link: Option<(usize, LinkGroup)>,
    },
    /// Another name of a file that comes earlier in the layer: what files of one group become
    /// when all are known.
    HardLink {
        /// The first name.
        target: EntryPath,
    },
    /// A link, device or pipe.
    Special(NodeKind),
}

/// Where a file's content is.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A file of the source with this number.
    Source {
        /// Which source of the step.
        source: usize,
        /// In that source.
        path: EntryPath,
        /// What the fingerprint saw.
        node: Box<Node>,
    },
    /// Right here.
    Inline(Vec<u8>),
    /// A range of an unpacked archive's spool file.
    Spooled {
        /// Which spool file of the step.
        spool: usize,
        /// First byte.
        offset: u64,
    },
}

/// Why files cannot go where they are told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// Several files, and one name for them (spec row C8).
    #[error(
        "{count} files are copied to `{destination}`: a destination for several must be a directory and end with `/`"
    )]
    NotADirectory {
        /// How many.
        count: usize,
        /// As written, expanded.
        destination: String,
    },
    /// A file where a directory is, or the reverse (spec row C9).
    #[error("cannot replace {old} {path} with {new}")]
    Conflict {
        /// Where.
        path: EntryPath,
        /// What is there.
        old: &'static str,
        /// What should go there.
        new: &'static str,
    },
    /// A hard link whose file is not in the same layer (spec row L8).
    #[error(
        "the hard link {path} names {target}, which is no file that stands before it in the archive"
    )]
    HardLink {
        /// The link.
        path: EntryPath,
        /// The file.
        target: EntryPath,
    },
    /// Links in the image that lead in a circle.
    #[error("the destination `{0}` leads through too many symbolic links")]
    Loop(String),
    /// A file of the image where the destination needs a directory.
    #[error("the destination `{destination}` goes through `{file}`, which is a file")]
    ThroughFile {
        /// As written, expanded.
        destination: String,
        /// The file, links resolved.
        file: EntryPath,
    },
    /// Not a path.
    #[error(transparent)]
    Path(#[from] store::layer::PathError),
}

fn unresolved(destination: &str, error: store::layer::ResolveError) -> PlaceError {
    match error {
        store::layer::ResolveError::Links(_) => PlaceError::Loop(destination.to_owned()),
        store::layer::ResolveError::NotDirectory { path: _, at } => PlaceError::ThroughFile {
            destination: destination.to_owned(),
            file: at,
        },
        store::layer::ResolveError::Path(error) => PlaceError::Path(error),
    }
}

/// Collects the entries of one layer.
pub(crate) struct Placer<'a> {
    lower: &'a Tree,
    owner: Option<(u32, u32)>,
    mode: Option<&'a ModeChange>,
    epoch: i64,
    planned: Vec<Planned>,
    /// What archives have put where, directories left out: places in `planned`.
    unpacked: HashMap<EntryPath, usize>,
}

/// A destination, links in the image followed.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    path: EntryPath,
    directory: bool,
    shown: String,
}

impl<'a> Placer<'a> {
    pub(crate) fn new(
        lower: &'a Tree,
        owner: Option<(u32, u32)>,
        mode: Option<&'a ModeChange>,
        epoch: i64,
    ) -> Self {
        Self {
            lower,
            owner,
            mode,
            epoch,
            planned: Vec::new(),
            unpacked: HashMap::new(),
        }
    }

    /// Follows the links of a destination inside the image (spec row C14).
    pub(crate) fn destination(
        &self,
        path: &str,
        directory: bool,
    ) -> Result<Destination, PlaceError> {
        let resolved = self
            .lower
            .resolve(path.as_bytes(), Follow::All)
            .map_err(|source| unresolved(path, source))?;
        let is_directory = resolved
            .found()
            .is_some_and(|node| matches!(self.lower.node(node).kind(), EntryKind::Directory));
        Ok(Destination {
            path: resolved.full_path()?,
            directory: directory || is_directory,
            shown: path.to_owned(),
        })
    }

    /// Puts what one source selected at the destination.
    pub(crate) fn place(
        &mut self,
        source: usize,
        matches: &[Match],
        destination: &Destination,
    ) -> Result<(), PlaceError> {
        for found in matches {
            if found.node.kind == NodeKind::Directory {
                self.directory(&destination.path)?;
                for below in &found.below {
                    let path = join(&destination.path, &below.relative)?;
                    self.node(path, source, &below.path, &below.node);
                }
            } else {
                let path = if destination.directory {
                    destination.path.join(&found.name)?
                } else {
                    destination.path.clone()
                };
                self.node(path, source, &found.path, &found.node);
            }
        }
        Ok(())
    }

    /// Puts a text there as a file, as a heredoc does (spec row H8).
    pub(crate) fn inline(
        &mut self,
        name: &str,
        content: &str,
        destination: &Destination,
    ) -> Result<(), PlaceError> {
        let path = if destination.directory {
            destination.path.join(name.as_bytes())?
        } else {
            destination.path.clone()
        };
        let metadata = self.changed(Metadata::root_owned(0o644, self.epoch), false);
        let kind = PlannedKind::File {
            size: content.len() as u64,
            content: Content::Inline(content.as_bytes().to_vec()),
            link: None,
        };
        self.planned.push(Planned {
            path,
            metadata,
            kind,
        });
        Ok(())
    }

    /// Puts an entry of an archive below the destination. Owner and mode are the
    /// archive's; only `--chown` changes the owner (spec rows C5, C22).
    pub(crate) fn unpacked(
        &mut self,
        relative: &EntryPath,
        mut metadata: Metadata,
        kind: PlannedKind,
        destination: &Destination,
    ) -> Result<(), PlaceError> {
        if let Some((uid, gid)) = self.owner {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        metadata.mtime = metadata.mtime.min(self.epoch);
        let path = self.unpacked_path(relative, destination, is_directory(&kind))?;
        if !is_directory(&kind) && !self.repeats_link(&path, &kind) {
            self.unpacked.insert(path.clone(), self.planned.len());
        }
        self.planned.push(Planned {
            path,
            metadata,
            kind,
        });
        Ok(())
    }

    /// Gives a file that the archive has had by now one more name. It keeps what it has, even
    /// where a later entry takes its first name.
    pub(crate) fn unpacked_link(
        &mut self,
        relative: &EntryPath,
        target: &EntryPath,
        destination: &Destination,
    ) -> Result<(), PlaceError> {
        let path = self.unpacked_path(relative, destination, false)?;
        let target = self.unpacked_path(target, destination, false)?;
        let Some(&place) = self.unpacked.get(&target) else {
            return Err(PlaceError::HardLink { path, target });
        };
        if let PlannedKind::File { link, .. } = &mut self.planned[place].kind {
            link.get_or_insert((0, LinkGroup::Entry(place)));
        }
        let another = Planned {
            path: path.clone(),
            ..self.planned[place].clone()
        };
        self.unpacked.insert(path, self.planned.len());
        self.planned.push(another);
        Ok(())
    }

    /// Where an entry of an archive goes: through links that the image has (spec row C22). A
    /// directory goes through a link of its own name too, where that leads to a directory:
    /// otherwise an archive with an entry `bin/` would cut off the `/bin` of an image where that
    /// is a link, which is what it does in other builders.
    fn unpacked_path(
        &self,
        relative: &EntryPath,
        destination: &Destination,
        is_directory: bool,
    ) -> Result<EntryPath, PlaceError> {
        let wanted = join(&destination.path, relative)?;
        let Some(parent) = wanted.parent() else {
            return Ok(wanted);
        };
        // A link that the archive itself has put there is no way that the image knows.
        let mut above = Some(parent.clone());
        while let Some(path) = above {
            if self.unpacked.contains_key(&path) {
                return Err(PlaceError::Conflict {
                    path,
                    old: "the file",
                    new: "a directory",
                });
            }
            above = path.parent();
        }
        if is_directory
            && let Ok(resolved) = self.lower.resolve(wanted.as_bytes(), Follow::All)
            && let Some(node) = resolved.found()
            && is_tree_directory(self.lower.node(node))
        {
            return Ok(resolved.full_path()?);
        }
        let resolved = self
            .lower
            .resolve(parent.as_bytes(), Follow::All)
            .map_err(|source| unresolved(&wanted.to_string(), source))?;
        Ok(resolved.full_path()?.join(wanted.name())?)
    }

    /// Whether an entry of an archive is a link that the image has just so.
    fn repeats_link(&self, path: &EntryPath, kind: &PlannedKind) -> bool {
        let PlannedKind::Special(NodeKind::Symlink(new)) = kind else {
            return false;
        };
        let there = self.lower.lookup(path);
        there.is_some_and(
            |node| matches!(node.kind(), EntryKind::Symlink { target } if target == new),
        )
    }

    /// Makes sure that a directory is there: 0755, and owner and mode as the
    /// step says, when it is new (spec rows C4, C6).
    pub(crate) fn directory(&mut self, path: &EntryPath) -> Result<(), PlaceError> {
        match self.lower.lookup(path) {
            Some(node) if is_tree_directory(node) => {}
            Some(_) => {
                return Err(PlaceError::Conflict {
                    path: path.clone(),
                    old: "the file",
                    new: "a directory",
                });
            }
            None if path.is_root() => {}
            None => {
                let metadata = self.created();
                self.planned.push(Planned {
                    path: path.clone(),
                    metadata,
                    kind: PlannedKind::Directory,
                });
            }
        }
        Ok(())
    }

    /// The destination itself as a directory, as archives need it.
    pub(crate) fn target_directory(&mut self, destination: &Destination) -> Result<(), PlaceError> {
        self.directory(&destination.path)
    }

    fn node(&mut self, path: EntryPath, source: usize, from: &EntryPath, node: &Node) {
        let is_link = matches!(node.kind, NodeKind::Symlink(_));
        let mut metadata = self.changed(node.metadata.clone(), node.kind == NodeKind::Directory);
        if is_link {
            // Permissions of a link mean nothing; all builders write 0777.
            metadata.mode = 0o777;
        }
        metadata.mtime = metadata.mtime.min(self.epoch);
        let kind = match &node.kind {
            NodeKind::Directory => PlannedKind::Directory,
            NodeKind::File {
                size,
                link,
                stamp: _,
            } => PlannedKind::File {
                size: *size,
                content: Content::Source {
                    source,
                    path: from.clone(),
                    node: Box::new(node.clone()),
                },
                link: link.map(|group| (source, group)),
            },
            other => PlannedKind::Special(other.clone()),
        };
        self.planned.push(Planned {
            path,
            metadata,
            kind,
        });
    }

    fn changed(&self, mut metadata: Metadata, is_directory: bool) -> Metadata {
        if let Some((uid, gid)) = self.owner {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        if let Some(mode) = self.mode {
            metadata.mode = mode.apply(metadata.mode, is_directory);
        }
        metadata
    }

    fn created(&self) -> Metadata {
        self.changed(Metadata::root_owned(0o755, self.epoch), true)
    }

    /// The entries in the order of a layer: parents first, each path once,
    /// nothing below a file.
    pub(crate) fn finish(mut self) -> Result<Vec<Planned>, PlaceError> {
        self.add_ancestors();
        // Stable, so that of two entries for one path the later one stays later.
        self.planned.sort_by(|a, b| a.path.cmp(&b.path));
        let mut entries: Vec<Planned> = Vec::with_capacity(self.planned.len());
        for planned in std::mem::take(&mut self.planned) {
            match entries.last_mut() {
                Some(last) if last.path == planned.path => {
                    refuse_conflict(
                        &planned.path,
                        is_directory(&last.kind),
                        is_directory(&planned.kind),
                    )?;
                    *last = planned;
                }
                _ => entries.push(planned),
            }
        }
        self.refuse_files_as_parents(&entries)?;
        self.refuse_conflicts_with_lower(&entries)?;
        link(&mut entries);
        Ok(entries)
    }

    /// Every directory above an entry gets an entry of its own, with the
    /// metadata that it has below: readers that unpack layers one by one would
    /// otherwise make it root's with mode 0755.
    fn add_ancestors(&mut self) {
        let mut known: std::collections::HashSet<EntryPath> = self
            .planned
            .iter()
            .filter(|p| is_directory(&p.kind))
            .map(|p| p.path.clone())
            .collect();
        let mut missing = Vec::new();
        let mut last: Option<EntryPath> = None;
        for planned in &self.planned {
            let parent = planned.path.parent();
            if parent == last {
                continue;
            }
            let mut above = parent.clone();
            last = parent;
            while let Some(path) = above {
                if path.is_root() || !known.insert(path.clone()) {
                    break;
                }
                let mut metadata = match self.lower.lookup(&path) {
                    Some(node) => node.metadata().clone(),
                    None => self.created(),
                };
                metadata.mtime = metadata.mtime.min(self.epoch);
                above = path.parent();
                missing.push(Planned {
                    path,
                    metadata,
                    kind: PlannedKind::Directory,
                });
            }
        }
        // In front: where an instruction names the directory itself, that entry wins.
        missing.append(&mut self.planned);
        self.planned = missing;
    }

    fn refuse_files_as_parents(&self, entries: &[Planned]) -> Result<(), PlaceError> {
        let mut file: Option<&EntryPath> = None;
        for entry in entries {
            if let Some(file) = file
                && entry.path.starts_with(file)
            {
                return Err(PlaceError::Conflict {
                    path: file.clone(),
                    old: "the file",
                    new: "a directory",
                });
            }
            file = (!is_directory(&entry.kind)).then_some(&entry.path);
        }
        Ok(())
    }

    fn refuse_conflicts_with_lower(&self, entries: &[Planned]) -> Result<(), PlaceError> {
        // Whole new subtrees are not looked up file by file.
        let mut fresh: Option<&EntryPath> = None;
        for entry in entries {
            if let Some(top) = fresh
                && entry.path.starts_with(top)
            {
                continue;
            }
            fresh = None;
            match self.lower.lookup(&entry.path) {
                Some(node) => {
                    refuse_conflict(
                        &entry.path,
                        is_tree_directory(node),
                        is_directory(&entry.kind),
                    )?;
                }
                None if is_directory(&entry.kind) => fresh = Some(&entry.path),
                None => {}
            }
        }
        Ok(())
    }
}

/// Refuses several files for one name (spec row C8).
pub(crate) fn refuse_several(count: usize, destination: &Destination) -> Result<(), PlaceError> {
    if count > 1 && !destination.directory {
        return Err(PlaceError::NotADirectory {
            count,
            destination: destination.shown.clone(),
        });
    }
    Ok(())
}

fn refuse_conflict(
    path: &EntryPath,
    old_is_directory: bool,
    new_is_directory: bool,
) -> Result<(), PlaceError> {
    match (old_is_directory, new_is_directory) {
        (true, false) => Err(PlaceError::Conflict {
            path: path.clone(),
            old: "the directory",
            new: "a file",
        }),
        (false, true) => Err(PlaceError::Conflict {
            path: path.clone(),
            old: "the file",
            new: "a directory",
        }),
        (true, true) | (false, false) => Ok(()),
    }
}

/// The first name of a file keeps the content; the others become links to it (spec row C17).
fn link(entries: &mut [Planned]) {
    let mut first: HashMap<(usize, LinkGroup), EntryPath> = HashMap::new();
    for entry in entries {
        let PlannedKind::File {
            link: Some(group), ..
        } = &entry.kind
        else {
            continue;
        };
        match first.get(group) {
            Some(target) => {
                let target = target.clone();
                entry.kind = PlannedKind::HardLink { target };
            }
            None => {
                first.insert(*group, entry.path.clone());
            }
        }
    }
}

fn is_tree_directory(node: TreeNode<'_>) -> bool {
    matches!(node.kind(), EntryKind::Directory)
}

fn is_directory(kind: &PlannedKind) -> bool {
    matches!(kind, PlannedKind::Directory)
}

fn join(directory: &EntryPath, relative: &EntryPath) -> Result<EntryPath, store::layer::PathError> {
    if relative.is_root() {
        Ok(directory.clone())
    } else {
        directory.join(relative.as_bytes())
    }
}
