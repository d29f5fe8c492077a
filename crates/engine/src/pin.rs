//! Names of images become facts: manifest, configuration, layers. Everything
//! after this works by digest, so that a tag that moves during a build moves
//! nothing in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use graph::{BaseImage, BaseLayer, ImageName, LayoutImage};
use oci::{DOCUMENT_BYTES_MAX, Descriptor, Digest, Document, ImageConfig, Index, Platform, Raw};
use registry::Client;
use store::Store;

use crate::event::{Event, Reporter};
use crate::layout::{self, LayoutError};

/// Indices in indices that are followed before the manifest must come.
const INDEX_DEPTH_MAX: usize = 2;

/// Looks images up, each once.
pub(crate) struct Pins {
    store: Store,
    client: Client,
    reporter: Arc<dyn Reporter>,
    pull: bool,
    known: BTreeMap<(ImageName, Platform), BaseImage>,
}

/// Why an image cannot be used as a base.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinError {
    #[error("could not look up {reference}")]
    Registry {
        reference: ImageName,
        source: registry::Error,
    },
    #[error(
        "{reference} is not available for {platform}: it offers {}",
        none_or(offered)
    )]
    Platform {
        reference: ImageName,
        platform: Platform,
        offered: String,
    },
    #[error("{reference} is an index of indices of indices")]
    Depth { reference: ImageName },
    #[error("{reference} has a manifest that kiln cannot use")]
    Document {
        reference: ImageName,
        source: oci::DocumentError,
    },
    #[error("{reference} has a configuration that kiln cannot use")]
    Config {
        reference: ImageName,
        source: oci::RawError,
    },
    #[error(
        "{reference} is damaged: its manifest has {layers} layers, its configuration {diff_ids}"
    )]
    LayerCount {
        reference: ImageName,
        layers: usize,
        diff_ids: usize,
    },
    #[error("could not take {reference} from its directory")]
    Layout {
        reference: ImageName,
        source: LayoutError,
    },
    #[error(transparent)]
    Disk(#[from] store::DiskError),
    #[error(transparent)]
    Blob(#[from] store::blob::BlobError),
}

impl Pins {
    pub(crate) fn new(
        store: Store,
        client: Client,
        reporter: Arc<dyn Reporter>,
        pull: bool,
    ) -> Self {
        Self {
            store,
            client,
            reporter,
            pull,
            known: BTreeMap::new(),
        }
    }

    /// What was found for a name that has been looked up.
    pub(crate) fn get(&self, reference: &ImageName, platform: &Platform) -> Option<&BaseImage> {
        self.known.get(&(reference.clone(), platform.clone()))
    }

    /// Looks a name up unless that has been done.
    pub(crate) async fn look_up(
        &mut self,
        reference: &ImageName,
        platform: &Platform,
    ) -> Result<(), PinError> {
        let key = (reference.clone(), platform.clone());
        if !self.known.contains_key(&key) {
            let image = self.fetch(reference, platform).await?;
            if let ImageName::Registry(reference) = reference {
                self.reporter.report(Event::Resolved {
                    reference: reference.clone(),
                    digest: image.manifest.digest.clone(),
                    platform: platform.clone(),
                });
            }
            self.known.insert(key, image);
        }
        Ok(())
    }

    async fn fetch(
        &self,
        reference: &ImageName,
        platform: &Platform,
    ) -> Result<BaseImage, PinError> {
        let failed = |source| PinError::Registry {
            reference: reference.clone(),
            source,
        };
        // A digest that the store has needs no registry; a tag may have moved and does.
        let digest = match reference {
            ImageName::Registry(name) => match name.digest() {
                Some(digest) if !self.pull && self.store.blobs().contains(digest) => digest.clone(),
                _ => self.client.resolve(name).await.map_err(failed)?.digest,
            },
            ImageName::Layout(layout) => {
                let platform = platform.clone();
                let found = in_layout(layout, move |layout| layout::find(layout, &platform)).await;
                found.map_err(|source| unusable(reference, source))?
            }
        };
        let mut document = self.document(reference, digest).await?;
        let mut depth = 0;
        let manifest = loop {
            match document {
                Document::Manifest(manifest) => break manifest,
                Document::Index(index) => {
                    depth += 1;
                    if depth > INDEX_DEPTH_MAX {
                        return Err(PinError::Depth {
                            reference: reference.clone(),
                        });
                    }
                    let entry = index
                        .value()
                        .select(platform)
                        .or_else(|| only_index(index.value()))
                        .ok_or_else(|| PinError::Platform {
                            reference: reference.clone(),
                            platform: platform.clone(),
                            offered: offered(&index.value().platforms()),
                        })?;
                    document = self.document(reference, entry.digest.clone()).await?;
                }
            }
        };
        let config = self.config(reference, &manifest.value().config).await?;
        let (layers, diff_ids) = (&manifest.value().layers, &config.rootfs.diff_ids);
        if layers.len() != diff_ids.len() {
            return Err(PinError::LayerCount {
                reference: reference.clone(),
                layers: layers.len(),
                diff_ids: diff_ids.len(),
            });
        }
        if let ImageName::Layout(layout) = reference {
            let (store, blobs) = (self.store.clone(), layers.clone());
            let imported = in_layout(layout, move |layout| {
                let mut blobs = blobs.iter();
                blobs.try_for_each(|blob| layout::import(layout, &store, blob))
            });
            imported
                .await
                .map_err(|source| unusable(reference, source))?;
        }
        let layers = diff_ids
            .iter()
            .zip(layers)
            .map(|(diff_id, blob)| BaseLayer {
                diff_id: diff_id.clone(),
                blob: Descriptor::new(relabelled(blob), blob.digest.clone(), blob.size),
            })
            .collect();
        let document = Document::Manifest(manifest);
        Ok(BaseImage {
            reference: reference.clone(),
            manifest: document.descriptor(),
            config,
            layers,
        })
    }

    async fn document(&self, reference: &ImageName, digest: Digest) -> Result<Document, PinError> {
        if self.store.blobs().contains(&digest)
            && let Ok(bytes) = self.store.blobs().read(&digest, DOCUMENT_BYTES_MAX)
        {
            return Document::read(bytes, None).map_err(|source| PinError::Document {
                reference: reference.clone(),
                source,
            });
        }
        let document = match reference {
            ImageName::Registry(name) => {
                let at_digest = name.repository().at_digest(digest);
                let document = self.client.manifest(&at_digest).await;
                document.map_err(|source| PinError::Registry {
                    reference: reference.clone(),
                    source,
                })?
            }
            ImageName::Layout(layout) => {
                let read = in_layout(layout, move |layout| layout::document(layout, &digest)).await;
                let bytes = read.map_err(|source| unusable(reference, source))?;
                Document::read(bytes, None).map_err(|source| PinError::Document {
                    reference: reference.clone(),
                    source,
                })?
            }
        };
        self.store.blobs().put(document.bytes())?;
        Ok(document)
    }

    async fn config(
        &self,
        reference: &ImageName,
        descriptor: &Descriptor,
    ) -> Result<ImageConfig, PinError> {
        let bytes = match self
            .store
            .blobs()
            .read(&descriptor.digest, DOCUMENT_BYTES_MAX)
        {
            Ok(bytes) => bytes,
            Err(_) => {
                let bytes = match reference {
                    ImageName::Registry(name) => self
                        .client
                        .document(name.repository(), descriptor, DOCUMENT_BYTES_MAX)
                        .await
                        .map_err(|source| PinError::Registry {
                            reference: reference.clone(),
                            source,
                        })?
                        .to_vec(),
                    ImageName::Layout(layout) => {
                        let digest = descriptor.digest.clone();
                        in_layout(layout, move |layout| layout::document(layout, &digest))
                            .await
                            .map_err(|source| unusable(reference, source))?
                    }
                };
                self.store.blobs().put(&bytes)?;
                bytes
            }
        };
        let config = Raw::<ImageConfig>::read(bytes).map_err(|source| PinError::Config {
            reference: reference.clone(),
            source,
        })?;
        Ok(config.value().clone())
    }
}

/// An index that lists nothing but another one, and says nothing of platforms: which ones there are
/// is said in that. Tools that copy a whole index into a layout make such.
fn only_index(index: &Index) -> Option<&Descriptor> {
    match index.manifests.as_slice() {
        [only] if only.media_type.is_index() && only.platform.is_none() => Some(only),
        _ => None,
    }
}

/// Does something with a layout where it holds nobody up.
async fn in_layout<T: Send + 'static>(
    layout: &LayoutImage,
    work: impl FnOnce(&LayoutImage) -> Result<T, LayoutError> + Send + 'static,
) -> Result<T, LayoutError> {
    let layout = layout.clone();
    tokio::task::spawn_blocking(move || work(&layout))
        .await
        .expect("reading a layout does not panic")
}

fn unusable(reference: &ImageName, source: LayoutError) -> PinError {
    PinError::Layout {
        reference: reference.clone(),
        source,
    }
}

/// Docker's layer types become OCI's: one family of types in a manifest, the
/// bytes untouched (spec row I15).
fn relabelled(blob: &Descriptor) -> oci::MediaType {
    match blob.media_type.layer_compression() {
        Some(compression) => oci::MediaType::OciLayer(compression),
        None => blob.media_type.clone(),
    }
}

fn none_or(offered: &str) -> &str {
    if offered.is_empty() {
        "no platforms"
    } else {
        offered
    }
}

/// The platforms of an index as a list; empty when it has none.
fn offered(platforms: &[&Platform]) -> String {
    platforms
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
