//! Where each value stands.

use std::collections::BTreeMap;

use crate::Span;
use crate::form::shown_path;

/// The place of every key that is written, by the keys that lead to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places(BTreeMap<Vec<String>, Span>);

impl Places {
    pub(crate) fn new(places: BTreeMap<Vec<String>, Span>) -> Self {
        Self(places)
    }

    /// The place of the value that these keys lead to, or of the nearest around it; elements of
    /// lists have their number as key. The beginning of the text when nothing of it is there.
    pub fn of(&self, path: &[&str]) -> Span {
        for length in (1..=path.len()).rev() {
            if let Some(place) = self.exact(&path[..length]) {
                return place;
            }
        }
        Span::default()
    }

    /// The place of the value that these keys lead to, if it is written.
    pub fn exact(&self, path: &[&str]) -> Option<Span> {
        let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
        self.0.get(&path).copied()
    }

    /// All of them: `images.epp.context` and its place.
    pub fn iter(&self) -> impl Iterator<Item = (String, Span)> {
        let named = self.0.iter().filter(|(path, _)| !path.is_empty());
        named.map(|(path, place)| (shown_path(path), *place))
    }
}
