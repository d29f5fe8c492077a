//! Which entries an overlay's layer has. Knows trees and paths; reads no file.
//!
//! Everything belongs to root and can be read and run by everybody: an overlay is there for whoever
//! the image's user is. Names of one file stay names of one file. Links lead where they led, so far
//! as that is in the overlay; those that led elsewhere lead to the same path, in the image.
//!
//! Directories above the destinations are not entries: what an image has there, perhaps a link,
//! stays what it is.

use std::collections::{BTreeMap, HashMap};

use store::layer::{
    ContentHash, EntryKind, EntryPath, Follow, Node, NodeId, PathError, ResolveError, Tree,
};

/// The most entries of an overlay. Busybox has 400.
const ENTRIES_MAX: usize = 100_000;

/// An entry of the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    pub path: EntryPath,
    pub mode: u32,
    pub kind: SelectedKind,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SelectedKind {
    Directory,
    /// A file: the node that has its content.
    File {
        content: NodeId,
        size: u64,
        hash: ContentHash,
    },
    Symlink(Box<[u8]>),
    HardLink(EntryPath),
}

/// Why an overlay cannot be made of an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectError {
    #[error("the image of the overlay has no {0}")]
    Missing(String),
    #[error("`{0}` is no path of an overlay: it must begin with a slash and have no `..`")]
    Written(String),
    #[error("an overlay cannot take the place of the whole image: it needs a directory to go to")]
    Root,
    #[error("two paths of the overlay go to {0}")]
    Twice(EntryPath),
    #[error("{0} of the overlay is neither a file, a link nor a directory")]
    Kind(EntryPath),
    #[error("a hard link in the image of the overlay leads nowhere: {0}")]
    Nowhere(EntryPath),
    #[error("the overlay has more than {ENTRIES_MAX} files")]
    TooMany,
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Path(#[from] PathError),
}

/// A part of a tree that moves.
struct Move {
    /// As it was written.
    from: EntryPath,
    /// Where that is, with links resolved.
    real: EntryPath,
    to: EntryPath,
    node: NodeId,
}

/// Finds the entries of a layer, sorted. `paths`: from where in the tree, to where in the image.
pub(crate) fn select(
    tree: &Tree,
    paths: &BTreeMap<String, String>,
) -> Result<Vec<Selected>, SelectError> {
    let moves = moves(tree, paths)?;
    // Which node stands at which place.
    let mut placed: BTreeMap<EntryPath, NodeId> = BTreeMap::new();
    for one in &moves {
        for node in tree.walk(one.node) {
            let path = rebased(&node.path(), &one.real, &one.to)?;
            if placed.insert(path.clone(), node.id()).is_some() {
                return Err(SelectError::Twice(path));
            }
            if placed.len() > ENTRIES_MAX {
                return Err(SelectError::TooMany);
            }
        }
    }
    let mut first_names: HashMap<NodeId, EntryPath> = HashMap::new();
    let mut selected = Vec::with_capacity(placed.len());
    for (path, id) in placed {
        let node = tree.node(id);
        let content = node
            .content()
            .ok_or_else(|| SelectError::Nowhere(node.path()))?;
        let (kind, mode) = match content.kind() {
            EntryKind::Directory => (SelectedKind::Directory, 0o755),
            EntryKind::File {
                size,
                content: hash,
            } => {
                let mode = match node.metadata().mode & 0o111 {
                    0 => 0o644,
                    _ => 0o755,
                };
                let kind = match first_names.get(&content.id()) {
                    Some(first) => SelectedKind::HardLink(first.clone()),
                    None => {
                        first_names.insert(content.id(), path.clone());
                        SelectedKind::File {
                            content: content.id(),
                            size: *size,
                            hash: *hash,
                        }
                    }
                };
                (kind, mode)
            }
            EntryKind::Symlink { target } => {
                let target = moved_target(node, target, &moves);
                (SelectedKind::Symlink(target), 0o777)
            }
            EntryKind::HardLink { .. } => return Err(SelectError::Nowhere(node.path())),
            EntryKind::CharacterDevice { .. }
            | EntryKind::BlockDevice { .. }
            | EntryKind::Fifo
            | EntryKind::Whiteout
            | EntryKind::Opaque => return Err(SelectError::Kind(node.path())),
        };
        selected.push(Selected { path, mode, kind });
    }
    Ok(selected)
}

fn moves(tree: &Tree, paths: &BTreeMap<String, String>) -> Result<Vec<Move>, SelectError> {
    let mut moves = Vec::new();
    for (from, to) in paths {
        let (from_path, to) = (absolute(from)?, absolute(to)?);
        if to.is_root() {
            return Err(SelectError::Root);
        }
        let resolved = tree.resolve(from_path.as_bytes(), Follow::All)?;
        let node = resolved.found();
        let node = node.ok_or_else(|| SelectError::Missing(from.clone()))?;
        moves.push(Move {
            from: from_path,
            real: resolved.path,
            to,
            node,
        });
    }
    Ok(moves)
}

fn absolute(path: &str) -> Result<EntryPath, SelectError> {
    match EntryPath::parse(path.as_bytes()) {
        Ok(parsed) if path.starts_with('/') => Ok(parsed),
        Ok(_) | Err(_) => Err(SelectError::Written(path.to_owned())),
    }
}

/// A path below `from` as the same path below `to`.
fn rebased(path: &EntryPath, from: &EntryPath, to: &EntryPath) -> Result<EntryPath, PathError> {
    let mut rebased = to.clone();
    for name in path.components().skip(from.components().count()) {
        rebased = rebased.join(name)?;
    }
    Ok(rebased)
}

/// Where a symbolic link has to lead once it has moved. One that leads to something that moves with
/// it in the same way stays as it is written.
fn moved_target(link: Node<'_>, target: &[u8], moves: &[Move]) -> Box<[u8]> {
    let at = link.path();
    let Some(whole) = lexical(&at, target) else {
        return target.into();
    };
    let within = |one: &&Move| whole.starts_with(&one.real) || whole.starts_with(&one.from);
    let own = |one: &Move| at.starts_with(&one.real);
    let is_relative = !target.starts_with(b"/");
    // The one that the link itself is part of comes first.
    let found = moves
        .iter()
        .find(|one| own(one) && whole.starts_with(&one.real));
    let moved = match found {
        Some(_) if is_relative => return target.into(),
        Some(one) => rebased(&whole, &one.real, &one.to),
        None => match moves.iter().find(within) {
            Some(one) if whole.starts_with(&one.real) => rebased(&whole, &one.real, &one.to),
            Some(one) => rebased(&whole, &one.from, &one.to),
            None => Ok(whole),
        },
    };
    match moved {
        Ok(path) => [b"/", path.as_bytes()].concat().into(),
        Err(_) => target.into(),
    }
}

/// The path that a link names, without a look at what other links there are on the way.
fn lexical(link: &EntryPath, target: &[u8]) -> Option<EntryPath> {
    let mut names: Vec<&[u8]> = Vec::new();
    if !target.starts_with(b"/") {
        names.extend(link.components());
        names.pop();
    }
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    EntryPath::parse(&names.join(&b'/')).ok()
}

#[cfg(test)]
mod tests;
