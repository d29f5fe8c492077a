//! What stands under cosign's tags, as something that joins what stands there at the destination:
//! signatures that others made of the same digest must not go away because it is copied once more.

use std::io::{self, Read as _};

use oci::{AttachedBlob, Attachment, AttachmentPlace, Descriptor, Document, Manifest};

use super::{Attached, SourceError};

/// The most bytes of one thing that is joined. What is larger takes the place of what is there.
const JOINED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// cosign's tags that hold one layer for each signature or statement.
const JOINED_SUFFIXES: [&str; 2] = [".sig", ".att"];

/// Reads it into memory. `None` for what is found otherwise, is an index, or is too large. Must be
/// called on a runtime.
///
/// # Errors
///
/// [`SourceError`], when a blob cannot be read.
pub async fn joinable(attached: &Attached) -> Result<Option<Attachment>, SourceError> {
    let is_joined = |tag: &&oci::Tag| {
        let suffixes = JOINED_SUFFIXES.iter();
        suffixes
            .clone()
            .any(|suffix| tag.as_str().ends_with(suffix))
    };
    let Some(tag) = attached.tag.as_ref().filter(is_joined) else {
        return Ok(None);
    };
    let [Document::Manifest(manifest)] = &attached.content.documents[..] else {
        return Ok(None);
    };
    let named = named(manifest.value());
    let bytes = named.iter().map(|blob| blob.size);
    if bytes.fold(0, u64::saturating_add) > JOINED_BYTES_MAX {
        return Ok(None);
    }
    let mut blobs = Vec::new();
    for blob in named {
        blobs.push(AttachedBlob {
            digest: blob.digest.clone(),
            bytes: read(attached, &blob).await?,
        });
    }
    Ok(Some(Attachment {
        manifest: (**manifest).clone(),
        blobs,
        place: AttachmentPlace::Tag(tag.clone()),
    }))
}

/// Configuration and layers, each once.
fn named(manifest: &Manifest) -> Vec<Descriptor> {
    let mut named: Vec<Descriptor> = Vec::new();
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        if named.iter().all(|known| known.digest != blob.digest) {
            named.push(blob.clone());
        }
    }
    named
}

async fn read(attached: &Attached, blob: &Descriptor) -> Result<Vec<u8>, SourceError> {
    let failed = |reason: String| SourceError::Mismatch {
        digest: blob.digest.clone(),
        reason,
    };
    let source = attached.content.blobs.source(blob);
    let source = source.ok_or_else(|| failed("it is not there".to_owned()))?;
    let size = blob.size;
    let read = tokio::task::spawn_blocking(move || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        source.open(0)?.take(size + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let bytes = match read.await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(error) => return Err(failed(error.to_string())),
    };
    match bytes.len() as u64 == size && blob.digest.matches(&bytes) {
        true => Ok(bytes),
        false => Err(failed("its bytes are others".to_owned())),
    }
}
