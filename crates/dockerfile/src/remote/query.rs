//! The words behind `?` in the address of a repository.

use super::git::same;
use super::{RemoteError, check_characters, percent_decoded};
use crate::suggest;

/// All words that there are.
const KEYS: [&str; 10] = [
    "ref",
    "tag",
    "branch",
    "subdir",
    "checksum",
    "commit",
    "submodules",
    "keep-git-dir",
    "mtime",
    "fetch-by-commit",
];

/// What a query says.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// `ref`, `tag` or `branch`, the latter two as `refs/…`.
    reference: Option<String>,
    pub(super) subdirectory: Option<String>,
    pub(super) checksum: Option<String>,
    pub(super) submodules: Option<bool>,
    pub(super) keep_git_dir: Option<bool>,
    pub(super) fetch_by_commit: bool,
}

impl Query {
    pub(super) fn reference(&self) -> Option<String> {
        self.reference.clone()
    }
}

pub(super) fn parse_query(text: &str) -> Result<Query, RemoteError> {
    let mut query = Query::default();
    let mut seen: Vec<String> = Vec::new();
    for field in text.split('&').filter(|field| !field.is_empty()) {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        let key = percent_decoded(key)?;
        let value = percent_decoded(&value.replace('+', " "))?;
        check_characters(&value)?;
        if seen.contains(&key) {
            return Err(RemoteError::Twice(key));
        }
        seen.push(key.clone());
        let is_switch = matches!(
            key.as_str(),
            "submodules" | "keep-git-dir" | "fetch-by-commit"
        );
        if value.is_empty() && !is_switch && KEYS.contains(&key.as_str()) {
            return Err(RemoteError::Valueless(key));
        }
        match key.as_str() {
            "ref" => query.reference = same("the ref", query.reference, Some(value))?,
            "tag" => {
                let full = in_full("refs/tags/", &value);
                query.reference = same("the ref", query.reference, Some(full))?;
            }
            "branch" => {
                let full = in_full("refs/heads/", &value);
                query.reference = same("the ref", query.reference, Some(full))?;
            }
            "subdir" => query.subdirectory = Some(value),
            "checksum" | "commit" => {
                query.checksum = same("the commit", query.checksum, Some(value))?;
            }
            "submodules" => query.submodules = Some(switch(&key, &value)?),
            "keep-git-dir" => query.keep_git_dir = Some(switch(&key, &value)?),
            "fetch-by-commit" => query.fetch_by_commit = switch(&key, &value)?,
            // All files of a build have the build's time.
            "mtime" if matches!(value.as_str(), "checkout" | "commit") => {}
            "mtime" => {
                let expected = "`checkout` or `commit`";
                return Err(RemoteError::Value {
                    key,
                    value,
                    expected,
                });
            }
            _ => {
                let near = suggest::nearest(&key, KEYS);
                return Err(RemoteError::Key { key, near });
            }
        }
    }
    Ok(query)
}

fn in_full(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) {
        name.to_owned()
    } else {
        format!("{prefix}{name}")
    }
}

/// Nothing behind the word means yes; else what Go's `strconv.ParseBool` takes.
fn switch(key: &str, value: &str) -> Result<bool, RemoteError> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(RemoteError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            expected: "`true` or `false`",
        }),
    }
}
