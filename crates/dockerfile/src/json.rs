//! The JSON form of arguments: an array of strings, each with its place.

use std::ops::Range;

use crate::Spanned;
use crate::line::Line;

/// What the text turned out to be.
#[derive(Debug)]
pub(crate) enum JsonForm {
    /// An array of strings.
    Strings(Vec<Spanned<String>>),
    /// An array with something else in it: always an error (P12).
    NotOnlyStrings,
    /// Not a JSON array: the text is to be read some other way (P12).
    Other,
}

/// Reads a range of the line as a JSON array.
pub(crate) fn json_form(line: &Line, range: Range<usize>) -> JsonForm {
    let range = line.trim(range);
    let text = line.str(range.clone());
    if !text.starts_with('[') {
        return JsonForm::Other;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return JsonForm::Other;
    };
    let mut strings = Vec::with_capacity(values.len());
    for (value, place) in values.into_iter().zip(string_ranges(text)) {
        let serde_json::Value::String(value) = value else {
            return JsonForm::NotOnlyStrings;
        };
        let span = line.span(range.start + place.start..range.start + place.end);
        strings.push(Spanned::new(value, span));
    }
    JsonForm::Strings(strings)
}

/// Where the elements of a valid array stand, as long as they are strings. Yields a last empty
/// range for the first element that is not one, so that it is seen.
fn string_ranges(array: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = array.as_bytes();
    let mut at = 1;
    std::iter::from_fn(move || {
        while bytes
            .get(at)
            .is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b',')
        {
            at += 1;
        }
        let start = at;
        match bytes.get(at) {
            Some(b'"') => {
                at += 1;
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                Some(start..at)
            }
            Some(b']') | None => None,
            Some(_) => Some(start..start),
        }
    })
}
