//! Images as files of an OCI image layout (image specification, "OCI Image
//! Layout"), and those files as one tar that depends on nothing but the image
//! and its names.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};

use oci::{Descriptor, Digest, Document, Index, MediaType, Raw, Reference};
use serde::Serialize;
use store::layer::{Entry, EntryKind, EntryPath, Metadata, TarStream, TarStreamError};

use crate::{Blobs, Content};

/// The key of the tag in an index (image specification, "Pre-Defined Annotation
/// Keys").
pub const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
/// The key of the whole name in an index, as BuildKit writes and containerd
/// reads it.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// The name of the index in a layout.
pub(crate) const INDEX_FILE: &str = "index.json";
/// The name of the file that makes a directory a layout.
pub(crate) const LAYOUT_FILE: &str = "oci-layout";
/// The list of images that docker reads.
pub(crate) const DOCKER_FILE: &str = "manifest.json";

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Headers and small files are gathered until they have this many bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A blob cannot be had.
    #[error("could not read the blob {digest}")]
    Blob {
        /// Which.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// The tar cannot be written.
    #[error(transparent)]
    Tar(#[from] TarStreamError),
}

/// Docker's archives have no place for an index.
#[derive(Debug, thiserror::Error)]
#[error("an archive for docker has one image for one platform, and this is an index")]
pub struct NotOneImage;

/// One file.
#[derive(Clone, Debug)]
pub(super) enum FileContent {
    /// A directory.
    Directory,
    /// A document.
    Bytes(Box<[u8]>),
    /// A configuration or a layer.
    Blob(Descriptor),
}

/// The files of an image, in the order of a tar.
#[derive(Clone, Debug)]
pub struct ImageFiles {
    files: BTreeMap<EntryPath, FileContent>,
    index: Index,
}

/// An image in `manifest.json`. Docker's names (moby,
/// `image/tarexport/tarexport.go`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerItem {
    config: String,
    layers: Vec<String>,
    repo_tags: Vec<String>,
}

impl ImageFiles {
    /// The layout of one image or index, listed under names: tags for people, whole references for
    /// container engines.
    pub fn layout(content: &Content, names: &[LayoutName]) -> Self {
        Self::layout_of(&[content], entries(&content.root, names))
    }

    /// The layout of several images or indices, listed as `entries`.
    pub fn layout_of(contents: &[&Content], entries: Vec<Descriptor>) -> Self {
        let index = Index {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            artifact_type: None,
            manifests: entries,
            subject: None,
            annotations: BTreeMap::new(),
        };
        let mut files = Self {
            files: BTreeMap::new(),
            index: index.clone(),
        };
        for document in contents.iter().flat_map(|content| &content.documents) {
            if let Document::Manifest(manifest) = document {
                let manifest = manifest.value();
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    let content = FileContent::Blob(blob.clone());
                    files.insert(&blob_name(&blob.digest), content);
                }
            }
        }
        // Last: what is at hand need not be read.
        for content in contents {
            for document in &content.documents {
                files.add(&blob_name(&document.descriptor().digest), document.bytes());
            }
        }
        files.add(LAYOUT_FILE, LAYOUT);
        files.add(INDEX_FILE, Raw::write(index).bytes());
        files
    }

    /// An archive that `docker load` and `podman load` take. It is an OCI image layout with one
    /// file more, as docker has written since version 25: old readers look at `manifest.json`, new
    /// ones at `index.json`. Layers stay compressed: every reader looks for compression by content,
    /// and the digests of the image survive.
    ///
    /// # Errors
    ///
    /// [`NotOneImage`].
    pub fn docker(content: &Content, names: &[Reference]) -> Result<Self, NotOneImage> {
        let [Document::Manifest(manifest)] = &*content.documents else {
            return Err(NotOneImage);
        };
        let manifest = manifest.value();
        let layout_names: Vec<LayoutName> = names.iter().map(LayoutName::of).collect();
        let mut files = Self::layout(content, &layout_names);
        let item = DockerItem {
            config: blob_name(&manifest.config.digest),
            layers: (manifest.layers.iter())
                .map(|layer| blob_name(&layer.digest))
                .collect(),
            // In full: podman would put `localhost/` in front of a short name.
            repo_tags: names.iter().map(ToString::to_string).collect(),
        };
        let bytes = serde_json::to_vec(&[item]).expect("a list of texts is JSON");
        files.add(DOCKER_FILE, &bytes);
        Ok(files)
    }

    /// Adds a document.
    fn add(&mut self, name: &str, bytes: &[u8]) {
        self.insert(name, FileContent::Bytes(bytes.into()));
    }

    /// Adds a file, with the directories that it is in.
    fn insert(&mut self, name: &str, content: FileContent) {
        let path = EntryPath::parse(name.as_bytes()).expect("names in layouts are plain");
        let mut above = path.parent();
        while let Some(directory) = above.filter(|directory| !directory.is_root()) {
            above = directory.parent();
            self.files.insert(directory, FileContent::Directory);
        }
        self.files.insert(path, content);
    }

    /// The files by name; a directory comes before what is in it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&EntryPath, &FileContent)> {
        self.files.iter()
    }

    /// What [`INDEX_FILE`] says.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Writes all files as one tar. Blocks.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`]; what has been written is of no use then.
    pub fn write_tar(&self, blobs: &dyn Blobs, output: &mut dyn Write) -> Result<(), ArchiveError> {
        let mut tar = TarStream::new(BufWriter::with_capacity(BUFFER_BYTES, output));
        for (path, content) in &self.files {
            let path = path.clone();
            let metadata = Metadata::root_owned(0o644, 0);
            match content {
                FileContent::Directory => tar.add(&Entry {
                    path,
                    kind: EntryKind::Directory,
                    metadata: Metadata::root_owned(0o755, 0),
                })?,
                FileContent::Bytes(bytes) => {
                    tar.add_file(path, metadata, bytes.len() as u64, &mut &**bytes)?;
                }
                FileContent::Blob(blob) => {
                    let unread = |source| ArchiveError::Blob {
                        digest: blob.digest.clone(),
                        source,
                    };
                    let mut reader = open_blob(blobs, blob).map_err(unread)?;
                    match tar.add_file(path, metadata, blob.size, &mut reader) {
                        Err(TarStreamError::Read { source, .. }) => return Err(unread(source)),
                        other => other?,
                    }
                }
            }
        }
        tar.finish()?;
        Ok(())
    }
}

/// Opens a blob for one reading, which ends without an error only when it was right.
pub(super) fn open_blob(blobs: &dyn Blobs, blob: &Descriptor) -> io::Result<Box<dyn Read + Send>> {
    match blobs.source(blob) {
        Some(source) => source.open(0),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "it is nowhere to be had",
        )),
    }
}

/// The place of a blob in a layout.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// A name in the index of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutName {
    /// The tag, or whatever the user wrote.
    pub reference_name: Option<String>,
    /// The whole name, for container engines.
    pub image_name: Option<String>,
}

impl LayoutName {
    /// The name of an image in a registry.
    pub fn of(reference: &Reference) -> Self {
        Self {
            reference_name: reference.tag().map(|tag| tag.as_str().to_owned()),
            image_name: Some(reference.to_string()),
        }
    }

    /// A word that the user chose.
    pub fn word(word: &str) -> Self {
        Self {
            reference_name: Some(word.to_owned()),
            image_name: None,
        }
    }
}

/// The descriptor of what is about an image, as indices list it: with its kind.
pub fn described(content: &Content) -> Descriptor {
    let artifact_type = match content.documents.last() {
        Some(Document::Manifest(manifest)) => {
            let value = manifest.value();
            let own = value.artifact_type.clone();
            Some(own.unwrap_or_else(|| value.config.media_type.to_string()))
        }
        Some(Document::Index(index)) => index.value().artifact_type.clone(),
        None => None,
    };
    Descriptor {
        artifact_type,
        ..content.root.clone()
    }
}

/// One descriptor for each name of the image; one without a name when it has
/// none.
pub fn entries(root: &Descriptor, names: &[LayoutName]) -> Vec<Descriptor> {
    let bare = Descriptor {
        annotations: BTreeMap::new(),
        ..root.clone()
    };
    if names.is_empty() {
        return vec![bare];
    }
    let named = names.iter().map(|name| {
        let mut descriptor = bare.clone();
        let pairs = [
            (REFERENCE_NAME, &name.reference_name),
            (IMAGE_NAME, &name.image_name),
        ];
        for (key, value) in pairs {
            if let Some(value) = value {
                descriptor.annotations.insert(key.to_owned(), value.clone());
            }
        }
        descriptor
    });
    named.collect()
}
