//! Traces in shared caches: the last build of each Dockerfile, so that a machine that has never
//! built it can say why it does something again. A trace is a record without layers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::Digest;
use serde_json::Value;

use super::Caches;
use super::catalogue::Kept;
use super::writer::{Entry, now};

/// Where the record has the trace.
const TRACE_FIELD: &str = "trace";

impl Caches {
    /// The traces of a name that the caches have which were read by now.
    pub(crate) fn traces(&self, name: &str) -> Vec<Vec<u8>> {
        let key = key(name);
        let kept = self
            .sources
            .iter()
            .filter_map(|source| source.known()?.get(&key));
        kept.filter_map(|kept| {
            let text = kept.more().get(TRACE_FIELD)?.as_str()?;
            STANDARD.decode(text).ok()
        })
        .collect()
    }

    /// Has the caches keep a trace in the place of the one that they have.
    pub(crate) fn keep_trace(&self, name: &str, trace: &[u8]) {
        let text = Value::String(STANDARD.encode(trace));
        let more = [(TRACE_FIELD.to_owned(), text)].into_iter().collect();
        let entry = Entry {
            key: key(name),
            kept: Kept::of_something_else(more, now()),
            own: Vec::new(),
        };
        for target in &self.targets {
            let entries = target.entries.lock().expect("no panics under this lock");
            if let Some(entries) = &*entries {
                // One that has given up has said so.
                let _ = entries.send(entry.clone());
            }
        }
    }
}

/// No step has this key.
fn key(name: &str) -> Digest {
    Digest::of(format!("kiln trace of {name}").as_bytes())
}
