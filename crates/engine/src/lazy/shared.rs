//! What is known of layers, on a shelf: index and seek table of a layer, as one small document
//! whose name comes from the digest of the layer's blob. A fresh machine that finds it never reads
//! the layer as a whole.
//!
//! Whoever names a shelf believes it: what it says of a layer is taken for this build, and is never
//! put among what this machine has found out itself. It cannot say anything that no layer could be
//! ([`LayerIndex::is_possible`]), and cannot make anything take more memory than its bounds.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use oci::{Descriptor, Digest, MediaType};
use serde::{Deserialize, Serialize};
use shelf::{Document, DocumentName, Shelf, ShelfError};
use store::layer::{LayerIndex, Limits, SeekTable};

use crate::output::LayerRef;

/// Of the body's form. Whoever reads another one goes on without.
const FORMAT: u32 = 1;
/// Of an index in this form.
const INDEX_TYPE: &str = "application/vnd.kiln.layer.index.v2+zstd";
/// Of a seek table in this form.
const TABLE_TYPE: &str = "application/vnd.kiln.layer.seek.v1+zstd";
/// A body is some hundred bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Compressed bytes of an index or a table: 64 MiB.
const BLOB_BYTES_MAX: u64 = 64 << 20;
/// Bytes of an index or a table: 256 MiB. A layer of a million files has an index of less than
/// half of it.
const BYTES_MAX: u64 = 256 << 20;
/// log₂ of the window that their decoder takes: 16 MiB.
const WINDOW_LOG_MAX: u32 = 24;
const ZSTD_LEVEL: i32 = 3;

/// What is known of one layer.
pub(crate) struct Known {
    pub index: LayerIndex,
    pub table: SeekTable,
}

/// Why a shelf says nothing of a layer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SharedError {
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("what {address} says of layer {layer} cannot be used: {reason}")]
    Unusable {
        address: String,
        layer: Digest,
        reason: &'static str,
    },
}

/// The body of the document.
#[derive(Serialize, Deserialize)]
struct Body {
    format: u32,
    diff_id: Digest,
    index: Descriptor,
    table: Descriptor,
}

/// The name under which a layer is spoken of; `None` where its digest is too long for one.
fn name(layer: &LayerRef) -> Option<DocumentName> {
    DocumentName::shared(format!("layer-{}", layer.blob.digest.hex())).ok()
}

/// What a shelf says of a layer; `None` when nothing.
///
/// # Errors
///
/// A shelf that cannot be read, or says what cannot be.
pub(crate) async fn look_up(
    shelf: &dyn Shelf,
    layer: &LayerRef,
) -> Result<Option<Known>, SharedError> {
    let Some(name) = name(layer) else {
        return Ok(None);
    };
    let Some(document) = shelf.document(&name).await? else {
        return Ok(None);
    };
    let unusable = |reason| SharedError::Unusable {
        address: shelf.address().to_owned(),
        layer: layer.blob.digest.clone(),
        reason,
    };
    let body = parse(&document).ok_or_else(|| unusable("it is another program's, or damaged"))?;
    if body.format != FORMAT {
        return Err(unusable("another version of kiln wrote it"));
    }
    if body.diff_id != layer.diff_id.0 {
        return Err(unusable("it is of another layer"));
    }
    let index = read(shelf, &body.index).await?;
    let table = read(shelf, &body.table).await?;
    let (digest, size) = (layer.blob.digest.clone(), layer.blob.size);
    let decoded = tokio::task::spawn_blocking(move || {
        let index = LayerIndex::decode(&unpacked(&index)?).ok()?;
        let table = SeekTable::decode_table(&unpacked(&table)?, &digest, size).ok()?;
        Some(Known { index, table })
    });
    let decoded = decoded.await.expect("decoding does not panic");
    let known = decoded.ok_or_else(|| unusable("it is damaged"))?;
    let fits = known.index.diff_id == layer.diff_id
        && *known.table.diff_id() == layer.diff_id
        && known.table.tar_bytes() == known.index.tar_bytes;
    if !fits {
        return Err(unusable("it is of another layer"));
    }
    if !known.index.is_possible(Limits::default()) {
        return Err(unusable("no layer could be what it says"));
    }
    Ok(Some(known))
}

/// Puts what is known of a layer on a shelf, if nothing is there. Says whether it did.
///
/// # Errors
///
/// A shelf that cannot be read or filled.
pub(crate) async fn put(
    shelf: &dyn Shelf,
    layer: &LayerRef,
    index: &LayerIndex,
    table: &SeekTable,
) -> Result<bool, SharedError> {
    let Some(name) = name(layer) else {
        return Ok(false);
    };
    // Another program's is an error; ours that is of no use any more is replaced.
    if let Some(document) = shelf.document(&name).await?
        && let Some(body) = parse(&document)
        && (body.format > FORMAT || (body.format == FORMAT && body.diff_id == layer.diff_id.0))
    {
        return Ok(false);
    }
    let index = packed(INDEX_TYPE, &index.encode());
    let table = packed(TABLE_TYPE, &table.encode(&layer.blob.digest));
    let (Some((index, index_bytes)), Some((table, table_bytes))) = (index, table) else {
        return Ok(false);
    };
    shelf.put(&index, Arc::new(index_bytes), &[]).await?;
    shelf.put(&table, Arc::new(table_bytes), &[]).await?;
    let body = Body {
        format: FORMAT,
        diff_id: layer.diff_id.0.clone(),
        index: index.clone(),
        table: table.clone(),
    };
    let document = Document {
        body: serde_json::to_vec(&body)
            .expect("a few descriptors are JSON")
            .into(),
        blobs: vec![index, table],
    };
    shelf.put_document(&name, &document).await?;
    Ok(true)
}

fn parse(document: &Document) -> Option<Body> {
    if document.body.len() > BODY_BYTES_MAX {
        return None;
    }
    let body: Body = serde_json::from_slice(&document.body).ok()?;
    let bounded = body.index.size <= BLOB_BYTES_MAX && body.table.size <= BLOB_BYTES_MAX;
    bounded.then_some(body)
}

/// A blob, whose reader verifies that it is the one asked for.
async fn read(shelf: &dyn Shelf, blob: &Descriptor) -> Result<Vec<u8>, ShelfError> {
    let mut reader = shelf.open(blob).await?;
    let address = shelf.address().to_owned();
    let (size, digest) = (blob.size, blob.digest.clone());
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader
            .by_ref()
            .take(size.saturating_add(1))
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    });
    read.await
        .expect("reading does not panic")
        .map_err(|error| {
            let operation = format!("read the blob {digest} of");
            ShelfError::new(shelf::ShelfErrorKind::Damaged, operation, address).because(error)
        })
}

/// Undoes the compression within bounds.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = zstd::stream::read::Decoder::new(bytes).ok()?;
    decoder.window_log_max(WINDOW_LOG_MAX).ok()?;
    let mut unpacked = Vec::new();
    decoder
        .take(BYTES_MAX + 1)
        .read_to_end(&mut unpacked)
        .ok()?;
    (unpacked.len() as u64 <= BYTES_MAX).then_some(unpacked)
}

fn packed(media_type: &str, bytes: &[u8]) -> Option<(Descriptor, Bytes)> {
    let bytes = zstd::bulk::compress(bytes, ZSTD_LEVEL).ok()?;
    let size = bytes.len() as u64;
    if size > BLOB_BYTES_MAX {
        return None;
    }
    let descriptor = Descriptor::new(MediaType::from(media_type), Digest::of(&bytes), size);
    Some((descriptor, bytes.into()))
}
