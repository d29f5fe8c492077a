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
        let _runtime = self.runtime.enter();
        let mut reader = self
            .client
            .blob(&self.repository, &self.blob, None)
            .into_reader();
        io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
        Ok(Box::new(reader))
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
        let opened = self.runtime.block_on(self.shelf.open(&self.blob));
        let mut reader = opened.map_err(io::Error::other)?;
        io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
        Ok(reader)
    }
}
