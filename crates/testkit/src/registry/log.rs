//! What was asked and answered, for tests to look at afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;

use super::route::{Endpoint, Route};

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The method.
    pub method: Method,
    /// The path, with its query.
    pub path: String,
    /// What the path means.
    pub endpoint: Endpoint,
    /// The repository in the path; empty where there is none.
    pub repository: String,
    /// Tag, digest, upload session or file path.
    pub reference: String,
    /// All headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Whether it came to the token service's own port.
    pub on_token_port: bool,
    /// The status of the answer; 0 while there is none, and for ever when a
    /// fault cut it off before.
    pub status: u16,
    /// Bytes of the request's body that arrived.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were handed to the connection.
    pub bytes_out: u64,
    /// Whether a scripted fault acted.
    pub faulted: bool,
}

impl Recorded {
    /// The value of a header; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        (self.headers.iter())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether credentials of any kind came with it.
    pub fn has_credentials(&self) -> bool {
        self.header("authorization").is_some() || self.header("cookie").is_some()
    }

    /// `METHOD /path`, without the query: what most assertions compare.
    pub fn line(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{} {path}", self.method)
    }
}

/// The log while it grows: the parts that change after arrival are atomics.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: Vec<Arc<Entry>>,
}

/// One line of the growing log.
#[derive(Debug)]
pub(crate) struct Entry {
    seen: Recorded,
    pub(crate) status: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) faulted: AtomicU64,
}

impl Log {
    pub(crate) fn begin(
        &mut self,
        head: &http::request::Parts,
        route: &Route,
        on_token_port: bool,
    ) -> Arc<Entry> {
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = (head.headers.iter())
            .map(|(name, value)| (name.as_str().to_owned(), text(value)))
            .collect();
        let entry = Arc::new(Entry {
            seen: Recorded {
                method: head.method.clone(),
                path: head.uri.to_string(),
                endpoint: route.endpoint,
                repository: route.repository.clone(),
                reference: route.reference.clone(),
                headers,
                on_token_port,
                status: 0,
                bytes_in: 0,
                bytes_out: 0,
                faulted: false,
            },
            status: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            faulted: AtomicU64::new(0),
        });
        self.entries.push(Arc::clone(&entry));
        entry
    }

    pub(crate) fn snapshot(&self) -> Vec<Recorded> {
        let read = |number: &AtomicU64| number.load(Ordering::SeqCst);
        (self.entries.iter())
            .map(|entry| Recorded {
                status: u16::try_from(read(&entry.status)).unwrap_or(u16::MAX),
                bytes_in: read(&entry.bytes_in),
                bytes_out: read(&entry.bytes_out),
                faulted: read(&entry.faulted) != 0,
                ..entry.seen.clone()
            })
            .collect()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
