//! Values for a Helm chart.
//!
//! ```text
//! mod    the values, as YAML and as `--set` arguments
//! shape  which keys an image is written as
//! chart  whether a chart reads them
//! ```

mod chart;
mod shape;

use std::collections::BTreeMap;

pub use chart::{Chart, ChartError, Ignored};
pub use shape::{Shape, ShapeError};

use crate::PublishedImage;
use crate::scalar::scalar;

/// The most parts that a path of values may have.
const DEPTH_MAX: usize = 32;

/// Values that name published images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelmValues {
    root: BTreeMap<String, Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Text(String),
    Map(BTreeMap<String, Node>),
}

/// One value with its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The keys from the top.
    pub path: Vec<String>,
    /// The value.
    pub value: String,
}

/// Why an image cannot be written where it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelmError {
    /// The path is none.
    #[error(
        "`{0}` is not a path of values: it is keys with dots between them, such as `server.image`"
    )]
    Path(String),
    /// Two images, or a value and a map, in one place.
    #[error("`{0}` is written twice, with different values")]
    Conflict(String),
    /// The shape cannot be filled in.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl HelmValues {
    /// Writes an image under `path` (keys with dots between them; `\.` is a dot inside of a key; the
    /// empty path is the top).
    ///
    /// # Errors
    ///
    /// [`HelmError`].
    pub fn put(
        &mut self,
        path: &str,
        shape: &Shape,
        image: &PublishedImage,
    ) -> Result<(), HelmError> {
        let keys = split(path).ok_or_else(|| HelmError::Path(path.to_owned()))?;
        for (key, value) in shape.fill(image)? {
            let mut at = &mut self.root;
            let mut whole = keys.clone();
            whole.push(key);
            let (last, above) = whole.split_last().expect("a key was just put there");
            for key in above {
                let node = at
                    .entry(key.clone())
                    .or_insert_with(|| Node::Map(BTreeMap::new()));
                match node {
                    Node::Map(map) => at = map,
                    Node::Text(_) => return Err(HelmError::Conflict(join(&whole))),
                }
            }
            let new = Node::Text(value);
            match at.get(last) {
                Some(old) if *old != new => return Err(HelmError::Conflict(join(&whole))),
                Some(_) | None => at.insert(last.clone(), new),
            };
        }
        Ok(())
    }

    /// All values, in the order of their keys.
    pub fn leaves(&self) -> Vec<Leaf> {
        fn walk(map: &BTreeMap<String, Node>, path: &mut Vec<String>, out: &mut Vec<Leaf>) {
            for (key, node) in map {
                path.push(key.clone());
                match node {
                    Node::Text(value) => out.push(Leaf {
                        path: path.clone(),
                        value: value.clone(),
                    }),
                    Node::Map(map) => walk(map, path, out),
                }
                path.pop();
            }
        }
        let mut out = Vec::new();
        walk(&self.root, &mut Vec::new(), &mut out);
        out
    }

    /// For `helm --values`.
    pub fn to_yaml(&self) -> String {
        fn walk(map: &BTreeMap<String, Node>, depth: usize, out: &mut String) {
            for (key, node) in map {
                let (indent, key) = ("  ".repeat(depth), scalar(key));
                match node {
                    Node::Text(value) => {
                        out.push_str(&format!("{indent}{key}: {}\n", scalar(value)));
                    }
                    Node::Map(map) => {
                        out.push_str(&format!("{indent}{key}:\n"));
                        walk(map, depth + 1, out);
                    }
                }
            }
        }
        if self.root.is_empty() {
            return "{}\n".to_owned();
        }
        let mut out = String::new();
        walk(&self.root, 0, &mut out);
        out
    }

    /// For the command line of helm: pairs of `--set-string` and `path=value`.
    pub fn to_arguments(&self) -> Vec<String> {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace(',', "\\,");
        let mut out = Vec::new();
        for leaf in self.leaves() {
            out.push("--set-string".to_owned());
            out.push(format!("{}={}", join(&leaf.path), escaped(&leaf.value)));
        }
        out
    }
}

/// The keys of a path; `None` when there is an empty one, or a list.
fn split(path: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    if path.is_empty() {
        return Some(keys);
    }
    let mut key = String::new();
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => key.push(letters.next()?),
            '.' => keys.push(std::mem::take(&mut key)),
            '[' | ']' | '{' | '}' | '=' | ',' => return None,
            c if c.is_control() => return None,
            c => key.push(c),
        }
    }
    keys.push(key);
    let fits = keys.len() <= DEPTH_MAX && keys.iter().all(|key| !key.is_empty());
    fits.then_some(keys)
}

/// A path as it is written.
pub(crate) fn join(keys: &[String]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| key.replace('.', "\\.")).collect();
    keys.join(".")
}

#[cfg(test)]
mod tests;
