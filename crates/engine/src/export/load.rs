//! `--load`: hands the archive of `docker load` to docker or podman on this
//! machine, through the program's stdin, with nothing on the disk in between.
//!
//! Docker is only used when its daemon answers: many machines have the program
//! and no daemon, or podman under docker's name.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};

use super::image_files::{ArchiveError, ImageFiles};
use super::supply::Supply;
use crate::interrupt::Interrupt;
use store::layer::TarStreamError;

/// How long a docker daemon has to say that it is there.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// How much of what the program complained about is kept, in bytes.
const COMPLAINT_BYTES_MAX: usize = 16 * 1024;

/// Why the image was not handed over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("neither docker nor podman is installed")]
    NoProgram,
    #[error("docker is installed, but its daemon does not answer")]
    NoDaemon,
    #[error("could not start {}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("{} did not take the image ({status}){}", program.display(), shown(complaint))]
    Refused {
        program: PathBuf,
        status: ExitStatus,
        complaint: String,
    },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl LoadError {
    /// What the user can do about it.
    pub(crate) fn advice(&self) -> Option<String> {
        const OTHERWISE: &str = "write a file with --output type=docker,dest=FILE";
        match self {
            Self::NoProgram => Some(format!("install one of them, or {OTHERWISE}")),
            Self::NoDaemon => Some(format!("start it, install podman, or {OTHERWISE}")),
            Self::Archive(ArchiveError::Supply(error)) => error.advice(),
            Self::Start { .. } | Self::Refused { .. } | Self::Archive(ArchiveError::Tar(_)) => None,
        }
    }
}

fn shown(complaint: &str) -> String {
    match complaint.trim() {
        "" => String::new(),
        complaint => format!(": {complaint}"),
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
    supply: Arc<Supply>,
    program_path: &OsStr,
    interrupt: &Interrupt,
) -> Result<&'static str, LoadError> {
    let engine = choose(program_path).await?;
    let failed = |source| LoadError::Start {
        program: engine.program.clone(),
        source,
    };
    let mut child = Command::new(&engine.program)
        .arg("load")
        .stdin(Stdio::piped())
        // Its words are for people; our stdout is for programs.
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Nothing of a build that is given up outlives it.
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let stdin = child.stdin.take().expect("it was piped");
    let stderr = child.stderr.take().expect("it was piped");
    let mut pipe = Pipe {
        file: File::from(stdin.into_owned_fd().map_err(failed)?),
        interrupt: interrupt.clone(),
    };
    let complaint = tokio::spawn(tail(stderr));
    // The pipe comes back open: closed early, it would be the end of an archive.
    let (written, pipe) = tokio::task::spawn_blocking(move || {
        let written = files.write_tar(&supply, &mut pipe);
        (written, pipe)
    })
    .await
    .expect("writing an archive does not panic");
    match written {
        Ok(()) => {}
        // Its last words say more than the broken pipe.
        Err(ArchiveError::Tar(TarStreamError::Write(error)))
            if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            stop(&mut child).await;
            return Err(error.into());
        }
    }
    drop(pipe);
    let status = child.wait().await.map_err(failed)?;
    let complaint = complaint.await.unwrap_or_default();
    if status.success() {
        Ok(engine.name)
    } else {
        Err(LoadError::Refused {
            program: engine.program,
            status,
            complaint,
        })
    }
}

/// Whether there is a program to load with. Only loading shows whether it works.
pub(crate) fn check(program_path: &OsStr) -> Result<(), LoadError> {
    let found = find(program_path, "podman").or_else(|| find(program_path, "docker"));
    found.map(drop).ok_or(LoadError::NoProgram)
}

async fn choose(program_path: &OsStr) -> Result<Engine, LoadError> {
    let docker = find(program_path, "docker");
    if let Some(program) = &docker
        && answers(program).await
    {
        return Ok(Engine {
            name: "docker",
            program: program.clone(),
        });
    }
    match (find(program_path, "podman"), docker) {
        (Some(program), _) => Ok(Engine {
            name: "podman",
            program,
        }),
        (None, Some(_)) => Err(LoadError::NoDaemon),
        (None, None) => Err(LoadError::NoProgram),
    }
}

/// Looks a program up as a shell does, but never relative to the directory that
/// we happen to be in.
fn find(program_path: &OsStr, name: &str) -> Option<PathBuf> {
    let runs = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(program_path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| runs(path))
}

/// Whether the daemon behind docker is there; `version` asks it for its own.
async fn answers(docker: &Path) -> bool {
    let asked = Command::new(docker)
        .args(["version", "--format", "{{.Server.Version}}"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    match tokio::time::timeout(ANSWER_TIME_MAX, asked).await {
        Ok(Ok(status)) => status.success(),
        Ok(Err(_)) | Err(_) => false,
    }
}

async fn stop(child: &mut Child) {
    // It may have ended by itself, which is as good.
    let _ = child.kill().await;
}

/// The end of what a program writes to stderr.
async fn tail(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut piece = vec![0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        let over = kept.len().saturating_sub(COMPLAINT_BYTES_MAX);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The program's stdin.
struct Pipe {
    file: File,
    interrupt: Interrupt,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.interrupt.is_triggered() {
            return Err(io::Error::other("interrupted"));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
