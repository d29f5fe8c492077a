//! Which tags an image gets, and which of them never move (spec §6.6).

use oci::Tag;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sanitise::sanitised;
use super::template::{TagTemplate, TagWords};
use crate::WorkingTree;

/// The tag that says nothing of what it is.
const LATEST: &str = "latest";

/// How many digits of a commit are in a short tag.
const SHORT_DIGITS: usize = 12;

/// How many digits of the digest of changes are in a tag.
const CHANGES_DIGITS: usize = 8;

/// A tag that never moves, made from what is known of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TagPolicy {
    /// The whole commit.
    GitSha,
    /// Its first twelve digits.
    GitShort,
    /// The nearest tag, and how far away it is.
    GitDescribe,
}

/// What a working tree with changes means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DirtyPolicy {
    /// Nothing is pushed.
    Refuse,
    /// The tag says so: `-dirty-` and the first digits of the content's digest.
    #[default]
    Suffix,
    /// The tag of the commit is used all the same.
    Allow,
}

/// What tags are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagWishes {
    /// Tags that never move, made from the sources.
    pub policies: Vec<TagPolicy>,
    /// Tags that never move, as somebody wrote them.
    pub given: Vec<Tag>,
    /// Tags that move, with places to fill.
    pub floating: Vec<TagTemplate>,
    /// Tags that move, as somebody wrote them.
    pub extra: Vec<Tag>,
    /// What a working tree with changes means.
    pub dirty: DirtyPolicy,
    /// Whether `latest` may be among them.
    pub allow_latest: bool,
}

/// The tags of an image: each once, at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagPlan {
    /// Those that never move to another digest.
    pub immutable: Vec<Tag>,
    /// Those that are moved, after the others.
    pub floating: Vec<Tag>,
    /// What should be known about them.
    pub notes: Vec<String>,
}

/// Why there are no tags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// `not-a-repo`: tags were to be made from a commit.
    #[error("there is no commit to make a tag from")]
    NoRepository,
    /// `dirty-tree`.
    #[error("there are changes that are not committed, and the policy refuses to publish them")]
    Dirty,
    /// `shallow-clone`, or nobody ever set a tag.
    #[error("git finds no tag to count from{}", if *shallow { ": the clone is shallow" } else { "" })]
    NoDescription {
        /// Whether history was cut off.
        shallow: bool,
    },
    /// `latest` without leave.
    #[error("`latest` says nothing of what it is, and is only used when it is allowed")]
    Latest,
    /// Nothing was asked for, or nothing is known.
    #[error("the image would get no tag")]
    Nothing,
}

/// The tags of an image. `date` is the day of the commit, `20261121`.
///
/// # Errors
///
/// [`TagError`].
pub fn plan_tags(
    wishes: &TagWishes,
    tree: Option<&WorkingTree>,
    date: Option<&str>,
) -> Result<TagPlan, TagError> {
    let mut plan = TagPlan::default();
    let dirty = tree.is_some_and(|tree| tree.dirty);
    if dirty && wishes.dirty == DirtyPolicy::Refuse {
        return Err(TagError::Dirty);
    }
    for policy in &wishes.policies {
        let tree = tree.ok_or(TagError::NoRepository)?;
        if *policy == TagPolicy::GitDescribe && tree.shallow && tree.describe.is_some() {
            let note =
                "the clone is shallow: how far away `git describe` says a tag is may be wrong";
            plan.notes.push(note.to_owned());
        }
        plan.add_immutable(generated(*policy, tree, wishes.dirty)?);
    }
    for tag in &wishes.given {
        match tag.as_str() == LATEST {
            true => plan.floating.push(tag.clone()),
            false => plan.add_immutable(tag.clone()),
        }
    }
    let words = TagWords {
        branch: tree.and_then(|tree| tree.branch.clone()),
        version: tree.and_then(|tree| described(tree, wishes.dirty)),
        date: date.map(str::to_owned),
    };
    for template in &wishes.floating {
        match template.fill(&words) {
            Some(tag) => plan.add_floating(tag),
            None => {
                let note =
                    format!("the floating tag `{template}` is left out: not all of it is known");
                plan.notes.push(note);
            }
        }
    }
    for tag in &wishes.extra {
        plan.add_floating(tag.clone());
    }
    let mut floating = plan.floating.iter();
    if !wishes.allow_latest && floating.any(|tag| tag.as_str() == LATEST) {
        return Err(TagError::Latest);
    }
    if plan.immutable.is_empty() && plan.floating.is_empty() {
        return Err(TagError::Nothing);
    }
    if dirty && wishes.dirty == DirtyPolicy::Allow {
        let note = "there are changes that are not committed, and no tag says so";
        plan.notes.push(note.to_owned());
    }
    Ok(plan)
}

impl TagPlan {
    fn add_immutable(&mut self, tag: Tag) {
        if !self.immutable.contains(&tag) {
            self.immutable.push(tag);
        }
    }

    /// A tag that never moves does not move because it is named twice.
    fn add_floating(&mut self, tag: Tag) {
        if !self.immutable.contains(&tag) && !self.floating.contains(&tag) {
            self.floating.push(tag);
        }
    }
}

/// What stands behind a commit or a version whose sources were changed; nothing where they were not,
/// or where the policy says not to say so.
pub fn dirty_suffix(tree: &WorkingTree, dirty: DirtyPolicy) -> String {
    match (tree.dirty, dirty, &tree.changes) {
        (false, _, _) | (true, DirtyPolicy::Allow, _) => String::new(),
        (true, DirtyPolicy::Suffix | DirtyPolicy::Refuse, Some(changes)) => {
            let digits: String = changes.chars().take(CHANGES_DIGITS).collect();
            format!("-dirty-{digits}")
        }
        (true, DirtyPolicy::Suffix | DirtyPolicy::Refuse, None) => "-dirty".to_owned(),
    }
}

/// What `git describe` says, with what was changed since.
pub(crate) fn described(tree: &WorkingTree, dirty: DirtyPolicy) -> Option<String> {
    let describe = tree.describe.as_ref()?;
    Some(format!("{describe}{}", dirty_suffix(tree, dirty)))
}

fn generated(policy: TagPolicy, tree: &WorkingTree, dirty: DirtyPolicy) -> Result<Tag, TagError> {
    let suffix = dirty_suffix(tree, dirty);
    let text = match policy {
        TagPolicy::GitSha => format!("{}{suffix}", tree.commit),
        TagPolicy::GitShort => format!("{}{suffix}", short(&tree.commit)),
        TagPolicy::GitDescribe => {
            let described = tree.describe.as_ref().ok_or(TagError::NoDescription {
                shallow: tree.shallow,
            })?;
            // Where a long name is cut, it is not at the end that tells two trees apart.
            let room = super::TAG_CHARS_MAX - suffix.len();
            let described: String = described.chars().take(room).collect();
            format!("{described}{suffix}")
        }
    };
    sanitised(&text).ok_or(TagError::NoRepository)
}

/// The first digits of a commit.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..SHORT_DIGITS).unwrap_or(commit)
}
