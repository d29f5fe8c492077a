//! Blobs on their way to repositories: each at most once to each registry, from where its other
//! repositories take it over.
//!
//! They may begin before it is known what will be published: a layer is sent while later steps of a
//! build still run.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use oci::{Descriptor, Digest, Repository};
use registry::{Client, ErrorKind, PushOptions, Pushed};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::{BlobFault, Blobs, Watcher};

/// Blobs sent at once to one registry.
pub const UPLOADS_MAX: usize = 4;

/// Why a blob did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The registry did not take it, or it could not be read.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// Its content is not what it should be.
    #[error(transparent)]
    Fault(BlobFault),
    /// It is nowhere to be had.
    #[error("layer {0} is neither in the store nor in a registry that this image came from")]
    Lost(Digest),
    /// The task that sent it ended before its time: the runtime is shutting down.
    #[error("blob {0} was not sent: everything is being stopped")]
    Stopped(Digest),
}

/// What was done with blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent.
    pub sent: u64,
    /// Taken over from another repository.
    pub mounted: u64,
    /// There already.
    pub present: u64,
}

/// Brings blobs to repositories, in the background. Clones share what was begun; when the last one
/// goes, what is unfinished stops.
#[derive(Clone)]
pub struct Uploads(Arc<Board>);

type Finished = Result<Pushed, Arc<UploadError>>;

/// Clones wait for the same upload.
type Waiting = Shared<BoxFuture<'static, Finished>>;

struct Board {
    client: Client,
    watcher: Arc<dyn Watcher>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    uploads: HashMap<(Repository, Digest), Waiting>,
    registries: HashMap<String, Arc<Registry>>,
    /// Which repositories of a registry have a blob by our doing.
    holders: HashMap<(String, Digest), Arc<Holders>>,
    /// Repositories that refuse us.
    refusals: HashMap<Repository, Arc<OnceLock<Arc<UploadError>>>>,
    tasks: Vec<AbortHandle>,
}

type Holders = tokio::sync::Mutex<Vec<Repository>>;

struct Registry {
    turns: Semaphore,
    /// Why it cannot be reached.
    down: OnceLock<Arc<UploadError>>,
}

/// One blob on its way to one repository.
struct Upload {
    client: Client,
    watcher: Arc<dyn Watcher>,
    blobs: Arc<dyn Blobs>,
    repository: Repository,
    blob: Descriptor,
    registry: Arc<Registry>,
    refusal: Arc<OnceLock<Arc<UploadError>>>,
    holders: Arc<Holders>,
}

impl Uploads {
    /// Nothing is on its way yet.
    pub fn new(client: Client, watcher: Arc<dyn Watcher>) -> Self {
        Self(Arc::new(Board {
            client,
            watcher,
            state: Mutex::default(),
        }))
    }

    /// Begins to bring a blob to a repository, unless that was begun before. Must be called on a
    /// tokio runtime.
    pub fn start(&self, repository: &Repository, blob: &Descriptor, blobs: &Arc<dyn Blobs>) {
        let mut state = self.state();
        let state = &mut *state;
        let Entry::Vacant(vacant) = state
            .uploads
            .entry((repository.clone(), blob.digest.clone()))
        else {
            return;
        };
        let name = repository.registry().to_owned();
        let registry = state.registries.entry(name.clone()).or_insert_with(|| {
            Arc::new(Registry {
                turns: Semaphore::new(UPLOADS_MAX),
                down: OnceLock::new(),
            })
        });
        let refusal = state.refusals.entry(repository.clone()).or_default();
        let holders = state
            .holders
            .entry((name, blob.digest.clone()))
            .or_default();
        let upload = Upload {
            client: self.0.client.clone(),
            watcher: Arc::clone(&self.0.watcher),
            blobs: Arc::clone(blobs),
            repository: repository.clone(),
            blob: blob.clone(),
            registry: Arc::clone(registry),
            refusal: Arc::clone(refusal),
            holders: Arc::clone(holders),
        };
        let digest = blob.digest.clone();
        let task = tokio::spawn(upload.run());
        state.tasks.push(task.abort_handle());
        let finished = async move {
            let stopped = |_| Err(Arc::new(UploadError::Stopped(digest)));
            task.await.unwrap_or_else(stopped)
        };
        vacant.insert(finished.boxed().shared());
    }

    /// Waits until a blob that was begun is there.
    pub(crate) async fn arrived(&self, repository: &Repository, digest: &Digest) -> Finished {
        let waiting = {
            let state = self.state();
            let key = (repository.clone(), digest.clone());
            state.uploads.get(&key).cloned()
        };
        match waiting {
            Some(waiting) => waiting.await,
            None => Err(Arc::new(UploadError::Lost(digest.clone()))),
        }
    }

    /// Forgets that a blob was brought to a repository: the registry lost it since.
    pub(crate) async fn forget(&self, repository: &Repository, digest: &Digest) {
        let holders = {
            let mut state = self.state();
            state.uploads.remove(&(repository.clone(), digest.clone()));
            let key = (repository.registry().to_owned(), digest.clone());
            state.holders.get(&key).cloned()
        };
        if let Some(holders) = holders {
            holders.lock().await.retain(|holder| holder != repository);
        }
    }

    /// What was done with the blobs that have arrived.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for finished in self.state().uploads.values().filter_map(Shared::peek) {
            match finished {
                Ok(Pushed::Existed) => counts.present += 1,
                Ok(Pushed::Mounted) => counts.mounted += 1,
                Ok(Pushed::Uploaded { .. }) => counts.sent += 1,
                Err(_) => {}
            }
        }
        counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for task in &state.tasks {
            task.abort();
        }
    }
}

impl Upload {
    async fn run(self) -> Finished {
        // Before a turn is taken: who waits for a sibling keeps nobody else waiting.
        let mut holders = self.holders.lock().await;
        let Ok(_turn) = self.registry.turns.acquire().await else {
            return Err(Arc::new(UploadError::Stopped(self.blob.digest)));
        };
        // Once is enough to learn that nobody answers, or that we may not.
        let known = self.registry.down.get().or_else(|| self.refusal.get());
        if let Some(error) = known {
            return Err(Arc::clone(error));
        }
        match self.push(&holders).await {
            Ok(pushed) => {
                holders.push(self.repository.clone());
                Ok(pushed)
            }
            Err(error) => {
                let error = Arc::new(error);
                match reach(&error) {
                    Reach::Blob => {}
                    // Who was first keeps the word.
                    Reach::Repository => drop(self.refusal.set(Arc::clone(&error))),
                    Reach::Registry => drop(self.registry.down.set(Arc::clone(&error))),
                }
                Err(error)
            }
        }
    }

    async fn push(&self, holders: &[Repository]) -> Result<Pushed, UploadError> {
        let mut mount_from = holders.to_vec();
        for other in self.blobs.repositories(&self.blob) {
            let is_near = other.same_registry(&self.repository) && other != self.repository;
            if is_near && !mount_from.contains(&other) {
                mount_from.push(other);
            }
        }
        let options = PushOptions {
            mount_from,
            progress: self.watcher.upload(&self.blob),
            ..PushOptions::default()
        };
        let source = self.blobs.source(&self.blob);
        let source = source.ok_or_else(|| UploadError::Lost(self.blob.digest.clone()))?;
        let pushed = self
            .client
            .push_blob(&self.repository, &self.blob, &*source, &options)
            .await;
        match pushed {
            Ok(pushed) => Ok(pushed),
            Err(error) => Err(match self.blobs.blame(&self.blob, &error).await {
                Some(fault) => UploadError::Fault(fault),
                None => UploadError::Registry(error),
            }),
        }
    }
}

/// What else an error of one upload says something about.
enum Reach {
    Blob,
    Repository,
    Registry,
}

fn reach(error: &UploadError) -> Reach {
    let UploadError::Registry(error) = error else {
        return Reach::Blob;
    };
    match error.kind() {
        ErrorKind::Unreachable | ErrorKind::Tls | ErrorKind::Blocked | ErrorKind::Stalled => {
            Reach::Registry
        }
        ErrorKind::Unauthorized
        | ErrorKind::Denied
        | ErrorKind::NotFound
        | ErrorKind::Credentials
        | ErrorKind::RateLimited { .. }
        | ErrorKind::Server => Reach::Repository,
        ErrorKind::Corrupted
        | ErrorKind::Protocol
        | ErrorKind::Unsupported
        | ErrorKind::Ranges
        | ErrorKind::BlobUnknown { .. }
        | ErrorKind::NotStored
        | ErrorKind::TooLarge
        | ErrorKind::Refused
        | ErrorKind::TagImmutable
        | ErrorKind::Source => Reach::Blob,
    }
}
