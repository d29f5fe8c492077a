//! What is kept by name: a few bytes, and the blobs that must live as long.

use std::fmt;

use bytes::Bytes;
use oci::Descriptor;

/// The longest name, in bytes: what fits into a tag (distribution specification,
/// "Pulling manifests") with room in front of it.
pub const NAME_BYTES_MAX: usize = 100;

/// The name of a document: lower-case letters, digits, `.`, `_` and `-`, so that
/// it is a tag, a file and a key of a bucket as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentName(String);

/// Why a text names no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no document: it takes 1 to {NAME_BYTES_MAX} of a-z, 0-9, `.`, `_` and `-`, and \
     begins with a letter or digit"
)]
pub struct DocumentNameError(String);

impl DocumentName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// Anything that is not a tag, a file and a key alike.
    pub fn new(text: impl Into<String>) -> Result<Self, DocumentNameError> {
        let text = text.into();
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins_well = text.bytes().next().is_some_and(is_plain);
        let is_named_well = text
            .bytes()
            .all(|byte| is_plain(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if begins_well && is_named_well && text.len() <= NAME_BYTES_MAX {
            Ok(Self(text))
        } else {
            Err(DocumentNameError(text))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// What it says. Whoever reads it knows the form, and takes nothing in it for granted.
    pub body: Bytes,
    /// The blobs that it speaks of: a registry keeps them as long as the document.
    pub blobs: Vec<Descriptor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tags_and_files() {
        let longest = "a".repeat(NAME_BYTES_MAX);
        for good in ["cache", "layer-0af", "1.2_3", &longest] {
            assert_eq!(DocumentName::new(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", ".", "..", "-a", "A", "a/b", "a b", "ä", &too_long] {
            assert!(DocumentName::new(bad).is_err(), "{bad}");
        }
    }
}
