//! `/etc/os-release`: what an image calls its system (os-release(5)).

use super::WORD_BYTES_MAX;

/// A system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Such as `debian`.
    pub id: String,
    /// Such as `12`; empty where it has none.
    pub version: String,
}

impl Distribution {
    /// Reads the file; `None` when it has no `ID`.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let value = |wanted: &str| {
            let mut lines = text.lines();
            let found = lines.find_map(|line| line.trim().strip_prefix(wanted)?.strip_prefix('='));
            let found = found?.trim().trim_matches(['"', '\'']);
            let is_plain =
                |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
            let usable = found.len() <= WORD_BYTES_MAX && found.chars().all(is_plain);
            (usable && !found.is_empty()).then(|| found.to_owned())
        };
        Some(Self {
            id: value("ID")?,
            version: value("VERSION_ID").unwrap_or_default(),
        })
    }

    /// As package URLs name it: `debian-12`.
    pub(super) fn qualifier(&self) -> String {
        match self.version.as_str() {
            "" => self.id.clone(),
            version => format!("{}-{version}", self.id),
        }
    }
}

/// What package URLs say of a system that nobody named.
pub(super) fn namespace<'d>(found: Option<&'d Distribution>, usual: &'d str) -> &'d str {
    found.map_or(usual, |distribution| distribution.id.as_str())
}

/// The qualifier of a system, if it is known.
pub(super) fn qualifier(found: Option<&Distribution>) -> String {
    found.map(Distribution::qualifier).unwrap_or_default()
}
