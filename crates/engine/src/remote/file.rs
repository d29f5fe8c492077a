//! Files behind http addresses: asked for with what is known of them, kept as blobs.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use dockerfile::remote::without_credentials;
use fetch::{FILE_BYTES_MAX, Fetched, HttpRequest, Sink, Validators};
use oci::{Algorithm, Descriptor, Digest, MediaType};
use serde::{Deserialize, Serialize};
use store::blob::{BlobError, BlobWriter};

use super::{RemoteError, Remotes};
use crate::event::{Direction, Reporter};
use crate::layers::transfer_of;

/// A file that somebody wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WantedFile<'w> {
    pub url: &'w str,
    /// What its content must hash to.
    pub checksum: Option<&'w Digest>,
}

/// What is behind an address now. Its content may have to be fetched still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    /// Of the content.
    pub digest: Digest,
    /// Of the content, in bytes.
    pub bytes: u64,
    /// When the server says that it was last changed, in seconds since 1970.
    pub modified: Option<i64>,
    #[serde(default)]
    etag: Option<String>,
    #[serde(default)]
    last_modified: Option<String>,
}

impl Remotes {
    /// Finds out what is behind an address, once in a build. What is not yet known of it is
    /// fetched; a file whose digest is known and whose content is here needs no network (C24).
    pub(crate) async fn file(&self, wanted: WantedFile<'_>) -> Result<File, RemoteError> {
        let key = (wanted.url.to_owned(), wanted.checksum.cloned());
        let cell = {
            let mut files = self.files.lock().expect("no panics under this lock");
            Arc::clone(files.entry(key).or_default())
        };
        let file = cell.get_or_try_init(|| self.look_up(wanted)).await?;
        Ok(file.clone())
    }

    /// The content of a file as a file of this name, alone in a new directory.
    pub(crate) async fn content(
        &self,
        wanted: WantedFile<'_>,
        name: &str,
    ) -> Result<(File, PathBuf), RemoteError> {
        let mut file = self.file(wanted).await?;
        let mut fetched = false;
        loop {
            let descriptor = Descriptor::new(content_type(), file.digest.clone(), file.bytes);
            let directory = self.scratch.directory()?;
            let target = directory.join(name);
            let blobs = self.store.blobs().clone();
            // The blob is checked while it is copied: nobody changes the copy but we.
            let copied = tokio::task::spawn_blocking(move || copy(&blobs, &descriptor, &target));
            match copied.await.expect("copying a file does not panic") {
                Ok(()) => return Ok((file, directory)),
                // It was pruned, or is damaged: then it is no longer there.
                Err(CopyError::Blob) if !fetched => {
                    file = self.fetch(wanted, None).await?;
                    fetched = true;
                }
                Err(CopyError::Blob) => {
                    return Err(BlobError::Absent(file.digest).into());
                }
                Err(CopyError::Disk(source)) => {
                    let shown = without_credentials(wanted.url);
                    return Err(RemoteError::Open { shown, source });
                }
            }
        }
    }

    async fn look_up(&self, wanted: WantedFile<'_>) -> Result<File, RemoteError> {
        let known = self.recall(wanted.url);
        if let Some(checksum) = wanted.checksum
            && let Some(bytes) = self.store.blobs().size(checksum)
        {
            let known = known.filter(|known| known.digest == *checksum);
            return Ok(known.unwrap_or(File {
                digest: checksum.clone(),
                bytes,
                modified: None,
                etag: None,
                last_modified: None,
            }));
        }
        let fits = |known: &File| wanted.checksum.is_none_or(|sum| *sum == known.digest);
        self.fetch(wanted, known.filter(fits)).await
    }

    async fn fetch(
        &self,
        wanted: WantedFile<'_>,
        known: Option<File>,
    ) -> Result<File, RemoteError> {
        let algorithm = wanted.checksum.map_or(Algorithm::Sha256, Digest::algorithm);
        let mut sink = BlobSink {
            writer: self.store.blobs().writer_for(algorithm)?,
            what: without_credentials(wanted.url),
            reporter: Arc::clone(&self.reporter),
            progress: None,
        };
        let validators = known.as_ref().map(|known| Validators {
            etag: known.etag.clone(),
            last_modified: known.last_modified.clone(),
        });
        let has_validator =
            |known: &&Validators| known.etag.is_some() || known.last_modified.is_some();
        let request = HttpRequest {
            url: wanted.url,
            known: validators.as_ref().filter(has_validator),
            downgrade: wanted.checksum.is_some(),
            bytes_max: FILE_BYTES_MAX,
        };
        let fetched = self.post.http.fetch(request, &mut sink).await;
        let fetched = fetched.map_err(|source| RemoteError::Http {
            shown: without_credentials(wanted.url),
            source,
        })?;
        let (validators, modified, bytes) = match (fetched, known) {
            (Fetched::Unchanged, Some(known)) => return Ok(known),
            // Only an answer to what was asked for is `Unchanged`.
            (Fetched::Unchanged, None) => (Validators::default(), None, sink.writer.size()),
            (
                Fetched::File {
                    validators,
                    modified,
                    bytes,
                },
                _,
            ) => (validators, modified, bytes),
        };
        let digest = match wanted.checksum {
            None => sink.writer.finish()?.0,
            Some(checksum) => {
                let descriptor = Descriptor::new(content_type(), checksum.clone(), bytes);
                let finished = sink.writer.finish_as(&descriptor);
                finished.map_err(|error| match error {
                    BlobError::Unexpected { found, .. } => RemoteError::Checksum {
                        shown: without_credentials(wanted.url),
                        expected: checksum.clone(),
                        found: found.to_string(),
                    },
                    other => other.into(),
                })?;
                checksum.clone()
            }
        };
        let file = File {
            digest,
            bytes,
            modified,
            etag: validators.etag,
            last_modified: validators.last_modified,
        };
        let bytes = serde_json::to_vec(&file).expect("texts and numbers are JSON");
        self.store.records().put(&record_key(wanted.url), &bytes);
        Ok(file)
    }

    fn recall(&self, url: &str) -> Option<File> {
        let bytes = self.store.records().get(&record_key(url))?;
        serde_json::from_slice(&bytes).ok()
    }
}

fn record_key(url: &str) -> Digest {
    Digest::of(format!("the file behind {url}").as_bytes())
}

fn content_type() -> MediaType {
    MediaType::Other("application/octet-stream".into())
}

enum CopyError {
    Blob,
    Disk(io::Error),
}

fn copy(
    blobs: &store::blob::Blobs,
    descriptor: &Descriptor,
    target: &std::path::Path,
) -> Result<(), CopyError> {
    let mut blob = blobs.open(descriptor).map_err(|_| CopyError::Blob)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(target)
        .map_err(CopyError::Disk)?;
    match io::copy(&mut blob, &mut file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(CopyError::Blob),
        Err(error) => Err(CopyError::Disk(error)),
    }
}

/// What comes goes into the store.
struct BlobSink {
    writer: BlobWriter,
    /// How the user hears of it, where the server says how much there is.
    progress: Option<registry::Progress>,
    what: String,
    reporter: Arc<dyn Reporter>,
}

impl Sink for BlobSink {
    fn restart(&mut self) -> io::Result<()> {
        self.writer.restart().map_err(io::Error::other)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.append(bytes).map_err(io::Error::other)?;
        if let Some(progress) = &self.progress {
            progress(self.writer.size());
        }
        Ok(())
    }

    fn expect(&mut self, bytes: Option<u64>) {
        let bytes = bytes.filter(|bytes| *bytes > 0);
        self.progress = bytes.map(|bytes| {
            let what = self.what.clone();
            transfer_of(&self.reporter, Direction::Down, what, bytes)
        });
    }
}
