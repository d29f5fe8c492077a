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
pub struct DocumentName {
    text: String,
    whose: Whose,
}

/// To whom a name says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Whose {
    /// It is what the address names.
    Main,
    /// To those who have the same address.
    Address,
    /// To all addresses in the same place.
    Place,
}

/// The text of [`DocumentName::main`].
const MAIN: &str = "main";

/// Why a text names no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no document: it takes 1 to {NAME_BYTES_MAX} of a-z, 0-9, `.`, `_` and `-`, and \
     begins with a letter or digit"
)]
pub struct DocumentNameError(String);

impl DocumentName {
    /// The document that an address names itself: in a registry it is under the
    /// very tag, where people see it. One kind of content has it, the build cache.
    pub fn main() -> Self {
        Self {
            text: MAIN.to_owned(),
            whose: Whose::Main,
        }
    }

    /// The name of a document that belongs to an address: with another address
    /// the same name is another document.
    ///
    /// # Errors
    ///
    /// Anything that is not a tag, a file and a key alike.
    pub fn new(text: impl Into<String>) -> Result<Self, DocumentNameError> {
        Self::checked(text, Whose::Address)
    }

    /// The name of a document that says the same to every address in one
    /// repository, directory or bucket: its name tells what it is about, such
    /// as a digest.
    ///
    /// # Errors
    ///
    /// As [`DocumentName::new`].
    pub fn shared(text: impl Into<String>) -> Result<Self, DocumentNameError> {
        Self::checked(text, Whose::Place)
    }

    fn checked(text: impl Into<String>, whose: Whose) -> Result<Self, DocumentNameError> {
        let text = text.into();
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins_well = text.bytes().next().is_some_and(is_plain);
        let is_named_well = text
            .bytes()
            .all(|byte| is_plain(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if begins_well && is_named_well && text.len() <= NAME_BYTES_MAX {
            Ok(Self { text, whose })
        } else {
            Err(DocumentNameError(text))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is [`DocumentName::main`].
    pub fn is_main(&self) -> bool {
        self.whose == Whose::Main
    }

    /// Whether all addresses in one place mean the same document.
    pub fn is_shared(&self) -> bool {
        self.whose == Whose::Place
    }
}

impl fmt::Display for DocumentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
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

    #[test]
    fn equal_texts_of_different_owners_are_different_names() {
        let own = DocumentName::new(MAIN).unwrap();
        let shared = DocumentName::shared(MAIN).unwrap();
        assert!(DocumentName::main().is_main() && !own.is_main() && !shared.is_main());
        assert!(shared.is_shared() && !own.is_shared());
        assert_ne!(own, DocumentName::main());
        assert_ne!(own, shared);
    }
}
