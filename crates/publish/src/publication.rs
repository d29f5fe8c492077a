//! What is to be published, and where.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use oci::{Attachment, Descriptor, Digest, Document, Reference, Repository, Tag};
use registry::BlobSource;

use crate::Seal;

/// A set of images that becomes visible together.
#[derive(Clone, Default)]
pub struct Publication {
    /// The images. Floating tags are moved in this order: what refers to others comes last.
    pub items: Vec<Item>,
    /// What has to be true when tags are looked at first, and again right before the first floating
    /// tag is moved. Registries cannot compare and swap, so this narrows a race and does not end it.
    pub expected: Vec<ExpectedTag>,
    /// Immutable tags may be moved to another digest: somebody said so for this once.
    pub retag: bool,
}

/// A tag that is to be found where it was seen when the publication was planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedTag {
    /// The tag.
    pub reference: Reference,
    /// What it pointed at; `None` where there was no such tag.
    pub digest: Option<Digest>,
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
    /// What a tag will point at. Of an image that is in no index, with its platform where that is
    /// known: reports tell it.
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

    /// Whether the content itself was why `blob` could not be sent: damaged, or gone from where it
    /// was. Asked only after `error`.
    fn blame<'b>(
        &'b self,
        blob: &'b Descriptor,
        error: &'b registry::Error,
    ) -> Pin<Box<dyn Future<Output = Option<BlobFault>> + Send + 'b>> {
        let _ = (blob, error);
        Box::pin(std::future::ready(None))
    }
}

/// What is wrong with a blob.
pub type BlobFault = Box<dyn Error + Send + Sync>;
