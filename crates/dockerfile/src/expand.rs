//! Variables in words.

use std::ops::Range;

/// Where values come from.
pub trait Variables {
    /// The value of a variable, or nothing when it is unset. Set but empty is `Some("")`.
    fn get(&self, name: &str) -> Option<String>;
}

/// A word after expansion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expansion {
    /// The word: variables replaced, quotes and escapes removed.
    pub value: String,
    /// The variables that were looked up and are set, in order of first use, each once.
    pub used: Vec<String>,
    /// The variables that were looked up and are unset, in order of first use, each once.
    pub unset: Vec<String>,
}

/// What is wrong with a word, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ExpandError {
    /// What is wrong.
    pub kind: ExpandErrorKind,
    /// The bytes of the word that it is about.
    pub range: Range<usize>,
}

/// What can be wrong with a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandErrorKind {
    /// The expansion is longer than allowed.
    #[error("the value would be longer than {bytes_max} bytes")]
    TooLong {
        /// The limit.
        bytes_max: usize,
    },
}

/// Expands one raw word.
pub fn expand(
    word: &str,
    escape: char,
    variables: &dyn Variables,
) -> Result<Expansion, ExpandError> {
    let _ = (escape, variables);
    Err(ExpandError {
        kind: ExpandErrorKind::TooLong { bytes_max: 0 },
        range: 0..word.len(),
    })
}

/// Expands the body of a here-document (H9): quotes are ordinary characters and the escape
/// character is always the backslash.
pub fn expand_heredoc(body: &str, variables: &dyn Variables) -> Result<Expansion, ExpandError> {
    expand(body, '\\', variables)
}

/// Expands one raw word and splits the result at blanks that are not quoted (V12: EXPOSE only).
/// The `value` of the expansion is the unsplit one.
pub fn expand_words(
    word: &str,
    escape: char,
    variables: &dyn Variables,
) -> Result<(Vec<String>, Expansion), ExpandError> {
    expand(word, escape, variables).map(|expansion| (Vec::new(), expansion))
}
