//! Scopes: whose snapshot is written and read. A pull request reads the main branch's and writes
//! its own.

use std::fmt;

use oci::Digest;
use shelf::DocumentName;

/// The longest name of a scope that is told from others by its characters alone.
const SHOWN_BYTES_MAX: usize = 40;

/// The longest name of a scope, in bytes: of a branch, more or less.
pub const SCOPE_BYTES_MAX: usize = 512;

/// As many digits of an id's hash as nobody finds twice.
const ID_DIGITS: usize = 32;

/// A name for snapshots that belong together, such as a branch's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    name: String,
    /// As it stands in names of documents.
    part: String,
}

/// Why a text names no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is named by 1 to {SCOPE_BYTES_MAX} bytes without control characters")]
pub struct ScopeError;

impl Scope {
    /// Any name. What cannot stand in a tag is replaced in names of documents, with a hash behind
    /// it, so that two scopes are never one.
    ///
    /// # Errors
    ///
    /// A name that is empty, too long, or made of what nobody can read.
    pub fn new(name: &str) -> Result<Self, ScopeError> {
        if name.is_empty() || name.len() > SCOPE_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(ScopeError);
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.';
        let fits = name.len() <= SHOWN_BYTES_MAX && name.bytes().all(plain);
        let part = match fits {
            true => name.to_owned(),
            false => {
                let shown = name.bytes().take(SHOWN_BYTES_MAX).map(|byte| {
                    let byte = byte.to_ascii_lowercase();
                    if plain(byte) { byte as char } else { '_' }
                });
                let digest = Digest::of(name.as_bytes());
                format!("{}-{}", shown.collect::<String>(), &digest.hex()[..12])
            }
        };
        Ok(Self {
            name: name.to_owned(),
            part,
        })
    }

    /// The name of the document of a mount in this scope.
    pub(super) fn document(&self, id: &str) -> DocumentName {
        let digest = Digest::of(id.as_bytes());
        let name = format!("mount-{}-{}", self.part, &digest.hex()[..ID_DIGITS]);
        DocumentName::new(name).expect("it is made of what names are made of")
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            part: "default".to_owned(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_never_one_another() {
        let document = |scope: &str| {
            let scope = Scope::new(scope).expect(scope);
            scope.document("/var/cache/go").as_str().to_owned()
        };
        assert!(document("main").starts_with("mount-main-"));
        let long = "x".repeat(SCOPE_BYTES_MAX);
        let long_other = format!("{}y", "x".repeat(SCOPE_BYTES_MAX - 1));
        let names = [
            "main",
            "Main",
            "MAIN",
            "pr/1",
            "pr-1",
            "pr_1",
            "pr.1",
            "ä",
            "..",
            "default",
            &long,
            &long_other,
        ];
        let documents: std::collections::BTreeSet<_> =
            names.iter().map(|name| document(name)).collect();
        assert_eq!(documents.len(), names.len());
        for wrong in ["", "a\nb", &format!("{long}x")] {
            assert_eq!(Scope::new(wrong), Err(ScopeError));
        }
        let main = Scope::new("main").expect("a scope");
        assert_ne!(main.document("a"), main.document("b"));
        assert_eq!(Scope::new("default"), Ok(Scope::default()));
    }
}
