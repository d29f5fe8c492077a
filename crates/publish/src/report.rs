//! What was published, as later commands read it. Fields are added, never changed.

use oci::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};
use store::Store;

use crate::journal::KeptSeal;

/// The version of the form of [`Report`].
pub const REPORT_SCHEMA: u32 = 1;

impl Report {
    /// What the last publication from this store came to.
    pub fn last(store: &Store) -> Option<Self> {
        Kept::read(&store.publications().last()?).map(|kept| kept.report)
    }

    /// What the publication came to whose digest begins with these hexadecimal digits, `sha256:` in
    /// front of them or not.
    pub fn find(store: &Store, beginning: &str) -> Option<Self> {
        let beginning = beginning.strip_prefix("sha256:").unwrap_or(beginning);
        Kept::read(&store.publications().find(beginning)?).map(|kept| kept.report)
    }

    /// What [`Self::to_json`] wrote; nothing when it is of another version.
    pub fn read(json: &[u8]) -> Option<Self> {
        let report: Self = serde_json::from_slice(json).ok()?;
        (report.schema == REPORT_SCHEMA).then_some(report)
    }

    /// For files, and for the store.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("texts and lists are JSON");
        json.push(b'\n');
        json
    }
}

/// What the store keeps of a publication that is finished.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) report: Report,
    /// Whoever publishes the same again need not have it sealed again.
    pub(crate) seals: Vec<KeptSeal>,
}

impl Kept {
    /// What is known of a publication.
    pub(crate) fn of(store: &Store, publication: &Digest) -> Option<Self> {
        Self::read(&store.publications().get(publication)?)
    }

    fn read(json: &[u8]) -> Option<Self> {
        let kept: Self = serde_json::from_slice(json).ok()?;
        (kept.report.schema == REPORT_SCHEMA).then_some(kept)
    }

    /// Keeps it in the store, as the last one.
    pub(crate) fn keep(&self, store: &Store) {
        let json = serde_json::to_vec(self).expect("texts and lists are JSON");
        store.publications().put(&self.report.publication, &json);
    }
}

/// One publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this form: [`REPORT_SCHEMA`].
    pub schema: u32,
    /// What was published, and where to: equal for equal publications.
    pub publication: Digest,
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
