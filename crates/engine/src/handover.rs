//! Hands bytes to a program of this machine through its stdin, with nothing on the disk in between:
//! how images come into container engines.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::interrupt::Interrupt;

/// How long a program has to answer a question.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// How much of what a program complained about is kept, in bytes.
const COMPLAINT_BYTES_MAX: usize = 16 * 1024;
/// How much of an answer is kept, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Why a program did not take what it was given.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError<E: std::error::Error + 'static> {
    /// It cannot be started, or not be waited for.
    #[error("could not start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It said no.
    #[error("{} did not take the image ({status}){}", program.display(), shown(complaint))]
    Refused {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to stderr.
        complaint: String,
    },
    /// What it was to be given could not be had.
    #[error(transparent)]
    Write(E),
}

fn shown(complaint: &str) -> String {
    match complaint.trim() {
        "" => String::new(),
        complaint => format!(": {complaint}"),
    }
}

/// Runs `program` with `arguments` and has `write` fill its stdin.
///
/// # Errors
///
/// [`HandoverError`]. When the program closes its stdin early, its own last words count: `write`
/// fails then, and `is_broken_pipe` has to know it.
pub async fn hand_over<E>(
    program: &Path,
    arguments: &[OsString],
    write: impl FnOnce(&mut dyn Write) -> Result<(), E> + Send + 'static,
    is_broken_pipe: impl FnOnce(&E) -> bool,
    interrupt: &Interrupt,
) -> Result<(), HandoverError<E>>
where
    E: std::error::Error + Send + 'static,
{
    let failed = |source| HandoverError::Start {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        // Its words are for people; our stdout is for programs.
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Nothing of what is given up outlives it.
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let stdin = child.stdin.take().expect("it was piped");
    let stderr = child.stderr.take().expect("it was piped");
    let mut pipe = Pipe {
        file: File::from(stdin.into_owned_fd().map_err(failed)?),
        interrupt: interrupt.clone(),
    };
    let complaint = tokio::spawn(end_of(stderr, COMPLAINT_BYTES_MAX));
    // The pipe comes back open: closed early, it would be the end of an archive.
    let (written, pipe) = tokio::task::spawn_blocking(move || {
        let written = write(&mut pipe);
        (written, pipe)
    })
    .await
    .expect("writing an archive does not panic");
    if let Err(error) = written
        && !is_broken_pipe(&error)
    {
        stop(&mut child).await;
        return Err(HandoverError::Write(error));
    }
    drop(pipe);
    let status = child.wait().await.map_err(failed)?;
    let complaint = complaint.await.unwrap_or_default();
    if status.success() {
        Ok(())
    } else {
        Err(HandoverError::Refused {
            program: program.to_owned(),
            status,
            complaint,
        })
    }
}

/// What a program answers on stdout; `None` when it fails, or does not answer in time.
pub async fn answer_of(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let stdout = child.stdout.take()?;
    let answered = async {
        let answer = end_of(stdout, ANSWER_BYTES_MAX).await;
        let status = child.wait().await.ok()?;
        status.success().then_some(answer)
    };
    tokio::time::timeout(ANSWER_TIME_MAX, answered).await.ok()?
}

/// Whether the daemon behind docker is there; `version` asks it for its own.
pub async fn docker_answers(docker: &Path) -> bool {
    let question = ["version", "--format", "{{.Server.Version}}"];
    answer_of(docker, &question).await.is_some()
}

/// Looks a program up as a shell does, but never relative to the directory that
/// we happen to be in.
pub fn find_program(program_path: &OsStr, name: &str) -> Option<PathBuf> {
    let runs = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(program_path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| runs(path))
}

async fn stop(child: &mut Child) {
    // It may have ended by itself, which is as good.
    let _ = child.kill().await;
}

/// The end of what a program writes.
async fn end_of(mut output: impl AsyncRead + Unpin, bytes_max: usize) -> String {
    let mut kept = Vec::new();
    let mut piece = vec![0; 4096];
    while let Ok(count @ 1..) = output.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        let over = kept.len().saturating_sub(bytes_max);
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
