//! Whether one object is what its name says.

use std::io::{self, Read as _};
use std::path::Path;

use oci::{Algorithm, DiffId, Digest, Hasher};

use super::Kind;
use crate::disk::{DiskError, On as _};
use crate::image::Image;
use crate::layer::{LayerIndex, SeekTable};
use crate::record::{open_unnoticed, read_bounded, unseal};
use crate::spans;
use crate::stat_cache;

/// Whether an object of `kind` would have a path of this length: a directory
/// here is one that stands in an object's place.
pub(super) fn is_object_place(kind: Kind, path: &Path) -> bool {
    let components = match kind {
        Kind::Blob | Kind::Index | Kind::SeekTable | Kind::Span => 4,
        Kind::Record | Kind::Unpacked => 3,
        Kind::Image | Kind::StatCache => 2,
        Kind::Stray => return true,
    };
    path.components().count() >= components
}

/// What is wrong with one object.
pub(super) fn fault(
    root: &Path,
    kind: Kind,
    path: &Path,
    metadata: &std::fs::Metadata,
) -> Result<Option<(Kind, String)>, DiskError> {
    let full = root.join(path);
    let stray = |reason: &str| Ok(Some((Kind::Stray, reason.to_owned())));
    if !is_object_place(kind, path) {
        return stray("kiln puts nothing here");
    }
    if !metadata.is_file() {
        return Ok(Some((kind, "it is not a regular file".into())));
    }
    let wrong = |reason: String| Ok(Some((kind, reason)));
    match kind {
        Kind::Blob => {
            let Some(digest) = digest_at(path) else {
                return stray("its name is not a digest");
            };
            let Some(mut file) = open_unnoticed(&full).on("open", &full)? else {
                return Ok(None);
            };
            let found = hash(&mut file, digest.algorithm()).on("read", &full)?;
            if found == digest {
                Ok(None)
            } else {
                wrong(format!("its content has the digest {found}"))
            }
        }
        Kind::Index => {
            let Some(digest) = digest_at(path) else {
                return stray("its name is not a digest");
            };
            let Some(mut file) = open_unnoticed(&full).on("open", &full)? else {
                return Ok(None);
            };
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).on("read", &full)?;
            match LayerIndex::decode(&bytes) {
                Ok(index) if index.diff_id == DiffId(digest) => Ok(None),
                Ok(index) => wrong(format!("it is the index of {}", index.diff_id)),
                Err(error) => wrong(error.to_string()),
            }
        }
        Kind::SeekTable => {
            let Some(digest) = digest_at(path) else {
                return stray("its name is not a digest");
            };
            let Some(mut file) = open_unnoticed(&full).on("open", &full)? else {
                return Ok(None);
            };
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).on("read", &full)?;
            match SeekTable::check(&bytes, &digest) {
                Ok(()) => Ok(None),
                Err(error) => wrong(error.to_string()),
            }
        }
        Kind::Span => {
            let Some(file) = open_unnoticed(&full).on("open", &full)? else {
                return Ok(None);
            };
            match spans::is_sound(file).on("read", &full)? {
                true => Ok(None),
                false => wrong("its checksum does not fit its content".into()),
            }
        }
        Kind::Record | Kind::Unpacked | Kind::Image => {
            let file = open_unnoticed(&full).on("open", &full)?;
            let bytes = file.and_then(read_bounded);
            let payload = bytes.as_deref().and_then(|bytes| unseal(path, bytes));
            match (kind, payload) {
                (_, None) => wrong("its checksum does not fit its content and name".into()),
                (Kind::Image, Some(payload)) => match serde_json::from_slice::<Image>(payload) {
                    Ok(_) => Ok(None),
                    Err(error) => wrong(error.to_string()),
                },
                (_, Some(_)) => Ok(None),
            }
        }
        Kind::StatCache if stat_cache::is_sound(&full) => Ok(None),
        Kind::StatCache => wrong("its checksum does not fit its content".into()),
        Kind::Stray => Ok(None),
    }
}

/// The digest that `KIND/ALGORITHM/ab/HEX` stands for.
fn digest_at(path: &Path) -> Option<Digest> {
    let mut components = path.iter().skip(1);
    let algorithm = components.next()?.to_str()?;
    let directory = components.next()?.to_str()?;
    let hex = components.next()?.to_str()?;
    (components.next().is_none() && hex.starts_with(directory) && directory.len() == 2)
        .then(|| format!("{algorithm}:{hex}").parse().ok())
        .flatten()
}

fn hash(file: &mut std::fs::File, algorithm: Algorithm) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
