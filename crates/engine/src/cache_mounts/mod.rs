//! The contents of `RUN --mount=type=cache`, brought from a shelf before a command uses them and
//! taken back there after the build.
//!
//! A mount is brought when the first RUN that wants it is about to start: a build that runs nothing
//! asks for nothing. Whatever goes wrong, the mount is what it would have been without, and the
//! build goes on with a warning. None of it is ever part of a key or of a layer.

mod document;
mod restore;
mod save;
mod scope;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sandbox::CancelToken;
use shelf::{Address, SealKey, Shelf, ShelfError, ShelfErrorKind};
use store::Store;
use store::cache_mounts::{CacheMount, Refill};
use store::snapshot::Pack;
use tokio::runtime::Handle;

pub use self::scope::{SCOPE_BYTES_MAX, Scope, ScopeError};
use crate::event::{Event, Reporter};

/// How long bringing one mount may take. What is not there by then is made by the build.
const RESTORE_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How long taking all of them back may take.
const SAVE_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Packs that are moved at the same time.
const PARALLEL: usize = 4;

/// Which cache mounts are brought and taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheMountsRequest {
    /// `--cache-mounts-from`: asked in this order.
    pub from: Vec<MountShelf>,
    /// `--cache-mounts-to`.
    pub to: Vec<MountShelf>,
    /// A build that fails keeps what its commands left too.
    pub after_failure: bool,
}

/// A scope on a shelf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountShelf {
    /// The shelf.
    pub address: Address,
    /// Whose mounts.
    pub scope: Scope,
}

/// A scope on a shelf that is open.
#[derive(Debug)]
struct Place {
    shelf: Arc<dyn Shelf>,
    scope: Scope,
    /// It refused once, and would again.
    given_up: AtomicBool,
}

/// Cache mounts on their way.
pub(crate) struct KeptMounts {
    from: Vec<Place>,
    to: Vec<Place>,
    store: Store,
    reporter: Arc<dyn Reporter>,
    cancel: CancelToken,
    runtime: Handle,
    mounts: Mutex<BTreeMap<String, Mount>>,
    /// The user wants to stop.
    stopped: AtomicBool,
    /// Commands are over: that they were stopped means nothing any more.
    saving: AtomicBool,
}

/// What is known of one id in this build.
#[derive(Debug, Default)]
struct Mount {
    /// It was asked for: once is enough.
    asked: bool,
    /// The directories that commands wrote to.
    used: Vec<u32>,
    /// Packs that were found, and the shelves that have them.
    packs: Vec<(String, Vec<Pack>)>,
}

/// Why a mount was not moved.
#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("the snapshot {digest} is none")]
    Format {
        digest: String,
        source: store::snapshot::FormatError,
    },
    #[error("it takes longer than it may")]
    TooLong,
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    Document(#[from] document::DocumentError),
    #[error(transparent)]
    Fill(#[from] store::snapshot::FillError),
    #[error(transparent)]
    Scan(#[from] store::snapshot::ScanError),
    #[error(transparent)]
    Disk(#[from] store::DiskError),
    #[error("could not read the pack {digest}")]
    Pack {
        digest: String,
        source: std::io::Error,
    },
    #[error("it is in use by another build")]
    InUse,
}

impl KeptMounts {
    /// Opens the shelves. One that cannot be opened is left out, with a warning.
    pub(crate) fn open(
        request: &CacheMountsRequest,
        store: Store,
        reporter: Arc<dyn Reporter>,
        cancel: CancelToken,
        network: &shelf::Network,
        key: Option<&SealKey>,
    ) -> Self {
        let places = |wanted: &[MountShelf]| {
            let places = wanted.iter().filter_map(|wanted| {
                let shelf = match shelf::open(&wanted.address, network, key) {
                    Ok(shelf) => shelf,
                    Err(error) => {
                        warn(&*reporter, "cache mounts are left as they are", &error);
                        return None;
                    }
                };
                Some(Place {
                    shelf,
                    scope: wanted.scope.clone(),
                    given_up: AtomicBool::new(false),
                })
            });
            places.collect()
        };
        Self {
            from: places(&request.from),
            to: places(&request.to),
            store,
            cancel,
            runtime: Handle::current(),
            mounts: Mutex::default(),
            stopped: AtomicBool::new(false),
            saving: AtomicBool::new(false),
            reporter,
        }
    }

    /// Whether an id is to be brought: once in a build.
    pub(crate) fn wants(&self, id: &str) -> bool {
        if self.from.is_empty() {
            return false;
        }
        let mut mounts = self.mounts();
        let mount = mounts.entry(id.to_owned()).or_default();
        !std::mem::replace(&mut mount.asked, true)
    }

    /// Brings a mount into the fresh directory; says whether that is complete and newer than what
    /// is there. For a thread that may block.
    pub(crate) fn bring(&self, id: &str, cache: &Refill<'_>) -> bool {
        self.restore(id, cache)
    }

    /// A command is going to write to a cache.
    pub(crate) fn is_used(&self, id: &str, cache: &CacheMount) {
        if self.to.is_empty() {
            return;
        }
        let mut mounts = self.mounts();
        let mount = mounts.entry(id.to_owned()).or_default();
        if !mount.used.contains(&cache.number()) {
            mount.used.push(cache.number());
        }
    }

    /// Takes everything back that commands wrote to; ends when that is done, or has failed with
    /// warnings.
    pub(crate) async fn take_back(self: Arc<Self>) {
        let deadline = Instant::now() + SAVE_PATIENCE;
        self.saving.store(true, Ordering::Relaxed);
        let mut tasks = tokio::task::JoinSet::new();
        let turns = Arc::new(tokio::sync::Semaphore::new(PARALLEL));
        let used: Vec<(String, Vec<u32>)> = self
            .mounts()
            .iter()
            .filter(|(_, mount)| !mount.used.is_empty())
            .map(|(id, mount)| (id.clone(), mount.used.clone()))
            .collect();
        for (id, numbers) in used {
            let (this, turns) = (Arc::clone(&self), Arc::clone(&turns));
            tasks.spawn(async move {
                let _turn = turns.acquire_owned().await;
                let saved = tokio::task::spawn_blocking(move || this.save(&id, &numbers, deadline));
                // A panic there is a bug, and none of the image's business.
                let _ = saved.await;
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Nothing more is moved.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn go_on(&self, deadline: Instant) -> Result<(), MoveError> {
        let cancelled = !self.saving.load(Ordering::Relaxed) && self.cancel.is_cancelled();
        if self.stopped.load(Ordering::Relaxed) || cancelled {
            return Err(MoveError::Cancelled);
        }
        match Instant::now() < deadline {
            true => Ok(()),
            false => Err(MoveError::TooLong),
        }
    }

    /// Waits for a shelf, as long as there is time.
    fn wait<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, ShelfError>>,
    ) -> Result<T, MoveError> {
        self.go_on(deadline)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = async { tokio::time::timeout(left, work).await };
        match self.runtime.block_on(waited) {
            Ok(done) => Ok(done?),
            Err(_elapsed) => Err(MoveError::TooLong),
        }
    }

    fn mounts(&self) -> MutexGuard<'_, BTreeMap<String, Mount>> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, message: String) {
        self.reporter.report(Event::Note { message });
    }

    fn warn(&self, place: &Place, what: &str, error: &MoveError) {
        // What the user stopped needs no explanation.
        if matches!(error, MoveError::Cancelled) {
            return;
        }
        if let MoveError::Shelf(error) = error {
            let fatal = match error.kind() {
                ShelfErrorKind::Denied
                | ShelfErrorKind::Unreachable
                | ShelfErrorKind::Unusable
                | ShelfErrorKind::Full => true,
                ShelfErrorKind::Absent
                | ShelfErrorKind::Damaged
                | ShelfErrorKind::Foreign
                | ShelfErrorKind::Ranges
                | ShelfErrorKind::Source
                | ShelfErrorKind::Refused => false,
            };
            if fatal && place.given_up.swap(true, Ordering::Relaxed) {
                return;
            }
        }
        warn(&*self.reporter, what, error);
    }
}

fn warn(reporter: &dyn Reporter, what: &str, error: &dyn std::error::Error) {
    let mut message = format!("{what}: {error}");
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Transparent errors say the same twice.
        if text != said {
            message.push_str(": ");
            message.push_str(&text);
        }
        said = text;
        source = cause.source();
    }
    reporter.report(Event::Warning { message });
}
