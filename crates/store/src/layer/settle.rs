//! Fits an unpacked layer to the stack that it turned out to lie on.
//!
//! Layers are unpacked while they come in, side by side, when the layers below
//! may still be on their way. What a layer does not say of itself, the metadata
//! of directories without an entry of their own, is filled in here.

use std::collections::BTreeMap;
use std::io;

use super::{EntryKind, EntryPath, LayerIndex, Metadata, Tree};
use crate::dir::Dir;

/// Whether an unpacked layer could be fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is now as if it had been unpacked on its stack.
    Fits,
    /// Its paths mean something else on this stack, through links for instance:
    /// it must be unpacked again, with its stack at hand.
    MustUnpackAgain,
}

/// Gives the directories of `root` that `index` has no entries for the metadata
/// that they have in `lower`. `root` holds the layer, unpacked without a stack.
///
/// # Errors
///
/// When the metadata cannot be set.
pub fn settle(root: &Dir, index: &LayerIndex, lower: &Tree) -> io::Result<Settled> {
    for (path, only_hides) in implicit_directories(index) {
        match lower.lookup(&path) {
            Some(node) if node.is_directory() => apply(root, &path, node.metadata())?,
            Some(_) => return Ok(Settled::MustUnpackAgain),
            // A whiteout of what never was must not leave a directory behind.
            None if only_hides => return Ok(Settled::MustUnpackAgain),
            None => {}
        }
    }
    let opaque_root = index
        .entries
        .kinds()
        .iter()
        .enumerate()
        .any(|(at, kind)| *kind == EntryKind::Opaque && index.entries.path(at).is_root());
    Ok(if opaque_root {
        Settled::MustUnpackAgain
    } else {
        Settled::Fits
    })
}

/// The directories that entries lie in and that are no entries, parents first,
/// and whether nothing but whiteouts is below them.
fn implicit_directories(index: &LayerIndex) -> BTreeMap<EntryPath, bool> {
    let explicit: std::collections::HashSet<EntryPath> = index
        .entries
        .kinds()
        .iter()
        .enumerate()
        .filter(|(_, kind)| **kind == EntryKind::Directory)
        .map(|(at, _)| index.entries.path(at))
        .collect();
    let mut implicit = BTreeMap::new();
    for entry in index.entries.iter() {
        let hides = matches!(entry.kind, EntryKind::Whiteout | EntryKind::Opaque);
        let mut above = match entry.kind {
            EntryKind::Opaque => Some(entry.path.clone()),
            _ => entry.path.parent(),
        };
        while let Some(path) = above {
            if path.is_root() {
                break;
            }
            above = path.parent();
            if explicit.contains(&path) {
                continue;
            }
            match implicit.get_mut(&path) {
                // Known, and all above it too, with the same answer.
                Some(only_hides) if *only_hides <= hides => break,
                Some(only_hides) => *only_hides = hides,
                None => {
                    implicit.insert(path, hides);
                }
            }
        }
    }
    implicit
}

fn apply(root: &Dir, path: &EntryPath, metadata: &Metadata) -> io::Result<()> {
    let directory = root.open_dir(path.as_bytes())?;
    rustix::fs::fchown(
        &directory,
        Some(rustix::fs::Uid::from_raw(metadata.uid)),
        Some(rustix::fs::Gid::from_raw(metadata.gid)),
    )?;
    rustix::fs::fchmod(&directory, rustix::fs::Mode::from_raw_mode(metadata.mode))?;
    let time = rustix::fs::Timespec {
        tv_sec: metadata.mtime,
        tv_nsec: 0,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::futimens(&directory, &times)?;
    Ok(())
}
