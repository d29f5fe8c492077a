//! One run of a program: bounded in time and in what it says, and gone with everything that it
//! started when nobody waits for it any more.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;

/// What a program says on one of its outputs that is kept, in bytes.
const OUTPUT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How a program ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Why a program did not end by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("it could not be started")]
    Start(#[source] io::Error),
    #[error("it ran for longer than {} seconds", .0.as_secs())]
    Time(Duration),
    #[error("it said more than {OUTPUT_BYTES_MAX} bytes")]
    Output,
    #[error("what it said could not be read")]
    Read(#[source] io::Error),
}

/// A process group that does not outlive this value.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may have ended by itself by now.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Runs a program with nothing on its standard input and no environment but the given one.
pub(crate) async fn run(
    program: &Path,
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
    directory: &Path,
    limit: Duration,
) -> Result<Ended, ProcessError> {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(ProcessError::Start)?;
    let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let mut group = Group(leader);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, stderr) = tokio::join!(read(stdout), read(stderr));
        let (stdout, stderr) = (stdout?, stderr?);
        let status = child.wait().await.map_err(ProcessError::Read)?;
        Ok(Ended {
            status,
            stdout,
            stderr,
        })
    };
    let ended = match tokio::time::timeout(limit, work).await {
        Ok(ended) => ended?,
        Err(_) => return Err(ProcessError::Time(limit)),
    };
    // The number of a group whose leader is reaped may be given away.
    group.0 = None;
    Ok(ended)
}

async fn read(output: Option<impl tokio::io::AsyncRead + Unpin>) -> Result<Vec<u8>, ProcessError> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        let mut bounded = output.take(OUTPUT_BYTES_MAX + 1);
        let read = bounded.read_to_end(&mut bytes).await;
        read.map_err(ProcessError::Read)?;
    }
    if bytes.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(ProcessError::Output);
    }
    Ok(bytes)
}
