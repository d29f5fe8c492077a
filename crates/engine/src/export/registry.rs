//! Registries: what is to be published is handed to `publish`, which moves the tags, and what
//! happens is told.
//!
//! Layers are sent while later steps still run ([`Uploads::start`]).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use oci::{Descriptor, Digest, Reference, Repository};
use publish::{
    BlobFault, Blobs, Content, Context, Item, Outcome, Publication, PublishError, PublishedTag,
    TagChange, Watcher,
};
use registry::{BlobSource, ErrorKind, Progress};
use store::Store;
use store::blob::BlobError;

use super::Exported;
use crate::blob_source::blob_source;
use crate::error::BuildError;
use crate::event::{Direction, Event, Reporter};
use crate::image_set::ImageSet;
use crate::layers::transfer;
use crate::origins::{Origin, Origins};
use crate::output::LayerRef;
use crate::ports::Ports;
use crate::report::{OutputReport, Traffic};
use crate::request::{BuildRequest, Output};
use crate::set::SetRequest;

/// Brings the layers of one image to its repositories.
pub(crate) struct Uploads {
    uploads: publish::Uploads,
    blobs: Arc<dyn Blobs>,
    repositories: Vec<Repository>,
}

/// What brings blobs to registries, for all images of a build together.
pub(crate) fn uploads(ports: &Ports) -> publish::Uploads {
    let watcher = Arc::new(Told(Arc::clone(&ports.reporter)));
    publish::Uploads::new(ports.client.clone(), watcher)
}

impl Uploads {
    /// Prepares to publish under `tags`. `origins` says where the blobs of base
    /// images are.
    pub(crate) fn new(
        uploads: publish::Uploads,
        ports: &Ports,
        origins: &Origins,
        tags: &[Reference],
    ) -> Self {
        let mut repositories: Vec<Repository> = Vec::new();
        for tag in tags {
            if !repositories.contains(tag.repository()) {
                repositories.push(tag.repository().clone());
            }
        }
        Self {
            uploads,
            blobs: blobs(ports, origins.clone()),
            repositories,
        }
    }

    /// Begins to bring a layer to all destinations, in the background.
    pub(crate) fn start(&mut self, layer: &LayerRef) {
        for repository in &self.repositories {
            self.uploads.start(repository, &layer.blob, &self.blobs);
        }
    }

    /// What brings the blobs of all images.
    pub(crate) fn shared(&self) -> publish::Uploads {
        self.uploads.clone()
    }

    /// What is to be published.
    pub(crate) fn item(&self, name: &str, images: &ImageSet, request: &BuildRequest) -> Item {
        let mut root = images.descriptor();
        if let (None, [image]) = (images.index(), images.images()) {
            root.platform = Some(image.platform());
        }
        let content = Content {
            root,
            documents: images.documents(),
            blobs: Arc::clone(&self.blobs),
        };
        let (tags, immutable) = (&request.tags, &request.immutable_tags);
        request
            .publishing
            .item(name, content, images.referrers(), tags, immutable)
    }
}

/// Publishes several images as one.
pub(crate) async fn publish_all(
    items: Vec<Item>,
    retag: bool,
    uploads: publish::Uploads,
    ports: &Ports,
) -> Result<Outcome, BuildError> {
    let publication = Publication {
        items,
        retag,
        ..Publication::default()
    };
    let context = Context {
        client: &ports.client,
        store: &ports.store,
        uploads,
        watcher: &Told(Arc::clone(&ports.reporter)),
    };
    let published = publish::publish(&publication, &context).await;
    published.map_err(unpublished)
}

/// Publishes those images of a set that go to registries, in one transaction.
pub(crate) async fn publish_set(
    set: &SetRequest,
    ports: &Ports,
    sets: &[ImageSet],
    uploads: &mut [Option<Uploads>],
    exported: &mut [Exported],
) -> Result<Option<publish::Report>, BuildError> {
    let mut items = Vec::new();
    let mut retag = false;
    let mut shared = None;
    for ((number, name, request), images) in set.outcomes().zip(sets) {
        if let Some(uploads) = uploads[number.index()].take() {
            items.push(uploads.item(name, images, request));
            retag |= request.publishing.retag;
            shared = Some(uploads.shared());
        }
    }
    let Some(shared) = shared else {
        return Ok(None);
    };
    let outcome = tokio::select! {
        outcome = publish_all(items, retag, shared, ports) => outcome?,
        () = ports.interrupt.triggered() => return Err(BuildError::Interrupted),
    };
    let mut counted = Some(traffic(&outcome));
    for ((.., request), exported) in set.outcomes().zip(exported) {
        if request.outputs.contains(&Output::Registry) {
            let tags = outputs(&outcome, &request.tags);
            exported.outputs.extend(tags);
            // It is not told by image: the first one has it all.
            exported.traffic = counted.take().unwrap_or_default();
        }
    }
    Ok(Some(outcome.report))
}

/// What was published of one image, as its outputs: in the order of its names.
pub(crate) fn outputs(outcome: &Outcome, tags: &[Reference]) -> Vec<OutputReport> {
    let images = outcome.report.images.iter();
    let published: Vec<&PublishedTag> = images.flat_map(|image| &image.tags).collect();
    tags.iter()
        .map(|reference| OutputReport::Published {
            reference: reference.clone(),
            unchanged: published
                .iter()
                .any(|tag| tag.reference == *reference && tag.change == TagChange::Unchanged),
        })
        .collect()
}

/// What was moved, as far as publishing counts it.
pub(crate) fn traffic(outcome: &Outcome) -> Traffic {
    Traffic {
        blobs_sent: outcome.counts.sent,
        blobs_mounted: outcome.counts.mounted,
        blobs_present: outcome.counts.present,
        ..Traffic::default()
    }
}

/// Adds to an error of publishing what the user can do.
fn unpublished(error: PublishError) -> BuildError {
    let hint = error.advice();
    if error.is_tag_conflict() {
        return BuildError::TagConflict {
            message: "an immutable tag is taken".to_owned(),
            hint,
            source: Some(error.into()),
        };
    }
    let message = "could not publish the image".to_owned();
    match error {
        PublishError::Invalid(_) => BuildError::Input {
            message,
            hint,
            source: Some(error.into()),
        },
        PublishError::Conflict(_)
        | PublishError::Moved { .. }
        | PublishError::Registry(_)
        | PublishError::Unfinished(_)
        | PublishError::Busy
        | PublishError::Journal(_)
        | PublishError::Report(_) => BuildError::Failed {
            message,
            hint,
            source: Some(error.into()),
        },
    }
}

/// The blobs of images whose layers are in the store, or where they came from.
pub(crate) fn blobs(ports: &Ports, origins: Origins) -> Arc<dyn Blobs> {
    Arc::new(ImageBlobs {
        store: ports.store.clone(),
        client: ports.client.clone(),
        origins,
    })
}

struct ImageBlobs {
    store: Store,
    client: registry::Client,
    origins: Origins,
}

impl Blobs for ImageBlobs {
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>> {
        let origin = self.origins.get(&blob.digest);
        blob_source(&self.store, &self.client, origin.as_ref(), blob)
    }

    fn repositories(&self, blob: &Descriptor) -> Vec<Repository> {
        let origin = self.origins.get(&blob.digest);
        origin
            .iter()
            .filter_map(Origin::repository)
            .cloned()
            .collect()
    }

    fn blame<'b>(
        &'b self,
        blob: &'b Descriptor,
        error: &'b registry::Error,
    ) -> Pin<Box<dyn Future<Output = Option<BlobFault>> + Send + 'b>> {
        if *error.kind() == ErrorKind::Source {
            self.origins.failed(&blob.digest);
        }
        Box::pin(async {
            let damage = damage(&self.store, blob).await?;
            Some(BlobFault::from(damage))
        })
    }
}

/// Reads the blob's file, if there is one, to find out whether it was to
/// blame. If so it is removed, so that the next build makes it anew. Not
/// done before a push, which would cost every push as much.
async fn damage(store: &Store, blob: &Descriptor) -> Option<BlobError> {
    let (store, blob) = (store.clone(), blob.clone());
    let read = move || match store.blobs().open(&blob) {
        Ok(mut reader) => {
            let error = io::copy(&mut reader, &mut io::sink()).err()?;
            error
                .into_inner()?
                .downcast::<BlobError>()
                .ok()
                .map(|error| *error)
        }
        Err(BlobError::Absent(_)) => None,
        Err(error) => Some(error),
    };
    tokio::task::spawn_blocking(read)
        .await
        .expect("reading a blob does not panic")
}

/// Passes on what happens.
struct Told(Arc<dyn Reporter>);

impl Watcher for Told {
    fn upload(&self, blob: &Descriptor) -> Option<Progress> {
        // Configurations are gone before anybody has read their line.
        let is_layer = blob.media_type.layer_compression().is_some();
        is_layer.then(|| transfer(&self.0, Direction::Up, blob))
    }

    fn published(&self, tag: &PublishedTag, digest: &Digest) {
        self.0.report(Event::Published {
            reference: tag.reference.clone(),
            digest: digest.clone(),
            unchanged: tag.change == TagChange::Unchanged,
        });
    }

    fn warning(&self, message: String) {
        self.0.report(Event::Warning { message });
    }
}
