//! Images as files of an OCI image layout (image specification, "OCI Image
//! Layout"), and those files as one tar that depends on nothing but the image
//! and its names.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use oci::{Descriptor, Digest, Index, MediaType, Raw, Reference};
use store::layer::{Entry, EntryKind, EntryPath, Metadata, TarStream, TarStreamError};

use super::supply::{Supply, SupplyError};
use crate::image_set::ImageSet;

/// The key of the tag in an index (image specification, "Pre-Defined Annotation
/// Keys").
pub(crate) const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
/// The key of the whole name in an index, as BuildKit writes and containerd
/// reads it.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// The name of the index in a layout.
pub(crate) const INDEX_FILE: &str = "index.json";

const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Headers and small files are gathered until they have this many bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error(transparent)]
    Supply(#[from] SupplyError),
    #[error(transparent)]
    Tar(#[from] TarStreamError),
}

/// One file.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A directory.
    Directory,
    /// A document.
    Bytes(Box<[u8]>),
    /// A layer.
    Blob(Descriptor),
}

/// The files of an image, in the order of a tar.
#[derive(Clone, Debug)]
pub(crate) struct ImageFiles {
    files: BTreeMap<EntryPath, Content>,
    index: Index,
}

impl ImageFiles {
    /// The layout of a build's images with its names.
    pub(crate) fn layout(images: &ImageSet, tags: &[Reference]) -> Self {
        let index = Index {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            artifact_type: None,
            manifests: descriptors(images, tags),
            subject: None,
            annotations: BTreeMap::new(),
        };
        let mut files = Self {
            files: BTreeMap::new(),
            index: index.clone(),
        };
        for layer in images.layers() {
            let content = Content::Blob(layer.blob.clone());
            files.insert(&blob_name(&layer.blob.digest), content);
        }
        for document in images.small_blobs().chain(images.manifests()) {
            files.add(&blob_name(&document.descriptor.digest), document.bytes);
        }
        if let Some(index) = images.index() {
            files.add(&blob_name(index.digest()), index.bytes());
        }
        files.add(LAYOUT_FILE, LAYOUT);
        files.add(INDEX_FILE, Raw::write(index).bytes());
        files
    }

    /// Adds a document.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) {
        self.insert(name, Content::Bytes(bytes.into()));
    }

    /// Adds a file, with the directories that it is in.
    fn insert(&mut self, name: &str, content: Content) {
        let path = EntryPath::parse(name.as_bytes()).expect("names in layouts are plain");
        let mut above = path.parent();
        while let Some(directory) = above.filter(|directory| !directory.is_root()) {
            above = directory.parent();
            self.files.insert(directory, Content::Directory);
        }
        self.files.insert(path, content);
    }

    /// The files by name; a directory comes before what is in it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&EntryPath, &Content)> {
        self.files.iter()
    }

    /// What [`INDEX_FILE`] says.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Writes all files as one tar.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`]; what has been written is of no use then.
    pub(crate) fn write_tar(
        &self,
        supply: &Supply,
        output: &mut dyn Write,
    ) -> Result<(), ArchiveError> {
        let mut tar = TarStream::new(BufWriter::with_capacity(BUFFER_BYTES, output));
        for (path, content) in &self.files {
            let path = path.clone();
            let metadata = Metadata::root_owned(0o644, 0);
            match content {
                Content::Directory => tar.add(&Entry {
                    path,
                    kind: EntryKind::Directory,
                    metadata: Metadata::root_owned(0o755, 0),
                })?,
                Content::Bytes(bytes) => {
                    tar.add_file(path, metadata, bytes.len() as u64, &mut &**bytes)?;
                }
                Content::Blob(blob) => {
                    let mut reader = supply.open(blob)?;
                    match tar.add_file(path, metadata, blob.size, &mut reader) {
                        Err(TarStreamError::Read { source, .. }) => {
                            return Err(reader.failure(source).into());
                        }
                        other => other?,
                    }
                }
            }
        }
        tar.finish()?;
        Ok(())
    }
}

/// The place of a blob in a layout.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// One descriptor for each name of the image; one without a name when it has
/// none.
fn descriptors(images: &ImageSet, tags: &[Reference]) -> Vec<Descriptor> {
    if tags.is_empty() {
        return vec![images.descriptor()];
    }
    tags.iter()
        .map(|name| {
            let mut descriptor = images.descriptor();
            let mut annotate = |key: &str, value: String| {
                descriptor.annotations.insert(key.to_owned(), value);
            };
            annotate(IMAGE_NAME, name.to_string());
            if let Some(tag) = name.tag() {
                annotate(REFERENCE_NAME, tag.to_string());
            }
            descriptor
        })
        .collect()
}
