//! An image of the store as something that can be published: its documents, and where its blobs are.

use std::sync::Arc;

use oci::{Descriptor, Document, Repository};
use publish::{Blobs, Content};
use registry::{BlobSource, Client};
use store::Store;

use crate::blob_source::blob_source;
use crate::error::BuildError;
use crate::image_set::ImageSet;
use crate::origins::Origins;
use crate::ports::Ports;
use crate::provenance;
use crate::push::{self, ImageName};

/// The documents of an image of the store, and its blobs: of the store, or still where a base image
/// came from. Its blobs must be asked for on a runtime.
///
/// # Errors
///
/// When it is not in the store, or is no image that kiln built.
pub fn content(name: &ImageName, ports: &Ports) -> Result<Content, BuildError> {
    let digest = push::find(name, ports)?;
    let images = push::open(&digest, name, ports)?;
    Ok(Content {
        root: root(&images),
        documents: documents(&images),
        blobs: Arc::new(StoredBlobs {
            store: ports.store.clone(),
            client: ports.client.clone(),
            origins: provenance::recall(&ports.store, &digest),
        }),
    })
}

/// What a tag will point at.
fn root(images: &ImageSet) -> Descriptor {
    let platform = match (images.index(), images.images()) {
        (None, [image]) => Some(image.platform()),
        _ => None,
    };
    Descriptor {
        platform,
        ..images.descriptor()
    }
}

fn documents(images: &ImageSet) -> Vec<Document> {
    let mut documents: Vec<Document> = Vec::new();
    for image in images.images() {
        let document = Document::Manifest(Box::new(image.manifest.clone()));
        let digest = image.manifest.digest();
        if !documents
            .iter()
            .any(|known| known.descriptor().digest == *digest)
        {
            documents.push(document);
        }
    }
    let index = images.index().cloned().map(Box::new);
    documents.extend(index.map(Document::Index));
    documents
}

struct StoredBlobs {
    store: Store,
    client: Client,
    origins: Origins,
}

impl Blobs for StoredBlobs {
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>> {
        let origin = self.origins.get(&blob.digest);
        blob_source(&self.store, &self.client, origin.as_ref(), blob)
    }

    fn repositories(&self, blob: &Descriptor) -> Vec<Repository> {
        let origin = self.origins.get(&blob.digest);
        let repository = origin.as_ref().and_then(|origin| origin.repository());
        repository.cloned().into_iter().collect()
    }
}
