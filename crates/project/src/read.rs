//! A text becomes a declaration, or everything that is wrong with it.

use std::fmt;

use crate::{Diagnostic, Places, Project, form, rules, schema, yaml};

/// What a file declares, with the place of everything that it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared<T> {
    /// The values.
    pub value: T,
    /// Where they stand.
    pub places: Places,
    /// How messages call the file.
    pub name: String,
    /// The file.
    pub text: String,
}

/// Why a file declares nothing: at least one finding, in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadError {
    /// How messages call the file.
    pub name: String,
    /// The file.
    pub text: String,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.diagnostics.first() else {
            return write!(formatter, "{} cannot be understood", self.name);
        };
        let (line, column) = first.span.position(&self.text);
        let (name, message) = (&self.name, &first.message);
        write!(formatter, "{name}:{line}:{column}: {message}")
    }
}

impl std::error::Error for ReadError {}

/// Reads `kiln.yaml`. A text without keys is a project without images.
///
/// # Errors
///
/// [`ReadError`] with everything that was found; what the form does not allow hides what the rules
/// would say.
pub fn read(name: &str, text: &str) -> Result<Declared<Project>, ReadError> {
    let declared: Declared<Project> = read_form(name, text, &schema())?;
    let diagnostics = rules::check(&declared);
    match diagnostics.is_empty() {
        true => Ok(declared),
        false => Err(failed(name, text, diagnostics)),
    }
}

/// Reads a text of the form that a schema describes.
pub(crate) fn read_form<T: serde::de::DeserializeOwned>(
    name: &str,
    text: &str,
    schema: &serde_json::Value,
) -> Result<Declared<T>, ReadError> {
    // A byte order mark is how some editors begin a text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = yaml::parse(text).map_err(|finding| failed(name, text, vec![finding]))?;
    let checked = form::check(&root, schema);
    if !checked.findings.is_empty() {
        return Err(failed(name, text, checked.findings));
    }
    let value = serde_json::from_value(checked.json).map_err(|error| {
        // What the schema lets through and the types do not: the schema's own limits.
        let finding = Diagnostic::error(Default::default(), error.to_string(), "");
        failed(name, text, vec![finding])
    })?;
    Ok(Declared {
        value,
        places: checked.places,
        name: name.to_owned(),
        text: text.to_owned(),
    })
}

fn failed(name: &str, text: &str, mut diagnostics: Vec<Diagnostic>) -> ReadError {
    diagnostics.sort_by_key(|diagnostic| diagnostic.span);
    ReadError {
        name: name.to_owned(),
        text: text.to_owned(),
        diagnostics,
    }
}
