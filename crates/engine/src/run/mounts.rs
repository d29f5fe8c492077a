//! The mounts of a RUN: from what the plan says to what the sandbox mounts. What has to stay as
//! it is while the command runs is held, and everything is gone when that is dropped.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dockerfile::Span;
use graph::{
    ContextName, FileSource, MountOwner, RunMount, RunMountKind, RunStep, Sharing, StepId,
};
use sandbox::{CancelToken, IdMapping, Mount, MountSource, Owners, StackLayer};
use store::Store;
use store::cache_mounts::CacheMountError;
use store::dir::Dir;
use store::layer::{EntryPath, Tree};
use store::scratch::Scratch;

use super::caches::{self, Seed, SeedError, Wanted};
use super::ssh::{Agents, Forward, SshError};
use super::view::{self, View, ViewError};
use crate::cache_mounts::KeptMounts;
use crate::contexts::Contexts;
use crate::copy::context::Context;
use crate::copy::files::{FilesError, follow};
use crate::copy::select::SelectError;
use crate::copy::stage::StageFiles;
use crate::event::Reporter;
use crate::secret::Secrets;

/// The permissions of a directory in memory, as of `/tmp`.
const TMPFS_MODE: u32 = 0o1777;

/// Where agents listen unless the Dockerfile says otherwise; their number follows. As with
/// BuildKit, since scripts have come to know it.
const SSH_SOCKET: &str = "/run/buildkit/ssh_agent.";

/// What tells programs where their agent listens (ssh-agent(1)).
const SSH_VARIABLE: &str = "SSH_AUTH_SOCK";

/// Why a mount cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error(transparent)]
    Select(SelectError),
    #[error("the secret `{id}` contains a zero byte, which no variable can")]
    Variable { id: String },
    #[error(transparent)]
    View(ViewError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Cache(CacheMountError<SeedError>),
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error(transparent)]
    Disk(#[from] store::DiskError),
    #[error("there is no build context to mount files of")]
    NoContext,
    #[error("the owner {uid}:{gid} is not among the users and groups that there are inside")]
    Owner { uid: u32, gid: u32 },
    #[error("could not prepare {path}")]
    Prepare { path: PathBuf, source: io::Error },
}

/// The output of a step, unpacked.
pub(crate) struct StepFiles {
    pub tree: Arc<Tree>,
    /// The directories of its layers, bottom first.
    pub layers: Vec<PathBuf>,
}

/// What mounts are made of.
pub(crate) struct Supplies<'s> {
    pub store: &'s Store,
    pub scratch: &'s Scratch,
    pub contexts: &'s Contexts,
    pub steps: &'s HashMap<StepId, StepFiles>,
    pub secrets: &'s Secrets,
    pub agents: &'s Agents,
    pub kept: &'s KeptMounts,
    pub cancel: &'s CancelToken,
    pub reporter: &'s dyn Reporter,
    pub ids: IdMapping,
}

/// The mounts of a RUN, ready.
#[derive(Default)]
pub(crate) struct Mounts {
    /// Those above come before those that are in them.
    pub mounts: Vec<Mount>,
    /// Variables that win over the step's own.
    pub variables: Vec<(OsString, OsString)>,
    _caches: caches::Taken,
    _open: Vec<OwnedFd>,
    _agents: Vec<Forward>,
    _places: Option<Places>,
}

/// A directory of ours, gone with this.
struct Places {
    directory: PathBuf,
    made: u32,
}

impl Places {
    fn new(scratch: &Scratch) -> Result<Self, store::DiskError> {
        Ok(Self {
            directory: scratch.directory()?,
            made: 0,
        })
    }

    fn next(&mut self) -> Result<PathBuf, MountError> {
        self.made += 1;
        let path = self.directory.join(self.made.to_string());
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(MountError::Prepare { path, source }),
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        // What cannot be removed now goes with the scratch directory.
        if let (Some(parent), Some(name)) = (self.directory.parent(), self.directory.file_name())
            && let Ok(parent) = Dir::open(parent)
        {
            let _ = parent.remove_tree(name.as_bytes());
        }
    }
}

/// Makes ready what a RUN is to find in its root. An error comes with the mount that it is about.
pub(crate) fn prepare(
    step: &RunStep,
    supplies: &Supplies<'_>,
) -> Result<Mounts, (Span, MountError)> {
    let mut mounts = Mounts::default();
    if step.mounts.is_empty() {
        return Ok(mounts);
    }
    for RunMount { kind, span } in &step.mounts {
        owner_exists(kind, supplies.ids).map_err(|error| (*span, error))?;
    }
    let first = step.mounts[0].span;
    let mut places = Places::new(supplies.scratch).map_err(|error| (first, error.into()))?;
    mounts._caches = take_caches(step, supplies)?;
    let mut agents = 0;
    for RunMount { kind, span } in &step.mounts {
        let at = |error| (*span, error);
        match kind {
            RunMountKind::Bind {
                target,
                from,
                path,
                writable,
            } => {
                let place = places.next().map_err(at)?;
                let source = match from {
                    FileSource::Context(name) => {
                        let context = context(supplies, name).map_err(at)?;
                        let viewed = view::view(
                            context,
                            path,
                            *writable,
                            supplies.ids,
                            &place,
                            supplies.cancel,
                        );
                        let View { source, held } = viewed.map_err(|error| match error {
                            ViewError::Select(error) => (*span, MountError::Select(error)),
                            other => (*span, MountError::View(other)),
                        })?;
                        mounts._open.extend(held);
                        source
                    }
                    FileSource::Step(id) => {
                        bind_step(&supplies.steps[id], path, *writable, &place).map_err(at)?
                    }
                };
                mounts.add(target, source, !writable, true);
            }
            RunMountKind::Cache {
                target,
                id,
                read_only,
                ..
            } => {
                let source = MountSource::Bind {
                    source: mounts._caches[id].path().to_owned(),
                    owners: Owners::AsOnDisk,
                };
                mounts.add(target, source, *read_only, true);
            }
            RunMountKind::Tmpfs { target, bytes_max } => {
                let source = MountSource::Tmpfs {
                    bytes_max: *bytes_max,
                    mode: TMPFS_MODE,
                };
                mounts.add(target, source, false, true);
            }
            RunMountKind::Secret {
                id,
                target,
                variable,
                owner,
                required: _,
            } => {
                // One that was not given and is not required is not there.
                let Some(secret) = supplies.secrets.get(id) else {
                    continue;
                };
                if let Some(variable) = variable {
                    if secret.contains(&0) {
                        return Err(at(MountError::Variable { id: id.clone() }));
                    }
                    let value = OsString::from_vec(secret.to_vec());
                    mounts.variables.push((variable.into(), value));
                }
                if let Some(target) = target {
                    let MountOwner { mode, uid, gid } = *owner;
                    let source = MountSource::File {
                        content: secret.to_vec(),
                        mode,
                        uid,
                        gid,
                    };
                    mounts.add(target, source, true, false);
                }
            }
            RunMountKind::Ssh {
                id,
                target,
                owner,
                required: _,
            } => {
                let number = agents;
                agents += 1;
                let Some(agent) = supplies.agents.socket(id).map_err(|e| at(e.into()))? else {
                    continue;
                };
                let place = places.next().map_err(at)?;
                let forward = Forward::to(agent, &place, *owner).map_err(|e| at(e.into()))?;
                let source = MountSource::Bind {
                    source: forward.path().to_owned(),
                    owners: Owners::AsOnDisk,
                };
                mounts._agents.push(forward);
                let usual = format!("{SSH_SOCKET}{number}");
                let target = target.as_ref().unwrap_or(&usual);
                mounts.add(target, source, true, false);
                let named = step.env.iter().any(|known| known.name == SSH_VARIABLE)
                    || mounts
                        .variables
                        .iter()
                        .any(|(name, _)| name == SSH_VARIABLE);
                if !named {
                    mounts.variables.push((SSH_VARIABLE.into(), target.into()));
                }
            }
        }
    }
    // A mount would hide what was mounted in it before.
    mounts.mounts.sort_by(|a, b| a.target.cmp(&b.target));
    mounts._places = Some(places);
    Ok(mounts)
}

impl Mounts {
    fn add(&mut self, target: &str, source: MountSource, read_only: bool, executable: bool) {
        self.mounts.push(Mount {
            target: target.into(),
            source,
            read_only,
            executable,
        });
    }
}

fn context<'s>(supplies: &'s Supplies<'_>, name: &ContextName) -> Result<&'s Context, MountError> {
    supplies.contexts.get(name).ok_or(MountError::NoContext)
}

/// Files of a stage or of an image: its layers, stacked.
fn bind_step(
    files: &StepFiles,
    path: &str,
    writable: bool,
    place: &Path,
) -> Result<MountSource, MountError> {
    let StepFiles { tree, layers } = files;
    let wanted = EntryPath::parse(path.as_bytes()).map_err(FilesError::from)?;
    let stage = StageFiles::new(Arc::clone(tree));
    let Some((real, _)) = follow(&stage, &wanted)? else {
        let pattern = path.to_owned();
        return Err(MountError::Select(SelectError::NotFound { pattern }));
    };
    let mut stacked: Vec<StackLayer> = layers.iter().cloned().map(layer).collect();
    let changes = if writable {
        Some(view::changes(place, 0o755).map_err(MountError::View)?)
    } else {
        None
    };
    // Nothing can be stacked of fewer.
    for number in stacked.len()..2 {
        let empty = place.join(format!("empty-{number}"));
        view::make(&empty, 0o755).map_err(MountError::View)?;
        stacked.insert(0, layer(empty));
    }
    Ok(MountSource::Stack {
        layers: stacked,
        changes,
        path: PathBuf::from(std::ffi::OsStr::from_bytes(real.as_bytes())),
    })
}

fn layer(directory: PathBuf) -> StackLayer {
    StackLayer {
        directory,
        owners: Owners::AsOnDisk,
    }
}

/// Takes the caches into use. An id that is mounted twice is one cache, as alone as either wants.
fn take_caches(
    step: &RunStep,
    supplies: &Supplies<'_>,
) -> Result<caches::Taken, (Span, MountError)> {
    let mut wanted: BTreeMap<String, Wanted<'_>> = BTreeMap::new();
    let mut spans: HashMap<&str, Span> = HashMap::new();
    for RunMount { kind, span } in &step.mounts {
        let RunMountKind::Cache {
            id,
            sharing,
            seed,
            owner,
            read_only,
            ..
        } = kind
        else {
            continue;
        };
        spans.entry(id).or_insert(*span);
        if let Some(known) = wanted.get_mut(id) {
            known.sharing = stricter(known.sharing, *sharing);
            known.read_only &= *read_only;
            continue;
        }
        let seed = match seed {
            None => None,
            Some((FileSource::Context(name), path)) => {
                let context = context(supplies, name).map_err(|error| (*span, error))?;
                Some((Seed::Context(context), path.clone()))
            }
            Some((FileSource::Step(step), path)) => {
                let StepFiles { tree, layers } = &supplies.steps[step];
                let files = StageFiles::new(Arc::clone(tree));
                Some((Seed::Step(files, layers), path.clone()))
            }
        };
        let cache = Wanted {
            sharing: *sharing,
            seed,
            owner: *owner,
            read_only: *read_only,
        };
        wanted.insert(id.clone(), cache);
    }
    caches::take(
        wanted,
        supplies.store,
        supplies.kept,
        supplies.cancel,
        supplies.reporter,
    )
    .map_err(|(id, error)| {
        let span = spans.get(id.as_str()).copied().unwrap_or_default();
        let error = match error {
            CacheMountError::Make(SeedError::Select(error)) => MountError::Select(error),
            other => MountError::Cache(other),
        };
        (span, error)
    })
}

/// Root could make a file of its own anybody's, and the command would see that of nobody. Where ids
/// are those of the caller's, the kernel says it.
fn owner_exists(kind: &RunMountKind, ids: IdMapping) -> Result<(), MountError> {
    let MountOwner { uid, gid, .. } = match kind {
        RunMountKind::Cache { owner, .. }
        | RunMountKind::Secret { owner, .. }
        | RunMountKind::Ssh { owner, .. } => *owner,
        RunMountKind::Bind { .. } | RunMountKind::Tmpfs { .. } => return Ok(()),
    };
    match ids {
        IdMapping::Reserved { count, .. } if uid.max(gid) >= count => {
            Err(MountError::Owner { uid, gid })
        }
        IdMapping::Reserved { .. } | IdMapping::Inherited => Ok(()),
    }
}

fn stricter(one: Sharing, other: Sharing) -> Sharing {
    match (one, other) {
        (Sharing::Locked, _) | (_, Sharing::Locked) => Sharing::Locked,
        (Sharing::Private, _) | (_, Sharing::Private) => Sharing::Private,
        (Sharing::Shared, Sharing::Shared) => Sharing::Shared,
    }
}
