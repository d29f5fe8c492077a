//! A shelf in a directory: an image layout, whose `index.json` names the documents.
//!
//! ```text
//! oci-layout  index.json  blobs/sha256/…
//! index.lock                 held while the index is read and written anew
//! ```
//!
//! Files appear by rename. What no document names any more goes after a day, which is
//! longer than the build that may be about to name it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use oci::{
    DOCUMENT_BYTES_MAX, Descriptor, Digest, Document as OciDocument, Hasher, Index, MediaType, Raw,
    Repository,
};
use registry::BlobSource;

use crate::address::DirectoryAddress;
use crate::form::{self, BODY_BYTES_MAX, Form};
use crate::registry_shelf::derived_tag;
use crate::{BlobReader, Document, DocumentName, Shelf, ShelfError, ShelfErrorKind};

/// The annotation with a name (image specification, "Pre-Defined Annotation Keys").
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
/// The file that makes a directory an image layout.
const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX_FILE: &str = "index.json";
const LOCK_FILE: &str = "index.lock";
/// In front of the names of files that are being written.
const BESIDE: &str = ".tmp-";
/// How long a blob stays that no document names.
const UNNAMED_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// The largest part that is read at once, in bytes.
const RANGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A shelf in a directory.
#[derive(Clone, Debug)]
pub(crate) struct DirectoryShelf {
    shown: Arc<str>,
    address: Arc<DirectoryAddress>,
}

impl DirectoryShelf {
    pub(crate) fn new(address: DirectoryAddress, shown: String) -> Self {
        Self {
            shown: shown.into(),
            address: Arc::new(address),
        }
    }

    /// Does something on a thread that may block.
    fn blocking<'a, T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T, ShelfError> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, ShelfError>> {
        let shelf = self.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || work(shelf))
                .await
                .expect("work on a directory does not panic")
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.address.path.join(name)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let algorithm = digest.algorithm().name();
        self.path("blobs").join(algorithm).join(digest.hex())
    }

    /// The name of a document in the index.
    fn name(&self, name: &DocumentName) -> String {
        match self.address.tag.as_str() {
            tag if name.is_main() => tag.to_owned(),
            tag => derived_tag(tag, name),
        }
    }

    fn error(&self, kind: ShelfErrorKind, operation: impl Into<String>) -> ShelfError {
        ShelfError::new(kind, operation, &*self.shown)
    }

    fn disk(&self, operation: &str, error: io::Error) -> ShelfError {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ShelfErrorKind::Absent,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ShelfErrorKind::Denied
            }
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => ShelfErrorKind::Full,
            _ => ShelfErrorKind::Refused,
        };
        self.error(kind, operation).because(error)
    }

    /// The index; `None` when there is no file.
    fn index(&self, operation: &str) -> Result<Option<Index>, ShelfError> {
        let Some(bytes) = self.read_small(&self.path(INDEX_FILE), operation)? else {
            return Ok(None);
        };
        let foreign = || self.error(ShelfErrorKind::Foreign, operation);
        match OciDocument::read(bytes, Some(&MediaType::OciIndex)) {
            Ok(OciDocument::Index(index)) => Ok(Some(index.value().clone())),
            Ok(OciDocument::Manifest(_)) => Err(foreign().because("index.json is no image index")),
            Err(error) => Err(foreign().because(error)),
        }
    }

    fn read_small(&self, path: &Path, operation: &str) -> Result<Option<Vec<u8>>, ShelfError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.disk(operation, error)),
        };
        let mut bytes = Vec::new();
        file.take(DOCUMENT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.disk(operation, error))?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            let error = self.error(ShelfErrorKind::Foreign, operation);
            let what = format!("{} is too large", path.display());
            return Err(error.because(what));
        }
        Ok(Some(bytes))
    }

    /// The manifest that a digest names.
    fn manifest(&self, digest: &Digest, operation: &str) -> Result<OciDocument, ShelfError> {
        let bytes = self.read_small(&self.blob_path(digest), operation)?;
        let bytes = bytes.ok_or_else(|| {
            self.error(ShelfErrorKind::Absent, operation)
                .because(format!("its manifest {digest} is not there"))
        })?;
        if !digest.matches(&bytes) {
            return Err(self
                .error(ShelfErrorKind::Damaged, operation)
                .because(format!("its manifest does not have the digest {digest}")));
        }
        OciDocument::read(bytes, None).map_err(|error| {
            self.error(ShelfErrorKind::Foreign, operation)
                .because(error)
        })
    }

    fn read_document(&self, name: &DocumentName) -> Result<Option<Document>, ShelfError> {
        const READ: &str = "read";
        let pinned = self.address.digest.as_ref().filter(|_| name.is_main());
        let digest = match pinned {
            Some(digest) => digest.clone(),
            None => {
                let wanted = self.name(name);
                let index = self.index(READ)?;
                let mut manifests = index.iter().flat_map(|index| &index.manifests);
                match manifests.find(|entry| is_named(entry, &wanted)) {
                    Some(entry) => entry.digest.clone(),
                    None => return Ok(None),
                }
            }
        };
        let manifest = self.manifest(&digest, READ)?;
        let Some((body, blobs)) = form::read(&manifest) else {
            let error = self.error(ShelfErrorKind::Foreign, READ);
            return Err(error.because(form::what_else(&manifest)));
        };
        if body.size > BODY_BYTES_MAX {
            return Err(self.error(ShelfErrorKind::Full, READ));
        }
        let mut bytes = Vec::new();
        self.open_verified(&body, READ)?
            .read_to_end(&mut bytes)
            .map_err(|error| self.error(ShelfErrorKind::Damaged, READ).because(error))?;
        Ok(Some(Document {
            body: bytes.into(),
            blobs,
        }))
    }

    fn open_verified(
        &self,
        blob: &Descriptor,
        operation: &str,
    ) -> Result<Verified<File>, ShelfError> {
        let file = File::open(self.blob_path(&blob.digest));
        let file = file.map_err(|error| self.disk(operation, error))?;
        Ok(Verified::new(file, blob))
    }

    /// Makes the directory an image layout, if nothing else is there.
    fn prepare(&self) -> Result<(), ShelfError> {
        const WRITE: &str = "write";
        let disk = |error| self.disk(WRITE, error);
        if !self.path(LAYOUT_FILE).exists() {
            // Another build may be making it this very moment.
            let is_foreign = |entry: fs::DirEntry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                !name.starts_with(BESIDE) && name != LAYOUT_FILE
            };
            let entries = fs::read_dir(&self.address.path);
            let entries = entries.into_iter().flatten().flatten();
            // It is looked for again: it may have come while we looked for other things.
            if entries.into_iter().any(is_foreign) && !self.path(LAYOUT_FILE).exists() {
                let error = self.error(ShelfErrorKind::Foreign, WRITE);
                return Err(error.because("the directory holds files and is no image layout"));
            }
            fs::create_dir_all(&self.address.path).map_err(disk)?;
            self.replace(&self.path(LAYOUT_FILE), &mut &LAYOUT[..])
                .map_err(disk)?;
        }
        Ok(())
    }

    /// Writes a file beside its place and renames it.
    fn replace(&self, path: &Path, content: &mut dyn Read) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let directory = path.parent().expect("a file has a directory");
        fs::create_dir_all(directory)?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let beside = directory.join(format!("{BESIDE}{}-{number}", std::process::id()));
        let written = (|| {
            let mut file = File::create(&beside)?;
            io::copy(content, &mut file)?;
            file.flush()?;
            file.sync_data()?;
            fs::rename(&beside, path)
        })();
        if written.is_err() {
            // What is left is removed with the blobs that nobody names.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    fn write_document(&self, name: &DocumentName, document: &Document) -> Result<(), ShelfError> {
        const WRITE: &str = "write";
        let disk = |error| self.disk(WRITE, error);
        self.prepare()?;
        let form = Form::of(document);
        let manifest = form.manifest.descriptor(MediaType::OciManifest);
        for (digest, mut bytes) in [
            (&form.body.digest, &document.body[..]),
            (form.config.digest(), form.config.bytes()),
            (form.manifest.digest(), form.manifest.bytes()),
        ] {
            self.replace(&self.blob_path(digest), &mut bytes)
                .map_err(disk)?;
        }
        let lock = File::create(self.path(LOCK_FILE)).map_err(disk)?;
        lock.lock().map_err(disk)?;
        let mut index = self.index(WRITE)?.unwrap_or_else(|| Index {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            artifact_type: None,
            manifests: Vec::new(),
            subject: None,
            annotations: Default::default(),
        });
        let named = self.name(name);
        index.manifests.retain(|entry| !is_named(entry, &named));
        let annotations = [(REFERENCE_NAME.to_owned(), named)].into();
        index.manifests.push(Descriptor {
            annotations,
            ..manifest
        });
        let bytes = Raw::write(index.clone());
        self.replace(&self.path(INDEX_FILE), &mut bytes.bytes())
            .map_err(disk)?;
        self.sweep(&index);
        Ok(())
    }

    /// Removes what nobody names any more, unless somebody else's images are here too. What
    /// cannot be removed stays for the next time.
    fn sweep(&self, index: &Index) {
        let mut named = std::collections::HashSet::new();
        for entry in &index.manifests {
            let Ok(OciDocument::Manifest(manifest)) = self.manifest(&entry.digest, "tidy") else {
                return;
            };
            named.insert(entry.digest.hex().to_owned());
            named.insert(manifest.value().config.digest.hex().to_owned());
            for layer in &manifest.value().layers {
                named.insert(layer.digest.hex().to_owned());
            }
        }
        let Ok(files) = fs::read_dir(self.path("blobs/sha256")) else {
            return;
        };
        let now = SystemTime::now();
        for file in files.flatten() {
            let is_named = file
                .file_name()
                .to_str()
                .is_some_and(|name| named.contains(name));
            let age = file.metadata().and_then(|metadata| metadata.modified());
            let is_old = age.is_ok_and(|modified| {
                now.duration_since(modified)
                    .is_ok_and(|age| age > UNNAMED_KEPT)
            });
            if !is_named && is_old {
                let _ = fs::remove_file(file.path());
            }
        }
    }

    /// Whether a blob is there in its length. It counts as new from now on.
    fn has_blob(&self, blob: &Descriptor) -> bool {
        let Ok(file) = File::open(self.blob_path(&blob.digest)) else {
            return false;
        };
        let is_whole = file.metadata().is_ok_and(|found| found.len() == blob.size);
        // Where we may not, the time says what it said.
        let _ = file.set_modified(SystemTime::now());
        is_whole
    }
}

fn is_named(entry: &Descriptor, name: &str) -> bool {
    entry.annotations.get(REFERENCE_NAME).map(String::as_str) == Some(name)
}

/// Bytes that must have a digest.
pub(crate) struct Verified<R> {
    input: io::Take<R>,
    /// Nothing once it has been compared.
    hasher: Option<Hasher>,
    digest: Digest,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(input: R, blob: &Descriptor) -> Self {
        Self {
            input: input.take(blob.size + 1),
            hasher: Some(Hasher::new(blob.digest.algorithm())),
            digest: blob.digest.clone(),
        }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
            return Ok(count);
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != self.digest => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the blob {} has the digest {found}", self.digest),
            )),
            Some(_) | None => Ok(0),
        }
    }
}

impl Shelf for DirectoryShelf {
    fn address(&self) -> &str {
        &self.shown
    }

    fn document<'a>(
        &'a self,
        name: &'a DocumentName,
    ) -> BoxFuture<'a, Result<Option<Document>, ShelfError>> {
        let name = name.clone();
        self.blocking(move |shelf| shelf.read_document(&name))
    }

    fn put_document<'a>(
        &'a self,
        name: &'a DocumentName,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<(), ShelfError>> {
        let (name, document) = (name.clone(), document.clone());
        self.blocking(move |shelf| shelf.write_document(&name, &document))
    }

    fn has<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<bool, ShelfError>> {
        let blob = blob.clone();
        self.blocking(move |shelf| Ok(shelf.has_blob(&blob)))
    }

    fn open<'a>(&'a self, blob: &'a Descriptor) -> BoxFuture<'a, Result<BlobReader, ShelfError>> {
        let blob = blob.clone();
        self.blocking(move |shelf| {
            let operation = format!("read the blob {} of", blob.digest);
            let reader = shelf.open_verified(&blob, &operation)?;
            Ok(Box::new(reader) as BlobReader)
        })
    }

    fn range<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Bytes, ShelfError>> {
        let blob = blob.clone();
        self.blocking(move |shelf| {
            let operation = format!("read a part of the blob {} of", blob.digest);
            let bytes = range.end.saturating_sub(range.start);
            if bytes > RANGE_BYTES_MAX {
                return Err(shelf.error(ShelfErrorKind::Full, operation));
            }
            let mut buffer = vec![0; bytes as usize];
            File::open(shelf.blob_path(&blob.digest))
                .and_then(|file| file.read_exact_at(&mut buffer, range.start))
                .map_err(|error| shelf.disk(&operation, error))?;
            Ok(buffer.into())
        })
    }

    fn put<'a>(
        &'a self,
        blob: &'a Descriptor,
        source: Arc<dyn BlobSource>,
        _: &'a [Repository],
    ) -> BoxFuture<'a, Result<(), ShelfError>> {
        let blob = blob.clone();
        self.blocking(move |shelf| {
            let operation = format!("put the blob {} into", blob.digest);
            shelf.prepare()?;
            if shelf.has_blob(&blob) {
                return Ok(());
            }
            let unread = |error| {
                shelf
                    .error(ShelfErrorKind::Source, operation.clone())
                    .because(error)
            };
            // What comes in must have its digest before it gets its name.
            let mut reader = Verified::new(source.open(0).map_err(unread)?, &blob);
            shelf
                .replace(&shelf.blob_path(&blob.digest), &mut reader)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::InvalidData => unread(error),
                    _ => shelf.disk(&operation, error),
                })
        })
    }
}
