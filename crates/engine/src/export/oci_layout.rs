//! `type=oci,tar=false`: an OCI image layout as a directory. One that is there
//! already gets the image added: blobs that it has are not written again, names
//! of the image move to it, and other images stay.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci::{DOCUMENT_BYTES_MAX, Descriptor, Document, DocumentError, Hasher, Index, Raw};
use store::dir::Dir;
use store::layer::EntryPath;
use store::replace::{ReplaceError, Replacement};

use super::image_files::{Content, INDEX_FILE, ImageFiles, REFERENCE_NAME};
use super::supply::{Supply, SupplyError};
use crate::interrupt::Interrupt;

/// Why a layout could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    /// The directory itself.
    #[error("could not use the directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    /// Something in it.
    #[error("could not write {path} of the image layout")]
    Write { path: EntryPath, source: io::Error },
    /// As above, in two steps.
    #[error("could not write {path} of the image layout")]
    Replace {
        path: EntryPath,
        source: ReplaceError,
    },
    /// A blob cannot be had.
    #[error(transparent)]
    Supply(#[from] SupplyError),
    /// What is there is not an image layout that can be added to.
    #[error("{} holds something else than an image index", path.display())]
    Index {
        path: PathBuf,
        source: DocumentError,
    },
    /// The same, but so large that it is not read.
    #[error("{} is larger than {DOCUMENT_BYTES_MAX} bytes", .0.display())]
    IndexSize(PathBuf),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl LayoutError {
    /// Whether the user named a wrong place.
    pub(crate) fn is_input(&self) -> bool {
        match self {
            Self::Index { .. } | Self::IndexSize(_) => true,
            Self::Directory { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists
            ),
            Self::Write { .. } | Self::Replace { .. } | Self::Supply(_) | Self::Interrupted => {
                false
            }
        }
    }

    /// What the user can do about it.
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Supply(error) => error.advice(),
            Self::Index { .. } | Self::IndexSize(_) => {
                Some("choose a directory that is empty or an image layout".to_owned())
            }
            Self::Directory { .. }
            | Self::Write { .. }
            | Self::Replace { .. }
            | Self::Interrupted => None,
        }
    }
}

/// Writes the layout. The index comes last, when all that it names is durable.
pub(crate) fn write(
    files: &ImageFiles,
    supply: &Supply,
    path: &Path,
    interrupt: &Interrupt,
) -> Result<(), LayoutError> {
    let unusable = |source| LayoutError::Directory {
        path: path.to_owned(),
        source,
    };
    if path.exists() && !path.is_dir() {
        let source = io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory");
        return Err(unusable(source));
    }
    fs::create_dir_all(path).map_err(unusable)?;
    let root = Dir::open(path).map_err(unusable)?;
    let index = merge(&root, files.index(), &path.join(INDEX_FILE))?;
    for (name, content) in files.iter() {
        if interrupt.is_triggered() {
            return Err(LayoutError::Interrupted);
        }
        let unwritten = |source| LayoutError::Write {
            path: name.clone(),
            source,
        };
        let parent = name.parent().unwrap_or_else(EntryPath::root);
        let parent = root.open_dir(parent.as_bytes()).map_err(unwritten)?;
        match content {
            Content::Directory => match parent.create_dir(name.name(), 0o777) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(unwritten)?,
            },
            Content::Bytes(_) if name.as_bytes() == INDEX_FILE.as_bytes() => {}
            Content::Bytes(bytes) => put(&parent, name, &mut &**bytes, interrupt)?,
            Content::Blob(blob) => {
                if holds(&parent, name, blob) {
                    continue;
                }
                let mut reader = supply.open(blob)?;
                match put(&parent, name, &mut reader, interrupt) {
                    Err(LayoutError::Replace {
                        source: ReplaceError::Read(source),
                        ..
                    }) => return Err(reader.failure(source).into()),
                    other => other?,
                }
            }
        }
    }
    root.sync_file_system().map_err(unusable)?;
    let name = EntryPath::parse(INDEX_FILE.as_bytes()).expect("a plain name");
    put(&root, &name, &mut Raw::write(index).bytes(), interrupt)?;
    root.sync().map_err(unusable)
}

fn put(
    parent: &Dir,
    path: &EntryPath,
    content: &mut dyn Read,
    interrupt: &Interrupt,
) -> Result<(), LayoutError> {
    if interrupt.is_triggered() {
        return Err(LayoutError::Interrupted);
    }
    let failed = |source| LayoutError::Replace {
        path: path.clone(),
        source,
    };
    let mut replacement = Replacement::create(parent, 0o666).map_err(failed)?;
    replacement
        .fill(content, &|| interrupt.is_triggered())
        .map_err(failed)?;
    replacement.finish(path.name()).map_err(failed)
}

/// Whether a blob is there with the right bytes.
fn holds(parent: &Dir, path: &EntryPath, blob: &Descriptor) -> bool {
    let read = || -> io::Result<bool> {
        let mut file: File = parent.open_file(path.name())?;
        if file.metadata()?.len() != blob.size {
            return Ok(false);
        }
        let mut hasher = Hasher::new(blob.digest.algorithm());
        let mut piece = vec![0; 256 * 1024];
        loop {
            let count = file.read(&mut piece)?;
            if count == 0 {
                return Ok(hasher.finish() == blob.digest);
            }
            hasher.update(&piece[..count]);
        }
    };
    // What cannot be read is written again, which says why if it fails too.
    read().unwrap_or(false)
}

/// The index that is there with our images in it.
fn merge(root: &Dir, ours: &Index, path: &Path) -> Result<Index, LayoutError> {
    let failed = |source| LayoutError::Directory {
        path: path.to_owned(),
        source,
    };
    let file = match root.open_file(INDEX_FILE.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ours.clone()),
        other => other.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    let mut limited = file.take(DOCUMENT_BYTES_MAX + 1);
    limited.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(LayoutError::IndexSize(path.to_owned()));
    }
    let unreadable = |source| LayoutError::Index {
        path: path.to_owned(),
        source,
    };
    let mut index = match Document::read(bytes, None).map_err(unreadable)? {
        Document::Index(index) => index.value().clone(),
        Document::Manifest(manifest) => {
            let kind = Document::Manifest(manifest).media_type();
            return Err(unreadable(DocumentError::Unsupported(kind.to_string())));
        }
    };
    let name = |descriptor: &Descriptor| descriptor.annotations.get(REFERENCE_NAME).cloned();
    index.manifests.retain(|theirs| {
        !ours.manifests.iter().any(|our| match name(our) {
            Some(our) => name(theirs) == Some(our),
            None => our.digest == theirs.digest && name(theirs).is_none(),
        })
    });
    index.manifests.extend(ours.manifests.iter().cloned());
    Ok(index)
}
