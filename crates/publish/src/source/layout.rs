//! Images of an OCI image layout (image specification, "OCI Image Layout"), which is a directory or
//! a tar of one.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::registry::BlobSource;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use oci::{DOCUMENT_BYTES_MAX, Descriptor, Digest, Document, Index, Repository, Tag};
use serde::Deserialize;

use super::blob::file_blob;
use super::gather::{Holder, Root, gather};
use super::tar_file::TarFile;
use super::{Part, SourceError, is_derived_tag};
use crate::sink::{IMAGE_NAME, INDEX_FILE, LAYOUT_FILE, REFERENCE_NAME, blob_name};
use crate::{Blobs, Choice, Content};

/// The version of the layout that is read.
const VERSION: &str = "1.0.0";
/// What a form is called in messages.
const LAYOUT: &str = "OCI image layout";

/// A layout in either form.
pub(super) enum Layout {
    Directory(PathBuf),
    Tar(Arc<TarFile>),
}

pub(super) async fn open(
    path: &Path,
    choice: &Choice,
    part: &Part,
) -> Result<Content, SourceError> {
    of(Layout::Directory(path.to_owned()), choice, part).await
}

pub(super) async fn open_archive(
    path: &Path,
    choice: &Choice,
    part: &Part,
) -> Result<Content, SourceError> {
    let tar = tar_file(path).await?;
    of(Layout::Tar(Arc::new(tar)), choice, part).await
}

/// Reads the table of a tar where that keeps nobody waiting.
pub(super) async fn tar_file(path: &Path) -> Result<TarFile, SourceError> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || TarFile::open(&path))
        .await
        .expect("reading a tar does not panic")
}

/// An entry of a layout's index.
pub(super) async fn open_entry(
    layout: Layout,
    entry: &Descriptor,
    part: &Part,
) -> Result<Content, SourceError> {
    let document = layout.read_document(entry)?;
    let descriptor = Descriptor {
        annotations: Default::default(),
        ..entry.clone()
    };
    gather(
        Arc::new(layout),
        Root {
            descriptor,
            document,
        },
        part,
    )
    .await
}

/// The tag of an entry that is named as cosign names what is about a digest, and that digest.
pub(super) fn derived(entry: &Descriptor) -> Option<(Tag, Digest)> {
    let name = entry.annotations.get(REFERENCE_NAME)?;
    if !is_derived_tag(name) {
        return None;
    }
    let digest = name.split('.').next()?.replacen('-', ":", 1);
    Some((name.parse().ok()?, digest.parse().ok()?))
}

pub(super) async fn of(
    layout: Layout,
    choice: &Choice,
    part: &Part,
) -> Result<Content, SourceError> {
    let descriptor = layout.choose(choice)?;
    let document = layout.read_document(&descriptor)?;
    gather(
        Arc::new(layout),
        Root {
            descriptor,
            document,
        },
        part,
    )
    .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    fn path(&self) -> &Path {
        match self {
            Self::Directory(path) => path,
            Self::Tar(tar) => tar.path(),
        }
    }

    fn form(&self, reason: impl Into<String>) -> SourceError {
        SourceError::Form {
            path: self.path().to_owned(),
            expected: LAYOUT,
            reason: reason.into(),
        }
    }

    /// A small file; `None` where there is none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let root = match self {
            Self::Tar(tar) => return tar.read(name, DOCUMENT_BYTES_MAX),
            Self::Directory(root) => root,
        };
        let path = root.join(name);
        let failed = |source| SourceError::File {
            path: path.clone(),
            source,
        };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(metadata) if !metadata.is_file() => {
                return Err(self.form(format!("{name} is not a file")));
            }
            other => other.map_err(failed)?,
        };
        let file = File::open(&path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(DOCUMENT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(SourceError::Bound(format!(
                "{name} has more than {DOCUMENT_BYTES_MAX} bytes"
            )));
        }
        Ok(Some(bytes))
    }

    /// The same layout, to be read by somebody else.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Directory(path) => Self::Directory(path.clone()),
            Self::Tar(tar) => Self::Tar(Arc::clone(tar)),
        }
    }

    /// What the index lists.
    pub(super) fn entries(&self) -> Result<Vec<Descriptor>, SourceError> {
        Ok(self.index()?.manifests)
    }

    /// The descriptor of the chosen image.
    fn choose(&self, choice: &Choice) -> Result<Descriptor, SourceError> {
        let index = self.index()?;
        self.chosen(&index, choice)
    }

    fn index(&self) -> Result<Index, SourceError> {
        if let Self::Directory(root) = self {
            fs::read_dir(root).map_err(|source| SourceError::File {
                path: root.clone(),
                source,
            })?;
        }
        let Some(marker) = self.read(LAYOUT_FILE)? else {
            return Err(self.form(format!("there is no file {LAYOUT_FILE}")));
        };
        let marker: Marker = serde_json::from_slice(&marker)
            .map_err(|error| self.form(format!("{LAYOUT_FILE} cannot be read: {error}")))?;
        if marker.image_layout_version != VERSION {
            return Err(self.form(format!(
                "its version is `{}`, and kiln reads {VERSION}",
                marker
                    .image_layout_version
                    .chars()
                    .take(40)
                    .collect::<String>()
            )));
        }
        let Some(bytes) = self.read(INDEX_FILE)? else {
            return Err(self.form(format!("there is no file {INDEX_FILE}")));
        };
        match Document::read(bytes, None) {
            Ok(Document::Index(index)) => Ok(index.value().clone()),
            Ok(Document::Manifest(_)) => Err(self.form(format!("{INDEX_FILE} is no index"))),
            Err(error) => Err(self.form(format!("{INDEX_FILE}: {error}"))),
        }
    }

    fn chosen(&self, index: &Index, choice: &Choice) -> Result<Descriptor, SourceError> {
        let names = |entry: &Descriptor| -> Vec<String> {
            let keys = [REFERENCE_NAME, IMAGE_NAME];
            let found = keys.iter().filter_map(|key| entry.annotations.get(*key));
            found.cloned().collect()
        };
        let is_image =
            |entry: &Descriptor| entry.artifact_type.is_none() && derived(entry).is_none();
        // What is about an image is not meant when an image is asked for.
        let has_images = index.manifests.iter().any(is_image);
        let mut found: Vec<&Descriptor> = Vec::new();
        for entry in &index.manifests {
            let fits = match choice {
                Choice::Only => is_image(entry) || !has_images,
                Choice::Named(name) => names(entry).contains(name),
                Choice::Digest(digest) => entry.digest == *digest,
            };
            if fits && !found.iter().any(|known| known.digest == entry.digest) {
                found.push(entry);
            }
        }
        let known = || {
            let mut known: Vec<String> = Vec::new();
            for entry in &index.manifests {
                let name = names(entry).into_iter().next();
                let name = name.unwrap_or_else(|| format!("@{}", entry.digest));
                if !known.contains(&name) {
                    known.push(name);
                }
            }
            known
        };
        let place = self.path().display().to_string();
        match (&*found, choice) {
            ([one], _) => Ok(Descriptor {
                annotations: Default::default(),
                ..(*one).clone()
            }),
            // A digest can be below what the index lists.
            ([], Choice::Digest(digest)) => match self.read(&blob_name(digest))? {
                Some(bytes) => Ok(parse(digest, bytes, None)?.descriptor()),
                None => Err(SourceError::Absent {
                    wanted: digest.to_string(),
                    place,
                    known: known(),
                }),
            },
            ([], Choice::Named(name)) => Err(SourceError::Absent {
                wanted: name.clone(),
                place,
                known: known(),
            }),
            ([], Choice::Only) => Err(self.form("there is no image in it")),
            (_, _) => Err(SourceError::Several {
                place,
                known: known(),
            }),
        }
    }

    pub(super) fn read_document(&self, wanted: &Descriptor) -> Result<Document, SourceError> {
        let bytes = self.require(wanted)?;
        parse(&wanted.digest, bytes, Some(wanted))
    }

    fn require(&self, wanted: &Descriptor) -> Result<Vec<u8>, SourceError> {
        let name = blob_name(&wanted.digest);
        match self.read(&name)? {
            Some(bytes) => Ok(bytes),
            None => Err(SourceError::Absent {
                wanted: wanted.digest.to_string(),
                place: self.path().display().to_string(),
                known: Vec::new(),
            }),
        }
    }
}

/// A document of a file.
pub(super) fn parse(
    digest: &Digest,
    bytes: Vec<u8>,
    wanted: Option<&Descriptor>,
) -> Result<Document, SourceError> {
    if !digest.matches(&bytes) {
        return Err(SourceError::Mismatch {
            digest: digest.clone(),
            reason: format!("its bytes have the digest {}", Digest::of(&bytes)),
        });
    }
    let media_type = wanted.map(|wanted| &wanted.media_type);
    Document::read(bytes, media_type).map_err(|source| SourceError::Document {
        digest: digest.clone(),
        source,
    })
}

impl Holder for Layout {
    fn document<'h>(
        &'h self,
        wanted: &'h Descriptor,
    ) -> BoxFuture<'h, Result<Document, SourceError>> {
        Box::pin(std::future::ready(self.read_document(wanted)))
    }

    fn config<'h>(&'h self, wanted: &'h Descriptor) -> BoxFuture<'h, Result<Bytes, SourceError>> {
        let read = || {
            let bytes = self.require(wanted)?;
            if bytes.len() as u64 != wanted.size || !wanted.digest.matches(&bytes) {
                return Err(SourceError::Mismatch {
                    digest: wanted.digest.clone(),
                    reason: format!(
                        "its {} bytes have the digest {}",
                        bytes.len(),
                        Digest::of(&bytes)
                    ),
                });
            }
            Ok(Bytes::from(bytes))
        };
        Box::pin(std::future::ready(read()))
    }
}

impl Blobs for Layout {
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>> {
        let name = blob_name(&blob.digest);
        match self {
            Self::Directory(root) => {
                let path = root.join(name);
                let is_there = fs::metadata(&path).is_ok_and(|found| found.is_file());
                is_there.then(|| file_blob(path, 0, blob))
            }
            Self::Tar(tar) => {
                let place = tar.find(&name)?;
                // The bytes behind a shorter file are somebody else's, and have another digest.
                Some(file_blob(tar.path().to_owned(), place.offset, blob))
            }
        }
    }

    fn repositories(&self, _: &Descriptor) -> Vec<Repository> {
        Vec::new()
    }
}
