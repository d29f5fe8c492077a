//! How connections are made: certificates, proxies, deadlines. All of it is handed in.

use std::path::PathBuf;
use std::time::Duration;

use crate::http::HttpError;

/// The most headers of an answer.
const HEADERS_MAX: usize = 100;
/// The largest bundle of certificates that is read, in bytes.
const BUNDLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a [`crate::HttpClient`] is made of.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// PEM bundles of trusted certificates: the first that exists is used. When none exists,
    /// Mozilla's roots, which are compiled in, are.
    pub bundles: Vec<PathBuf>,
    /// The proxy for plain http, as in `HTTP_PROXY`.
    pub http_proxy: Option<String>,
    /// The proxy for https, as in `HTTPS_PROXY`.
    pub https_proxy: Option<String>,
    /// Hosts that are asked directly, as in `NO_PROXY`. Loopback hosts always are.
    pub no_proxy: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Deadlines.
    pub timing: HttpTiming,
}

/// Deadlines and pauses.
#[derive(Clone, Debug)]
pub struct HttpTiming {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Until the headers of an answer are there.
    pub headers: Duration,
    /// Longest pause between two pieces of a body.
    pub idle: Duration,
    /// The time over which the rate is judged.
    pub rate_window: Duration,
    /// Fewest bytes per `rate_window`.
    pub rate_bytes_min: u64,
    /// Pause before the second attempt; it doubles before the next.
    pub pause: Duration,
    /// Attempts for what may go better a little later.
    pub attempts_max: u32,
}

impl Default for HttpTiming {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            headers: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            rate_window: Duration::from_secs(60),
            rate_bytes_min: 60 * 1024,
            pause: Duration::from_millis(500),
            attempts_max: 3,
        }
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            bundles: Vec::new(),
            http_proxy: None,
            https_proxy: None,
            no_proxy: None,
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            timing: HttpTiming::default(),
        }
    }
}

/// A client that follows no redirect by itself.
pub(crate) fn build(options: &HttpOptions) -> Result<reqwest::Client, HttpError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(&options.user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(options.timing.connect)
        .http1_max_headers(HEADERS_MAX);
    for proxy in proxies(options)? {
        builder = builder.proxy(proxy);
    }
    builder
        .tls_certs_only(roots(options)?)
        .build()
        .map_err(|error| HttpError::Setup {
            what: "the certificates cannot be used".to_owned(),
            source: Box::new(error),
        })
}

fn proxies(options: &HttpOptions) -> Result<Vec<reqwest::Proxy>, HttpError> {
    let mut direct = options.no_proxy.clone().unwrap_or_default();
    // Nobody's proxy reaches our own loopback.
    direct.push_str(",localhost,127.0.0.0/8,::1");
    let no_proxy = reqwest::NoProxy::from_string(&direct);
    let wrong = |error| HttpError::Setup {
        what: "the proxy is not a URL that can be used".to_owned(),
        source: Box::new(error),
    };
    let mut proxies = Vec::new();
    if let Some(url) = given(options.http_proxy.as_deref()) {
        proxies.push(reqwest::Proxy::http(url).map_err(wrong)?);
    }
    if let Some(url) = given(options.https_proxy.as_deref()) {
        proxies.push(reqwest::Proxy::https(url).map_err(wrong)?);
    }
    let proxies = proxies.into_iter();
    Ok(proxies
        .map(|proxy| proxy.no_proxy(no_proxy.clone()))
        .collect())
}

fn given(setting: Option<&str>) -> Option<&str> {
    setting.filter(|text| !text.is_empty())
}

fn roots(options: &HttpOptions) -> Result<Vec<reqwest::Certificate>, HttpError> {
    use std::io::Read as _;

    let wrong = |path: &std::path::Path, source: Box<dyn std::error::Error + Send + Sync>| {
        let what = format!("the certificates in {} cannot be used", path.display());
        HttpError::Setup { what, source }
    };
    for path in options.bundles.iter().filter(|path| path.exists()) {
        let mut pem = Vec::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(BUNDLE_BYTES_MAX).read_to_end(&mut pem));
        read.map_err(|error| wrong(path, error.into()))?;
        let found = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| wrong(path, error.into()))?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let compiled = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    compiled
        .map(|der| reqwest::Certificate::from_der(der))
        .collect::<Result<_, _>>()
        .map_err(|error| HttpError::Setup {
            what: "the certificates cannot be used".to_owned(),
            source: Box::new(error),
        })
}
