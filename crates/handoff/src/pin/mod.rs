//! Names of images in files, each with its place, so that a digest can be put behind them and
//! nothing else changes.

mod dockerfile;
mod manifest;

use std::ops::Range;

use oci::Reference;

/// The kind of a file, which its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// YAML: manifests of Kubernetes, compose files, workflows.
    Manifest,
    /// A Dockerfile.
    Dockerfile,
}

impl FileKind {
    /// The kind of a file with this name (the last part of its path); `None` when it is neither.
    pub fn of(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let is_dockerfile = |base: &str| {
            lower == base
                || lower.starts_with(&format!("{base}."))
                || lower.ends_with(&format!(".{base}"))
        };
        if lower.ends_with(".yaml") || lower.ends_with(".yml") {
            Some(Self::Manifest)
        } else if is_dockerfile("dockerfile") || is_dockerfile("containerfile") {
            Some(Self::Dockerfile)
        } else {
            None
        }
    }
}

/// Everything that was found in a file, in the order of the text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The names.
    pub names: Vec<Finding>,
    /// What looks like a name and cannot be pinned.
    pub unread: Vec<Unread>,
}

/// The name of an image in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it is.
    pub place: Place,
    /// What it means.
    pub reference: Reference,
}

/// What looks like the name of an image and cannot be pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Where it is.
    pub place: Place,
    /// Why it cannot be pinned.
    pub reason: String,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its bytes.
    pub bytes: Range<usize>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// As it is written.
    pub written: String,
}

/// Finds the names of images in a file of this kind.
pub fn find(kind: FileKind, text: &str) -> Findings {
    match kind {
        FileKind::Manifest => manifest::find(text),
        FileKind::Dockerfile => dockerfile::find(text),
    }
}

/// The text with other names in some of its places. Places that overlap are not given out by
/// [`find`].
pub fn replace(text: &str, changes: &[(Place, String)]) -> String {
    let mut changes: Vec<_> = changes.iter().collect();
    changes.sort_by_key(|(place, _)| place.bytes.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (place, new) in changes {
        out.push_str(&text[at..place.bytes.start]);
        out.push_str(new);
        at = place.bytes.end;
    }
    out.push_str(&text[at..]);
    out
}

impl Findings {
    /// Takes note of a word that ought to be a name.
    fn take(&mut self, text: &str, bytes: Range<usize>) {
        let place = Place::of(text, bytes);
        match place.written.parse() {
            Ok(reference) => self.names.push(Finding { place, reference }),
            Err(error) => {
                let error: oci::ReferenceError = error;
                let reason = error.reason;
                self.unread.push(Unread { place, reason });
            }
        }
    }

    fn leave(&mut self, text: &str, bytes: Range<usize>, reason: &str) {
        let place = Place::of(text, bytes);
        let reason = reason.to_owned();
        self.unread.push(Unread { place, reason });
    }
}

impl Place {
    fn of(text: &str, bytes: Range<usize>) -> Self {
        let at = ::dockerfile::LineColumn::at(text, bytes.start);
        Self {
            line: at.line,
            column: at.column,
            written: text[bytes.clone()].to_owned(),
            bytes,
        }
    }
}

#[cfg(test)]
mod tests;
