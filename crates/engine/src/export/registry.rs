//! Publishing to registries, as a transaction: blobs, then manifests by digest,
//! then the index that lists them, then tags. Nothing is visible before the last phase, and a run that
//! died is repeated without harm.
//!
//! Layers are sent while later steps still run ([`Uploads::start`]).

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use oci::{Descriptor, Digest, MediaType, Reference, Repository};
use registry::{BlobSource, Client, ErrorKind, PushOptions, Pushed, Selector};
use store::Store;
use store::blob::BlobError;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::assemble::Image;
use crate::blob_source::blob_source;
use crate::event::{Direction, Event, Reporter};
use crate::image_set::ImageSet;
use crate::layers::transfer;
use crate::origins::{Origin, Origins};
use crate::output::LayerRef;
use crate::report::{OutputReport, Traffic};

/// Blobs sent at once, over all destinations.
const UPLOADS_MAX: usize = 4;

/// Why an image could not be published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// A blob could not be brought to a registry, a manifest not be stored, or a tag not be set or
    /// read: the error says which and where.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// A blob of the store was refused because it was damaged.
    #[error(transparent)]
    Damaged(BlobError),
    /// A layer is nowhere to be had.
    #[error("layer {0} is neither in the store nor in a registry that this image came from")]
    Lost(Digest),
}

/// Brings blobs to the repositories of an image.
pub(crate) struct Uploads {
    store: Store,
    client: Client,
    reporter: Arc<dyn Reporter>,
    origins: Origins,
    repositories: Vec<Repository>,
    started: HashSet<(Repository, Digest)>,
    turns: Arc<Semaphore>,
    tasks: JoinSet<Result<Pushed, PublishError>>,
    done: Traffic,
}

impl Uploads {
    /// Prepares to publish under `tags`. `origins` says where the blobs of base
    /// images are.
    pub(crate) fn new(
        store: Store,
        client: Client,
        reporter: Arc<dyn Reporter>,
        origins: Origins,
        tags: &[Reference],
    ) -> Self {
        let mut repositories: Vec<Repository> = Vec::new();
        for tag in tags {
            if !repositories.contains(tag.repository()) {
                repositories.push(tag.repository().clone());
            }
        }
        Self {
            store,
            client,
            reporter,
            origins,
            repositories,
            started: HashSet::new(),
            turns: Arc::new(Semaphore::new(UPLOADS_MAX)),
            tasks: JoinSet::new(),
            done: Traffic::default(),
        }
    }

    /// Begins to bring a layer to all destinations, in the background.
    pub(crate) fn start(&mut self, layer: &LayerRef) {
        for repository in self.repositories.clone() {
            self.start_in(&repository, layer.blob.clone(), None);
        }
    }

    fn start_image(&mut self, repository: &Repository, image: &Image) {
        for layer in &*image.output.stack {
            self.start_in(repository, layer.blob.clone(), None);
        }
        let config = image.config.descriptor(MediaType::OciConfig);
        let content = bytes::Bytes::copy_from_slice(image.config.bytes());
        self.start_in(repository, config, Some(content));
    }

    fn start_in(
        &mut self,
        repository: &Repository,
        blob: Descriptor,
        content: Option<bytes::Bytes>,
    ) {
        if !self
            .started
            .insert((repository.clone(), blob.digest.clone()))
        {
            return;
        }
        let mut upload = Upload {
            store: self.store.clone(),
            client: self.client.clone(),
            reporter: Arc::clone(&self.reporter),
            origin: self.origins.get(&blob.digest),
            origins: self.origins.clone(),
            repository: repository.clone(),
            blob,
            content,
        };
        let turns = Arc::clone(&self.turns);
        self.tasks.spawn(async move {
            let _turn = turns
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            upload.run().await
        });
    }

    async fn wait(&mut self) -> Result<(), PublishError> {
        while let Some(finished) = self.tasks.join_next().await {
            match finished.expect("an upload does not panic and is not aborted before its end")? {
                Pushed::Existed => self.done.blobs_present += 1,
                Pushed::Mounted => self.done.blobs_mounted += 1,
                Pushed::Uploaded { .. } => self.done.blobs_sent += 1,
            }
        }
        Ok(())
    }

    /// Publishes images under all tags. Tags that point at it already cost
    /// one request each and nothing else.
    pub(crate) async fn publish(
        mut self,
        images: &ImageSet,
        tags: &[Reference],
    ) -> Result<(Vec<OutputReport>, Traffic), PublishError> {
        let digest = images.descriptor().digest;
        let mut moving = Vec::new();
        let mut outputs = Vec::new();
        for tag in tags {
            let current = self.client.tag_points_at(tag).await?;
            let unchanged = current.as_ref() == Some(&digest);
            if !unchanged {
                moving.push(tag);
            }
            outputs.push(OutputReport::Published {
                reference: tag.clone(),
                unchanged,
            });
        }
        let mut repositories: Vec<Repository> = Vec::new();
        for tag in &moving {
            if !repositories.contains(tag.repository()) {
                repositories.push(tag.repository().clone());
            }
        }
        for repository in &repositories {
            for image in images.images() {
                self.start_image(repository, image);
            }
        }
        self.wait().await?;
        for repository in &repositories {
            for image in images.images() {
                self.put_by_digest(repository, image).await?;
            }
            if let Some(index) = images.index() {
                let selector = Selector::Digest(index.digest().clone());
                self.client
                    .push_manifest(repository, &selector, &MediaType::OciIndex, index.bytes())
                    .await?;
            }
        }
        let (media_type, bytes) = images.top();
        for tag in &moving {
            let name = tag.tag().expect("only tags are published").clone();
            self.client
                .push_manifest(tag.repository(), &Selector::Tag(name), &media_type, bytes)
                .await?;
        }
        for output in &outputs {
            if let OutputReport::Published {
                reference,
                unchanged,
            } = output
            {
                let (reference, unchanged) = (reference.clone(), *unchanged);
                self.reporter.report(Event::Published {
                    reference,
                    digest: digest.clone(),
                    unchanged,
                });
            }
        }
        Ok((outputs, self.done))
    }

    /// A registry that has forgotten a blob since it said that it has it says so
    /// here; then all are brought there once more.
    async fn put_by_digest(
        &mut self,
        repository: &Repository,
        image: &Image,
    ) -> Result<(), PublishError> {
        let selector = Selector::Digest(image.manifest.digest().clone());
        let bytes = image.manifest.bytes();
        let first = self
            .client
            .push_manifest(repository, &selector, &MediaType::OciManifest, bytes)
            .await;
        let source = match first {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if !matches!(source.kind(), ErrorKind::BlobUnknown { .. }) {
            return Err(source.into());
        }
        self.started.retain(|(known, _)| known != repository);
        self.start_image(repository, image);
        self.wait().await?;
        self.client
            .push_manifest(repository, &selector, &MediaType::OciManifest, bytes)
            .await
            .map(|_| ())
            .map_err(PublishError::from)
    }
}

/// One blob on its way to one repository.
struct Upload {
    store: Store,
    client: Client,
    reporter: Arc<dyn Reporter>,
    origin: Option<Origin>,
    origins: Origins,
    repository: Repository,
    blob: Descriptor,
    content: Option<bytes::Bytes>,
}

impl Upload {
    async fn run(&mut self) -> Result<Pushed, PublishError> {
        let mount_from = self
            .origin
            .iter()
            .filter_map(Origin::repository)
            .filter(|origin| origin.same_registry(&self.repository))
            .cloned()
            .collect();
        let progress = self
            .content
            .is_none()
            .then(|| transfer(&self.reporter, Direction::Up, &self.blob));
        let options = PushOptions {
            mount_from,
            progress,
            ..PushOptions::default()
        };
        let source: Arc<dyn BlobSource> = match self.content.take() {
            Some(content) => Arc::new(content),
            None => {
                let origin = self.origin.as_ref();
                blob_source(&self.store, &self.client, origin, &self.blob)
                    .ok_or_else(|| PublishError::Lost(self.blob.digest.clone()))?
            }
        };
        let pushed = self
            .client
            .push_blob(&self.repository, &self.blob, &*source, &options)
            .await;
        match pushed {
            Ok(pushed) => Ok(pushed),
            Err(error) => {
                if *error.kind() == ErrorKind::Source {
                    self.origins.failed(&self.blob.digest);
                }
                Err(self
                    .damage()
                    .await
                    .map_or(error.into(), PublishError::Damaged))
            }
        }
    }

    /// Reads the blob's file, if there is one, to find out whether it was to
    /// blame. If so it is removed, so that the next build makes it anew. Not
    /// done before a push, which would cost every push as much.
    async fn damage(&self) -> Option<BlobError> {
        let (store, blob) = (self.store.clone(), self.blob.clone());
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
}
