//! Where the blobs can be had that are not in the store. It grows while a build
//! runs: what the cache finds is somewhere too.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Mutex, RwLock};

use oci::{Descriptor, Digest, Repository};
use registry::{Client, ConsumeError, Progress};
use shelf::{Shelf, ShelfError};

/// One place.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A repository of a registry.
    Registry(Repository),
    /// A shelf that is none.
    Shelf(Arc<dyn Shelf>),
}

impl Origin {
    /// Where the blobs of a shelf are: in its repository, if it has one.
    pub(crate) fn of(shelf: &Arc<dyn Shelf>) -> Self {
        match shelf.repository() {
            Some(repository) => Self::Registry(repository.clone()),
            None => Self::Shelf(Arc::clone(shelf)),
        }
    }

    /// The repository, if it is one.
    pub(crate) fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Registry(repository) => Some(repository),
            Self::Shelf(_) => None,
        }
    }
}

/// Where blobs can be had. Clones share what is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    known: RwLock<BTreeMap<Digest, Origin>>,
    /// Blobs that were asked for in vain.
    failed: Mutex<HashSet<Digest>>,
    /// Blobs that nobody is to ask for any more.
    given_up: Mutex<HashSet<Digest>>,
}

impl Origins {
    /// Where a blob can be had.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Origin> {
        let known = self.0.known.read().expect("no panics under this lock");
        known.get(digest).cloned()
    }

    /// Whether a blob can be had somewhere.
    pub(crate) fn knows(&self, digest: &Digest) -> bool {
        let known = self.0.known.read().expect("no panics under this lock");
        known.contains_key(digest)
    }

    /// Adds a place. The first one of a blob counts: base images come before caches.
    pub(crate) fn add(&self, digest: Digest, origin: Origin) {
        if self.is_given_up(&digest) {
            return;
        }
        let mut known = self.0.known.write().expect("no panics under this lock");
        known.entry(digest).or_insert(origin);
    }

    /// Notes that a blob was not where it should be, or was not what it should be.
    pub(crate) fn failed(&self, digest: &Digest) {
        let mut failed = self.0.failed.lock().expect("no panics under this lock");
        failed.insert(digest.clone());
    }

    /// Forgets the places of those of some blobs that have failed so far, for good.
    pub(crate) fn give_up(&self, blobs: &HashSet<Digest>) -> Vec<Digest> {
        let failed = {
            let mut failed = self.0.failed.lock().expect("no panics under this lock");
            std::mem::take(&mut *failed)
        };
        let lost: Vec<Digest> = failed
            .into_iter()
            .filter(|digest| blobs.contains(digest) && !self.is_given_up(digest))
            .collect();
        let mut known = self.0.known.write().expect("no panics under this lock");
        let mut given_up = self.0.given_up.lock().expect("no panics under this lock");
        for digest in &lost {
            known.remove(digest);
            given_up.insert(digest.clone());
        }
        lost
    }

    /// Whether a blob was given up.
    pub(crate) fn is_given_up(&self, digest: &Digest) -> bool {
        let given_up = self.0.given_up.lock().expect("no panics under this lock");
        given_up.contains(digest)
    }
}

/// Why a blob could not be had or not be used.
pub(crate) enum OriginError<E> {
    Registry(Repository, registry::Error),
    Shelf(ShelfError),
    /// The blob is right, but its consumer failed.
    Consumer(E),
}

impl Origin {
    /// Has `consume` read a blob on a thread for blocking work. It may be run
    /// twice, the second time on a fresh copy. Returns without an error only when all of the blob
    /// was read, and was right.
    pub(crate) async fn consume<T, E, F>(
        &self,
        client: &Client,
        blob: &Descriptor,
        progress: Option<Progress>,
        mut consume: F,
    ) -> Result<T, OriginError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnMut(&mut (dyn Read + Send)) -> Result<T, E> + Send + 'static,
    {
        let shelf = match self {
            Self::Registry(repository) => {
                let consumed = client.consume_blob(repository, blob, progress, move |reader| {
                    consume(reader as &mut (dyn Read + Send))
                });
                return consumed.await.map_err(|error| match error {
                    ConsumeError::Wire(error) => OriginError::Registry(repository.clone(), error),
                    ConsumeError::Consumer(error) => OriginError::Consumer(error),
                });
            }
            Self::Shelf(shelf) => shelf,
        };
        let mut reader = Watched {
            input: shelf.open(blob).await.map_err(OriginError::Shelf)?,
            progress,
            done_bytes: 0,
        };
        let read = tokio::task::spawn_blocking(move || {
            let consumed = consume(&mut reader)?;
            // The end is where the digest is compared.
            let rest = std::io::copy(&mut reader, &mut std::io::sink());
            Ok::<_, E>((consumed, rest))
        });
        match read.await.expect("reading a blob does not panic") {
            Err(error) => Err(OriginError::Consumer(error)),
            Ok((consumed, Ok(_))) => Ok(consumed),
            Ok((_, Err(error))) => {
                let operation = format!("read the blob {} of", blob.digest);
                let damaged = shelf::ShelfErrorKind::Damaged;
                Err(OriginError::Shelf(
                    ShelfError::new(damaged, operation, shelf.address()).because(error),
                ))
            }
        }
    }
}

/// Tells how far a blob is.
struct Watched {
    input: shelf::BlobReader,
    progress: Option<Progress>,
    done_bytes: u64,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.done_bytes += count as u64;
        if let Some(progress) = &self.progress {
            progress(self.done_bytes);
        }
        Ok(count)
    }
}
