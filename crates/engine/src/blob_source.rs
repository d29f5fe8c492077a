//! A blob as something that can be sent on, wherever it is: in the store, or still where
//! a base image or a cache came from. What is elsewhere passes through without touching the disk.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use oci::{Descriptor, Repository};
use registry::{BlobSource, Client};
use shelf::Shelf;
use store::Store;

use crate::origins::Origin;

/// Where a blob can be read any number of times; nothing when it is nowhere. Must be called on a
/// runtime, which then fetches what is remote.
pub(crate) fn blob_source(
    store: &Store,
    client: &Client,
    origin: Option<&Origin>,
    blob: &Descriptor,
) -> Option<Arc<dyn BlobSource>> {
    if store.blobs().has(blob) {
        return Some(Arc::new(Stored {
            store: store.clone(),
            blob: blob.clone(),
        }));
    }
    let runtime = tokio::runtime::Handle::current();
    Some(match origin? {
        Origin::Registry(repository) => Arc::new(Remote {
            client: client.clone(),
            repository: repository.clone(),
            blob: blob.clone(),
            runtime,
        }),
        Origin::Shelf(shelf) => Arc::new(Shelved {
            shelf: Arc::clone(shelf),
            blob: blob.clone(),
            runtime,
        }),
    })
}

/// A blob of the store. Whoever gets it compares its digest, so a damaged file cannot become a
/// blob elsewhere.
struct Stored {
    store: Store,
    blob: Descriptor,
}

impl BlobSource for Stored {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = self
            .store
            .blobs()
            .open_file(&self.blob)
            .map_err(io::Error::other)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

/// A blob of another registry.
struct Remote {
    client: Client,
    repository: Repository,
    blob: Descriptor,
    runtime: tokio::runtime::Handle,
}

impl BlobSource for Remote {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let (client, repository) = (self.client.clone(), self.repository.clone());
        let (blob, runtime) = (self.blob.clone(), self.runtime.clone());
        Ok(later(offset, move || {
            let _runtime = runtime.enter();
            let reader = client.blob(&repository, &blob, None).into_reader();
            Ok(Box::new(reader))
        }))
    }
}

/// A blob of a shelf.
struct Shelved {
    shelf: Arc<dyn Shelf>,
    blob: Descriptor,
    runtime: tokio::runtime::Handle,
}

impl BlobSource for Shelved {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let (shelf, blob) = (Arc::clone(&self.shelf), self.blob.clone());
        let runtime = self.runtime.clone();
        Ok(later(offset, move || {
            let opened = runtime.block_on(shelf.open(&blob));
            let reader = opened.map_err(io::Error::other)?;
            Ok(Box::new(reader))
        }))
    }
}

type Input = Box<dyn Read + Send>;
type Open = Box<dyn FnOnce() -> io::Result<Input> + Send>;

/// A reader that is opened, and brought to `offset`, when it is first read: that is where waiting is
/// allowed. Whoever opens a source may be on a thread that drives the runtime.
fn later(offset: u64, open: impl FnOnce() -> io::Result<Input> + Send + 'static) -> Input {
    Box::new(Later::Closed(offset, Some(Box::new(open))))
}

enum Later {
    Closed(u64, Option<Open>),
    Opened(Input),
}

impl Read for Later {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Self::Closed(offset, open) = self {
            let open = open.take();
            let open = open.ok_or_else(|| io::Error::other("it could not be opened before"))?;
            let mut input = open()?;
            io::copy(&mut (&mut input).take(*offset), &mut io::sink())?;
            *self = Self::Opened(input);
        }
        match self {
            Self::Opened(input) => input.read(buffer),
            Self::Closed(..) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
