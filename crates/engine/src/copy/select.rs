//! Which files a source pattern of COPY or ADD selects, and what they amount to.

use std::collections::HashMap;

use dockerfile::glob::{Component, GlobPath};
use dockerfile::ignore::{IgnoreError, IgnoreFile, Verdict};
use graph::CopyStep;
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
    /// For a directory: everything below that is to be copied, each parent before its children,
    /// in order of paths.
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
    /// A path under `--parents` whose directories cannot be kept, because one of them is a link
    /// (spec row C28).
    #[error("`{pattern}` goes through the symbolic link `{link}`, which --parents does not follow")]
    ThroughLink {
        /// As written, expanded.
        pattern: String,
        /// The link, relative to the pivot.
        link: String,
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

/// What is at a path, in which nothing is a wildcard, with all that is below it. Links are
/// followed inside the source.
pub(crate) fn select_path(source: &dyn Files, path: &str) -> Result<Match, SelectError> {
    let wanted = EntryPath::parse(path.as_bytes()).map_err(FilesError::from)?;
    let Some((real, node)) = files::follow(source, &wanted)? else {
        return Err(not_found(path));
    };
    let mut below = Vec::new();
    if node.kind == NodeKind::Directory {
        let filter = Filter {
            include: None,
            exclude: &IgnoreFile::default(),
        };
        walk(source, &real, &real, filter, &mut below)?;
    }
    if node.shadow && below.is_empty() {
        return Err(not_found(path));
    }
    Ok(Match {
        name: wanted.name().into(),
        path: real,
        node,
        below,
    })
}

/// How the patterns of one step select.
#[derive(Debug, Default)]
pub(crate) struct Selector {
    /// Directories above what a pattern matches are kept (spec row C28).
    parents: bool,
    /// What is left out of directories (spec row C27).
    excludes: IgnoreFile,
}

impl Selector {
    /// As a step says.
    pub(crate) fn of(copy: &CopyStep) -> Result<Self, SelectError> {
        let excludes = IgnoreFile::of_patterns(&copy.excludes);
        Ok(Self {
            parents: copy.parents,
            excludes: excludes.map_err(|error| not_a_pattern(&copy.excludes.join(" "), &error))?,
        })
    }

    /// Finds what `pattern` selects. A wildcard that matches nothing selects
    /// nothing; a literal path that is not there is an error. `pivot`: the components that are
    /// not kept where directories are.
    pub(crate) fn select(
        &self,
        source: &dyn Files,
        pattern: &str,
        pivot: usize,
    ) -> Result<Vec<Match>, SelectError> {
        match self.parents {
            true => self.with_parents(source, pattern, pivot),
            false => self.matching(source, pattern),
        }
    }

    fn matching(&self, source: &dyn Files, pattern: &str) -> Result<Vec<Match>, SelectError> {
        let components = components(pattern, pattern)?;
        let is_literal = literal(&components).is_some();
        let mut matches = Vec::new();
        for Place { name, path, node } in places(source, &components)? {
            let mut below = Vec::new();
            if node.kind == NodeKind::Directory {
                let filter = Filter {
                    include: None,
                    exclude: &self.excludes,
                };
                walk(source, &path, &path, filter, &mut below)?;
            }
            if !node.shadow || !below.is_empty() {
                matches.push(Match {
                    name,
                    path,
                    node,
                    below,
                });
            }
        }
        if is_literal && matches.is_empty() {
            return Err(not_found(pattern));
        }
        Ok(matches)
    }

    /// `--parents`: before the pivot a pattern is like any other, and must lead to directories;
    /// behind it, it is a pattern as in an ignore file. No link is followed there: the directories
    /// that are kept are those of the path as it is written.
    fn with_parents(
        &self,
        source: &dyn Files,
        pattern: &str,
        pivot: usize,
    ) -> Result<Vec<Match>, SelectError> {
        let names: Vec<&str> = pattern.split('/').filter(|name| !name.is_empty()).collect();
        let (before, after) = names.split_at(pivot.min(names.len()));
        let before = components(&before.join("/"), pattern)?;
        let kept = components(&after.join("/"), pattern)?;
        let is_literal = literal(&before).is_some() && literal(&kept).is_some();
        let rest = after.join("/");
        let include = match rest.is_empty() {
            true => None,
            false => Some(IgnoreFile::all_but(&rest).map_err(|e| not_a_pattern(pattern, &e))?),
        };
        let mut matches = Vec::new();
        for Place { name, path, node } in places(source, &before)? {
            if node.kind != NodeKind::Directory {
                continue;
            }
            let mut below = Vec::new();
            self.below_base(source, &path, &kept, include.as_ref(), &mut below)?;
            if !below.is_empty() || rest.is_empty() {
                matches.push(Match {
                    name,
                    path,
                    node,
                    below,
                });
            }
        }
        if is_literal && matches.is_empty() {
            let path = EntryPath::parse(pattern.as_bytes()).map_err(FilesError::from)?;
            if let Some(link) = link_among(source, &before, &kept)? {
                return Err(SelectError::ThroughLink {
                    pattern: pattern.to_owned(),
                    link,
                });
            }
            // What is there and left out by `--exclude` was found.
            if self.excludes.is_empty() || files::follow(source, &path)?.is_none() {
                return Err(not_found(pattern));
            }
        }
        Ok(matches)
    }

    /// What is kept of one base: the names at the beginning of the pattern are looked up, so that
    /// nothing beside them is read; from the first wildcard on, directories are walked.
    fn below_base(
        &self,
        source: &dyn Files,
        base: &EntryPath,
        kept: &[Component],
        include: Option<&IgnoreFile>,
        below: &mut Vec<Below>,
    ) -> Result<(), SelectError> {
        let mut at = base.clone();
        for (position, component) in kept.iter().enumerate() {
            let Component::Name(name) = component else {
                break;
            };
            at = at.join(name.as_bytes()).map_err(FilesError::from)?;
            let Some(mut node) = source.lookup(&at)? else {
                below.clear();
                return Ok(());
            };
            let relative = relative(base, &at)?;
            let is_last = position + 1 == kept.len();
            let is_directory = node.kind == NodeKind::Directory;
            if !is_directory && !is_last {
                below.clear();
                return Ok(());
            }
            let verdict = self.excludes.matches(relative.as_bytes());
            if verdict.ignored {
                if !self
                    .excludes
                    .may_contain_included(relative.as_bytes(), verdict)
                {
                    below.clear();
                    return Ok(());
                }
                node.shadow = true;
            }
            if !is_directory && node.shadow {
                below.clear();
                return Ok(());
            }
            below.push(Below {
                relative,
                path: at.clone(),
                node,
            });
            if !is_directory {
                return Ok(());
            }
        }
        let parents = below.len();
        let is_literal = literal(kept).is_some();
        // Below what a path without wildcards names, everything is wanted.
        let filter = Filter {
            include: include.filter(|_| !is_literal),
            exclude: &self.excludes,
        };
        walk(source, base, &at, filter, below)?;
        // Parents alone are kept only where they themselves were asked for.
        let asked_for = is_literal && below.last().is_some_and(|top| !top.node.shadow);
        if below.len() == parents && !asked_for {
            below.clear();
        }
        Ok(())
    }
}

/// The first of the directories of a path that is a link.
fn link_among(
    source: &dyn Files,
    before: &[Component],
    kept: &[Component],
) -> Result<Option<String>, SelectError> {
    let Some(Place { path: base, .. }) = places(source, before)?.pop() else {
        return Ok(None);
    };
    for count in 1..kept.len() {
        let Some(link) = literal(&kept[..count]) else {
            break;
        };
        let path = base.join(link.as_bytes()).map_err(FilesError::from)?;
        match source.lookup(&path)?.map(|node| node.kind) {
            Some(NodeKind::Directory) => {}
            Some(NodeKind::Symlink(_)) => return Ok(Some(link)),
            _ => break,
        }
    }
    Ok(None)
}

fn not_found(pattern: &str) -> SelectError {
    SelectError::NotFound {
        pattern: pattern.to_owned(),
    }
}

fn not_a_pattern(pattern: &str, error: &IgnoreError) -> SelectError {
    SelectError::Pattern {
        pattern: pattern.to_owned(),
        reason: error.kind.to_string(),
    }
}

/// The components of a part of a pattern. The graph gives clean patterns: `..` has been stopped
/// at the root (spec row C12).
fn components(part: &str, pattern: &str) -> Result<Vec<Component>, SelectError> {
    let parsed = GlobPath::parse(part).map_err(|error| SelectError::Pattern {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(parsed.components)
}

/// The path that components without a wildcard are.
fn literal(components: &[Component]) -> Option<String> {
    let names: Option<Vec<&str>> = components
        .iter()
        .map(|component| match component {
            Component::Name(name) => Some(name.as_str()),
            Component::Pattern(_) => None,
        })
        .collect();
    Some(names?.join("/"))
}

/// Something that a pattern leads to, links followed.
struct Place {
    name: Box<[u8]>,
    path: EntryPath,
    node: Node,
}

/// Where components lead.
fn places(source: &dyn Files, components: &[Component]) -> Result<Vec<Place>, SelectError> {
    let mut found = Vec::new();
    match literal(components) {
        Some(path) => {
            let path = EntryPath::parse(path.as_bytes()).map_err(FilesError::from)?;
            let name = path.name().into();
            let place = files::follow(source, &path)?;
            found.extend(place.map(|(path, node)| Place { name, path, node }));
        }
        None => expand(source, &EntryPath::root(), components, &mut found)?,
    }
    Ok(found)
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
    let names = source.list(&real, &|_| true).unwrap_or_default();
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
    found: &mut Vec<Place>,
) -> Result<(), SelectError> {
    let Some((first, rest)) = components.split_first() else {
        return Ok(());
    };
    let candidates: Vec<Box<[u8]>> = match first {
        Component::Pattern(glob) => {
            let names = source.list(directory, &|name| glob.matches(name))?;
            names.into_iter().map(|(name, _)| name).collect()
        }
        Component::Name(name) => vec![name.as_bytes().into()],
    };
    for name in candidates {
        let path = directory.join(&name).map_err(FilesError::from)?;
        let Some((real, node)) = files::follow(source, &path)? else {
            continue;
        };
        if rest.is_empty() {
            found.push(Place {
                name,
                path: real,
                node,
            });
        } else if node.kind == NodeKind::Directory {
            expand(source, &real, rest, found)?;
        }
    }
    Ok(())
}

/// Which paths below a directory are copied, by their names relative to it.
#[derive(Clone, Copy)]
struct Filter<'f> {
    /// Ignores what is not wanted.
    include: Option<&'f IgnoreFile>,
    exclude: &'f IgnoreFile,
}

/// What a filter says of one path, and hands down to what is below it.
#[derive(Clone, Copy, Default)]
struct Kept<'f> {
    include: Verdict<'f>,
    exclude: Verdict<'f>,
}

impl<'f> Filter<'f> {
    fn at(&self, path: &EntryPath) -> Kept<'f> {
        if path.is_root() {
            // Without a pattern everything is wanted; with one, nothing is that it does not say.
            return Kept::default();
        }
        Kept {
            include: self
                .include
                .map(|include| include.matches(path.as_bytes()))
                .unwrap_or_default(),
            exclude: self.exclude.matches(path.as_bytes()),
        }
    }

    fn below(&self, above: Kept<'f>, path: &[u8]) -> Kept<'f> {
        Kept {
            include: self
                .include
                .map(|include| include.matches_below(above.include, path))
                .unwrap_or_default(),
            exclude: self.exclude.matches_below(above.exclude, path),
        }
    }

    /// Whether something below the path may be copied though it is not itself.
    fn may_lead_on(&self, kept: Kept<'f>, path: &[u8]) -> bool {
        let include = self
            .include
            .is_none_or(|include| include.may_contain_included(path, kept.include));
        include && self.exclude.may_contain_included(path, kept.exclude)
    }
}

impl Kept<'_> {
    fn is_kept(&self) -> bool {
        !self.include.ignored && !self.exclude.ignored
    }
}

/// A directory whose names are being gone through.
struct Level<'f> {
    names: std::vec::IntoIter<files::Named>,
    path: EntryPath,
    kept: Kept<'f>,
    /// Its place in the list, where it is there only for what is in it.
    shadow: Option<usize>,
}

/// Lists everything below `top` that a filter keeps, whose paths begin at `base`. A loop with its
/// own stack: the depth of a tree is not ours to trust.
fn walk<'f>(
    source: &dyn Files,
    base: &EntryPath,
    top: &EntryPath,
    filter: Filter<'f>,
    below: &mut Vec<Below>,
) -> Result<(), SelectError> {
    let open = |path: EntryPath, kept: Kept<'f>, shadow| -> Result<Level<'f>, SelectError> {
        let mut prefix = relative(base, &path)?.as_bytes().to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let wanted = |name: &[u8]| {
            let path = [prefix.as_slice(), name].concat();
            let kept = filter.below(kept, &path);
            kept.is_kept() || filter.may_lead_on(kept, &path)
        };
        Ok(Level {
            names: source.list(&path, &wanted)?.into_iter(),
            path,
            kept,
            shadow,
        })
    };
    let mut levels = vec![open(top.clone(), filter.at(&relative(base, top)?), None)?];
    while let Some(level) = levels.last_mut() {
        let Some((name, mut node)) = level.names.next() else {
            // A directory that was only a way to others, and had none, is not there.
            if let Some(place) = level.shadow
                && place + 1 == below.len()
            {
                below.pop();
            }
            levels.pop();
            continue;
        };
        let path = level.path.join(&name).map_err(FilesError::from)?;
        let relative = relative(base, &path)?;
        let kept = filter.below(level.kept, relative.as_bytes());
        let is_directory = node.kind == NodeKind::Directory;
        if !kept.is_kept() {
            if !is_directory || !filter.may_lead_on(kept, relative.as_bytes()) {
                continue;
            }
            node.shadow = true;
        }
        let shadow = node.shadow.then_some(below.len());
        below.push(Below {
            relative,
            path: path.clone(),
            node,
        });
        if is_directory {
            levels.push(open(path, kept, shadow)?);
        }
    }
    Ok(())
}

/// The rest of a path behind a directory that it begins with.
fn relative(base: &EntryPath, path: &EntryPath) -> Result<EntryPath, FilesError> {
    let prefix = match base.is_root() {
        true => 0,
        false => base.as_bytes().len() + 1,
    };
    let rest = path.as_bytes().get(prefix..).unwrap_or_default();
    match rest.is_empty() {
        true => Ok(EntryPath::root()),
        false => Ok(EntryPath::parse(rest)?),
    }
}

impl Selection {
    /// All that is selected, in order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&EntryPath, &Node)> {
        self.matches.iter().flat_map(|found| {
            let below = found.below.iter().map(|below| (&below.path, &below.node));
            std::iter::once((&found.path, &found.node)).chain(below)
        })
    }

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
