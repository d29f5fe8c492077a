//! Who hears how a publication goes on.

use oci::{Descriptor, Digest};
use registry::Progress;

use crate::PublishedTag;

/// Hears what happens. Called from several threads; must not block for long.
pub trait Watcher: Send + Sync {
    /// A blob is about to be brought somewhere. What is returned is told the bytes that were sent.
    fn upload(&self, blob: &Descriptor) -> Option<Progress> {
        let _ = blob;
        None
    }

    /// A tag is where it should be, as all others are.
    fn published(&self, tag: &PublishedTag, digest: &Digest) {
        let _ = (tag, digest);
    }

    /// Something that the user should know and that stops nothing: one sentence.
    fn warning(&self, message: String) {
        let _ = message;
    }
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {}
