//! Images of registries: the tag is looked up once, everything below it by digest (D16).

use std::sync::Arc;

use ::registry::{BlobSource, Client};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use oci::{DOCUMENT_BYTES_MAX, Descriptor, Document, Reference, Repository};

use super::blob::remote_blob;
use super::gather::{Holder, Root, gather};
use super::{Part, SourceError};
use crate::{Blobs, Content};

pub(super) async fn open(
    reference: &Reference,
    part: &Part,
    client: &Client,
) -> Result<Content, SourceError> {
    let document = client.manifest(reference).await?;
    let descriptor = document.descriptor();
    let holder = Remote {
        client: client.clone(),
        repository: reference.repository().clone(),
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

struct Remote {
    client: Client,
    repository: Repository,
}

impl Holder for Remote {
    fn document<'h>(
        &'h self,
        wanted: &'h Descriptor,
    ) -> BoxFuture<'h, Result<Document, SourceError>> {
        Box::pin(async move {
            let reference = self.repository.at_digest(wanted.digest.clone());
            Ok(self.client.manifest(&reference).await?)
        })
    }

    fn config<'h>(&'h self, wanted: &'h Descriptor) -> BoxFuture<'h, Result<Bytes, SourceError>> {
        Box::pin(async move {
            let client = &self.client;
            Ok(client
                .document(&self.repository, wanted, DOCUMENT_BYTES_MAX)
                .await?)
        })
    }
}

impl Blobs for Remote {
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>> {
        Some(remote_blob(&self.client, &self.repository, blob))
    }

    fn repositories(&self, _: &Descriptor) -> Vec<Repository> {
        vec![self.repository.clone()]
    }
}
