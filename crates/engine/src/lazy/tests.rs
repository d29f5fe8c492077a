//! Documents about layers on a shelf: what is put is read, what lies is refused.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use oci::{Compression, Descriptor, DiffId, Digest, MediaType, Repository};
use registry::BlobSource;
use shelf::{BlobReader, Document, DocumentName, Shelf, ShelfError, ShelfErrorKind};
use store::layer::{ContentHash, EntryKind, Limits, ScanOptions, Scanned, scan};

use super::shared::{look_up, put};
use crate::output::LayerRef;

/// A shelf in memory.
#[derive(Debug, Default)]
struct Board {
    documents: Mutex<BTreeMap<DocumentName, Document>>,
    blobs: Mutex<BTreeMap<Digest, Bytes>>,
}

impl Shelf for Board {
    fn address(&self) -> &str {
        "board"
    }

    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<Document>, ShelfError>> {
        let found = self.documents.lock().unwrap().get(name).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), ShelfError>> {
        let mut documents = self.documents.lock().unwrap();
        documents.insert(name.clone(), document.clone());
        Box::pin(async { Ok(()) })
    }

    fn has<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, ShelfError>> {
        let has = self.blobs.lock().unwrap().contains_key(&blob.digest);
        Box::pin(async move { Ok(has) })
    }

    fn open<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<BlobReader, ShelfError>> {
        let found = self.blobs.lock().unwrap().get(&blob.digest).cloned();
        Box::pin(async move {
            let absent = || ShelfError::new(ShelfErrorKind::Absent, "read", "board");
            Ok(Box::new(Cursor::new(found.ok_or_else(absent)?)) as BlobReader)
        })
    }

    fn range<'a>(
        &'a self,
        _: &'a Descriptor,
        _: Range<u64>,
    ) -> BoxFuture<'a, Result<Bytes, ShelfError>> {
        Box::pin(async { Err(ShelfError::new(ShelfErrorKind::Ranges, "read", "board")) })
    }

    fn put<'a>(
        &'a self,
        blob: &'a Descriptor,
        source: Arc<dyn BlobSource>,
        _: &'a [Repository],
    ) -> BoxFuture<'a, Result<(), ShelfError>> {
        let mut bytes = Vec::new();
        source.open(0).unwrap().read_to_end(&mut bytes).unwrap();
        let mut blobs = self.blobs.lock().unwrap();
        blobs.insert(blob.digest.clone(), bytes.into());
        Box::pin(async { Ok(()) })
    }
}

fn layer() -> (LayerRef, Scanned) {
    let blob = testkit::Layer::new()
        .compressed(Compression::Gzip)
        .directory("etc", 0o755)
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\n")
        .file("f", "content")
        .build();
    let options = ScanOptions {
        compression: Compression::Gzip,
        expected_blob: None,
        expected_diff_id: None,
        limits: Limits::default(),
        unpack: None,
    };
    let scanned = scan(&blob.bytes[..], options).unwrap();
    let media_type = MediaType::OciLayer(Compression::Gzip);
    let layer = LayerRef {
        diff_id: DiffId(blob.diff_id),
        blob: Descriptor::new(media_type, blob.digest, blob.bytes.len() as u64),
    };
    (layer, scanned)
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

fn board() -> (Board, LayerRef, Scanned) {
    let (layer, scanned) = layer();
    let board = Board::default();
    let put_it = || block_on(put(&board, &layer, &scanned.index, &scanned.table)).unwrap();
    assert!(put_it());
    assert!(!put_it(), "it is there already");
    (board, layer, scanned)
}

#[test]
fn what_is_put_is_read() {
    let (board, layer, scanned) = board();
    let known = block_on(look_up(&board, &layer)).unwrap().unwrap();
    assert_eq!(known.index, scanned.index);
    assert_eq!(known.table, scanned.table);
    let mut other = layer;
    other.blob.digest = Digest::of(b"other");
    assert!(block_on(look_up(&board, &other)).unwrap().is_none());
}

/// What a shelf says after `lie` must be refused with a reason, and be replaced by who knows better.
fn check(reason: &str, lie: impl FnOnce(&Board, &LayerRef, &Scanned)) {
    let (board, layer, scanned) = board();
    lie(&board, &layer, &scanned);
    let error = block_on(look_up(&board, &layer)).err().expect(reason);
    assert!(error.to_string().contains(reason), "{reason}: {error}");
}

fn edit(board: &Board, edit: impl FnOnce(&mut serde_json::Value)) {
    let mut documents = board.documents.lock().unwrap();
    let document = documents.values_mut().next().unwrap();
    let mut body = serde_json::from_slice(&document.body).unwrap();
    edit(&mut body);
    document.body = serde_json::to_vec(&body).unwrap().into();
}

/// Puts other bytes in the place of the index or the table.
fn replace(board: &Board, which: &str, bytes: &[u8]) {
    let bytes = zstd::bulk::compress(bytes, 3).unwrap();
    replace_packed(board, which, bytes);
}

fn replace_packed(board: &Board, which: &str, bytes: Vec<u8>) {
    let digest = Digest::of(&bytes);
    edit(board, |body| {
        body[which]["digest"] = digest.as_str().into();
        body[which]["size"] = bytes.len().into();
    });
    board.blobs.lock().unwrap().insert(digest, bytes.into());
}

#[test]
fn what_lies_is_refused() {
    check("another program's", |board, _, _| {
        let mut documents = board.documents.lock().unwrap();
        let document = documents.values_mut().next().unwrap();
        document.body = Bytes::from_static(b"{\"mediaType\":\"something else\"}");
    });
    check("another program's", |board, _, _| {
        edit(board, |body| body["index"]["size"] = (1_u64 << 40).into());
    });
    check("another program's", |board, _, _| {
        edit(board, |body| body["padding"] = "x".repeat(20_000).into());
    });
    check("another version", |board, _, _| {
        edit(board, |body| body["format"] = 7.into());
    });
    check("another layer", |board, _, _| {
        let other = Digest::of(b"other");
        edit(board, |body| body["diff_id"] = other.as_str().into());
    });
    check("damaged", |board, _, _| {
        replace(board, "index", b"nonsense");
    });
    check("damaged", |board, layer, scanned| {
        let table = scanned.table.encode(&layer.blob.digest);
        replace(board, "table", &table[..table.len() - 1]);
    });
    check("damaged", |board, _, scanned| {
        let other = scanned.table.encode(&Digest::of(b"other"));
        replace(board, "table", &other);
    });
    check("damaged", |board, _, _| {
        replace_packed(board, "table", vec![7; 50]);
    });
    check("another layer", |board, _, scanned| {
        let mut index = scanned.index.clone();
        index.diff_id = DiffId(Digest::of(b"other"));
        replace(board, "index", &index.encode());
    });
    check("another layer", |board, _, scanned| {
        let mut index = scanned.index.clone();
        index.tar_bytes -= 1;
        replace(board, "index", &index.encode());
    });
    check("no layer could be", |board, _, scanned| {
        let mut index = scanned.index.clone();
        let name = b"trusted.overlay.opaque"[..].into();
        let mut entries = index.entries.to_vec();
        let metadata = &mut entries[0].metadata;
        metadata.xattrs.insert(name, b"y"[..].into());
        index.entries = entries.into();
        replace(board, "index", &index.encode());
    });
    check("no layer could be", |board, _, scanned| {
        let mut index = scanned.index.clone();
        let mut entries = index.entries.to_vec();
        for entry in &mut entries {
            if let EntryKind::File { size, .. } = &mut entry.kind {
                *size = 1 << 40;
            }
        }
        index.entries = entries.into();
        replace(board, "index", &index.encode());
    });
    check("no layer could be", |board, _, scanned| {
        let mut index = scanned.index.clone();
        let mut entries = index.entries.to_vec();
        for entry in &mut entries {
            if let EntryKind::File { content, .. } = &mut entry.kind {
                *content = ContentHash([0; 32]);
            }
        }
        index.entries = entries.into();
        replace(board, "index", &index.encode());
    });
}

/// A gigabyte of zeros in a few kilobytes.
#[test]
fn a_bomb_stops_at_the_bound() {
    check("damaged", |board, _, _| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..300 {
            encoder.write_all(&zeros).unwrap();
        }
        replace_packed(board, "index", encoder.finish().unwrap());
    });
}

#[test]
fn a_blob_that_is_gone_is_an_error_of_the_shelf() {
    check("could not read board", |board, _, _| {
        board.blobs.lock().unwrap().clear();
    });
}
