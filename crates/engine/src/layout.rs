//! Images in OCI image layouts of this machine (image-layout.md of the OCI image specification):
//! found in the index, and brought into the store, each blob checked on the way.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use graph::LayoutImage;
use oci::{DOCUMENT_BYTES_MAX, Descriptor, Digest, Index, Platform, Raw};
use store::Store;
use store::blob::{BlobError, BlobWriter};

use crate::regular_file;
use publish::sink::REFERENCE_NAME;

/// The tag of an image that is asked for without one.
const TAG_DEFAULT: &str = "latest";
/// Bytes read at once.
const READ_BYTES: usize = 128 * 1024;

/// Why an image cannot be taken from a layout.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("{} is not an OCI image layout: it has no file `oci-layout`", .0.display())]
    NotALayout(PathBuf),
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is larger than {DOCUMENT_BYTES_MAX} bytes", .0.display())]
    Large(PathBuf),
    #[error("{} is not an index of images", path.display())]
    Index {
        path: PathBuf,
        source: oci::RawError,
    },
    #[error("it holds no image `{wanted}`: it has {offered}")]
    Unknown { wanted: String, offered: String },
    #[error("it holds no image for {0}")]
    Platform(Platform),
    #[error("{} is not what its name says", .0.display())]
    Damaged(PathBuf),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Disk(#[from] store::DiskError),
}

/// The manifest or index that a name means. Without a tag it is `latest`, or all that there is,
/// and of several the one for the platform.
pub(crate) fn find(image: &LayoutImage, platform: &Platform) -> Result<Digest, LayoutError> {
    let directory = Path::new(&image.directory);
    if !directory.join("oci-layout").is_file() {
        return Err(LayoutError::NotALayout(directory.to_owned()));
    }
    if let Some(digest) = &image.digest {
        return Ok(digest.clone());
    }
    let path = directory.join("index.json");
    let bytes = read(&path)?;
    let index = Raw::<Index>::read(bytes).map_err(|source| LayoutError::Index {
        path: path.clone(),
        source,
    })?;
    let all = &index.value().manifests;
    let named = |tag: &str| -> Vec<Descriptor> {
        let is_meant = |entry: &&Descriptor| {
            let name = entry.annotations.get(REFERENCE_NAME);
            name.is_some_and(|name| {
                name == tag || name.rsplit_once(':').is_some_and(|(_, last)| last == tag)
            })
        };
        all.iter().filter(is_meant).cloned().collect()
    };
    let mut found = named(image.tag.as_deref().unwrap_or(TAG_DEFAULT));
    if found.is_empty() && image.tag.is_none() {
        found.clone_from(all);
    }
    match found.as_slice() {
        [] => Err(LayoutError::Unknown {
            wanted: image.tag.clone().unwrap_or_else(|| TAG_DEFAULT.to_owned()),
            offered: offered(all),
        }),
        [only] => Ok(only.digest.clone()),
        _ => {
            let several = Index {
                manifests: found,
                ..index.value().clone()
            };
            let chosen = several.select(platform);
            let chosen = chosen.ok_or_else(|| LayoutError::Platform(platform.clone()))?;
            Ok(chosen.digest.clone())
        }
    }
}

/// A manifest, index or configuration, checked.
pub(crate) fn document(image: &LayoutImage, digest: &Digest) -> Result<Vec<u8>, LayoutError> {
    let path = blob_path(image, digest);
    let bytes = read(&path)?;
    let mut hasher = oci::Hasher::new(digest.algorithm());
    hasher.update(&bytes);
    if hasher.finish() != *digest {
        return Err(LayoutError::Damaged(path));
    }
    Ok(bytes)
}

/// Brings a blob into the store unless it is there.
pub(crate) fn import(
    image: &LayoutImage,
    store: &Store,
    blob: &Descriptor,
) -> Result<(), LayoutError> {
    if store.blobs().has(blob) {
        return Ok(());
    }
    let path = blob_path(image, &blob.digest);
    let failed = |source| LayoutError::Read {
        path: path.clone(),
        source,
    };
    let mut file = open(&path)?;
    let mut writer: BlobWriter = store.blobs().writer_for(blob.digest.algorithm())?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            // Whatever is larger than its descriptor says is not worth the disk.
            Ok(_) if writer.size() > blob.size => return Err(LayoutError::Damaged(path)),
            Ok(count) => writer.append(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    writer.finish_as(blob).map_err(|error| match error {
        BlobError::Unexpected { .. } => LayoutError::Damaged(path.clone()),
        other => other.into(),
    })
}

fn blob_path(image: &LayoutImage, digest: &Digest) -> PathBuf {
    let mut path = PathBuf::from(&image.directory);
    path.extend(["blobs", digest.algorithm().name(), digest.hex()]);
    path
}

fn open(path: &Path) -> Result<File, LayoutError> {
    regular_file::open(path).map_err(|source| LayoutError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, LayoutError> {
    let mut bytes = Vec::new();
    open(path)?
        .take(DOCUMENT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| LayoutError::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(LayoutError::Large(path.to_owned()));
    }
    Ok(bytes)
}

fn offered(entries: &[Descriptor]) -> String {
    let names = entries.iter();
    let names: Vec<String> = names
        .filter_map(|entry| entry.annotations.get(REFERENCE_NAME))
        .map(|name| format!("`{name}`"))
        .collect();
    match names.as_slice() {
        [] => "no names".to_owned(),
        _ => names.join(", "),
    }
}
