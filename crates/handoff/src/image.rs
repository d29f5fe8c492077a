//! What was published, as far as other files name it.

use oci::{Digest, Repository, Tag};

/// One image in one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedImage {
    /// How it was declared.
    pub name: String,
    /// Where it is.
    pub repository: Repository,
    /// The tag to name it by: one that never moves, where there is one.
    pub tag: Option<Tag>,
    /// What it is.
    pub digest: Digest,
}

impl PublishedImage {
    /// `repository:tag@digest`, or without the tag where there is none.
    pub fn reference(&self) -> String {
        let repository = self.repository.to_string();
        match &self.tag {
            Some(tag) => format!("{repository}:{}@{}", tag.as_str(), self.digest),
            None => format!("{repository}@{}", self.digest),
        }
    }
}
