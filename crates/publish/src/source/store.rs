//! Images of the store. What it lacks of an image that was built here is where the base came from.

use std::sync::Arc;

use ::registry::{BlobSource, Client};
use ::store::Store;
use ::store::blob::BlobError;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use oci::{DOCUMENT_BYTES_MAX, Descriptor, Digest, Document, Repository};

use super::blob::{remote_blob, stored_blob};
use super::gather::{Holder, Root, gather};
use super::{Origins, Part, SourceError, Sources};
use crate::{Blobs, Content, StoreName};

pub(super) async fn open(
    name: &StoreName,
    part: &Part,
    sources: &Sources,
) -> Result<Content, SourceError> {
    let Some(store) = &sources.store else {
        return Err(SourceError::Absent {
            wanted: shown(name),
            place: "the store, which is not open".to_owned(),
            known: Vec::new(),
        });
    };
    let digest = find(name, store)?;
    let document = read(store, &digest).map_err(|error| match error {
        SourceError::Blob(BlobError::Absent(_)) => absent(name, store),
        other => other,
    })?;
    let descriptor = document.descriptor();
    let holder = Stored {
        store: store.clone(),
        client: sources.client.clone(),
        image: digest,
        origins: sources.origins.clone(),
    };
    gather(
        Arc::new(holder),
        Root {
            descriptor,
            document,
        },
        part,
    )
    .await
}

fn find(name: &StoreName, store: &Store) -> Result<Digest, SourceError> {
    match name {
        StoreName::Digest(digest) => Ok(digest.clone()),
        StoreName::Reference(reference) => match reference.digest() {
            Some(digest) => Ok(digest.clone()),
            None => store
                .images()
                .get(&reference.to_string())
                .map(|target| target.digest)
                .ok_or_else(|| absent(name, store)),
        },
    }
}

fn read(store: &Store, digest: &Digest) -> Result<Document, SourceError> {
    let bytes = store.blobs().read(digest, DOCUMENT_BYTES_MAX)?;
    Document::read(bytes, None).map_err(|source| SourceError::Document {
        digest: digest.clone(),
        source,
    })
}

fn absent(name: &StoreName, store: &Store) -> SourceError {
    let images = store.images().list();
    SourceError::Absent {
        wanted: shown(name),
        place: "the store".to_owned(),
        known: images.into_iter().map(|image| image.name).collect(),
    }
}

fn shown(name: &StoreName) -> String {
    match name {
        StoreName::Reference(reference) => reference.to_string(),
        StoreName::Digest(digest) => digest.to_string(),
    }
}

struct Stored {
    store: Store,
    client: Client,
    image: Digest,
    origins: Option<Arc<dyn Origins>>,
}

impl Holder for Stored {
    fn document<'h>(
        &'h self,
        wanted: &'h Descriptor,
    ) -> BoxFuture<'h, Result<Document, SourceError>> {
        Box::pin(std::future::ready(read(&self.store, &wanted.digest)))
    }

    fn config<'h>(&'h self, wanted: &'h Descriptor) -> BoxFuture<'h, Result<Bytes, SourceError>> {
        let read = self.store.blobs().read(&wanted.digest, DOCUMENT_BYTES_MAX);
        Box::pin(std::future::ready(
            read.map(Bytes::from).map_err(SourceError::from),
        ))
    }
}

impl Blobs for Stored {
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>> {
        if self.store.blobs().has(blob) {
            return Some(stored_blob(&self.store, blob));
        }
        let repositories = self.repositories(blob);
        let repository = repositories.first()?;
        Some(remote_blob(&self.client, repository, blob))
    }

    fn repositories(&self, blob: &Descriptor) -> Vec<Repository> {
        match &self.origins {
            Some(origins) => origins.of(&self.image, &blob.digest),
            None => Vec::new(),
        }
    }
}
