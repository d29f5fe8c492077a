//! A shelf in the cache of GitHub Actions, version 2 of its service: entries are made, filled at an
//! address that is signed, and finished, and never change after that.
//!
//! A blob is an entry of its digest. A document is a new entry each time, with the time behind its
//! name; the service finds the newest by the name's beginning.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue};
use oci::{Descriptor, Digest, Repository};
use registry::{BlobSource, Secret};
use reqwest::{Client, Method, Url};
use serde::{Deserialize, Serialize};

use crate::address::GhaAddress;
use crate::bucket::http::{BodyReader, Call, Content, HttpTrouble, read_all, read_part, send};
use crate::directory::Verified;
use crate::form::BODY_BYTES_MAX;
use crate::{Address, BlobReader, Document, DocumentName, Shelf, ShelfError, ShelfErrorKind};

/// Where the service is, below its address.
const SERVICE: &str = "twirp/github.actions.results.api.v1.CacheService";
/// The longest answer of the service, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest list of a document's blobs, in bytes.
const HEAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Entries of another version are not found: it goes up when they would be misread.
const FORMAT: &str = "kiln shelf 1";
const KIND: &str = "application/vnd.kiln.shelf.document.v1";

/// The cache of a repository's actions.
pub(crate) struct GhaShelf {
    client: Client,
    service: Url,
    token: Secret,
    scope: String,
    version: String,
    shown: String,
}

#[derive(Serialize, Deserialize)]
struct Head {
    kind: String,
    blobs: Vec<Descriptor>,
}

#[derive(Serialize)]
struct Entry<'e> {
    key: &'e str,
    version: &'e str,
}

#[derive(Serialize)]
struct Finish<'e> {
    key: &'e str,
    version: &'e str,
    /// A text: numbers of 64 bits are texts in the JSON of protocol buffers.
    #[serde(rename = "sizeBytes")]
    size_bytes: String,
}

#[derive(Serialize)]
struct Find<'e> {
    key: &'e str,
    version: &'e str,
    #[serde(rename = "restoreKeys")]
    restore_keys: &'e [&'e str],
}

#[derive(Deserialize)]
struct Made {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signed_upload_url")]
    #[serde(rename = "signedUploadUrl")]
    signed_upload_url: String,
}

#[derive(Deserialize)]
struct Finished {
    #[serde(default)]
    ok: bool,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signed_download_url")]
    #[serde(rename = "signedDownloadUrl")]
    signed_download_url: String,
}

impl GhaShelf {
    pub(crate) fn new(
        address: &GhaAddress,
        client: Client,
        shown: &Address,
    ) -> Result<Self, String> {
        let Some(url) = &address.url_v2 else {
            return Err(
                "there is no ACTIONS_RESULTS_URL: the cache of GitHub Actions is there in its jobs \
                 only, and is handed to commands by an action such as crazy-max/ghaction-github-runtime"
                    .to_owned(),
            );
        };
        let Some(token) = &address.token else {
            return Err("there is no ACTIONS_RUNTIME_TOKEN".to_owned());
        };
        let base = format!("{}/{SERVICE}/", url.trim_end_matches('/'));
        let service = Url::parse(&base).map_err(|error| format!("`{url}` is no URL: {error}"))?;
        Ok(Self {
            client,
            service,
            token: token.clone(),
            scope: address.scope.clone(),
            version: Digest::of(FORMAT.as_bytes()).hex().to_owned(),
            shown: shown.to_string(),
        })
    }

    fn error(&self, operation: impl Into<String>, trouble: HttpTrouble) -> ShelfError {
        trouble.into_error(operation, &self.shown)
    }

    fn blob_key(blob: &Descriptor) -> String {
        format!("kiln-blob-{}", blob.digest)
    }

    /// What the entries of a document begin with.
    fn document_key(&self, name: &DocumentName) -> String {
        // A key has no commas, and two scopes must not be one.
        let scope = Digest::of(self.scope.as_bytes());
        let scope = &scope.hex()[..16];
        if name.is_main() {
            format!("kiln-main-{scope}-")
        } else if name.is_shared() {
            format!("kiln-shared-{name}-")
        } else {
            format!("kiln-document-{scope}-{name}-")
        }
    }

    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        method: &str,
        request: &impl Serialize,
    ) -> Result<T, HttpTrouble> {
        let url = self.service.join(method);
        let url = url.map_err(|_| HttpTrouble::new(ShelfErrorKind::Unusable, "its URL is none"))?;
        let body = serde_json::to_vec(request).expect("texts are JSON");
        let content = Content::of(body.into());
        let answer = send(&self.client, Some(&content), || {
            let mut headers = HeaderMap::new();
            let bearer = format!("Bearer {}", self.token.expose());
            let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| {
                HttpTrouble::new(
                    ShelfErrorKind::Unusable,
                    "the token cannot stand in a header",
                )
            })?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(Call {
                method: Method::POST,
                url: url.clone(),
                headers,
            })
        })
        .await?;
        let bytes = read_all(answer, ANSWER_BYTES_MAX).await?;
        serde_json::from_slice(&bytes).map_err(|_| {
            let reason = "the answer of the service cannot be understood";
            HttpTrouble::new(ShelfErrorKind::Damaged, reason)
        })
    }

    /// Where the entry of a key is; of several with a beginning the newest.
    async fn find(&self, key: &str, beginnings: &[&str]) -> Result<Option<Url>, HttpTrouble> {
        let request = Find {
            key,
            version: &self.version,
            restore_keys: beginnings,
        };
        let found: Found = match self.ask("GetCacheEntryDownloadURL", &request).await {
            Err(trouble) if trouble.kind() == ShelfErrorKind::Absent => return Ok(None),
            found => found?,
        };
        if !found.ok {
            return Ok(None);
        }
        signed(&found.signed_download_url).map(Some)
    }

    async fn get(
        &self,
        url: &Url,
        range: Option<Range<u64>>,
    ) -> Result<reqwest::Response, HttpTrouble> {
        send(&self.client, None, || {
            let mut headers = HeaderMap::new();
            if let Some(range) = &range {
                let text = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
                let value = HeaderValue::from_str(&text)
                    .map_err(|_| HttpTrouble::new(ShelfErrorKind::Ranges, "the range is none"))?;
                headers.insert(RANGE, value);
            }
            Ok(Call {
                method: Method::GET,
                url: url.clone(),
                headers,
            })
        })
        .await
    }

    /// Makes an entry. One that is there already stays what it is.
    async fn make(&self, key: &str, content: &Content) -> Result<(), HttpTrouble> {
        let version = &self.version;
        let made: Made = self
            .ask("CreateCacheEntry", &Entry { key, version })
            .await?;
        // It is there, or somebody is making it right now.
        if !made.ok {
            return Ok(());
        }
        let url = signed(&made.signed_upload_url)?;
        send(&self.client, Some(content), || {
            let mut headers = HeaderMap::new();
            headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
            Ok(Call {
                method: Method::PUT,
                url: url.clone(),
                headers,
            })
        })
        .await?;
        let finish = Finish {
            key,
            version,
            size_bytes: content.length.to_string(),
        };
        let finished: Finished = self.ask("FinalizeCacheEntryUpload", &finish).await?;
        match finished.ok {
            true => Ok(()),
            false => Err(HttpTrouble::new(
                ShelfErrorKind::Refused,
                "it was not finished",
            )),
        }
    }

    async fn blob(&self, blob: &Descriptor) -> Result<Url, HttpTrouble> {
        let found = self.find(&Self::blob_key(blob), &[]).await?;
        found.ok_or_else(|| HttpTrouble::new(ShelfErrorKind::Absent, "it is not there"))
    }

    async fn read_document(&self, name: &DocumentName) -> Result<Option<Document>, HttpTrouble> {
        let key = self.document_key(name);
        let Some(url) = self.find(&key, &[&key]).await? else {
            return Ok(None);
        };
        let answer = self.get(&url, None).await?;
        let bytes = read_all(answer, BODY_BYTES_MAX as usize + HEAD_BYTES_MAX).await?;
        let damaged = || HttpTrouble::new(ShelfErrorKind::Damaged, "it is not a document of kiln");
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(damaged)?;
        let head: Head = serde_json::from_slice(&bytes[..end]).map_err(|_| damaged())?;
        match head.kind == KIND {
            true => Ok(Some(Document {
                body: bytes.slice(end + 1..),
                blobs: head.blobs,
            })),
            false => Err(damaged()),
        }
    }

    async fn write_document(
        &self,
        name: &DocumentName,
        document: &Document,
    ) -> Result<(), HttpTrouble> {
        let head = Head {
            kind: KIND.to_owned(),
            blobs: document.blobs.clone(),
        };
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&serde_json::to_vec(&head).expect("descriptors are JSON"));
        bytes.extend_from_slice(b"\n");
        bytes.extend_from_slice(&document.body);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let time = since.map_or(0, |since| since.as_nanos());
        let key = format!("{}{time}", self.document_key(name));
        self.make(&key, &Content::of(bytes.freeze())).await
    }
}

/// An address that the service made. It is a secret for as long as it is good.
fn signed(text: &str) -> Result<Url, HttpTrouble> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| HttpTrouble::new(ShelfErrorKind::Damaged, "it gives no address"))
}

impl fmt::Debug for GhaShelf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "GhaShelf({})", self.shown)
    }
}

impl Shelf for GhaShelf {
    fn address(&self) -> &str {
        &self.shown
    }

    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<Document>, ShelfError>> {
        Box::pin(async move {
            let read = self.read_document(name).await;
            read.map_err(|trouble| self.error("read a document of", trouble))
        })
    }

    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), ShelfError>> {
        Box::pin(async move {
            let written = self.write_document(name, document).await;
            written.map_err(|trouble| self.error("write a document to", trouble))
        })
    }

    fn has<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, ShelfError>> {
        Box::pin(async move {
            let found = self.find(&Self::blob_key(blob), &[]).await;
            let found = found.map_err(|trouble| self.error("look for a blob in", trouble))?;
            Ok(found.is_some())
        })
    }

    fn open<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<BlobReader, ShelfError>> {
        Box::pin(async move {
            let opened = async { self.get(&self.blob(blob).await?, None).await }.await;
            let answer = opened.map_err(|trouble| {
                self.error(format!("read the blob {} of", blob.digest), trouble)
            })?;
            let reader: BlobReader = Box::new(Verified::new(BodyReader::new(answer), blob));
            Ok(reader)
        })
    }

    fn range<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Bytes, ShelfError>> {
        Box::pin(async move {
            let length = usize::try_from(range.end.saturating_sub(range.start));
            let length = length.unwrap_or(usize::MAX);
            let read = async {
                let url = self.blob(blob).await?;
                read_part(self.get(&url, Some(range)).await?, length).await
            };
            read.await.map_err(|trouble| {
                self.error(
                    format!("read a part of the blob {} of", blob.digest),
                    trouble,
                )
            })
        })
    }

    fn put<'a>(
        &'a self,
        blob: &'a Descriptor,
        source: Arc<dyn BlobSource>,
        _elsewhere: &'a [Repository],
    ) -> BoxFuture<'a, Result<(), ShelfError>> {
        Box::pin(async move {
            if self.has(blob).await? {
                return Ok(());
            }
            let content = Content::of_blob(blob, source);
            let made = self.make(&Self::blob_key(blob), &content).await;
            made.map_err(|trouble| {
                self.error(format!("write the blob {} to", blob.digest), trouble)
            })
        })
    }
}
