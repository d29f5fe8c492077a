//! Programs that know tokens: gcloud, and those that a file of credentials names.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The most that a program may print, in bytes.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;
/// How much of what it complains about is kept, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 4 * 1024;

/// What a program printed, and how it ended.
pub(crate) struct Output {
    pub(crate) succeeded: bool,
    pub(crate) stdout: Vec<u8>,
    /// One line of what it complained about, without what looks like a document.
    pub(crate) complaint: String,
}

/// The first executable of that name in an absolute directory of the path. `.` and empty entries
/// are skipped: the working directory is often a build context, which is not trusted.
pub(crate) fn find(name: &str, search_path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(search_path?)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|candidate| {
            candidate
                .metadata()
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

/// Runs a program to its end, or kills it and all that it started.
pub(crate) async fn run(
    program: &Path,
    arguments: &[String],
    variables: &[(&str, OsString)],
    time_max: Duration,
) -> Result<Output, String> {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let group = child.id();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, complaint) = tokio::join!(
            bounded(stdout, OUTPUT_BYTES_MAX + 1),
            bounded(stderr, COMPLAINT_BYTES_MAX)
        );
        let (stdout, complaint) = (stdout?, complaint?);
        let status = child.wait().await?;
        Ok::<_, std::io::Error>((status, stdout, complaint))
    };
    let ended = tokio::time::timeout(time_max, work).await;
    match ended {
        Ok(Ok((_, stdout, _))) if stdout.len() as u64 > OUTPUT_BYTES_MAX => {
            Err(format!("it printed more than {OUTPUT_BYTES_MAX} bytes"))
        }
        Ok(Ok((status, stdout, complaint))) => Ok(Output {
            succeeded: status.success(),
            stdout,
            complaint: line(&complaint),
        }),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            let group = group
                .and_then(|id| i32::try_from(id).ok())
                .and_then(rustix::process::Pid::from_raw);
            if let Some(group) = group {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let seconds = time_max.as_secs();
            Err(format!("it did not end within {seconds} s"))
        }
    }
}

async fn bounded(pipe: Option<impl AsyncRead + Unpin>, max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(max).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn line(bytes: &[u8]) -> String {
    const SHOWN_CHARS_MAX: usize = 300;
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines().map(str::trim).filter(|line| {
        // What looks like a document or a token is not repeated (F08).
        !line.is_empty() && !line.contains(['{', '}']) && !line.contains("ya29.")
    });
    let line = lines.next_back().unwrap_or("");
    line.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN_CHARS_MAX)
        .collect()
}
