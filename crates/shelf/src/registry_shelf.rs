//! A shelf in a repository of a registry: documents are image manifests under tags.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use oci::{Descriptor, Digest, MediaType, Reference, Repository, Tag};
use registry::{BlobSource, Client, ErrorKind, PushOptions, Selector};

use crate::form::{self, BODY_BYTES_MAX, Form};
use crate::{BlobReader, Document, DocumentName, Shelf, ShelfError, ShelfErrorKind};

/// In front of the tags that are made from names.
const TAG_PREFIX: &str = "kiln";
/// How much of the hash of a tag is in the tags of its other documents.
const TAG_HASH_CHARS: usize = 16;

/// A shelf in a registry.
#[derive(Debug)]
pub(crate) struct RegistryShelf {
    address: String,
    reference: Reference,
    client: Wire,
}

/// A client, which has nothing to show.
struct Wire(Client);

impl std::fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Wire")
    }
}

impl RegistryShelf {
    pub(crate) fn new(reference: Reference, client: Client) -> Self {
        Self {
            address: reference.to_string(),
            reference,
            client: Wire(client),
        }
    }

    /// Where the document of a name is.
    fn place(&self, name: &DocumentName) -> Reference {
        if name.is_main() {
            return self.reference.clone();
        }
        let text = derived_tag(self.reference.manifest_selector(), name);
        let tag: Tag = text.parse().expect("a short text of letters and digits");
        self.reference.repository().at_tag(tag)
    }

    fn error(&self, operation: impl Into<String>, source: registry::Error) -> ShelfError {
        ShelfError::new(kind_of(source.kind()), operation, &self.address).because(source)
    }
}

/// The tag of a document that is not what the address names itself.
pub(crate) fn derived_tag(selector: &str, name: &DocumentName) -> String {
    if name.is_shared() {
        return format!("{TAG_PREFIX}-{name}");
    }
    let hash = Digest::of(selector.as_bytes());
    format!("{TAG_PREFIX}.{}-{name}", &hash.hex()[..TAG_HASH_CHARS])
}

fn kind_of(kind: &ErrorKind) -> ShelfErrorKind {
    match kind {
        ErrorKind::NotFound | ErrorKind::BlobUnknown { .. } => ShelfErrorKind::Absent,
        ErrorKind::Unauthorized | ErrorKind::Denied | ErrorKind::Credentials => {
            ShelfErrorKind::Denied
        }
        ErrorKind::RateLimited { .. }
        | ErrorKind::Unreachable
        | ErrorKind::Tls
        | ErrorKind::Stalled
        | ErrorKind::Server => ShelfErrorKind::Unreachable,
        ErrorKind::Corrupted | ErrorKind::Protocol | ErrorKind::NotStored => {
            ShelfErrorKind::Damaged
        }
        ErrorKind::TooLarge => ShelfErrorKind::Full,
        ErrorKind::Ranges => ShelfErrorKind::Ranges,
        ErrorKind::Source => ShelfErrorKind::Source,
        ErrorKind::Unsupported
        | ErrorKind::Blocked
        | ErrorKind::Refused
        | ErrorKind::TagImmutable => ShelfErrorKind::Refused,
    }
}

impl Shelf for RegistryShelf {
    fn address(&self) -> &str {
        &self.address
    }

    fn repository(&self) -> Option<&Repository> {
        Some(self.reference.repository())
    }

    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<Document>, ShelfError>> {
        Box::pin(async move {
            let reading = "read";
            let manifest = match self.client.0.manifest(&self.place(name)).await {
                Ok(manifest) => manifest,
                Err(error) if *error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(self.error(reading, error)),
            };
            let Some((body, blobs)) = form::read(&manifest) else {
                let error = ShelfError::new(ShelfErrorKind::Foreign, reading, &self.address);
                return Err(error.because(form::what_else(&manifest)));
            };
            let repository = self.reference.repository();
            let body = self.client.0.document(repository, &body, BODY_BYTES_MAX);
            let body = body.await.map_err(|error| self.error(reading, error))?;
            Ok(Some(Document { body, blobs }))
        })
    }

    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), ShelfError>> {
        Box::pin(async move {
            let form = Form::of(document);
            let repository = self.reference.repository();
            let Some(tag) = self.place(name).tag().cloned() else {
                let error = ShelfError::new(ShelfErrorKind::Refused, "write", &self.address);
                return Err(error.because("nothing can be put under a digest"));
            };
            let config = Bytes::copy_from_slice(form.config.bytes());
            let config_blob = form.config.descriptor(MediaType::OciConfig);
            let options = PushOptions::default();
            for (blob, content) in [(&form.body, &document.body), (&config_blob, &config)] {
                let pushed = self.client.0.push_blob(repository, blob, content, &options);
                pushed.await.map_err(|error| self.error("write", error))?;
            }
            let (selector, bytes) = (Selector::Tag(tag), form.manifest.bytes());
            let kind = MediaType::OciManifest;
            let pushed = self
                .client
                .0
                .push_manifest(repository, &selector, &kind, bytes);
            pushed.await.map_err(|error| self.error("write", error))?;
            Ok(())
        })
    }

    fn has<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, ShelfError>> {
        Box::pin(async move {
            let has = self.client.0.has_blob(self.reference.repository(), blob);
            has.await
                .map_err(|error| self.error(format!("look for the blob {} in", blob.digest), error))
        })
    }

    fn open<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<BlobReader, ShelfError>> {
        Box::pin(async move {
            let stream = self.client.0.blob(self.reference.repository(), blob, None);
            Ok(Box::new(stream.into_reader()) as BlobReader)
        })
    }

    fn range<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Bytes, ShelfError>> {
        Box::pin(async move {
            let repository = self.reference.repository();
            let part = self.client.0.blob_range(repository, blob, range).await;
            let operation = || format!("read a part of the blob {} of", blob.digest);
            part.map_err(|error| self.error(operation(), error))
        })
    }

    fn put<'a>(
        &'a self,
        blob: &'a Descriptor,
        source: Arc<dyn BlobSource>,
        elsewhere: &'a [Repository],
    ) -> BoxFuture<'a, Result<(), ShelfError>> {
        Box::pin(async move {
            let repository = self.reference.repository();
            let mount_from = elsewhere
                .iter()
                .filter(|other| other.same_registry(repository) && *other != repository)
                .cloned()
                .collect();
            let options = PushOptions {
                mount_from,
                ..PushOptions::default()
            };
            let pushed = self
                .client
                .0
                .push_blob(repository, blob, &*source, &options);
            pushed
                .await
                .map_err(|error| self.error(format!("put the blob {} into", blob.digest), error))?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_tags_of_their_own() {
        let tag = |selector: &str, name: DocumentName| derived_tag(selector, &name);
        let own = || DocumentName::new("mounts").unwrap();
        let shared = || DocumentName::shared("mounts").unwrap();
        assert_ne!(tag("a", own()), tag("b", own()));
        assert_eq!(tag("a", shared()), tag("b", shared()));
        assert_ne!(tag("a", own()), tag("a", shared()));
        let longest = DocumentName::new("a".repeat(crate::NAME_BYTES_MAX)).unwrap();
        assert!(tag(&"a".repeat(128), longest).parse::<Tag>().is_ok());
    }
}
