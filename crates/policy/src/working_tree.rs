//! What is known of the sources that images are made of.

/// A git working tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkingTree {
    /// The commit, in hex: 40 digits, or 64 in a repository of SHA-256.
    pub commit: String,
    /// When it was made, in seconds since 1970.
    pub commit_seconds: i64,
    /// Whether there are changes that are not committed, new files included.
    pub dirty: bool,
    /// A digest of these changes, in hex: the same for the same names and contents.
    pub changes: Option<String>,
    /// The branch; `None` when HEAD is detached.
    pub branch: Option<String>,
    /// `git describe` with the pattern of the tag rules, if there is a tag.
    pub describe: Option<String>,
    /// Tags that point at the commit.
    pub tags: Vec<String>,
    /// Where it comes from, without user and password.
    pub source: Option<String>,
    /// Whether its history was cut off when it was cloned.
    pub shallow: bool,
}
