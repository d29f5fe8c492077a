//! Which files a source pattern of COPY or ADD selects, and what they amount to.

use std::collections::HashMap;

use dockerfile::glob::{Component, GlobPath};
use oci::{Digest, Hasher};
use store::layer::EntryPath;

use super::files::{self, Files, FilesError, Node, NodeKind};

/// One match of a source pattern: a file, or a directory with what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    /// The last component of the path that matched: the name that a file gets
    /// in a directory.
    pub name: Box<[u8]>,
    /// Where it really is, links followed (spec row C13).
    pub path: EntryPath,
    /// What it is; never a symbolic link.
    pub node: Node,
    /// For a directory: everything below, each parent before its children, in
    /// order of paths.
    pub below: Vec<Below>,
}

/// Something below a matched directory.
#[derive(Clone, Debug)]
pub(crate) struct Below {
    /// Relative to the matched directory.
    pub relative: EntryPath,
    /// In the source.
    pub path: EntryPath,
    /// What it is.
    pub node: Node,
}

/// What a list of patterns selects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// In order of the patterns, and of names where a wildcard matched several.
    pub matches: Vec<Match>,
}

/// Why a pattern selects nothing that can be copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectError {
    /// A path without wildcards that does not exist (spec row C11).
    #[error("`{pattern}` was not found")]
    NotFound {
        /// As written, expanded.
        pattern: String,
    },
    /// A pattern that is none.
    #[error("`{pattern}` is not a valid pattern: {reason}")]
    Pattern {
        /// As written, expanded.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The source could not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// Finds what `pattern` selects. A wildcard that matches nothing selects
/// nothing; a literal path that is not there is an error.
pub(crate) fn select(source: &dyn Files, pattern: &str) -> Result<Vec<Match>, SelectError> {
    let parsed = GlobPath::parse(pattern).map_err(|error| SelectError::Pattern {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })?;
    // The graph gives clean patterns: `..` has been stopped at the root (spec row C12).
    let components = parsed.components;
    let names: Option<Vec<&str>> = components
        .iter()
        .map(|component| match component {
            Component::Name(name) => Some(name.as_str()),
            Component::Pattern(_) => None,
        })
        .collect();
    let mut matches = Vec::new();
    match names {
        Some(names) => {
            let path = EntryPath::parse(names.join("/").as_bytes()).map_err(FilesError::from)?;
            let Some((real, node)) = files::follow(source, &path)? else {
                return Err(SelectError::NotFound {
                    pattern: pattern.to_owned(),
                });
            };
            let found = fill(source, path.name().into(), real, node)?;
            if found.node.shadow && found.below.is_empty() {
                return Err(SelectError::NotFound {
                    pattern: pattern.to_owned(),
                });
            }
            matches.push(found);
        }
        None => expand(source, &EntryPath::root(), &components, &mut matches)?,
    }
    Ok(matches)
}

/// Names in the directory of `pattern`: what somebody may have meant who wrote one that is not
/// there.
pub(crate) fn near(source: &dyn Files, pattern: &str) -> Vec<String> {
    let Ok(path) = EntryPath::parse(pattern.as_bytes()) else {
        return Vec::new();
    };
    let parent = path.parent().unwrap_or_else(EntryPath::root);
    let Ok(Some((real, _))) = files::follow(source, &parent) else {
        return Vec::new();
    };
    let names = source.list(&real).unwrap_or_default();
    names
        .into_iter()
        .map(|(name, _)| String::from_utf8_lossy(&name).into_owned())
        .collect()
}

/// Matches the remaining components below `directory`, each against one level
/// (spec row C10: `*` never crosses `/`).
fn expand(
    source: &dyn Files,
    directory: &EntryPath,
    components: &[Component],
    matches: &mut Vec<Match>,
) -> Result<(), SelectError> {
    let Some((first, rest)) = components.split_first() else {
        return Ok(());
    };
    let candidates: Vec<Box<[u8]>> = match first {
        Component::Pattern(glob) => {
            let names = source.list(directory)?.into_iter();
            names
                .filter(|(name, _)| glob.matches(name))
                .map(|(name, _)| name)
                .collect()
        }
        Component::Name(name) => vec![name.as_bytes().into()],
    };
    for name in candidates {
        let path = directory.join(&name).map_err(FilesError::from)?;
        let Some((real, node)) = files::follow(source, &path)? else {
            continue;
        };
        if !rest.is_empty() {
            if node.kind == NodeKind::Directory {
                expand(source, &real, rest, matches)?;
            }
            continue;
        }
        let found = fill(source, name, real, node)?;
        if !found.node.shadow || !found.below.is_empty() {
            matches.push(found);
        }
    }
    Ok(())
}

fn fill(
    source: &dyn Files,
    name: Box<[u8]>,
    path: EntryPath,
    node: Node,
) -> Result<Match, SelectError> {
    let mut below = Vec::new();
    if node.kind == NodeKind::Directory {
        walk(source, &path, &mut below)?;
    }
    Ok(Match {
        name,
        path,
        node,
        below,
    })
}

/// Lists everything below a directory. A loop with its own stack: the depth of
/// a tree is not ours to trust.
fn walk(source: &dyn Files, top: &EntryPath, below: &mut Vec<Below>) -> Result<(), SelectError> {
    let prefix = if top.is_root() {
        0
    } else {
        top.as_bytes().len() + 1
    };
    let mut levels = vec![(None, source.list(top)?.into_iter(), top.clone())];
    while let Some((opened, names, directory)) = levels.last_mut() {
        let Some((name, node)) = names.next() else {
            // A directory that was only a way to re-included files, and had none, is not there.
            if let Some(place) = *opened
                && place + 1 == below.len()
            {
                below.pop();
            }
            levels.pop();
            continue;
        };
        let path = directory.join(&name).map_err(FilesError::from)?;
        let relative = EntryPath::parse(&path.as_bytes()[prefix..]).map_err(FilesError::from)?;
        let descend =
            (node.kind == NodeKind::Directory).then(|| node.shadow.then_some(below.len()));
        below.push(Below {
            relative,
            path: path.clone(),
            node,
        });
        if let Some(opened) = descend {
            levels.push((opened, source.list(&path)?.into_iter(), path));
        }
    }
    Ok(())
}

impl Selection {
    /// A digest of everything that a copy of the selection depends on.
    pub(crate) fn fingerprint(&self, source: &dyn Files) -> Result<Digest, FilesError> {
        let mut hash = Hasher::default();
        let mut files_seen = HashMap::new();
        // Two names of one file are not two files with one content: the layers differ.
        let mut again = |node: &Node, hash: &mut Hasher| {
            if let NodeKind::File {
                link: Some(group), ..
            } = &node.kind
            {
                let number = files_seen.len() as u64;
                let first = *files_seen.entry(*group).or_insert(number);
                if first != number {
                    hash.update(b"again");
                    hash.update(&first.to_le_bytes());
                }
            }
        };
        for found in &self.matches {
            hash.update(b"match");
            hash.update(&(found.name.len() as u64).to_le_bytes());
            hash.update(&found.name);
            if found.node.kind != NodeKind::Directory {
                again(&found.node, &mut hash);
                files::describe(source, &found.path, &found.node, &mut hash)?;
            }
            for below in &found.below {
                hash.update(b"below");
                hash.update(&(below.relative.as_bytes().len() as u64).to_le_bytes());
                hash.update(below.relative.as_bytes());
                again(&below.node, &mut hash);
                files::describe(source, &below.path, &below.node, &mut hash)?;
            }
        }
        Ok(hash.finish())
    }
}
