//! What is to be published, and where.

use std::sync::Arc;

use oci::{Attachment, Descriptor, Document, Repository, Tag};
use registry::BlobSource;

use crate::Seal;

/// A set of images that becomes visible together.
#[derive(Clone, Default)]
pub struct Publication {
    /// The images.
    pub items: Vec<Item>,
}

/// One image or index, and where it goes.
#[derive(Clone)]
pub struct Item {
    /// How messages and reports call it, such as `epp` or `epp (debug)`.
    pub name: String,
    /// What it is.
    pub content: Content,
    /// Documents about it that are at hand, such as a provenance.
    pub attachments: Vec<Attachment>,
    /// Who has to seal it, in each repository, before a tag may point at it.
    pub seals: Vec<Arc<dyn Seal>>,
    /// Where it goes: at least one, no repository twice.
    pub targets: Vec<Target>,
}

/// A manifest or an index with everything below it.
#[derive(Clone)]
pub struct Content {
    /// What a tag will point at.
    pub root: Descriptor,
    /// All manifests and indices, each once, what is listed before what lists it: the last is the
    /// root.
    pub documents: Vec<Document>,
    /// Gives configurations and layers.
    pub blobs: Arc<dyn Blobs>,
}

/// A repository, and the tags in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The repository.
    pub repository: Repository,
    /// Tags that are never moved to another digest.
    pub immutable_tags: Vec<Tag>,
    /// Tags that are moved, after all of the others.
    pub floating_tags: Vec<Tag>,
}

/// Gives out the blobs of an image, wherever they are.
pub trait Blobs: Send + Sync {
    /// The content of a blob, to be sent; `None` when it is nowhere to be had.
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>>;

    /// Repositories that are known to have it, from where a registry may take it over.
    fn repositories(&self, blob: &Descriptor) -> Vec<Repository>;
}
