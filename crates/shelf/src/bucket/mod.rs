//! A shelf in a bucket: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob
//! Storage. Three requests are all that is asked of them: HEAD, GET (with a range) and PUT.
//!
//! ```text
//! PREFIX BLOBS_PREFIX sha256:…        a blob
//! PREFIX DOCUMENTS_PREFIX NAME        the main document
//! PREFIX DOCUMENTS_PREFIX NAME.mount-…  another one of this shelf
//! PREFIX DOCUMENTS_PREFIX shared.…    one that all shelves here have in common
//! ```
//!
//! A document is a line of JSON with its blobs, and then its body. It appears in one request, which
//! all of these services do as a whole or not at all.

pub(crate) mod http;
mod objects;
mod sign;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use oci::{Descriptor, Repository};
use registry::BlobSource;
use serde::{Deserialize, Serialize};

use self::http::{BodyReader, Content, HttpTrouble};
pub(crate) use self::objects::Objects;
use crate::directory::Verified;
use crate::form::BODY_BYTES_MAX;
use crate::{
    Address, BlobReader, BucketPaths, Document, DocumentName, Shelf, ShelfError, ShelfErrorKind,
};

/// In front of documents that all shelves of a place share.
const SHARED: &str = "shared";

/// The longest list of blobs of a document, in bytes.
const HEAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a document is.
const KIND: &str = "application/vnd.kiln.shelf.document.v1";

/// A bucket as a shelf.
pub(crate) struct BucketShelf {
    objects: Objects,
    paths: BucketPaths,
    shown: String,
}

/// The first line of a document.
#[derive(Serialize, Deserialize)]
struct Head {
    kind: String,
    blobs: Vec<Descriptor>,
}

impl BucketShelf {
    pub(crate) fn new(objects: Objects, paths: &BucketPaths, address: &Address) -> Self {
        Self {
            objects,
            paths: paths.clone(),
            shown: address.to_string(),
        }
    }

    fn blob_key(&self, blob: &Descriptor) -> String {
        let BucketPaths {
            prefix,
            blobs_prefix,
            ..
        } = &self.paths;
        format!("{prefix}{blobs_prefix}{}", blob.digest)
    }

    fn document_key(&self, name: &DocumentName) -> String {
        let BucketPaths {
            prefix,
            documents_prefix,
            name: own,
            ..
        } = &self.paths;
        if name.is_main() {
            format!("{prefix}{documents_prefix}{own}")
        } else if name.is_shared() {
            format!("{prefix}{documents_prefix}{SHARED}.{name}")
        } else {
            format!("{prefix}{documents_prefix}{own}.{name}")
        }
    }

    fn error(&self, operation: impl Into<String>, trouble: HttpTrouble) -> ShelfError {
        trouble.into_error(operation, &self.shown)
    }

    async fn read_document(&self, name: &DocumentName) -> Result<Option<Document>, ShelfError> {
        let operation = "read a document of";
        let key = self.document_key(name);
        let answer = match self.objects.get(&key, None).await {
            Err(trouble) if trouble.kind() == ShelfErrorKind::Absent => return Ok(None),
            answer => answer.map_err(|trouble| self.error(operation, trouble))?,
        };
        let max = BODY_BYTES_MAX as usize + HEAD_BYTES_MAX;
        let bytes = http::read_all(answer, max)
            .await
            .map_err(|trouble| self.error(operation, trouble))?;
        let foreign = |reason: &str| {
            Err(
                ShelfError::new(ShelfErrorKind::Foreign, operation, &self.shown)
                    .because(reason.to_owned()),
            )
        };
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return foreign("it is not a document of kiln");
        };
        match serde_json::from_slice::<Head>(&bytes[..end]) {
            Ok(head) if head.kind == KIND => Ok(Some(Document {
                body: bytes.slice(end + 1..),
                blobs: head.blobs,
            })),
            Ok(_) | Err(_) => foreign("it is not a document of kiln"),
        }
    }

    async fn write_document(
        &self,
        name: &DocumentName,
        document: &Document,
    ) -> Result<(), ShelfError> {
        let head = Head {
            kind: KIND.to_owned(),
            blobs: document.blobs.clone(),
        };
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&serde_json::to_vec(&head).expect("descriptors are JSON"));
        bytes.extend_from_slice(b"\n");
        bytes.extend_from_slice(&document.body);
        let content = Content::of(bytes.freeze());
        self.objects
            .put(&self.document_key(name), &content)
            .await
            .map_err(|trouble| self.error("write a document to", trouble))
    }
}

impl fmt::Debug for BucketShelf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BucketShelf({})", self.shown)
    }
}

impl Shelf for BucketShelf {
    fn address(&self) -> &str {
        &self.shown
    }

    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<Document>, ShelfError>> {
        Box::pin(self.read_document(name))
    }

    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), ShelfError>> {
        Box::pin(self.write_document(name, document))
    }

    fn has<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, ShelfError>> {
        Box::pin(async move {
            match self.objects.head(&self.blob_key(blob)).await {
                // Another length is not our blob, and is replaced.
                Ok(bytes) => Ok(bytes.is_none_or(|bytes| bytes == blob.size)),
                Err(trouble) if trouble.kind() == ShelfErrorKind::Absent => Ok(false),
                Err(trouble) => Err(self.error("look for a blob in", trouble)),
            }
        })
    }

    fn open<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<BlobReader, ShelfError>> {
        Box::pin(async move {
            let answer = self.objects.get(&self.blob_key(blob), None).await;
            let answer = answer.map_err(|trouble| {
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
            let operation = || format!("read a part of the blob {} of", blob.digest);
            let length = usize::try_from(range.end.saturating_sub(range.start));
            let length = length.unwrap_or(usize::MAX);
            let answer = self.objects.get(&self.blob_key(blob), Some(range)).await;
            let answer = answer.map_err(|trouble| self.error(operation(), trouble))?;
            http::read_part(answer, length)
                .await
                .map_err(|trouble| self.error(operation(), trouble))
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
            self.objects
                .put(&self.blob_key(blob), &content)
                .await
                .map_err(|trouble| {
                    self.error(format!("write the blob {} to", blob.digest), trouble)
                })
        })
    }
}
