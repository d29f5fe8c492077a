//! RUN: a root from unpacked layers, a process in it, and a layer from what it
//! changed.

pub(crate) mod caches;
pub(crate) mod mounts;
mod redact;
pub(crate) mod ssh;
mod tree;
mod view;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use graph::{InlineFile, Network, RunSecurity, RunStep, Ulimit, Variable};
use sandbox::{
    CancelToken, Emulator, Ending, Limits, Mount, MountSource, Process, Resource, ResourceLimit,
    Root, Rung, Security, Stream, UserIds,
};
use store::Store;
use store::dir::Dir;
use store::layer::{
    CaptureOptions, Follow, Layer, LayerOptions, LayerWriter, Metadata, Tree, capture,
};
use store::scratch::Scratch;

use self::mounts::Mounts;
pub(crate) use self::redact::Redactor;
use crate::event::{Event, Reporter, StepNumber};
use crate::footing::{Footing, Ground, GroundError, GroundMount};
use crate::users::{Identity, UserDatabase, UserError};

/// The name that every RUN sees, so that no build leaks the node's (spec row
/// R6). It is BuildKit's, because builds have come to print it.
const HOSTNAME: &str = "buildkitsandbox";
/// How much of a step's output an error shows, from its end.
const TAIL_BYTES_MAX: usize = 16 * 1024;
/// Where heredocs with an interpreter line are found (spec row H6).
const PIPES: &str = "/dev/pipes";

/// What a RUN needs beside its step.
pub(crate) struct Cage {
    pub store: Store,
    pub scratch: Arc<Scratch>,
    pub reporter: Arc<dyn Reporter>,
    pub cancel: CancelToken,
    pub rung: Rung,
    /// What runs the step's programs, where the kernel does not know.
    pub emulator: Option<Emulator>,
    pub resolv_conf: Vec<u8>,
    pub layer: LayerOptions,
    pub epoch: i64,
    /// What is not to be seen in the output.
    pub redactor: Arc<Redactor>,
}

/// Why a RUN failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{}", describe(*ending, *memory_exhausted))]
    Exit {
        ending: Ending,
        memory_exhausted: bool,
        tail: Vec<u8>,
    },
    #[error(transparent)]
    User(#[from] UserError),
    #[error("{message}")]
    Sandbox {
        message: String,
        source: sandbox::RunError,
        tail: Vec<u8>,
    },
    #[error("could not prepare {path}")]
    Prepare {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Whatever the command made of it.
    #[error("{source}")]
    Ground { source: GroundError, tail: Vec<u8> },
    #[error("could not mount the base image")]
    View(#[from] ::view::ViewError),
    #[error("could not capture what the command changed")]
    Capture(#[from] store::layer::CaptureError),
    #[error("could not write the layer of what the command changed")]
    Layer(#[from] store::layer::LayerError),
    #[error(transparent)]
    Disk(#[from] store::DiskError),
    #[error("`{name}` is not a limit of processes")]
    Limit { name: String },
    #[error("cancelled")]
    Cancelled,
}

impl RunError {
    /// The end of what the command printed.
    pub(crate) fn tail(&self) -> &[u8] {
        match self {
            Self::Exit { tail, .. } | Self::Sandbox { tail, .. } | Self::Ground { tail, .. } => {
                tail
            }
            Self::User(_)
            | Self::View(_)
            | Self::Prepare { .. }
            | Self::Capture(_)
            | Self::Layer(_)
            | Self::Disk(_)
            | Self::Limit { .. }
            | Self::Cancelled => &[],
        }
    }
}

fn describe(ending: Ending, memory_exhausted: bool) -> String {
    let memory = if memory_exhausted {
        ": it ran out of memory"
    } else {
        ""
    };
    match ending {
        Ending::Code(code) => format!("the command exited with code {code}{memory}"),
        Ending::Signal(signal) => {
            format!(
                "the command was killed by signal {signal} (exit code {}){memory}",
                128 + signal
            )
        }
    }
}

impl Cage {
    /// Runs one step on what its parent left. Gives the layer, and the upper
    /// directory that it was captured from.
    pub(crate) fn run(
        &self,
        number: StepNumber,
        step: &RunStep,
        tree: &Tree,
        footing: &Footing,
        prepared: &Mounts,
    ) -> Result<(Layer, PathBuf), RunError> {
        let identity = UserDatabase::of(tree).identity(&step.user)?;
        let place = self.scratch.directory()?;
        let upper = create(&place, "upper")?;
        let work = create(&place, "work")?;
        let ground = footing.ground.as_deref();
        let base = ground.map(Ground::mount).transpose()?;
        let mut lowers = footing.lowers.clone();
        if lowers.is_empty() && base.is_none() {
            lowers.push(create(&place, "empty")?);
        }
        self.make_working_directory(&upper, tree, &step.cwd, &identity)?;
        let mut mounts = inline_files(&place, &step.files)?;
        mounts.extend(prepared.mounts.iter().cloned());
        let hostname = step.hostname.as_deref().unwrap_or(HOSTNAME);
        let process = Process {
            argv: step.argv.iter().map(OsString::from).collect(),
            env: environment(step, &identity, &prepared.variables),
            cwd: PathBuf::from(&step.cwd),
            user: UserIds {
                uid: identity.uid,
                gid: identity.gid,
                groups: identity.all_groups(),
            },
            root: Root {
                base: base.as_ref().map(GroundMount::path),
                lowers,
                upper: upper.clone(),
                work,
            },
            mounts,
            network: match step.network {
                Network::Default | Network::Host => sandbox::Network::Host,
                Network::None => sandbox::Network::None,
            },
            hostname: hostname.to_owned(),
            hosts: hosts(step, hostname),
            resolv_conf: self.resolv_conf.clone(),
            limits: limits(step)?,
            security: Security {
                unconfined: step.security == RunSecurity::Insecure,
                ..Security::default()
            },
            ids: self.rung.ids(),
            emulator: self.emulator.clone(),
        };
        let executed = self.execute(number, &process);
        drop(base);
        match (executed, ground.and_then(Ground::failure)) {
            (Err(RunError::Cancelled), _) => return Err(RunError::Cancelled),
            // What was made by a command that could not read its files is worth nothing, even if
            // the command did not mind.
            (executed, Some(source)) => {
                let tail = executed.err().map(|error| error.tail().to_vec());
                let tail = tail.unwrap_or_default();
                return Err(RunError::Ground { source, tail });
            }
            (executed, None) => executed?,
        }
        let writer = LayerWriter::create(&self.store, self.layer)?;
        let directory = Dir::open(&upper).map_err(|source| RunError::Prepare {
            path: upper.clone(),
            source,
        })?;
        let layer = capture(
            &directory,
            tree,
            writer,
            CaptureOptions { epoch: self.epoch },
        )?;
        Ok((layer, upper))
    }

    fn execute(&self, number: StepNumber, process: &Process) -> Result<(), RunError> {
        let mut tail = Vec::new();
        let mut show = |bytes: Vec<u8>| {
            if bytes.is_empty() {
                return;
            }
            tail.extend_from_slice(&bytes);
            if tail.len() > 2 * TAIL_BYTES_MAX {
                tail.drain(..tail.len() - TAIL_BYTES_MAX);
            }
            self.reporter.report(Event::StepOutput {
                step: number,
                bytes,
            });
        };
        let (mut stdout, mut stderr) = (self.redactor.stream(), self.redactor.stream());
        let exit = sandbox::run(process, &self.cancel, &mut |stream, bytes| {
            show(match stream {
                Stream::Stdout => stdout.push(bytes),
                Stream::Stderr => stderr.push(bytes),
            });
        });
        show(stdout.finish());
        show(stderr.finish());
        match exit {
            Ok(exit) if exit.ending == Ending::Code(0) => Ok(()),
            Ok(exit) => Err(RunError::Exit {
                ending: exit.ending,
                memory_exhausted: exit.memory_exhausted,
                tail,
            }),
            Err(sandbox::RunError::Cancelled) => Err(RunError::Cancelled),
            Err(source) => {
                let message = match &source {
                    sandbox::RunError::Exec(_) => "the command could not be started".to_owned(),
                    _ => "the sandbox could not be set up".to_owned(),
                };
                Err(RunError::Sandbox {
                    message,
                    source,
                    tail,
                })
            }
        }
    }

    /// A working directory that the image's configuration names but its files do
    /// not have is made, and is the user's, so that the command can work there.
    fn make_working_directory(
        &self,
        upper: &Path,
        tree: &Tree,
        cwd: &str,
        identity: &Identity,
    ) -> Result<(), RunError> {
        let Ok(resolved) = tree.resolve(cwd.as_bytes(), Follow::All) else {
            return Ok(());
        };
        if resolved.found().is_some() {
            return Ok(());
        }
        let existing = resolved.path.clone();
        let mut path = upper.to_owned();
        let mut above = store::layer::EntryPath::root();
        for component in existing.components() {
            above = match above.join(component) {
                Ok(path) => path,
                Err(_) => return Ok(()),
            };
            path.push(std::ffi::OsStr::from_bytes(component));
            let fallback = Metadata::root_owned(0o755, self.epoch);
            let metadata = tree
                .lookup(&above)
                .map_or(&fallback, |node| node.metadata());
            directory(&path, metadata.mode, metadata.uid, metadata.gid)?;
        }
        for component in &resolved.missing {
            path.push(std::ffi::OsStr::from_bytes(component));
            directory(&path, 0o755, identity.uid, identity.gid)?;
        }
        Ok(())
    }
}

fn directory(path: &Path, mode: u32, uid: u32, gid: u32) -> Result<(), RunError> {
    let failed = |source| RunError::Prepare {
        path: path.to_owned(),
        source,
    };
    fs::create_dir(path).map_err(failed)?;
    chown(path, Some(uid), Some(gid)).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}

fn create(place: &Path, name: &str) -> Result<PathBuf, RunError> {
    let path = place.join(name);
    directory(
        &path,
        0o755,
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )?;
    Ok(path)
}

/// Heredocs that are programs, as files that can be executed.
fn inline_files(place: &Path, files: &[InlineFile]) -> Result<Vec<Mount>, RunError> {
    let mut mounts = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let path = place.join(format!("heredoc-{number}"));
        let failed = |source| RunError::Prepare {
            path: path.clone(),
            source,
        };
        fs::write(&path, &file.content).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        mounts.push(Mount {
            target: Path::new(PIPES).join(&file.name),
            source: MountSource::Bind {
                source: path,
                owners: sandbox::Owners::AsOnDisk,
            },
            read_only: true,
            executable: true,
        });
    }
    Ok(mounts)
}

/// The step's variables; proxies and HOME where it does not set them itself.
fn environment(
    step: &RunStep,
    identity: &Identity,
    given: &[(OsString, OsString)],
) -> Vec<(OsString, OsString)> {
    let pair = |variable: &Variable| {
        (
            OsString::from(&variable.name),
            OsString::from(&variable.value),
        )
    };
    let mut environment: Vec<_> = step.env.iter().map(pair).collect();
    let mut add = |name: &str, value: &str| {
        if !environment.iter().any(|(known, _)| known == name) {
            environment.push((name.into(), value.into()));
        }
    };
    for variable in &step.hidden_env {
        add(&variable.name, &variable.value);
    }
    add(
        "HOME",
        identity
            .home
            .as_deref()
            .filter(|home| !home.is_empty())
            .unwrap_or("/"),
    );
    for (name, value) in given {
        environment.retain(|(known, _)| known != name);
        environment.push((name.clone(), value.clone()));
    }
    environment
}

/// What the process may use up.
fn limits(step: &RunStep) -> Result<Limits, RunError> {
    let mut limits = Limits {
        control_group_parent: step.cgroup_parent.clone(),
        ..Limits::default()
    };
    if let Some(bytes) = step.shm_bytes {
        limits.shared_memory_bytes_max = bytes;
    }
    for Ulimit { name, soft, hard } in &step.ulimits {
        let known = Resource::ALL.into_iter().find(|one| one.name() == name);
        let resource = known.ok_or_else(|| RunError::Limit { name: name.clone() })?;
        limits.resources.push(ResourceLimit {
            resource,
            soft: *soft,
            hard: *hard,
        });
    }
    Ok(limits)
}

fn hosts(step: &RunStep, hostname: &str) -> Vec<u8> {
    let mut text =
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for host in &step.extra_hosts {
        text.push_str(&format!("{}\t{}\n", host.address, host.name));
    }
    text.into_bytes()
}
