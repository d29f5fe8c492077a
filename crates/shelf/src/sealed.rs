//! Documents that only those can write who have a key (E03): each ends with an
//! HMAC of its name, its body and the blobs that it speaks of.
//!
//! Blobs need none: their digests are in documents. A document does not know where
//! it lies, so that a shelf can be copied. An old document put in the place of a
//! newer one is still what somebody with the key wrote.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use oci::{Descriptor, Repository};
use registry::BlobSource;

use crate::{BlobReader, Document, DocumentName, Shelf, ShelfError, ShelfErrorKind};

/// The shortest key, in bytes: 128 bits (NIST SP 800-107, 5.3.4).
pub const KEY_BYTES_MIN: usize = 16;
/// The longest, in bytes.
pub const KEY_BYTES_MAX: usize = 4096;

/// What a seal begins with; then come the 32 bytes of the HMAC.
const MAGIC: &[u8; 16] = b"\nkiln sealed 1:\n";
const MAC_BYTES: usize = 32;

/// A secret that all writers of a shelf share.
#[derive(Clone, PartialEq, Eq)]
pub struct SealKey(Arc<[u8]>);

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, and this has {0}")]
pub struct SealKeyError(usize);

impl SealKey {
    /// A key of the content of a file; line ends around it are not part of it.
    ///
    /// # Errors
    ///
    /// Fewer bytes than [`KEY_BYTES_MIN`], or more than [`KEY_BYTES_MAX`].
    pub fn new(bytes: &[u8]) -> Result<Self, SealKeyError> {
        let bytes = bytes.trim_ascii();
        if (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len()) {
            Ok(Self(bytes.into()))
        } else {
            Err(SealKeyError(bytes.len()))
        }
    }

    fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealKey")
    }
}

/// A shelf whose documents are sealed. Without a key it gives sealed documents too,
/// to whoever wants to believe them, and replaces none.
#[derive(Debug)]
pub(crate) struct Sealed {
    shelf: Arc<dyn Shelf>,
    key: Option<SealKey>,
    /// Documents that others have sealed.
    of_others: Mutex<BTreeSet<DocumentName>>,
}

impl Sealed {
    pub(crate) fn new(shelf: Arc<dyn Shelf>, key: Option<SealKey>) -> Self {
        Self {
            shelf,
            key,
            of_others: Mutex::default(),
        }
    }

    fn foreign(&self, operation: &str, name: &DocumentName, why: &str) -> ShelfError {
        let operation = format!("{operation} the document {name} of");
        ShelfError::new(ShelfErrorKind::Foreign, operation, self.shelf.address()).because(why)
    }

    fn opened(&self, name: &DocumentName, document: Document) -> Result<Document, ShelfError> {
        let Document { body, blobs } = document;
        let (text, seal) = split(&body);
        let is_ours = match (&self.key, seal) {
            (Some(key), Some(seal)) => {
                if hmac::verify(&key.hmac(), &message(name, &text, &blobs), seal).is_err() {
                    return Err(self.foreign("believe", name, "it is sealed with another key"));
                }
                true
            }
            (Some(_), None) => {
                return Err(self.foreign("believe", name, "it is not sealed with a key"));
            }
            (None, Some(_)) => false,
            (None, None) => true,
        };
        if !is_ours {
            let mut of_others = self.of_others.lock().expect("no panics under this lock");
            of_others.insert(name.clone());
        }
        Ok(Document { body: text, blobs })
    }

    fn closed(&self, name: &DocumentName, document: &Document) -> Result<Document, ShelfError> {
        let of_others = self.of_others.lock().expect("no panics under this lock");
        if of_others.contains(name) {
            let why = "it is sealed with a key, which --cache-key-file has to give";
            return Err(self.foreign("replace", name, why));
        }
        let Some(key) = &self.key else {
            return Ok(document.clone());
        };
        let seal = hmac::sign(&key.hmac(), &message(name, &document.body, &document.blobs));
        let mut body = BytesMut::from(&document.body[..]);
        body.put_slice(MAGIC);
        body.put_slice(seal.as_ref());
        Ok(Document {
            body: body.freeze(),
            blobs: document.blobs.clone(),
        })
    }
}

/// A body without its seal, and the seal.
fn split(body: &Bytes) -> (Bytes, Option<&[u8]>) {
    let seal = body.len().checked_sub(MAGIC.len() + MAC_BYTES);
    match seal.map(|at| (at, &body[at..])) {
        Some((at, seal)) if seal.starts_with(MAGIC) => {
            (body.slice(..at), Some(&seal[MAGIC.len()..]))
        }
        Some(_) | None => (body.clone(), None),
    }
}

/// What is signed: every part behind its length. The order of blobs is the shelf's own.
fn message(name: &DocumentName, body: &[u8], blobs: &[Descriptor]) -> Vec<u8> {
    let mut blobs: Vec<String> = blobs
        .iter()
        .map(|blob| format!("{} {} {}", blob.digest, blob.size, blob.media_type))
        .collect();
    blobs.sort();
    let name = name.to_string();
    let parts = [&MAGIC[..], name.as_bytes(), body];
    let mut message = Vec::new();
    for part in parts.into_iter().chain(blobs.iter().map(String::as_bytes)) {
        message.put_u64(part.len() as u64);
        message.put_slice(part);
    }
    message
}

impl Shelf for Sealed {
    fn address(&self) -> &str {
        self.shelf.address()
    }

    fn repository(&self) -> Option<&Repository> {
        self.shelf.repository()
    }

    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<Document>, ShelfError>> {
        Box::pin(async move {
            let document = self.shelf.document(name).await?;
            document
                .map(|document| self.opened(name, document))
                .transpose()
        })
    }

    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), ShelfError>> {
        Box::pin(async move {
            let document = self.closed(name, document)?;
            self.shelf.put_document(name, &document).await
        })
    }

    fn has<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, ShelfError>> {
        self.shelf.has(blob)
    }

    fn open<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<BlobReader, ShelfError>> {
        self.shelf.open(blob)
    }

    fn range<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Bytes, ShelfError>> {
        self.shelf.range(blob, range)
    }

    fn put<'a>(
        &'a self,
        blob: &'a Descriptor,
        source: Arc<dyn BlobSource>,
        elsewhere: &'a [Repository],
    ) -> BoxFuture<'a, Result<(), ShelfError>> {
        self.shelf.put(blob, source, elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::DirectoryShelf;
    use crate::{Address, DirectoryAddress};

    fn key(text: &str) -> Option<SealKey> {
        Some(SealKey::new(text.as_bytes()).unwrap())
    }

    const OURS: &str = "0123456789abcdef";
    const OTHER: &str = "fedcba9876543210";

    /// Puts a document with one key, and reads it with another.
    fn check(written: Option<SealKey>, read: Option<SealKey>, believed: bool, replaced: bool) {
        let directory = tempfile::tempdir().unwrap();
        let address = DirectoryAddress {
            path: directory.path().to_owned(),
            tag: "latest".parse().unwrap(),
            digest: None,
        };
        let shelf = |key| {
            let shown = Address::Directory(address.clone()).to_string();
            Sealed::new(Arc::new(DirectoryShelf::new(address.clone(), shown)), key)
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (name, document) = (
            DocumentName::main(),
            Document {
                body: Bytes::from_static(b"content"),
                blobs: Vec::new(),
            },
        );
        runtime.block_on(async {
            shelf(written).put_document(&name, &document).await.unwrap();
            let reader = shelf(read);
            let found = reader.document(&name).await;
            match found {
                Ok(found) => assert_eq!((found, believed), (Some(document.clone()), true)),
                Err(error) => {
                    assert_eq!((error.kind(), believed), (ShelfErrorKind::Foreign, false));
                    return;
                }
            }
            assert_eq!(
                reader.put_document(&name, &document).await.is_ok(),
                replaced
            );
        });
    }

    #[test]
    fn who_has_the_key_believes_only_what_is_sealed() {
        check(key(OURS), key(OURS), true, true);
        check(key(OURS), key(&format!("{OURS}\n")), true, true);
        check(key(OTHER), key(OURS), false, false);
        check(None, key(OURS), false, false);
        check(key(OURS), None, true, false);
        check(None, None, true, true);
    }

    #[test]
    fn a_seal_is_of_one_name_and_one_content() {
        let shelf = Sealed::new(
            Arc::new(DirectoryShelf::new(
                DirectoryAddress {
                    path: "nowhere".into(),
                    tag: "latest".parse().unwrap(),
                    digest: None,
                },
                "nowhere".to_owned(),
            )),
            key(OURS),
        );
        let (name, other) = (DocumentName::main(), DocumentName::new("main-2").unwrap());
        let blob = Descriptor::new(oci::MediaType::OciConfig, oci::Digest::of(b"blob"), 4);
        let document = Document {
            body: Bytes::from_static(b"content"),
            blobs: vec![blob.clone()],
        };
        let sealed = shelf.closed(&name, &document).unwrap();
        assert_eq!(shelf.opened(&name, sealed.clone()).unwrap(), document);
        assert!(shelf.opened(&other, sealed.clone()).is_err());
        for at in 0..sealed.body.len() {
            let mut body = sealed.body.to_vec();
            body[at] ^= 1;
            let changed = Document {
                body: body.into(),
                ..sealed.clone()
            };
            assert!(shelf.opened(&name, changed).is_err(), "byte {at}");
        }
        let mut more = sealed;
        more.blobs.push(blob);
        assert!(shelf.opened(&name, more).is_err());
    }

    #[test]
    fn keys_are_long_enough() {
        assert_eq!(SealKey::new(b"short\n").unwrap_err(), SealKeyError(5));
        assert!(SealKey::new(&[b'a'; KEY_BYTES_MAX + 1]).is_err());
    }
}
