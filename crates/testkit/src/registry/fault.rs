//! The script of a play that goes wrong: which request, and what then.

use http::Method;

use super::route::{Endpoint, Route};

/// Which requests a fault is for. Everything that is not said matches.
///
/// Only requests that were let in count: with authentication on, the first
/// try without credentials is answered by a challenge and is nobody's hit.
#[derive(Clone, Debug, Default)]
pub struct Match {
    method: Option<Method>,
    endpoint: Option<Endpoint>,
    repository: Option<String>,
    reference: Option<String>,
    skip: u32,
    times: Option<u32>,
}

impl Match {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Every request with this method to this endpoint.
    pub fn new(method: Method, endpoint: Endpoint) -> Self {
        Self::any().method(method).endpoint(endpoint)
    }

    /// Only requests with this method.
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Only requests to this endpoint.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Only requests for this repository.
    pub fn repository(mut self, name: &str) -> Self {
        self.repository = Some(name.to_owned());
        self
    }

    /// Only requests for this tag, digest, upload session or file path.
    pub fn reference(mut self, reference: &str) -> Self {
        self.reference = Some(reference.to_owned());
        self
    }

    /// Only the `n`-th of the matching requests; the first is 1.
    pub fn nth(self, n: u32) -> Self {
        self.skip(n.saturating_sub(1)).times(1)
    }

    /// Lets the first `count` matching requests through.
    pub fn skip(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    /// Ends after `count` requests were hit; without it, never.
    pub fn times(mut self, count: u32) -> Self {
        self.times = Some(count);
        self
    }

    fn covers(&self, method: &Method, route: &Route) -> bool {
        self.method.as_ref().is_none_or(|want| want == method)
            && self.endpoint.is_none_or(|want| want == route.endpoint)
            && (self.repository.as_ref()).is_none_or(|want| *want == route.repository)
            && (self.reference.as_ref()).is_none_or(|want| *want == route.reference)
    }
}

/// What goes wrong. Byte positions count body bytes from 0.
#[derive(Clone, Debug)]
pub enum Action {
    /// Answers this and does nothing.
    Status {
        /// The status code.
        code: u16,
        /// Headers of the answer.
        headers: Vec<(String, String)>,
        /// Its body.
        body: String,
    },
    /// Does what was asked, and then answers with this code.
    StatusAfter(u16),
    /// Sends so many bytes of the answer's body, then resets the connection
    /// (RST). More bytes than there are: resets after the last.
    Reset {
        /// Bytes sent before.
        after: u64,
    },
    /// Takes so many bytes of the request's body, then resets the connection.
    /// Whatever an upload got so far is kept.
    ResetRequest {
        /// Bytes taken before.
        after: u64,
    },
    /// Sends the headers, so many bytes of the answer's body, and then nothing
    /// more, with the connection open. Without a number, not even headers.
    Stall {
        /// Bytes sent before; `None` stalls before the status line.
        after: Option<u64>,
    },
    /// Does what was asked, and never answers: the moment to kill whoever asked.
    StallAfter,
    /// Promises the whole body, sends so many bytes and closes in good order.
    Truncate {
        /// Bytes sent.
        after: u64,
    },
    /// Sends one wrong bit, at this byte of the body.
    FlipBit {
        /// Which byte.
        at: u64,
    },
    /// Another body, with an honest length: shorter, longer or different.
    ReplaceBody(Vec<u8>),
    /// Sets a header of the answer; without a value, removes it.
    ReplaceHeader {
        /// Its name.
        name: String,
        /// Its new value.
        value: Option<String>,
    },
    /// Answers with a redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        code: u16,
        /// The `Location`, as it is.
        location: String,
    },
    /// Does what was asked, but names a digest that is not the content's.
    LieDigest,
    /// Answers as if it had stored the manifest or blob, and stores nothing.
    Forget,
    /// Answers a range request with the whole content and 200.
    IgnoreRange,
    /// Sends the body in pieces of this many bytes with a pause before each.
    SlowBytes {
        /// Bytes in a piece.
        bytes: u64,
        /// Milliseconds between two pieces.
        pause_ms: u64,
    },
}

impl Action {
    /// A status code without headers or a body.
    pub fn status(code: u16) -> Self {
        Self::Status {
            code,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// A status code with one header.
    pub fn status_with(code: u16, name: &str, value: &str) -> Self {
        Self::Status {
            code,
            headers: vec![(name.to_owned(), value.to_owned())],
            body: String::new(),
        }
    }
}

/// The faults that were asked for, in order, and how often each was met.
#[derive(Debug, Default)]
pub(crate) struct Script {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    matching: Match,
    action: Action,
    seen: u32,
}

impl Script {
    pub(crate) fn add(&mut self, matching: Match, action: Action) {
        self.lines.push(Line {
            matching,
            action,
            seen: 0,
        });
    }

    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    /// The fault for this request, if any. Every line that covers the request
    /// counts it; the first one whose turn it is acts.
    pub(crate) fn next(&mut self, method: &Method, route: &Route) -> Option<Action> {
        let mut chosen = None;
        for line in &mut self.lines {
            if !line.matching.covers(method, route) {
                continue;
            }
            line.seen += 1;
            let hit = line.seen.saturating_sub(line.matching.skip);
            let on = hit >= 1 && line.matching.times.is_none_or(|times| hit <= times);
            if on && chosen.is_none() {
                chosen = Some(line.action.clone());
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns() {
        let mut script = Script::default();
        let blobs = || Match::new(Method::GET, Endpoint::Blob);
        script.add(blobs().nth(2), Action::status(500));
        script.add(blobs().skip(2).times(2), Action::status(429));
        let mut ask = |path: &str| match script.next(&Method::GET, &Route::of(path)) {
            Some(Action::Status { code, .. }) => code,
            _ => 0,
        };
        assert_eq!(ask("/v2/a/manifests/1"), 0);
        let codes: Vec<u16> = (0..5).map(|_| ask("/v2/a/blobs/x")).collect();
        assert_eq!(codes, [0, 500, 429, 429, 0]);
    }
}
