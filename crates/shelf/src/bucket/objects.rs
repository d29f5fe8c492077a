//! What is particular about each service: where objects are, and how requests say who asks.

use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use google::GoogleErrorKind;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, RANGE};
use http::{HeaderMap, HeaderValue};
use registry::Secret;
use reqwest::{Client, Method, Response, Url};

use super::http::{Call, Content, HttpTrouble, send};
use super::sign::{aws, azure_text, encode, hmac};
use crate::{AzblobAddress, GcsAddress, S3Address, S3Credentials, ShelfErrorKind};

/// The largest object that one request may carry: 5 GiB at Amazon and Google, 5,000 MiB at Azure.
const OBJECT_BYTES_MAX: u64 = 5_000 * 1024 * 1024;
/// The hash of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// Where nobody says otherwise; the service says so when it is wrong.
const REGION: &str = "us-east-1";
const AZURE_VERSION: &str = "2021-08-06";
const GCS_ENDPOINT: &str = "https://storage.googleapis.com";

/// A bucket.
pub(crate) struct Objects {
    client: Client,
    /// With a `/` at its end.
    base: Url,
    service: Service,
}

enum Service {
    S3 {
        region: Mutex<String>,
        /// The region was not given: the service's answer counts.
        asks: bool,
        credentials: Option<S3Credentials>,
    },
    Gcs {
        token: Option<Secret>,
        account: Option<google::Google>,
    },
    Azblob {
        account: String,
        key: Option<Vec<u8>>,
    },
}

impl Objects {
    /// Amazon S3, or what speaks its protocol.
    pub(crate) fn s3(address: &S3Address, client: Client) -> Result<Self, String> {
        let region = address.region.clone();
        let name = region.clone().unwrap_or_else(|| REGION.to_owned());
        let bucket = &address.bucket;
        let default = format!("https://s3.{name}.amazonaws.com");
        let endpoint = address.endpoint_url.as_deref().unwrap_or(&default);
        let mut base = parse(endpoint)?;
        // A certificate for `*.s3…` is none for a name with dots, and addresses have no subdomains.
        let is_host = !address.use_path_style
            && !bucket.contains('.')
            && base.domain().is_some_and(|host| host != "localhost");
        if is_host {
            let host = format!("{bucket}.{}", base.host_str().unwrap_or(""));
            base.set_host(Some(&host))
                .map_err(|_| format!("`{bucket}` cannot be in the name of a host"))?;
        } else {
            base = below(&base, bucket)?;
        }
        Ok(Self {
            client,
            base,
            service: Service::S3 {
                region: Mutex::new(name),
                asks: region.is_none(),
                credentials: address.credentials.clone(),
            },
        })
    }

    /// Google Cloud Storage, by its XML API.
    pub(crate) fn gcs(
        address: &GcsAddress,
        client: Client,
        google: &google::Google,
    ) -> Result<Self, String> {
        let endpoint = address.endpoint_url.as_deref().unwrap_or(GCS_ENDPOINT);
        let account = match (&address.token, &address.credentials_file) {
            (Some(_), _) => None,
            (None, Some(path)) => Some(google.with_file(path).map_err(|error| {
                format!("the credentials {error}; a token can be given with token=")
            })?),
            // Another service than Google's has no use for a token of Google's.
            (None, None) if address.endpoint_url.is_some() => None,
            (None, None) => Some(google.clone()),
        };
        Ok(Self {
            client,
            base: below(&parse(endpoint)?, &address.bucket)?,
            service: Service::Gcs {
                token: address.token.clone(),
                account,
            },
        })
    }

    /// Azure Blob Storage.
    pub(crate) fn azblob(address: &AzblobAddress, client: Client) -> Result<Self, String> {
        let url = parse(&address.account_url)?;
        // Emulators have the account in the path.
        let in_path = url.path_segments().and_then(|mut parts| parts.next());
        let account = match in_path {
            Some(account) if !account.is_empty() => account.to_owned(),
            _ => {
                let host = url.host_str().unwrap_or("");
                host.split('.').next().unwrap_or("").to_owned()
            }
        };
        let key = match &address.secret_access_key {
            None => None,
            Some(key) => Some(
                STANDARD
                    .decode(key.expose().trim())
                    .map_err(|_| "the key of the account is not in base64".to_owned())?,
            ),
        };
        Ok(Self {
            client,
            base: below(&url, &address.container)?,
            service: Service::Azblob { account, key },
        })
    }

    /// The length of an object, where the service says it.
    pub(crate) async fn head(&self, key: &str) -> Result<Option<u64>, HttpTrouble> {
        let answer = self.call(Method::HEAD, key, HeaderMap::new(), None).await?;
        let length = answer.headers().get(CONTENT_LENGTH);
        Ok(length.and_then(|length| length.to_str().ok()?.parse().ok()))
    }

    /// An object, or a part of it.
    pub(crate) async fn get(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<Response, HttpTrouble> {
        let mut headers = HeaderMap::new();
        if let Some(range) = range {
            let text = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            headers.insert(RANGE, header(&text)?);
        }
        self.call(Method::GET, key, headers, None).await
    }

    /// Puts an object there, in the place of what has its name.
    pub(crate) async fn put(&self, key: &str, content: &Content) -> Result<(), HttpTrouble> {
        if content.length > OBJECT_BYTES_MAX {
            let reason = format!(
                "it has {} bytes, more than one request carries",
                content.length
            );
            return Err(HttpTrouble::new(ShelfErrorKind::Full, reason));
        }
        let mut headers = HeaderMap::new();
        if let Service::Azblob { .. } = self.service {
            headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
        }
        self.call(Method::PUT, key, headers, Some(content)).await?;
        Ok(())
    }

    async fn call(
        &self,
        method: Method,
        key: &str,
        headers: HeaderMap,
        content: Option<&Content>,
    ) -> Result<Response, HttpTrouble> {
        let url = below(&self.base, key)
            .map_err(|reason| HttpTrouble::new(ShelfErrorKind::Unusable, reason))?;
        let bearer = self.bearer().await?;
        let make = || self.signed(&method, &url, headers.clone(), content, bearer.as_ref());
        let answer = send(&self.client, content, make).await;
        // One that was made elsewhere says where, and is asked there once.
        match answer {
            Err(trouble) if self.learns_region(&trouble, &url).await => {
                send(&self.client, content, make).await
            }
            answer => answer,
        }
    }

    /// Whether the bucket is in another region than was thought; it is known then.
    async fn learns_region(&self, trouble: &HttpTrouble, url: &Url) -> bool {
        let Service::S3 { region, asks, .. } = &self.service else {
            return false;
        };
        if !asks || !matches!(trouble.kind(), ShelfErrorKind::Refused) {
            return false;
        }
        let mut bucket = url.clone();
        bucket.set_path(self.base.path());
        let Ok(Ok(answer)) = tokio::time::timeout(
            Duration::from_secs(20),
            self.client.request(Method::HEAD, bucket).send(),
        )
        .await
        else {
            return false;
        };
        let found = answer.headers().get("x-amz-bucket-region");
        let Some(found) = found.and_then(|found| found.to_str().ok()) else {
            return false;
        };
        let mut region = region
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_new = *region != found;
        found.clone_into(&mut region);
        is_new
    }

    fn signed(
        &self,
        method: &Method,
        url: &Url,
        mut headers: HeaderMap,
        content: Option<&Content>,
        bearer: Option<&Secret>,
    ) -> Result<Call, HttpTrouble> {
        match &self.service {
            Service::S3 {
                region,
                credentials,
                ..
            } => {
                let payload = match content {
                    None => EMPTY_SHA256,
                    Some(content) => content.sha256.as_deref().unwrap_or("UNSIGNED-PAYLOAD"),
                };
                if let Some(credentials) = credentials {
                    let time = now("%Y%m%dT%H%M%SZ");
                    headers.insert("x-amz-date", header(&time)?);
                    headers.insert("x-amz-content-sha256", header(payload)?);
                    if let Some(token) = &credentials.session_token {
                        headers.insert("x-amz-security-token", secret_header(token.expose())?);
                    }
                    let region = region
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .clone();
                    let signed = aws(method, url, &headers, payload, credentials, &region, &time);
                    headers.insert(AUTHORIZATION, secret_header(&signed)?);
                }
            }
            Service::Gcs { .. } => {
                if let Some(token) = bearer {
                    let value = format!("Bearer {}", token.expose());
                    headers.insert(AUTHORIZATION, secret_header(&value)?);
                }
            }
            Service::Azblob { account, key } => {
                headers.insert("x-ms-version", HeaderValue::from_static(AZURE_VERSION));
                headers.insert("x-ms-date", header(&now("%a, %d %b %Y %H:%M:%S GMT"))?);
                if let Some(key) = key {
                    let length = content.map_or(0, |content| content.length);
                    let text = azure_text(method, url, account, &headers, length);
                    let signature = STANDARD.encode(hmac(key, text.as_bytes()));
                    let value = format!("SharedKey {account}:{signature}");
                    headers.insert(AUTHORIZATION, secret_header(&value)?);
                }
            }
        }
        Ok(Call {
            method: method.clone(),
            url: url.clone(),
            headers,
        })
    }

    /// A token that is still good; `None` for a bucket that anybody may use.
    async fn bearer(&self) -> Result<Option<Secret>, HttpTrouble> {
        let Service::Gcs { token, account } = &self.service else {
            return Ok(None);
        };
        match (token, account) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, None) => Ok(None),
            (None, Some(account)) => match account.access_token(&[google::SCOPE_STORAGE]).await {
                Ok(token) => Ok(Some(Secret::new(token.expose()))),
                Err(error) => match error.kind() {
                    GoogleErrorKind::NoAccount => Ok(None),
                    GoogleErrorKind::Unusable | GoogleErrorKind::Denied => {
                        Err(HttpTrouble::new(ShelfErrorKind::Denied, said(&error)))
                    }
                    GoogleErrorKind::Unreachable => {
                        Err(HttpTrouble::new(ShelfErrorKind::Unreachable, said(&error)))
                    }
                },
            },
        }
    }
}

fn said(error: &google::GoogleError) -> String {
    match error.advice() {
        Some(advice) => format!("{error} ({advice})"),
        None => error.to_string(),
    }
}

fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some() => Ok(url),
        _ => Err(format!("`{text}` is not the URL of a service")),
    }
}

/// A path below another one; what a service signs is the path as it is sent.
fn below(base: &Url, path: &str) -> Result<Url, String> {
    if path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(format!("`{path}` cannot be the name of an object"));
    }
    let mut url = base.clone();
    let before = base.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{before}/{}", encode(path, true)));
    Ok(url)
}

fn now(format: &str) -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime(format)
        .to_string()
}

fn header(text: &str) -> Result<HeaderValue, HttpTrouble> {
    HeaderValue::from_str(text)
        .map_err(|_| HttpTrouble::new(ShelfErrorKind::Unusable, "a value cannot stand in a header"))
}

fn secret_header(text: &str) -> Result<HeaderValue, HttpTrouble> {
    let mut value = header(text)?;
    value.set_sensitive(true);
    Ok(value)
}
