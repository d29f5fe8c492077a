//! Images of what `docker save` writes. Since version 25 that is an OCI image layout with one file
//! more, and is read as one, so that digests stay. Older archives have a configuration and plain
//! layers, and get a manifest here: the same archive always the same one.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use ::registry::BlobSource;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use oci::{
    Compression, DOCUMENT_BYTES_MAX, Descriptor, Digest, Document, Hasher, Manifest, MediaType,
    Raw, Reference, Repository,
};
use serde::Deserialize;

use super::blob::file_blob;
use super::gather::{Holder, Root, gather};
use super::layout::{self, Layout};
use super::tar_file::{Place, TarFile};
use super::{Part, SourceError};
use crate::sink::{DOCKER_FILE, INDEX_FILE, LAYOUT_FILE};
use crate::{Blobs, Choice, Content};

/// Layers of one image.
const LAYERS_MAX: usize = 1000;
/// Bytes hashed at once.
const PIECE_BYTES: usize = 256 * 1024;

/// An image in `manifest.json` (moby, `image/tarexport/tarexport.go`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

pub(super) async fn open(
    path: &Path,
    choice: &Choice,
    part: &Part,
) -> Result<Content, SourceError> {
    let tar = layout::tar_file(path).await?;
    let is_layout = tar.find(LAYOUT_FILE).is_some() && tar.find(INDEX_FILE).is_some();
    if is_layout {
        let choice = in_full(choice);
        return layout::of(Layout::Tar(Arc::new(tar)), &choice, part).await;
    }
    let choice = choice.clone();
    let read = tokio::task::spawn_blocking(move || Archive::read(tar, &choice));
    let archive = read.await.expect("reading an archive does not panic")?;
    let document = Document::Manifest(Box::new(archive.manifest.clone()));
    let descriptor = document.descriptor();
    gather(
        Arc::new(archive),
        Root {
            descriptor,
            document,
        },
        part,
    )
    .await
}

/// A name as it stands in an archive: with its registry and its tag.
fn in_full(choice: &Choice) -> Choice {
    match choice {
        Choice::Named(name) => match name.parse::<Reference>() {
            Ok(reference) => Choice::Named(reference.to_string()),
            Err(_) => choice.clone(),
        },
        Choice::Only | Choice::Digest(_) => choice.clone(),
    }
}

struct Archive {
    tar: TarFile,
    manifest: Raw<Manifest>,
    config: Bytes,
    layers: BTreeMap<Digest, Place>,
}

impl Archive {
    /// Reads one image. Hashes its layers. Blocks.
    fn read(tar: TarFile, choice: &Choice) -> Result<Self, SourceError> {
        let form = |reason: String| SourceError::Form {
            path: tar.path().to_owned(),
            expected: "archive of docker",
            reason,
        };
        let Some(bytes) = tar.read(DOCKER_FILE, DOCUMENT_BYTES_MAX)? else {
            return Err(form(format!("there is no {DOCKER_FILE} in it")));
        };
        let items: Vec<Item> = serde_json::from_slice(&bytes)
            .map_err(|error| form(format!("{DOCKER_FILE} cannot be read: {error}")))?;
        let item = chosen(&tar, &items, choice)?;
        let lacking = |name: &str| form(format!("`{name}` is not in it"));
        let config = tar
            .read(&item.config, DOCUMENT_BYTES_MAX)?
            .ok_or_else(|| lacking(&item.config))?;
        let names = item.layers.clone().unwrap_or_default();
        if names.len() > LAYERS_MAX {
            return Err(form(format!("an image has more than {LAYERS_MAX} layers")));
        }
        let mut layers = Vec::new();
        let mut places = BTreeMap::new();
        for name in &names {
            let place = tar.find(name).ok_or_else(|| lacking(name))?;
            let (digest, compression) =
                measure(&tar, place).map_err(|source| SourceError::File {
                    path: tar.path().to_owned(),
                    source,
                })?;
            let media_type = MediaType::OciLayer(compression);
            layers.push(Descriptor::new(media_type, digest.clone(), place.size));
            places.insert(digest, place);
        }
        let manifest = Raw::write(Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            artifact_type: None,
            config: Descriptor::new(
                MediaType::OciConfig,
                Digest::of(&config),
                config.len() as u64,
            ),
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        });
        check_layers(&manifest, &config)?;
        Ok(Self {
            tar,
            manifest,
            config: config.into(),
            layers: places,
        })
    }
}

fn chosen<'i>(tar: &TarFile, items: &'i [Item], choice: &Choice) -> Result<&'i Item, SourceError> {
    let place = tar.path().display().to_string();
    let known = || -> Vec<String> {
        let tags = items
            .iter()
            .flat_map(|item| item.repo_tags.iter().flatten());
        tags.cloned().collect()
    };
    match (choice, items) {
        (Choice::Only, [one]) => Ok(one),
        (Choice::Only, []) => Err(SourceError::Form {
            path: tar.path().to_owned(),
            expected: "archive of docker",
            reason: "there is no image in it".to_owned(),
        }),
        (Choice::Only, _) => Err(SourceError::Several {
            place,
            known: known(),
        }),
        (Choice::Named(name), _) => {
            let wanted = in_full(choice);
            let is_it = |tag: &String| in_full(&Choice::Named(tag.clone())) == wanted;
            items
                .iter()
                .find(|item| item.repo_tags.iter().flatten().any(is_it))
                .ok_or_else(|| SourceError::Absent {
                    wanted: name.clone(),
                    place,
                    known: known(),
                })
        }
        (Choice::Digest(digest), _) => Err(SourceError::Absent {
            wanted: format!("{digest}, which an archive of this age does not know,"),
            place,
            known: known(),
        }),
    }
}

/// The digest of a file, and how it is compressed.
fn measure(tar: &TarFile, place: Place) -> io::Result<(Digest, Compression)> {
    let mut file = tar.open_at(place)?;
    let mut hasher = Hasher::default();
    let mut piece = vec![0; PIECE_BYTES];
    let mut compression = None;
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        compression.get_or_insert_with(|| match &piece[..count] {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            _ => Compression::None,
        });
        hasher.update(&piece[..count]);
    }
    Ok((hasher.finish(), compression.unwrap_or(Compression::None)))
}

/// The digest of a layer that is not compressed is in the configuration (D15).
fn check_layers(manifest: &Raw<Manifest>, config: &[u8]) -> Result<(), SourceError> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        #[serde(default)]
        diff_ids: Vec<Digest>,
    }
    let refuse = |reason: String| SourceError::Config {
        manifest: manifest.digest().clone(),
        reason,
    };
    let config: Config = serde_json::from_slice(config)
        .map_err(|error| refuse(format!("its configuration cannot be read: {error}")))?;
    let layers = &manifest.value().layers;
    for (number, (layer, diff_id)) in layers.iter().zip(&config.rootfs.diff_ids).enumerate() {
        let is_plain = layer.media_type == MediaType::OciLayer(Compression::None);
        if is_plain && layer.digest != *diff_id {
            return Err(refuse(format!(
                "layer {} has the digest {}, and the configuration says {diff_id}",
                number + 1,
                layer.digest
            )));
        }
    }
    Ok(())
}

impl Holder for Archive {
    fn document<'h>(
        &'h self,
        wanted: &'h Descriptor,
    ) -> BoxFuture<'h, Result<Document, SourceError>> {
        Box::pin(std::future::ready(Err(SourceError::Absent {
            wanted: wanted.digest.to_string(),
            place: self.tar.path().display().to_string(),
            known: Vec::new(),
        })))
    }

    fn config<'h>(&'h self, _: &'h Descriptor) -> BoxFuture<'h, Result<Bytes, SourceError>> {
        Box::pin(std::future::ready(Ok(self.config.clone())))
    }
}

impl Blobs for Archive {
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>> {
        if blob.digest == self.manifest.value().config.digest {
            return Some(Arc::new(self.config.clone()));
        }
        let place = self.layers.get(&blob.digest)?;
        Some(file_blob(self.tar.path().to_owned(), place.offset, blob))
    }

    fn repositories(&self, _: &Descriptor) -> Vec<Repository> {
        Vec::new()
    }
}
