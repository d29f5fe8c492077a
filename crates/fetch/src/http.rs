//! Files by http and https: bounded, and only if they are not what they were.

use std::io;
use std::time::Duration;

use http::header::{
    AUTHORIZATION, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
};
use http::{HeaderValue, StatusCode};
use reqwest::Url;
use tokio::time::Instant;

use crate::client::{self, HttpOptions, HttpTiming};

/// The largest file that is fetched, in bytes: 32 GiB.
pub const FILE_BYTES_MAX: u64 = 32 << 30;
/// Redirects that are followed, as Go's client and so BuildKit does.
const REDIRECTS_MAX: usize = 10;
/// The longest validator that is kept, in bytes; a longer one is none.
const VALIDATOR_BYTES_MAX: usize = 1024;

/// Fetches files.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    timing: HttpTiming,
}

/// What is to be fetched.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'r> {
    /// `http` or `https`. A name and a password in it are sent to that host only.
    pub url: &'r str,
    /// What was there last time: then an unchanged file is not sent again.
    pub known: Option<&'r Validators>,
    /// Whether a redirect may lead from https to plain http: where the content is verified, it may.
    pub downgrade: bool,
    /// More bytes are refused; at most [`FILE_BYTES_MAX`].
    pub bytes_max: u64,
}

/// What a server says to tell versions of a file apart (RFC 9110, section 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// As it was sent, quotes included.
    pub etag: Option<String>,
    /// As it was sent.
    pub last_modified: Option<String>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Nothing: it is what it was.
    Unchanged,
    /// A file: the sink has it.
    File {
        /// For the next time.
        validators: Validators,
        /// `Last-Modified` in seconds since 1970.
        modified: Option<i64>,
        /// The bytes that came.
        bytes: u64,
    },
}

/// Takes the content of a file.
pub trait Sink: Send {
    /// Forgets what came so far: it is sent again.
    ///
    /// # Errors
    ///
    /// The disk's.
    fn restart(&mut self) -> io::Result<()>;

    /// Hears how much is going to come, where the server says so.
    fn expect(&mut self, bytes: Option<u64>);

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// The disk's.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The settings cannot be used.
    #[error("{what}")]
    Setup {
        /// What is wrong with them.
        what: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Not an address.
    #[error("`{0}` is not an address")]
    Address(String),
    /// Nobody there, or the connection broke.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The innermost cause.
        reason: String,
    },
    /// TLS, the certificate included.
    #[error("the TLS connection to {host} failed: {reason}")]
    Tls {
        /// Host and port.
        host: String,
        /// Why.
        reason: String,
    },
    /// It stopped, or became too slow.
    #[error("{host} {what}")]
    Stalled {
        /// Host and port.
        host: String,
        /// As the end of a sentence.
        what: &'static str,
    },
    /// The connection ended before the content did.
    #[error("{host} broke off after {bytes} bytes")]
    Cut {
        /// Host and port.
        host: String,
        /// What came until then.
        bytes: u64,
    },
    /// The server said no.
    #[error("{host} answered {status}")]
    Status {
        /// Host and port.
        host: String,
        /// With its reason, where the number has one.
        status: StatusCode,
    },
    /// Redirects without end.
    #[error("{host} redirected more than {REDIRECTS_MAX} times")]
    Redirects {
        /// Host and port of the last.
        host: String,
    },
    /// A redirect to nowhere.
    #[error("{host} redirected to `{location}`, which is not an address of http")]
    Redirect {
        /// Host and port.
        host: String,
        /// What it said, without what could be a secret.
        location: String,
    },
    /// A redirect that would give up what https protects from.
    #[error("{host} redirected from https to plain http")]
    Downgrade {
        /// Host and port.
        host: String,
    },
    /// More than is taken.
    #[error("{host} sent more than {max} bytes")]
    Large {
        /// Host and port.
        host: String,
        /// The bound.
        max: u64,
    },
    /// Our own side.
    #[error("could not keep what {host} sent")]
    Sink {
        /// Host and port.
        host: String,
        /// Why.
        source: io::Error,
    },
}

impl HttpError {
    /// Whether the same request may succeed a little later.
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Cut { .. } => true,
            Self::Status { status, .. } => {
                matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            Self::Setup { .. }
            | Self::Address(_)
            | Self::Tls { .. }
            | Self::Redirects { .. }
            | Self::Redirect { .. }
            | Self::Downgrade { .. }
            | Self::Large { .. }
            | Self::Sink { .. } => false,
        }
    }
}

impl HttpClient {
    /// A client. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// [`HttpError::Setup`].
    pub fn new(options: &HttpOptions) -> Result<Self, HttpError> {
        Ok(Self {
            client: client::build(options)?,
            timing: options.timing.clone(),
        })
    }

    /// Fetches one file into `sink`, unless it is what is known.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; what the sink has got by then is worth nothing.
    pub async fn fetch(
        &self,
        request: HttpRequest<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Fetched, HttpError> {
        let mut pause = self.timing.pause;
        let mut attempt = 1;
        loop {
            match self.attempt(request, sink).await {
                Err(error) if error.is_transient() && attempt < self.timing.attempts_max => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }

    async fn attempt(
        &self,
        request: HttpRequest<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Fetched, HttpError> {
        let response = self.follow(request).await?;
        let host = host_of(response.url());
        let status = response.status();
        let headers = response.headers().clone();
        let validators = Validators {
            etag: header(&headers, ETAG.as_str()),
            last_modified: header(&headers, LAST_MODIFIED.as_str()),
        };
        if let Some(known) = request.known {
            let same = is_whole(status) && is_same_version(known, &validators);
            if status == StatusCode::NOT_MODIFIED || same {
                return Ok(Fetched::Unchanged);
            }
        }
        if !is_whole(status) {
            return Err(HttpError::Status { host, status });
        }
        let kept = |source| HttpError::Sink {
            host: host.clone(),
            source,
        };
        sink.restart().map_err(kept)?;
        let max = request.bytes_max.min(FILE_BYTES_MAX);
        if response.content_length().is_some_and(|bytes| bytes > max) {
            return Err(HttpError::Large { host, max });
        }
        sink.expect(response.content_length());
        let mut body = Body::new(response, host.clone(), &self.timing);
        while let Some(chunk) = body.chunk().await? {
            if body.bytes > max {
                return Err(HttpError::Large { host, max });
            }
            sink.append(&chunk).map_err(kept)?;
        }
        Ok(Fetched::File {
            modified: validators.last_modified.as_deref().and_then(seconds),
            validators,
            bytes: body.bytes,
        })
    }

    /// Asks, and goes where the server sends us.
    async fn follow(&self, request: HttpRequest<'_>) -> Result<reqwest::Response, HttpError> {
        let mut url =
            Url::parse(request.url).map_err(|_| HttpError::Address(request.url.to_owned()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(HttpError::Address(request.url.to_owned()));
        }
        for _ in 0..=REDIRECTS_MAX {
            let response = self.ask(&url, request.known).await?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let host = host_of(&url);
            let location = response.headers().get(LOCATION);
            let location = location.and_then(|value| value.to_str().ok()).unwrap_or("");
            let next = url.join(location).ok().filter(|next| {
                matches!(next.scheme(), "http" | "https") && next.host_str().is_some()
            });
            let Some(mut next) = next.filter(|_| !location.is_empty()) else {
                let location = location.split(['?', '#']).next().unwrap_or("").to_owned();
                return Err(HttpError::Redirect { host, location });
            };
            if url.scheme() == "https" && next.scheme() == "http" && !request.downgrade {
                return Err(HttpError::Downgrade { host });
            }
            // A password belongs to the origin that it was given for, and to no other.
            let same = url.origin() == next.origin();
            if same && next.username().is_empty() {
                let _ = next.set_username(url.username());
                let _ = next.set_password(url.password());
            } else if !same {
                let _ = next.set_username("");
                let _ = next.set_password(None);
            }
            url = next;
        }
        Err(HttpError::Redirects {
            host: host_of(&url),
        })
    }

    async fn ask(
        &self,
        url: &Url,
        known: Option<&Validators>,
    ) -> Result<reqwest::Response, HttpError> {
        let host = host_of(url);
        let mut headers = HeaderMap::new();
        let mut set = |name, value: Option<&String>| {
            if let Some(value) = value.and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(name, value);
            }
        };
        set(IF_NONE_MATCH, known.and_then(|known| known.etag.as_ref()));
        let modified = known.filter(|known| known.etag.is_none());
        let modified = modified.and_then(|known| known.last_modified.as_ref());
        set(IF_MODIFIED_SINCE, modified);
        debug_assert!(!headers.contains_key(AUTHORIZATION));
        let sent = self.client.get(url.clone()).headers(headers).send();
        tokio::time::timeout(self.timing.headers, sent)
            .await
            .map_err(|_| HttpError::Stalled {
                host: host.clone(),
                what: "did not answer in time",
            })?
            .map_err(|error| unreachable(host, &error))
    }
}

/// A body that has to keep coming.
struct Body<'t> {
    response: reqwest::Response,
    host: String,
    timing: &'t HttpTiming,
    bytes: u64,
    /// Time spent waiting, and what came, in the current window.
    waited: Duration,
    window_bytes: u64,
}

impl<'t> Body<'t> {
    fn new(response: reqwest::Response, host: String, timing: &'t HttpTiming) -> Self {
        Self {
            response,
            host,
            timing,
            bytes: 0,
            waited: Duration::ZERO,
            window_bytes: 0,
        }
    }

    async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, HttpError> {
        let began = Instant::now();
        let stalled = |what| HttpError::Stalled {
            host: self.host.clone(),
            what,
        };
        let chunk = tokio::time::timeout(self.timing.idle, self.response.chunk())
            .await
            .map_err(|_| stalled("stopped in the middle of the file"))?
            .map_err(|_| HttpError::Cut {
                host: self.host.clone(),
                bytes: self.bytes,
            })?;
        let Some(chunk) = chunk else { return Ok(None) };
        self.bytes += chunk.len() as u64;
        self.waited += began.elapsed();
        self.window_bytes += chunk.len() as u64;
        if self.waited >= self.timing.rate_window {
            if self.window_bytes < self.timing.rate_bytes_min {
                return Err(stalled("sends the file too slowly"));
            }
            self.waited = Duration::ZERO;
            self.window_bytes = 0;
        }
        Ok(Some(chunk))
    }
}

/// Whether an answer has the file in it: one of the others that are no failure, such as 206, has a
/// part that nobody asked for, or nothing yet (RFC 9110, section 15.3).
fn is_whole(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION
    )
}

/// For servers that ignore conditions: the same strong tag is the same file.
fn is_same_version(known: &Validators, now: &Validators) -> bool {
    known.etag.is_some()
        && known.etag == now.etag
        && known
            .etag
            .as_ref()
            .is_some_and(|tag| !tag.starts_with("W/"))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (!text.is_empty() && text.len() <= VALIDATOR_BYTES_MAX).then(|| text.to_owned())
}

/// A date of HTTP (RFC 9110, section 5.6.7) in seconds since 1970.
fn seconds(date: &str) -> Option<i64> {
    let parsed = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(parsed.timestamp().as_second())
}

fn host_of(url: &Url) -> String {
    match (url.host_str().unwrap_or(""), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    }
}

fn unreachable(host: String, error: &reqwest::Error) -> HttpError {
    let mut innermost: &dyn std::error::Error = error;
    let mut tls = None;
    while let Some(cause) = innermost.source() {
        tls = tls.or_else(|| tls_error(cause));
        innermost = cause;
    }
    match tls.or_else(|| tls_error(innermost)) {
        Some(reason) => HttpError::Tls { host, reason },
        None if error.is_timeout() => HttpError::Stalled {
            host,
            what: "cannot be connected to in time",
        },
        None => HttpError::Unreachable {
            host,
            reason: innermost.to_string(),
        },
    }
}

/// `io::Error` hides its cause from `source`, so it is opened.
fn tls_error(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls.to_string());
    }
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    tls_error(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |date: &str, expected: Option<i64>| assert_eq!(seconds(date), expected);
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("yesterday", None);
        check("", None);
    }

    #[test]
    fn only_strong_tags_tell_versions_apart() {
        let tag = |text: &str| Validators {
            etag: Some(text.to_owned()),
            last_modified: None,
        };
        assert!(is_same_version(&tag("\"a\""), &tag("\"a\"")));
        assert!(!is_same_version(&tag("\"a\""), &tag("\"b\"")));
        assert!(!is_same_version(&tag("W/\"a\""), &tag("W/\"a\"")));
        assert!(!is_same_version(
            &Validators::default(),
            &Validators::default()
        ));
    }
}
