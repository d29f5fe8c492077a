//! What the verbs that move images have in common: addresses, where blobs are, what is told to the
//! user, and errors in words.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{BuildError, Direction, Event, Ports, Reporter};
use oci::{Descriptor, Digest, Platform, Repository};
use publish::sink::{ArchiveError, ArchiveFileError, KeepError, LayoutError};
use publish::source::{Origins, Part, SourceError, Sources};
use publish::{Address, PublishError, PublishedTag, TagChange, Watcher};
use registry::Progress;
use store::Store;

use crate::error::ProgramError;

/// Reads an address.
pub(crate) fn address(text: &str) -> Result<Address, ProgramError> {
    text.parse().map_err(|error: publish::AddressError| {
        let program_error = ProgramError::input(error.to_string());
        match error.advice {
            Some(advice) => program_error.hint(advice),
            None => program_error,
        }
    })
}

/// Reads what `--platform` says.
pub(crate) fn part(platform: Option<&str>) -> Result<Part, ProgramError> {
    match platform {
        None => Ok(Part::Whole),
        Some(text) => text
            .parse::<Platform>()
            .map(Part::Platform)
            .map_err(|error| ProgramError::input(format!("--platform: {error}"))),
    }
}

/// What images are read with.
pub(crate) fn sources(ports: &Ports) -> Sources {
    Sources {
        client: ports.client.clone(),
        store: Some(ports.store.clone()),
        origins: Some(Arc::new(KnownOrigins {
            store: ports.store.clone(),
            known: Mutex::default(),
        })),
    }
}

/// Where the layers of images came from that were built here.
struct KnownOrigins {
    store: Store,
    known: Mutex<BTreeMap<Digest, BTreeMap<Digest, Repository>>>,
}

impl Origins for KnownOrigins {
    fn of(&self, image: &Digest, blob: &Digest) -> Vec<Repository> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let origins = known
            .entry(image.clone())
            .or_insert_with(|| engine::layer_origins(&self.store, image));
        origins.get(blob).cloned().into_iter().collect()
    }
}

/// Does something until the user wishes to stop.
pub(crate) async fn unless_interrupted<T>(
    ports: &Ports,
    work: impl Future<Output = Result<T, ProgramError>>,
) -> Result<T, ProgramError> {
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = ports.interrupt.triggered() => return Err(BuildError::Interrupted.into()),
    };
    // What stops because of an interrupt ends in errors of all kinds.
    match ports.interrupt.is_triggered() {
        true => outcome.map_err(|_| BuildError::Interrupted.into()),
        false => outcome,
    }
}

/// An image cannot be read.
pub(crate) fn unread(address: &Address, error: &SourceError) -> ProgramError {
    let headline = format!("could not read {address}");
    let program_error = match error.is_input() {
        true => ProgramError::input(headline),
        false => ProgramError::failed(headline),
    };
    let program_error = program_error.because(error);
    match error.advice() {
        Some(advice) => program_error.hint(advice),
        None => program_error,
    }
}

/// An image could not be published.
pub(crate) fn unpublished(headline: &str, error: PublishError) -> ProgramError {
    // `--retag` is a flag of push and build.
    let is_conflict = error.is_tag_conflict();
    let hint = match is_conflict {
        true => Some("use another tag".to_owned()),
        false => error.advice(),
    };
    let (message, source) = (headline.to_owned(), Some(error.into()));
    let error = match is_conflict {
        true => BuildError::TagConflict {
            message,
            hint,
            source,
        },
        false => BuildError::Failed {
            message,
            hint,
            source,
        },
    };
    error.into()
}

/// An archive could not be written.
pub(crate) fn unwritten(path: &std::path::Path, error: &WriteError) -> ProgramError {
    let headline = format!("could not write {}", path.display());
    let is_input = match error {
        WriteError::File(error) => error.is_input(),
        WriteError::Layout(error) => error.is_input(),
        WriteError::Archive(_) => false,
    };
    let program_error = match is_input {
        true => ProgramError::input(headline),
        false => ProgramError::failed(headline),
    };
    let program_error = program_error.because(error);
    match error {
        WriteError::Layout(error) => match error.advice() {
            Some(advice) => program_error.hint(advice),
            None => program_error,
        },
        WriteError::File(_) | WriteError::Archive(_) => program_error,
    }
}

/// An image could not be kept in the store.
pub(crate) fn unkept(error: &KeepError) -> ProgramError {
    ProgramError::failed("could not keep the image in the store").because(error)
}

/// Why a file with images was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    File(#[from] ArchiveFileError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Writes an archive where that keeps nobody waiting.
pub(crate) async fn write_archive(
    files: publish::sink::ImageFiles,
    blobs: Arc<dyn publish::Blobs>,
    path: PathBuf,
    ports: &Ports,
) -> Result<(), ProgramError> {
    let interrupt = ports.interrupt.clone();
    let to = path.clone();
    let written = blocking(move || -> Result<(), WriteError> {
        let is_stopped = || interrupt.is_triggered();
        let destination = publish::sink::Destination::File(to);
        let mut file = publish::sink::ArchiveFile::open(&destination, &is_stopped)?;
        files.write_tar(&*blobs, &mut file)?;
        Ok(file.finish()?)
    });
    written.await.map_err(|error| unwritten(&path, &error))
}

/// Runs what waits for disks where it keeps nobody else waiting.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("writing does not panic")
}

/// Tells the user what a transaction does.
pub(crate) struct Reported(pub(crate) Arc<dyn Reporter>);

impl Watcher for Reported {
    fn upload(&self, blob: &Descriptor) -> Option<Progress> {
        Some(engine::transfer(&self.0, Direction::Up, blob))
    }

    fn published(&self, tag: &PublishedTag, digest: &Digest) {
        self.0.report(Event::Published {
            reference: tag.reference.clone(),
            digest: digest.clone(),
            unchanged: tag.change == TagChange::Unchanged,
        });
    }

    fn warning(&self, message: String) {
        self.0.report(Event::Warning { message });
    }
}
