//! Tags with places to fill: `{branch}`, `release-{version}`.

use std::fmt;

use oci::Tag;

use super::sanitise::sanitised;

/// The names between braces.
pub const PLACEHOLDERS: [&str; 3] = ["branch", "version", "date"];

/// The longest template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 256;

/// A tag with places to fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTemplate {
    text: String,
    parts: Vec<Part>,
}

impl fmt::Display for TagTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Branch,
    Version,
    Date,
}

/// What the places are filled with. What is not known leaves the whole tag out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagWords {
    /// The branch.
    pub branch: Option<String>,
    /// The version: what `git describe` says, or the tag of a release.
    pub version: Option<String>,
    /// The day of the commit, `20261121`.
    pub date: Option<String>,
}

/// Why a text is not a template of tags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagTemplateError {
    /// `{colour}`.
    #[error("there is no `{{{name}}}`: known are `{{branch}}`, `{{version}}` and `{{date}}`")]
    Unknown {
        /// Between the braces.
        name: String,
    },
    /// `{branch`.
    #[error("a brace is not closed")]
    Open,
    /// `a b`, or nothing.
    #[error(
        "a tag consists of letters, digits, `_`, `.` and `-`, does not start with `.` or `-`, and \
         has 1 to 128 characters"
    )]
    Tag,
}

impl TagTemplate {
    /// Reads a template. What stands outside of braces must be what tags may have: it is never
    /// changed.
    ///
    /// # Errors
    ///
    /// [`TagTemplateError`].
    pub fn parse(text: &str) -> Result<Self, TagTemplateError> {
        if text.is_empty() || text.len() > TEMPLATE_BYTES_MAX {
            return Err(TagTemplateError::Tag);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or(TagTemplateError::Open)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match name {
                "branch" => Part::Branch,
                "version" => Part::Version,
                "date" => Part::Date,
                _ => {
                    return Err(TagTemplateError::Unknown {
                        name: name.chars().take(40).collect(),
                    });
                }
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let template = Self {
            text: text.to_owned(),
            parts,
        };
        // With a word in every place it must be a tag.
        match template.joined(|_| Some("x")).map(|tag| tag.parse::<Tag>()) {
            Some(Ok(_)) => Ok(template),
            Some(Err(_)) | None => Err(TagTemplateError::Tag),
        }
    }

    /// The tag; nothing where a word is not known.
    pub fn fill(&self, words: &TagWords) -> Option<Tag> {
        let filled = self.joined(|part| match part {
            Part::Text(text) => Some(text),
            Part::Branch => words.branch.as_deref(),
            Part::Version => words.version.as_deref(),
            Part::Date => words.date.as_deref(),
        })?;
        sanitised(&filled)
    }

    /// The tag that it always is: a template without places.
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    fn joined<'a>(&'a self, word: impl Fn(&'a Part) -> Option<&'a str>) -> Option<String> {
        let words = self.parts.iter().map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Branch | Part::Version | Part::Date => word(part).filter(|word| !word.is_empty()),
        });
        words.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_made_fit() {
        let words = TagWords {
            branch: Some("feature/x".to_owned()),
            version: Some("v1.2".to_owned()),
            date: None,
        };
        let check = |text: &str, expected: &str| {
            let tag = TagTemplate::parse(text).map(|template| template.fill(&words));
            let said = match tag {
                Ok(Some(tag)) => tag.to_string(),
                Ok(None) => "nothing".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(said.contains(expected), "{text}: {said}");
        };
        check("main", "main");
        check("{branch}", "feature_x");
        check("{branch}-{version}", "feature_x-v1.2");
        check("nightly-{date}", "nothing");
        check("{colour}", "there is no `{colour}`");
        check("{branch", "not closed");
        check("a b", "a tag consists of");
        check("-{branch}", "a tag consists of");
        check("", "a tag consists of");
        check(&"x".repeat(129), "a tag consists of");
    }
}
