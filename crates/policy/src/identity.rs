//! What an image says of its sources: labels, and values for arguments that Dockerfiles like to have
//! (image specification, "Pre-Defined Annotation Keys").

use std::collections::BTreeMap;

use crate::WorkingTree;
use crate::tag::{DirtyPolicy, described, dirty_suffix, short};

/// The label with the commit.
pub const REVISION: &str = "org.opencontainers.image.revision";
/// The label with the repository of the sources.
pub const SOURCE: &str = "org.opencontainers.image.source";
/// The label with the version.
pub const VERSION: &str = "org.opencontainers.image.version";
/// The label with the time of the commit.
pub const CREATED: &str = "org.opencontainers.image.created";

/// The arguments that are offered to Dockerfiles that declare them.
pub const OFFERED_ARGUMENTS: [&str; 4] = ["COMMIT_SHA", "BUILD_REF", "VERSION", "DATE"];

/// The labels of an image made from these sources. `created` is the time of the commit, RFC 3339:
/// the time of the build would make every build another one.
pub fn identity_labels(
    tree: &WorkingTree,
    dirty: DirtyPolicy,
    created: &str,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut set = |key: &str, value: String| labels.insert(key.to_owned(), value);
    set(REVISION, revision(tree, dirty));
    set(VERSION, version(tree, dirty));
    set(CREATED, created.to_owned());
    if let Some(source) = &tree.source {
        set(SOURCE, source.clone());
    }
    labels
}

/// Values for arguments that a Dockerfile declares and nobody gives (spec E7). `extra` is the first
/// floating tag that was asked for by name.
pub fn offered_arguments(
    tree: &WorkingTree,
    dirty: DirtyPolicy,
    created: &str,
    extra: Option<&str>,
) -> BTreeMap<String, String> {
    let reference = extra
        .map(str::to_owned)
        .or_else(|| {
            tree.describe
                .as_deref()
                .map(|text| nearest_tag(text).to_owned())
        })
        .or_else(|| tree.branch.clone())
        .unwrap_or_else(|| short(&tree.commit).to_owned());
    let values = [
        revision(tree, dirty),
        reference,
        version(tree, dirty),
        created.to_owned(),
    ];
    let names = OFFERED_ARGUMENTS.map(str::to_owned);
    names.into_iter().zip(values).collect()
}

/// The commit, which says when it is not all of it.
fn revision(tree: &WorkingTree, dirty: DirtyPolicy) -> String {
    format!("{}{}", tree.commit, dirty_suffix(tree, dirty))
}

/// What `git describe` says, or the short commit.
fn version(tree: &WorkingTree, dirty: DirtyPolicy) -> String {
    described(tree, dirty)
        .unwrap_or_else(|| format!("{}{}", short(&tree.commit), dirty_suffix(tree, dirty)))
}

/// The tag in what `git describe` says: `v1.2` of `v1.2-3-gabcdef0`.
fn nearest_tag(description: &str) -> &str {
    let parts = description.rsplit_once("-g").and_then(|(rest, commit)| {
        let (tag, count) = rest.rsplit_once('-')?;
        let is_commit = commit.len() >= 4 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_count = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        (is_commit && is_count).then_some(tag)
    });
    parts.unwrap_or(description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_tag_is_found_in_a_description() {
        let check = |text: &str, expected: &str| assert_eq!(nearest_tag(text), expected);
        check("v1.2-3-gabcdef0", "v1.2");
        check("v1.2", "v1.2");
        check("a-1-g12", "a-1-g12");
        check("pre-go-1-g1234567", "pre-go");
        check("x-golang", "x-golang");
    }
}
