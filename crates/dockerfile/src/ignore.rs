//! `.dockerignore`.

/// The patterns of an ignore file.
#[derive(Debug, Clone, Default)]
pub struct IgnoreFile {}

/// What an ignore file says of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict<'a> {
    /// Whether the path is not part of the context.
    pub ignored: bool,
    /// The line, from 1, of the pattern that decided, if any pattern matched.
    pub line: Option<usize>,
    /// That pattern as written.
    pub pattern: Option<&'a str>,
}

/// Why an ignore file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct IgnoreError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: IgnoreErrorKind,
}

/// What can be wrong with a line of an ignore file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreErrorKind {
    /// A lone `!` (D2).
    #[error("`!` needs a pattern after it")]
    LoneExclamation,
}

impl IgnoreFile {
    /// Reads the text of an ignore file.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let _ = text;
        Err(IgnoreError {
            line: 1,
            kind: IgnoreErrorKind::LoneExclamation,
        })
    }

    /// What it says of a path relative to the context, with `/` between components and none at
    /// either end.
    pub fn matches(&self, path: impl AsRef<[u8]>) -> Verdict<'_> {
        let _ = path;
        Verdict::default()
    }

    /// The same for a path directly below a directory whose verdict is known: what a walk uses.
    pub fn matches_below<'a>(&'a self, parent: Verdict<'a>, path: impl AsRef<[u8]>) -> Verdict<'a> {
        let _ = path;
        parent
    }

    /// Whether a path below the directory may be included although the directory is ignored (D10):
    /// such a directory must be walked.
    pub fn may_contain_included(&self, directory: impl AsRef<[u8]>, verdict: Verdict<'_>) -> bool {
        let _ = directory;
        verdict.ignored
    }
}
