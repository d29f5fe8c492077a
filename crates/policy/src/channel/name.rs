//! The name of a channel, which is a part of repository names.

use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes. A channel is one component of a path of at most 255.
pub const CHANNEL_BYTES_MAX: usize = 64;

/// The name of a channel: one path component of a repository (distribution specification, "Pulling
/// manifests"). Made by parsing, never by repairing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Box<str>);

/// Why a text is not the name of a channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` cannot be the name of a channel: {reason}")]
pub struct ChannelNameError {
    /// The text, cut to [`CHANNEL_BYTES_MAX`] characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl ChannelName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for ChannelName {
    type Err = ChannelNameError;

    fn from_str(text: &str) -> Result<Self, ChannelNameError> {
        match fault(text) {
            None => Ok(Self(text.into())),
            Some(reason) => Err(ChannelNameError {
                text: text.chars().take(CHANNEL_BYTES_MAX).collect(),
                reason,
            }),
        }
    }
}

/// What keeps a text from being one path component of a repository.
fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > CHANNEL_BYTES_MAX {
        return Some("it is longer than 64 characters");
    }
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes
        .iter()
        .all(|byte| is_plain(*byte) || b"._-".contains(byte))
    {
        return Some("only lower-case letters, digits, `.`, `_` and `-` may be in it");
    }
    let ends = [bytes.first(), bytes.last()];
    if !ends.into_iter().flatten().all(|byte| is_plain(*byte)) {
        return Some("it starts or ends with a separator");
    }
    // Runs of separators: one `.`, one or two `_`, any number of `-`.
    let runs = text.split(|letter: char| letter.is_ascii_alphanumeric());
    for run in runs {
        let is_allowed = matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
        if !is_allowed {
            return Some("separators stand together in it");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_path_components() {
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<ChannelName>().err().map(|error| error.reason);
            assert_eq!(found, expected, "{text}");
        };
        check("stable", None);
        check("kevin.rosendahl", None);
        check("a__b--c_d", None);
        check(&"a".repeat(64), None);
        check("", Some("it is empty"));
        check(&"a".repeat(65), Some("it is longer than 64 characters"));
        let letters = Some("only lower-case letters, digits, `.`, `_` and `-` may be in it");
        check("Stable", letters);
        check("a/b", letters);
        check("stäble", letters);
        check("-a", Some("it starts or ends with a separator"));
        check("a.", Some("it starts or ends with a separator"));
        check("a..b", Some("separators stand together in it"));
        check("a___b", Some("separators stand together in it"));
        check("a-_b", Some("separators stand together in it"));
    }

    #[test]
    fn what_is_accepted_a_repository_accepts() {
        for text in ["stable", "a__b--c_d", "0", "a.b"] {
            let whole = format!("registry.example/{text}/x");
            assert!(whole.parse::<oci::Repository>().is_ok(), "{text}");
        }
    }
}
