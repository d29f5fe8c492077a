//! What was published, as later commands read it. Fields are added, never changed.

use oci::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};

/// One publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this form.
    pub schema: u32,
    /// When it was finished, RFC 3339 in UTC.
    pub finished: String,
    /// The images, in the order in which they were declared.
    pub images: Vec<PublishedImage>,
}

/// One image in one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedImage {
    /// How it is called.
    pub name: String,
    /// Its repository, such as `registry.example/team/epp`.
    pub repository: String,
    /// The digest that its tags point at.
    pub digest: Digest,
    /// What it runs on.
    pub platforms: Vec<Platform>,
    /// Its tags, those that never move first.
    pub tags: Vec<PublishedTag>,
    /// Who sealed it.
    pub sealed_by: Vec<String>,
}

/// A tag of a published image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedTag {
    /// The whole name.
    pub reference: Reference,
    /// Whether it may be moved.
    pub floating: bool,
    /// What became of it.
    #[serde(flatten)]
    pub change: TagChange,
}

/// What became of a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum TagChange {
    /// It is new.
    Created,
    /// It pointed at the same digest already.
    Unchanged,
    /// It pointed at another digest.
    Moved {
        /// Which.
        previous: Digest,
    },
}
