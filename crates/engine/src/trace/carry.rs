//! A trace with the lists of files that it names, as one run of bytes: what a build cache that
//! machines share keeps beside its records, so that a machine that has never built this can say
//! what changed.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::files::FileList;
use super::{TRACE_FORMAT, Trace};

/// The most that lists of files may add, in bytes; the largest are left out.
const LISTS_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The most that is read, in bytes, not compressed.
const CARRIED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// As for lists.
const LEVEL: i32 = 3;

/// A trace that can leave its machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Carried {
    /// Where the build was made, as a digest: tells whether it was here.
    #[serde(default)]
    pub place: String,
    /// The steps.
    pub trace: Trace,
    /// The lists that they name, in base64.
    #[serde(default)]
    lists: BTreeMap<String, String>,
}

impl Carried {
    /// Takes along what `list` gives for each name of a list.
    pub(crate) fn new(place: &str, trace: &Trace, list: impl Fn(&str) -> Option<Vec<u8>>) -> Self {
        let names = trace.steps.iter().filter_map(|step| step.files.as_deref());
        let mut lists: Vec<(&str, Vec<u8>)> =
            names.filter_map(|name| Some((name, list(name)?))).collect();
        lists.sort_by_key(|(_, bytes)| bytes.len());
        let mut left = LISTS_BYTES_MAX;
        let mut carried = BTreeMap::new();
        for (name, bytes) in lists {
            let Some(rest) = left.checked_sub(bytes.len()) else {
                break;
            };
            left = rest;
            carried.insert(name.to_owned(), STANDARD.encode(bytes));
        }
        Self {
            place: place.to_owned(),
            trace: trace.clone(),
            lists: carried,
        }
    }

    /// The bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        zstd::encode_all(&json[..], LEVEL).unwrap_or_default()
    }

    /// What was written; nothing when it is damaged, or means something else to another kiln.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut json = Vec::new();
        let decoder = zstd::Decoder::new(bytes).ok()?;
        decoder
            .take(CARRIED_BYTES_MAX)
            .read_to_end(&mut json)
            .ok()?;
        let carried: Self = serde_json::from_slice(&json).ok()?;
        let known = carried.trace.format == TRACE_FORMAT && carried.trace.is_sound();
        known.then_some(carried)
    }

    /// A list that came along.
    pub(crate) fn list(&self, name: &str) -> Option<FileList> {
        FileList::from_bytes(&STANDARD.decode(self.lists.get(name)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TracedStep;

    #[test]
    fn what_is_carried_is_what_was_there() {
        let step = |inputs: Vec<(String, usize)>, files: Option<String>| TracedStep {
            inputs,
            files,
            ..TracedStep::default()
        };
        let mut trace = Trace {
            format: TRACE_FORMAT,
            steps: vec![
                step(vec![], None),
                step(vec![("parent".to_owned(), 0)], Some("x".to_owned())),
            ],
            ..Trace::default()
        };
        let list = FileList::default().to_bytes();
        let carried = Carried::new("here", &trace, |name| (name == "x").then(|| list.clone()));
        let bytes = carried.to_bytes();
        let read = Carried::from_bytes(&bytes).unwrap();
        assert_eq!(read, carried);
        assert_eq!(read.list("x"), Some(FileList::default()));
        assert_eq!(read.list("y"), None);
        for end in 0..bytes.len() {
            assert_eq!(Carried::from_bytes(&bytes[..end]), None, "cut at {end}");
        }
        // A step that names a later one would never be done with.
        trace.steps[0].inputs.push(("parent".to_owned(), 1));
        let bytes = Carried::new("here", &trace, |_| None).to_bytes();
        assert_eq!(Carried::from_bytes(&bytes), None);
    }
}
