//! The blobs of an image as readers, wherever they are: in the store, or still
//! in the registry that a base image came from. Whatever ends without an error
//! had the right digest. Nothing is copied to the disk on the way.

use std::io::{self, Read};
use std::sync::Arc;

use oci::{Descriptor, Digest, Repository};
use publish::Blobs;
use registry::BlobSource;
use store::Store;
use store::blob::BlobError;

use crate::event::{Direction, Reporter};
use crate::layers::{Layers, transfer};
use crate::origins::{Origin, Origins};
use crate::ports::Ports;

/// Why a blob cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SupplyError {
    /// Its registry does not give it.
    #[error("could not fetch layer {digest} from {repository}")]
    Fetch {
        digest: Digest,
        repository: Repository,
        source: registry::Error,
    },
    /// Its shelf does not give it.
    #[error("could not fetch layer {digest}")]
    Shelf {
        digest: Digest,
        source: shelf::ShelfError,
    },
    /// The store does not give it.
    #[error(transparent)]
    Stored(#[from] BlobError),
    /// The disk failed, or the file in the store was damaged.
    #[error("could not read layer {digest} from the store")]
    Read { digest: Digest, source: io::Error },
    /// It is nowhere.
    #[error("layer {0} is neither in the store nor in a registry that this image came from")]
    Lost(Digest),
}

impl SupplyError {
    /// What the user can do about it.
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Fetch { source, .. } => source.advice(),
            Self::Shelf { .. } => None,
            Self::Stored(_) | Self::Read { .. } => {
                Some("build the image again: what was damaged is made anew".to_owned())
            }
            Self::Lost(_) => Some("build the image again, with --no-cache if need be".to_owned()),
        }
    }
}

/// Gives out the blobs of the images of a build. Read on threads for blocking work only.
pub(crate) struct Supply {
    store: Store,
    client: registry::Client,
    reporter: Arc<dyn Reporter>,
    origins: Origins,
    runtime: tokio::runtime::Handle,
}

impl Supply {
    /// Must be called on a runtime, which then fetches what is remote.
    pub(crate) fn new(ports: &Ports, layers: &Layers) -> Self {
        Self {
            store: ports.store.clone(),
            client: ports.client.clone(),
            reporter: Arc::clone(&ports.reporter),
            origins: layers.origins().clone(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// Opens a blob for one reading.
    ///
    /// # Errors
    ///
    /// [`SupplyError`]. A registry is first heard of when its blob is read.
    pub(crate) fn open(&self, blob: &Descriptor) -> Result<Blob, SupplyError> {
        if self.store.blobs().has(blob) {
            return Ok(Blob {
                digest: blob.digest.clone(),
                origins: self.origins.clone(),
                source: Source::Store(self.store.blobs().open(blob)?),
            });
        }
        let repository = match self.origins.get(&blob.digest) {
            None => return Err(SupplyError::Lost(blob.digest.clone())),
            Some(Origin::Registry(repository)) => repository,
            Some(Origin::Shelf(shelf)) => {
                let digest = blob.digest.clone();
                let opened = self.runtime.block_on(shelf.open(blob));
                return match opened {
                    Ok(reader) => Ok(Blob {
                        digest,
                        origins: self.origins.clone(),
                        source: Source::Shelf(reader),
                    }),
                    Err(source) => {
                        self.origins.failed(&digest);
                        Err(SupplyError::Shelf { digest, source })
                    }
                };
            }
        };
        let progress = transfer(&self.reporter, Direction::Down, blob);
        let _runtime = self.runtime.enter();
        let stream = self.client.blob(&repository, blob, Some(progress));
        Ok(Blob {
            digest: blob.digest.clone(),
            origins: self.origins.clone(),
            source: Source::Registry {
                reader: Box::new(stream.into_reader()),
                repository,
            },
        })
    }
}

/// A blob that is being read.
pub(crate) struct Blob {
    digest: Digest,
    origins: Origins,
    source: Source,
}

enum Source {
    Store(store::blob::BlobReader),
    Registry {
        reader: Box<registry::BlobReader>,
        repository: Repository,
    },
    Shelf(shelf::BlobReader),
}

impl Blob {
    /// What is behind an error of reading.
    pub(crate) fn failure(self, error: io::Error) -> SupplyError {
        let digest = self.digest;
        match &self.source {
            Source::Registry { .. } | Source::Shelf(_) => self.origins.failed(&digest),
            Source::Store(_) => {}
        }
        match self.source {
            Source::Registry {
                mut reader,
                repository,
            } => match reader.take_error() {
                Some(source) => SupplyError::Fetch {
                    digest,
                    repository,
                    source,
                },
                None => SupplyError::Read {
                    digest,
                    source: error,
                },
            },
            Source::Store(_) | Source::Shelf(_) => SupplyError::Read {
                digest,
                source: error,
            },
        }
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Store(reader) => reader.read(buffer),
            Source::Registry { reader, .. } => reader.read(buffer),
            Source::Shelf(reader) => reader.read(buffer),
        }
    }
}

/// The blobs for whoever writes images to files. What is behind an error of reading is the
/// [`SupplyError`] in it.
pub(crate) struct SuppliedBlobs(pub(crate) Arc<Supply>);

impl Blobs for SuppliedBlobs {
    fn source(&self, blob: &Descriptor) -> Option<Arc<dyn BlobSource>> {
        let (supply, blob) = (Arc::clone(&self.0), blob.clone());
        Some(Arc::new(SuppliedBlob { supply, blob }))
    }

    fn repositories(&self, blob: &Descriptor) -> Vec<Repository> {
        let origin = self.0.origins.get(&blob.digest);
        let repository = origin.as_ref().and_then(Origin::repository);
        repository.cloned().into_iter().collect()
    }
}

struct SuppliedBlob {
    supply: Arc<Supply>,
    blob: Descriptor,
}

impl BlobSource for SuppliedBlob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let blob = self.supply.open(&self.blob).map_err(io::Error::other)?;
        let mut reader = Explained(Some(blob));
        io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
        Ok(Box::new(reader))
    }
}

/// A blob whose errors say what is behind them. Nothing can be read after one.
struct Explained(Option<Blob>);

impl Read for Explained {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(blob) = &mut self.0 else {
            return Err(io::Error::other("it could not be read before"));
        };
        match blob.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => match self.0.take() {
                Some(blob) => Err(io::Error::other(blob.failure(error))),
                None => Err(error),
            },
            other => other,
        }
    }
}

/// The error of supplying that is in an error of reading.
pub(crate) fn supply_error(error: &io::Error) -> Option<&SupplyError> {
    error.get_ref()?.downcast_ref()
}
