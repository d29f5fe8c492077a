//! One request to one URL: connections, certificates, deadlines, numbers.
//! Knows nothing of accounts, redirects or repetition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Url;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::body::UploadBody;
use crate::endpoint::Approach;
use crate::error::ErrorKind;
use crate::options::{ClientOptions, ProxySettings};
use crate::origin::Origin;
use crate::retry::Timing;
use crate::settings::{CertificateError, HostCertificates, find_directory, read_certificates};
use crate::traffic::Counters;

/// The most bytes of an error document that are read (D13).
pub(crate) const ERROR_BYTES_MAX: u64 = 64 * 1024;
/// The most headers of an answer (D21).
const HEADERS_MAX: usize = 100;

/// Sends requests. Clients differ by the certificates that they trust and show,
/// so hosts with certificates of their own get a client of their own.
pub(crate) struct Transport {
    options: Arc<ClientOptions>,
    pub(crate) counters: Arc<Counters>,
    clients: Mutex<HashMap<Trust, reqwest::Client>>,
}

/// What a client trusts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Trust {
    /// Plain http: nothing to trust, so no certificate is read.
    Plain,
    /// Whatever the system trusts.
    System,
    /// What the directory of one host says.
    Host { name: String, verify: bool },
}

/// What is sent.
pub(crate) enum Payload {
    None,
    Bytes(Bytes),
    Upload(UploadBody),
}

/// One request.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    /// How long the headers of the answer may take.
    pub(crate) deadline: Duration,
}

/// An answer whose body has not been read.
pub(crate) struct Answer {
    response: reqwest::Response,
    counters: Arc<Counters>,
    timing: Timing,
    /// Time spent waiting, and what came, in the current window.
    waited: Duration,
    window_bytes: u64,
    /// Whether the answer came from another origin than the one asked first.
    pub(crate) left_origin: bool,
    /// Keeps the number of requests at once.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// Why there is no answer, or no more of it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) what: Option<String>,
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
    pub(crate) hint: Option<String>,
}

impl Transport {
    pub(crate) fn new(options: Arc<ClientOptions>) -> Result<Self, Failure> {
        // Proxies that are no URLs are found now, not in the middle of a build.
        proxies(&options.proxies)?;
        Ok(Self {
            options,
            counters: Arc::default(),
            clients: Mutex::default(),
        })
    }

    /// The client for a host of the settings.
    pub(crate) fn client_for(
        &self,
        name: &str,
        origin: &Origin,
        approach: &Approach,
    ) -> Result<reqwest::Client, Failure> {
        let trust = if origin.is_plain() {
            Trust::Plain
        } else if approach.verify && approach.certificates.is_none() {
            Trust::System
        } else {
            Trust::Host {
                name: name.to_owned(),
                verify: approach.verify,
            }
        };
        self.client(trust)
    }

    /// The client for a URL that a server handed out.
    pub(crate) fn client_for_follow_up(&self, url: &Url) -> Result<reqwest::Client, Failure> {
        if url.scheme() == "http" {
            return self.client(Trust::Plain);
        }
        let name = match (url.host_str().unwrap_or(""), url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let directories = &self.options.settings.certificate_directories;
        if find_directory(directories, &name).is_some() {
            self.client(Trust::Host { name, verify: true })
        } else {
            self.client(Trust::System)
        }
    }

    /// For what is no registry: the system's roots, the same proxies, no redirect.
    pub(crate) fn client_for_others(&self) -> Result<reqwest::Client, Failure> {
        self.client(Trust::System)
    }

    /// The same, with a certificate of our own. Not kept: few are made.
    pub(crate) fn client_for_others_as(&self, pem: &[u8]) -> Result<reqwest::Client, Failure> {
        let identity = reqwest::Identity::from_pem(pem).map_err(unusable_client)?;
        self.build(&Trust::System, Some(identity))
    }

    fn client(&self, trust: Trust) -> Result<reqwest::Client, Failure> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&trust) {
            return Ok(client.clone());
        }
        let client = self.build(&trust, None)?;
        clients.insert(trust, client.clone());
        Ok(client)
    }

    fn build(
        &self,
        trust: &Trust,
        identity: Option<reqwest::Identity>,
    ) -> Result<reqwest::Client, Failure> {
        let mut builder = reqwest::Client::builder()
            .user_agent(&self.options.user_agent)
            // Redirects are decided about in `exchange`, by the origin policy.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(self.options.timing.connect)
            .http1_max_headers(HEADERS_MAX);
        for proxy in proxies(&self.options.proxies)? {
            builder = builder.proxy(proxy);
        }
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        let mut roots = Vec::new();
        match trust {
            Trust::Plain => {}
            Trust::System => roots = self.system_roots()?,
            Trust::Host { name, verify } => {
                let directories = &self.options.settings.certificate_directories;
                if let Some(directory) = find_directory(directories, name) {
                    let found = HostCertificates::read(&directory).map_err(certificates)?;
                    for pem in &found.roots {
                        roots.extend(
                            reqwest::Certificate::from_pem_bundle(pem)
                                .map_err(|error| unusable(&directory, &error))?,
                        );
                    }
                    if let Some(pem) = &found.identity {
                        let identity = reqwest::Identity::from_pem(pem)
                            .map_err(|error| unusable(&directory, &error))?;
                        builder = builder.identity(identity);
                    }
                }
                // A CA in the directory is trusted beside the system's, and
                // only for this host (D07).
                roots.extend(self.system_roots()?);
                builder = builder.tls_danger_accept_invalid_certs(!verify);
            }
        }
        builder
            .tls_certs_only(roots)
            .build()
            .map_err(unusable_client)
    }

    /// The first bundle that exists, or the roots that are compiled in.
    fn system_roots(&self) -> Result<Vec<reqwest::Certificate>, Failure> {
        for path in &self.options.trust.bundles {
            if !path.exists() {
                continue;
            }
            let pem = read_certificates(path).map_err(certificates)?;
            let found = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| unusable(path, &error))?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .map(|der| reqwest::Certificate::from_der(der))
            .collect::<Result<_, _>>()
            .map_err(Failure::from_reqwest)
    }

    /// Sends one request and waits for the headers of its answer.
    pub(crate) async fn send(
        &self,
        client: &reqwest::Client,
        request: Request,
    ) -> Result<Answer, Failure> {
        let timing = &self.options.timing;
        self.counters.request();
        let mut builder = client
            .request(request.method, request.url)
            .headers(request.headers);
        let sent = match request.payload {
            Payload::None => tokio::time::timeout(request.deadline, builder.send()).await,
            Payload::Bytes(bytes) => {
                self.counters.up(bytes.len());
                builder = builder.body(bytes);
                tokio::time::timeout(request.deadline, builder.send()).await
            }
            Payload::Upload(upload) => {
                let activity = upload.activity();
                builder = builder
                    .header(http::header::CONTENT_LENGTH, upload.bytes())
                    .body(upload.into_body(Arc::clone(&self.counters)));
                let sent = tokio::select! {
                    sent = builder.send() => Ok(sent),
                    () = activity.silence(timing, request.deadline) => {
                        return Err(Failure::stalled("it stopped taking what is sent, or never answered"));
                    }
                };
                if let Some(error) = activity.source_error() {
                    return Err(Failure {
                        kind: ErrorKind::Source,
                        what: None,
                        source: Some(Box::new(error)),
                        hint: None,
                    });
                }
                sent
            }
        };
        let response = sent
            .map_err(|_| Failure::stalled("it did not answer in time"))?
            .map_err(Failure::from_reqwest)?;
        Ok(Answer {
            response,
            counters: Arc::clone(&self.counters),
            timing: timing.clone(),
            waited: Duration::ZERO,
            window_bytes: 0,
            left_origin: false,
            permit: None,
        })
    }
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header as text; `None` when it is missing or not text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    pub(crate) fn url(&self) -> &Url {
        self.response.url()
    }

    /// The next piece of the body; `None` at its end. Only the time in which we
    /// wait counts against the peer, not the time in which our reader is busy.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let start = Instant::now();
        let chunk = tokio::time::timeout(self.timing.idle, self.response.chunk())
            .await
            .map_err(|_| Failure::stalled("it stopped in the middle of the content"))?
            .map_err(Failure::from_reqwest)?;
        let Some(chunk) = chunk else { return Ok(None) };
        self.counters.down(chunk.len());
        self.waited += start.elapsed();
        self.window_bytes += chunk.len() as u64;
        if self.waited >= self.timing.rate_window {
            if self.window_bytes < self.timing.rate_bytes_min {
                return Err(Failure::stalled("it sends the content too slowly"));
            }
            self.waited = Duration::ZERO;
            self.window_bytes = 0;
        }
        Ok(Some(chunk))
    }

    /// The whole body; `None` when it is longer than `bytes_max`.
    pub(crate) async fn bytes(&mut self, bytes_max: u64) -> Result<Option<Bytes>, Failure> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() as u64 + chunk.len() as u64 > bytes_max {
                return Ok(None);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes.freeze()))
    }

    /// As much of an error document as is read. That it ends badly does not
    /// matter.
    pub(crate) async fn error_document(&mut self) -> Bytes {
        let mut bytes = BytesMut::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            let room = ERROR_BYTES_MAX as usize - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if bytes.len() as u64 == ERROR_BYTES_MAX {
                break;
            }
        }
        bytes.freeze()
    }
}

impl Failure {
    fn stalled(what: &str) -> Self {
        Self {
            kind: ErrorKind::Stalled,
            what: Some(what.to_owned()),
            source: None,
            hint: None,
        }
    }

    /// Whether the same request may succeed a little later. Faults of trust and
    /// of our own side stay what they are (R22).
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self.kind, ErrorKind::Unreachable | ErrorKind::Stalled)
    }

    fn from_reqwest(error: reqwest::Error) -> Self {
        // The URL stands in our own error, without its query.
        let error = error.without_url();
        let trust = find_source::<rustls::Error>(&error).map(tls_reason);
        if let Some((what, hint)) = trust {
            return Self {
                kind: ErrorKind::Tls,
                what: Some(what),
                source: None,
                hint,
            };
        }
        let what = if error.is_dns() {
            Some("the name of the host cannot be looked up")
        } else if error.is_timeout() {
            Some("no connection in time")
        } else if error.is_connect() {
            None
        } else {
            Some("the connection broke")
        };
        Self {
            kind: ErrorKind::Unreachable,
            what: what.map(str::to_owned),
            source: Some(Box::new(RootCause::of(&error))),
            hint: None,
        }
    }
}

/// The innermost of the causes. The ones above it name the parts of the HTTP client that they went
/// through, which says nothing to anybody who looks for a registry.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct RootCause {
    text: String,
}

impl RootCause {
    fn of(error: &reqwest::Error) -> Self {
        let mut innermost: &dyn std::error::Error = error;
        while let Some(cause) = innermost.source() {
            innermost = cause;
        }
        let text = innermost.to_string();
        Self { text }
    }
}

/// Certificates that no client can be made with.
fn unusable_client(error: reqwest::Error) -> Failure {
    Failure {
        kind: ErrorKind::Tls,
        what: Some("the certificates cannot be used".into()),
        source: Some(Box::new(error)),
        hint: None,
    }
}

fn tls_reason(error: &rustls::Error) -> (String, Option<String>) {
    let hint = match error {
        rustls::Error::InvalidMessage(_) => Some(
            "the registry may speak plain http: `insecure = true` in registries.conf allows it"
                .to_owned(),
        ),
        _ => None,
    };
    (format!("the TLS connection failed: {error}"), hint)
}

/// The first error of a type among the causes. `io::Error` hides its cause
/// from `source`, so it is opened.
fn find_source<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        if let Some(inner) = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            let inner: &(dyn std::error::Error + 'static) = inner;
            if let Some(found) = find_source::<E>(inner) {
                return Some(found);
            }
        }
        next = error.source();
    }
    None
}

fn proxies(settings: &ProxySettings) -> Result<Vec<reqwest::Proxy>, Failure> {
    let mut direct = settings.no_proxy.clone().unwrap_or_default();
    // Nobody's proxy reaches our own loopback.
    direct.push_str(",localhost,127.0.0.0/8,::1");
    let no_proxy = reqwest::NoProxy::from_string(&direct);
    let fail = |error| Failure {
        kind: ErrorKind::Unsupported,
        what: Some("the proxy is not a URL that can be used".into()),
        source: Some(Box::new(error) as _),
        hint: None,
    };
    let mut found = Vec::new();
    if let Some(url) = settings.http.as_deref().filter(|url| !url.is_empty()) {
        found.push(reqwest::Proxy::http(url).map_err(fail)?);
    }
    if let Some(url) = settings.https.as_deref().filter(|url| !url.is_empty()) {
        found.push(reqwest::Proxy::https(url).map_err(fail)?);
    }
    Ok(found
        .into_iter()
        .map(|proxy| proxy.no_proxy(no_proxy.clone()))
        .collect())
}

fn certificates(error: CertificateError) -> Failure {
    Failure {
        kind: ErrorKind::Tls,
        what: Some("the certificates of the settings cannot be read".into()),
        source: Some(Box::new(error)),
        hint: None,
    }
}

fn unusable(path: &std::path::Path, error: &reqwest::Error) -> Failure {
    certificates(CertificateError::Content {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
