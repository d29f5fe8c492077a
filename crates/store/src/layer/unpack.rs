//! Writes a layer's entries below a directory as overlayfs wants them.

use super::Tree;
use crate::dir::Dir;

/// Where a layer is unpacked, and how.
#[derive(Clone, Copy, Debug)]
pub struct UnpackTarget<'a> {
    /// An empty directory of ours, renamed into place by the caller later.
    pub root: &'a Dir,
    /// The stack below the layer. Needed when the layer leaves out directories
    /// or hides things ([`super::LayerIndex::needs_lower`]); without it such
    /// directories are made 0755 and owned by root.
    pub lower: Option<&'a Tree>,
    /// Whose the files become on disk.
    pub ownership: Ownership,
}

/// Whether files on disk get their owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// As the layer says; an id that cannot be given is an error.
    Apply,
    /// All files stay ours, device nodes and file capabilities are left out:
    /// the truth is in the index only. For user namespaces with one id.
    Record,
}
