//! From a root to everything below it, with all that has to agree compared (D08–D15).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ::registry::BlobSource;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use oci::{
    DOCUMENT_BYTES_MAX, Descriptor, Digest, Document, Index, Manifest, MediaType, Platform,
    Repository,
};
use serde::Deserialize;

use super::{Part, SourceError};
use crate::{Blobs, Content};

/// Indices below one another (D14).
const DEPTH_MAX: usize = 2;
/// Documents of one image (D14).
const DOCUMENTS_MAX: usize = 1000;
/// Bytes of all documents together, which are held in memory: 64 MiB.
const DOCUMENTS_BYTES_MAX: u64 = 64 << 20;
/// Bytes of configurations that are kept, so that they are not fetched twice: 16 MiB.
const CONFIGS_BYTES_MAX: usize = 16 << 20;
/// Configurations that are fetched at once.
const FETCHES_MAX: usize = 4;

/// Something that holds documents and blobs.
pub(super) trait Holder: Blobs {
    /// A manifest or index. Only its digest has been compared.
    fn document<'h>(
        &'h self,
        wanted: &'h Descriptor,
    ) -> BoxFuture<'h, Result<Document, SourceError>>;

    /// A configuration, compared with size and digest.
    fn config<'h>(&'h self, wanted: &'h Descriptor) -> BoxFuture<'h, Result<Bytes, SourceError>>;
}

/// Where to begin.
pub(super) struct Root {
    pub(super) descriptor: Descriptor,
    pub(super) document: Document,
}

/// Reads everything below a root, or what there is of it for a platform.
pub(super) async fn gather(
    holder: Arc<dyn Holder>,
    root: Root,
    part: &Part,
) -> Result<Content, SourceError> {
    let root = match part {
        Part::Whole => root,
        Part::Platform(platform) => choose(&*holder, root, platform).await?,
    };
    let mut walk = Walk {
        holder: &*holder,
        documents: Vec::new(),
        seen: HashSet::new(),
        bytes: 0,
    };
    let mut root_descriptor = Descriptor {
        annotations: BTreeMap::new(),
        artifact_type: None,
        ..root.descriptor.clone()
    };
    walk.take(root.descriptor, root.document, 0).await?;
    let documents = walk.documents;
    let configs = configs(&*holder, &documents).await?;
    if let [Document::Manifest(manifest)] = &*documents
        && let Some(config) = configs.get(&manifest.value().config.digest)
    {
        root_descriptor.platform = platform_of(config);
    }
    Ok(Content {
        root: root_descriptor,
        documents,
        blobs: Arc::new(WithConfigs { configs, holder }),
    })
}

/// The manifest for a platform.
async fn choose(
    holder: &dyn Holder,
    mut root: Root,
    platform: &Platform,
) -> Result<Root, SourceError> {
    for _ in 0..=DEPTH_MAX {
        let index = match &root.document {
            Document::Index(index) => index.value(),
            Document::Manifest(manifest) => {
                let config = &manifest.value().config;
                // In an index, the index decides; alone, only the configuration tells.
                if root.descriptor.platform.is_none() && is_image_config(config) {
                    let offered = platform_of(&holder.config(config).await?);
                    if let Some(offered) = offered.filter(|one| platform.accepts(one).is_none()) {
                        return Err(SourceError::Platform {
                            wanted: Box::new(platform.clone()),
                            offered: vec![offered.to_string()],
                        });
                    }
                }
                return Ok(root);
            }
        };
        let Some(entry) = index.select(platform) else {
            return Err(SourceError::Platform {
                wanted: Box::new(platform.clone()),
                offered: index.platforms().iter().map(ToString::to_string).collect(),
            });
        };
        let descriptor = entry.clone();
        let document = fetch(holder, &descriptor).await?;
        root = Root {
            descriptor,
            document,
        };
    }
    Err(too_deep())
}

fn too_deep() -> SourceError {
    SourceError::Bound(format!("its indices are nested more than {DEPTH_MAX} deep"))
}

/// A document, compared with the descriptor that led to it.
async fn fetch(holder: &dyn Holder, wanted: &Descriptor) -> Result<Document, SourceError> {
    let mismatch = |reason: String| SourceError::Mismatch {
        digest: wanted.digest.clone(),
        reason,
    };
    if wanted.size > DOCUMENT_BYTES_MAX {
        return Err(mismatch(format!(
            "it has {} bytes, and documents have at most {DOCUMENT_BYTES_MAX}",
            wanted.size
        )));
    }
    if !wanted.media_type.is_manifest() && !wanted.media_type.is_index() {
        return Err(mismatch(format!(
            "it is listed as {}, which is no manifest and no index",
            wanted.media_type
        )));
    }
    let document = holder.document(wanted).await?;
    if document.bytes().len() as u64 != wanted.size {
        let found = document.bytes().len();
        return Err(mismatch(format!(
            "it has {found} bytes, not {}",
            wanted.size
        )));
    }
    let declared = match &document {
        Document::Manifest(manifest) => &manifest.value().media_type,
        Document::Index(index) => &index.value().media_type,
    };
    // A document that does not say what it is may be of either family, OCI's or Docker's.
    let fits = match declared {
        Some(declared) => *declared == wanted.media_type,
        None => document.media_type().is_index() == wanted.media_type.is_index(),
    };
    if !fits {
        return Err(mismatch(format!(
            "it is listed as {}, and calls itself {}",
            wanted.media_type,
            document.media_type()
        )));
    }
    Ok(document)
}

/// Collects documents, children first.
struct Walk<'h> {
    holder: &'h dyn Holder,
    documents: Vec<Document>,
    seen: HashSet<Digest>,
    bytes: u64,
}

impl Walk<'_> {
    fn take(
        &mut self,
        descriptor: Descriptor,
        document: Document,
        depth: usize,
    ) -> BoxFuture<'_, Result<(), SourceError>> {
        Box::pin(async move {
            if depth > DEPTH_MAX {
                return Err(too_deep());
            }
            self.seen.insert(descriptor.digest);
            self.bytes += document.bytes().len() as u64;
            if self.seen.len() > DOCUMENTS_MAX {
                return Err(SourceError::Bound(format!(
                    "it has more than {DOCUMENTS_MAX} manifests"
                )));
            }
            if self.bytes > DOCUMENTS_BYTES_MAX {
                return Err(SourceError::Bound(format!(
                    "its manifests have more than {DOCUMENTS_BYTES_MAX} bytes"
                )));
            }
            if let Document::Index(index) = &document {
                for entry in index_entries(index.value())? {
                    if self.seen.contains(&entry.digest) {
                        continue;
                    }
                    let child = fetch(self.holder, &entry).await?;
                    self.take(entry, child, depth + 1).await?;
                }
            }
            self.documents.push(document);
            Ok(())
        })
    }
}

fn index_entries(index: &Index) -> Result<Vec<Descriptor>, SourceError> {
    if index.manifests.len() > DOCUMENTS_MAX {
        return Err(SourceError::Bound(format!(
            "its index has {} entries, more than {DOCUMENTS_MAX}",
            index.manifests.len()
        )));
    }
    Ok(index.manifests.clone())
}

/// Reads the configurations of all images, and compares them with their manifests.
async fn configs(
    holder: &dyn Holder,
    documents: &[Document],
) -> Result<BTreeMap<Digest, Bytes>, SourceError> {
    let images = documents.iter().filter_map(|document| match document {
        Document::Manifest(manifest) if is_image_config(&manifest.value().config) => {
            Some((manifest.digest(), manifest.value()))
        }
        Document::Manifest(_) | Document::Index(_) => None,
    });
    let fetched: Vec<(Digest, Bytes)> = stream::iter(images)
        .map(|(digest, manifest)| async move {
            let config = holder.config(&manifest.config).await?;
            check_config(digest, manifest, &config)?;
            Ok::<_, SourceError>((manifest.config.digest.clone(), config))
        })
        .buffered(FETCHES_MAX)
        .try_collect()
        .await?;
    let mut kept = BTreeMap::new();
    let mut bytes = 0;
    for (digest, config) in fetched {
        bytes += config.len();
        if bytes <= CONFIGS_BYTES_MAX {
            kept.insert(digest, config);
        }
    }
    Ok(kept)
}

/// What an image or index runs on.
pub fn platforms(content: &Content) -> Vec<Platform> {
    match content.documents.last() {
        Some(Document::Index(index)) => index.value().platforms().into_iter().cloned().collect(),
        Some(Document::Manifest(_)) | None => content.root.platform.iter().cloned().collect(),
    }
}

fn is_image_config(config: &Descriptor) -> bool {
    matches!(
        config.media_type,
        MediaType::OciConfig | MediaType::DockerConfig
    )
}

/// What of a configuration has to agree with the manifest.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    rootfs: Option<RootFs>,
    #[serde(default)]
    history: Option<Vec<Step>>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    empty_layer: bool,
}

/// D15. A configuration without a root file system is that of something else than an image, whoever
/// gave it the type of one.
fn check_config(manifest: &Digest, value: &Manifest, config: &[u8]) -> Result<(), SourceError> {
    let refuse = |reason: String| {
        Err(SourceError::Config {
            manifest: manifest.clone(),
            reason,
        })
    };
    let config: Config = match serde_json::from_slice(config) {
        Ok(config) => config,
        Err(error) => return refuse(format!("its configuration cannot be read: {error}")),
    };
    let Some(rootfs) = &config.rootfs else {
        return Ok(());
    };
    if rootfs.kind != "layers" {
        return refuse(format!(
            "its root file system is of the type `{}`, not `layers`",
            rootfs.kind.chars().take(40).collect::<String>()
        ));
    }
    let diff_ids = rootfs.diff_ids.as_ref().map_or(0, Vec::len);
    if diff_ids != value.layers.len() {
        return refuse(format!(
            "the manifest lists {} layers, and the configuration {diff_ids}",
            value.layers.len()
        ));
    }
    let steps = config.history.iter().flatten();
    let made = steps.filter(|step| !step.empty_layer).count();
    if made > diff_ids {
        return refuse(format!(
            "its history makes {made} layers, and there are {diff_ids}"
        ));
    }
    Ok(())
}

/// What an image runs on, by its configuration.
fn platform_of(config: &[u8]) -> Option<Platform> {
    let config: Config = serde_json::from_slice(config).ok()?;
    let known = !config.os.is_empty() && config.os != "unknown";
    known.then(|| Platform::normalised(&config.os, &config.architecture, config.variant.as_deref()))
}

/// Blobs of which the configurations are at hand.
struct WithConfigs {
    configs: BTreeMap<Digest, Bytes>,
    holder: Arc<dyn Holder>,
}

impl Blobs for WithConfigs {
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>> {
        match self.configs.get(&blob.digest) {
            Some(config) => Some(Arc::new(config.clone())),
            None => self.holder.source(blob),
        }
    }

    fn repositories(&self, blob: &Descriptor) -> Vec<Repository> {
        self.holder.repositories(blob)
    }
}
