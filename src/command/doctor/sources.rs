//! What git knows of the directory, as far as tags and labels are made from it.

use std::path::Path;

use policy::{DirtyPolicy, TagPolicy};
use project::TagRules;

use super::finding::{Finding, Level};
use crate::settings::Settings;
use crate::sources::Sources;

const CHECK: &str = "sources";

/// Digits of a commit that are shown.
const COMMIT_SHOWN: usize = 12;

/// Asks git.
pub(super) fn check(settings: &Settings, directory: &Path, rules: &TagRules) -> Vec<Finding> {
    let found = Sources::find(settings, directory, rules.describe_match.as_deref());
    let tree = match found {
        Ok(sources) => sources.tree,
        // Images can be built without; only tags and labels cannot be made.
        Err(error) => return vec![Finding::of_error(Level::Warning, CHECK, &error)],
    };
    let mut findings = Vec::new();
    let commit: String = tree.commit.chars().take(COMMIT_SHOWN).collect();
    if tree.dirty {
        let effect = match rules.dirty {
            DirtyPolicy::Refuse => "no tag is made from them (`tags.dirty: refuse`)",
            DirtyPolicy::Suffix => "tags get a suffix that tells of them",
            DirtyPolicy::Allow => "tags do not tell of them (`tags.dirty: allow`)",
        };
        findings.push(
            Finding::warning(
                CHECK,
                format!("there are changes since {commit} that are not committed: {effect}"),
            )
            .fix("commit them, or see `git status` for what should be in .gitignore"),
        );
    }
    if tree.branch.is_none() {
        findings.push(
            Finding::warning(
                CHECK,
                "HEAD is detached: `{branch}` in tags and rules for channels stands for nothing",
            )
            .fix("git switch BRANCH"),
        );
    }
    if tree.shallow {
        let said = match rules.policy.contains(&TagPolicy::GitDescribe) {
            true => "the history is cut off, and `git-describe` counts from it: tags may be wrong",
            false => "the history is cut off: versions from `git describe` may be wrong",
        };
        findings.push(Finding::warning(CHECK, said).fix("git fetch --unshallow --tags"));
    }
    if findings.is_empty() {
        let branch = tree.branch.unwrap_or_default();
        findings.push(Finding::ok(CHECK, format!("{commit} on {branch}, clean")));
    }
    findings
}
