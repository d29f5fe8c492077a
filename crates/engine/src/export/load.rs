//! `--load`: hands the archive of `docker load` to docker or podman on this
//! machine.
//!
//! Docker is only used when its daemon answers: many machines have the program
//! and no daemon, or podman under docker's name.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use publish::Content;
use publish::sink::{ArchiveError, ImageFiles};

use super::supply::{SupplyError, supply_error};
use crate::handover::{HandoverError, docker_answers, find_program, hand_over};
use crate::interrupt::Interrupt;
use store::layer::TarStreamError;

/// Why the image was not handed over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("neither docker nor podman is installed")]
    NoProgram,
    #[error("docker is installed, but its daemon does not answer")]
    NoDaemon,
    #[error(transparent)]
    Handover(#[from] HandoverError<ArchiveError>),
}

impl LoadError {
    /// What the user can do about it.
    pub(crate) fn advice(&self) -> Option<String> {
        const OTHERWISE: &str = "write a file with --output type=docker,dest=FILE";
        match self {
            Self::NoProgram => Some(format!("install one of them, or {OTHERWISE}")),
            Self::NoDaemon => Some(format!("start it, install podman, or {OTHERWISE}")),
            Self::Handover(HandoverError::Write(ArchiveError::Blob { source, .. })) => {
                supply_error(source).and_then(SupplyError::advice)
            }
            Self::Handover(
                HandoverError::Start { .. }
                | HandoverError::Refused { .. }
                | HandoverError::Write(ArchiveError::Tar(_)),
            ) => None,
        }
    }
}

/// A container engine by its program.
#[derive(Debug)]
struct Engine {
    name: &'static str,
    program: PathBuf,
}

/// Loads the image, and says into what.
pub(crate) async fn load(
    files: ImageFiles,
    content: Content,
    program_path: &OsStr,
    interrupt: &Interrupt,
) -> Result<&'static str, LoadError> {
    let engine = choose(program_path).await?;
    let write = move |pipe: &mut dyn io::Write| files.write_tar(&*content.blobs, pipe);
    let is_broken_pipe = |error: &ArchiveError| {
        matches!(error, ArchiveError::Tar(TarStreamError::Write(error))
            if error.kind() == io::ErrorKind::BrokenPipe)
    };
    let arguments = ["load".into()];
    hand_over(
        &engine.program,
        &arguments,
        write,
        is_broken_pipe,
        interrupt,
    )
    .await?;
    Ok(engine.name)
}

/// Whether there is a program to load with. Only loading shows whether it works.
pub(crate) fn check(program_path: &OsStr) -> Result<(), LoadError> {
    let found =
        find_program(program_path, "podman").or_else(|| find_program(program_path, "docker"));
    found.map(drop).ok_or(LoadError::NoProgram)
}

async fn choose(program_path: &OsStr) -> Result<Engine, LoadError> {
    let docker = find_program(program_path, "docker");
    if let Some(program) = &docker
        && docker_answers(program).await
    {
        return Ok(Engine {
            name: "docker",
            program: program.clone(),
        });
    }
    match (find_program(program_path, "podman"), docker) {
        (Some(program), _) => Ok(Engine {
            name: "podman",
            program,
        }),
        (None, Some(_)) => Err(LoadError::NoDaemon),
        (None, None) => Err(LoadError::NoProgram),
    }
}
