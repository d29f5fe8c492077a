//! The caches of a RUN: taken into use before it, let go after it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use graph::{MountOwner, Sharing};
use sandbox::CancelToken;
use store::Store;
use store::cache_mounts::{CacheMaker, CacheMount, CacheMountError, CacheSharing, Refill};
use store::dir::Dir;

use super::tree::{self, TreeError};
use crate::cache_mounts::KeptMounts;
use crate::copy::context::Context;
use crate::copy::files::{Files, NodeKind};
use crate::copy::select::{SelectError, select_path};
use crate::copy::stage::StageFiles;
use crate::event::{Event, Reporter};

/// Why a new cache could not be given its first content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeedError {
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error("`{path}`, which a new cache is to begin with, is not a directory")]
    NotADirectory { path: String },
    #[error(transparent)]
    Copy(#[from] TreeError),
    #[error("could not prepare the cache")]
    Prepare(#[from] io::Error),
}

/// What a new cache begins with.
pub(crate) enum Seed<'s> {
    Context(&'s Context),
    /// A tree, and the directories of its layers.
    Step(StageFiles, &'s [std::path::PathBuf]),
}

/// One cache that a RUN asks for.
pub(crate) struct Wanted<'s> {
    pub sharing: Sharing,
    pub seed: Option<(Seed<'s>, String)>,
    pub owner: MountOwner,
    /// The command cannot write to it.
    pub read_only: bool,
}

/// The caches of a RUN, by id.
pub(crate) type Taken = BTreeMap<String, Arc<CacheMount>>;

/// Takes all of them, in the order of their ids: two who wait for each other would wait for ever.
pub(crate) fn take(
    wanted: BTreeMap<String, Wanted<'_>>,
    store: &Store,
    kept: &KeptMounts,
    cancel: &CancelToken,
    reporter: &dyn Reporter,
) -> Result<Taken, (String, CacheMountError<SeedError>)> {
    let mut taken = Taken::new();
    for (id, wanted) in wanted {
        let sharing = match wanted.sharing {
            Sharing::Shared => CacheSharing::Shared,
            Sharing::Private => CacheSharing::Private,
            Sharing::Locked => CacheSharing::Locked,
        };
        let mut maker = Maker {
            wanted: &wanted,
            id: &id,
            kept,
            cancel,
            reporter,
            told: false,
        };
        match store.cache_mounts().take(&id, sharing, &mut maker) {
            Ok(cache) => {
                if !wanted.read_only {
                    kept.is_used(&id, &cache);
                }
                taken.insert(id, Arc::new(cache));
            }
            Err(error) => return Err((id, error)),
        }
    }
    Ok(taken)
}

struct Maker<'m> {
    wanted: &'m Wanted<'m>,
    id: &'m str,
    kept: &'m KeptMounts,
    cancel: &'m CancelToken,
    reporter: &'m dyn Reporter,
    told: bool,
}

impl CacheMaker for Maker<'_> {
    type Error = SeedError;

    fn make(&mut self, directory: &Path) -> Result<(), SeedError> {
        if let Some((seed, path)) = &self.wanted.seed {
            let files: &dyn Files = match seed {
                Seed::Context(context) => *context,
                Seed::Step(files, _) => files,
            };
            let found = select_path(files, path)?;
            if found.node.kind != NodeKind::Directory {
                let path = path.clone();
                return Err(SeedError::NotADirectory { path });
            }
            let open = |path: &store::layer::EntryPath| match seed {
                Seed::Context(context) => context.open_file(path),
                Seed::Step(files, layers) => {
                    let (layer, place) = files
                        .place_of_content(path)
                        .ok_or_else(|| io::Error::other("a hard link leads nowhere"))?;
                    Dir::open(&layers[layer])?.open_seen_file(place.as_bytes())
                }
            };
            tree::copy(&found, &open, directory, self.cancel)?;
        }
        Ok(tree::give(directory, self.wanted.owner)?)
    }

    fn wait(&mut self) -> bool {
        if !self.told {
            self.told = true;
            self.reporter.report(Event::Note {
                message: format!("waiting for the cache `{}`, which is in use", self.id),
            });
        }
        !self.cancel.is_cancelled()
    }

    fn wants_refill(&mut self) -> bool {
        self.kept.wants(self.id)
    }

    fn refill(&mut self, cache: &Refill<'_>) -> bool {
        self.kept.bring(self.id, cache)
    }
}
