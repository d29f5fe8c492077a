//! Where the Dockerfile and the context come from.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use engine::{BuildRequest, ContextSource, DockerfileSource};

use crate::error::ProgramError;

/// The largest Dockerfile that is read from stdin, in bytes. Nobody writes one of 1 MiB; somebody
/// might send an archive.
const DOCKERFILE_BYTES_MAX: u64 = 1024 * 1024;

/// What messages call a Dockerfile that came from stdin.
const STDIN: &str = "stdin";

/// How the addresses begin that buildx takes for a context or a Dockerfile.
const REMOTE: [&str; 8] = [
    "http://",
    "https://",
    "git://",
    "git@",
    "ssh://",
    "github.com/",
    "oci-layout://",
    "docker-image://",
];

/// Checks the context directory.
pub(super) fn context(given: &OsStr) -> Result<ContextSource, ProgramError> {
    let shown = given.to_string_lossy();
    if given == "-" {
        return Err(ProgramError::input(
            "a context from stdin is not supported yet: only a directory is",
        )
        .hint("for a Dockerfile from stdin, use `kiln build -f - CONTEXT`"));
    }
    let path = Path::new(given);
    if is_remote(&shown) && !path.exists() {
        return Err(ProgramError::input(format!(
            "{shown}: a context from a URL or a repository is not supported yet: only a directory \
             is"
        )));
    }
    let wrong = |what: &str| format!("the context {shown} {what}");
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => {
            let error = ProgramError::input(wrong("is not a directory"));
            return Err(error.hint("to name a Dockerfile, use --file"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ProgramError::input(wrong("does not exist")));
        }
        Err(error) => return Err(ProgramError::input(wrong("cannot be read")).because(&error)),
    }
    match std::fs::read_dir(path) {
        Ok(_) => Ok(ContextSource::Directory(path.to_owned())),
        Err(error) => Err(ProgramError::input(wrong("cannot be read")).because(&error)),
    }
}

/// Checks `--file`. Stdin is not read yet.
pub(super) fn dockerfile(given: Option<&OsStr>) -> Result<DockerfileSource, ProgramError> {
    let Some(given) = given else {
        return Ok(DockerfileSource::Default);
    };
    if given == "-" {
        return Ok(DockerfileSource::Text {
            name: STDIN.to_owned(),
            text: Vec::new(),
        });
    }
    let shown = given.to_string_lossy();
    let path = PathBuf::from(given);
    if is_remote(&shown) && !path.exists() {
        return Err(ProgramError::input(format!(
            "--file {shown}: a Dockerfile from a URL is not supported yet"
        )));
    }
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Err(ProgramError::input(format!(
            "--file {shown}: this is a directory, not a Dockerfile"
        ))),
        Ok(_) => Ok(DockerfileSource::Path(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let error = ProgramError::input(format!("the Dockerfile {shown} does not exist"));
            Err(if path.is_relative() {
                error.hint("--file is relative to the current directory, not to the context")
            } else {
                error
            })
        }
        Err(error) => {
            let headline = format!("the Dockerfile {shown} cannot be read");
            Err(ProgramError::input(headline).because(&error))
        }
    }
}

/// Reads the Dockerfile where it comes from stdin. Done late: only the process that builds may
/// take it.
pub(super) fn read_stdin(mut request: BuildRequest) -> Result<BuildRequest, ProgramError> {
    if let DockerfileSource::Text { text, .. } = &mut request.dockerfile {
        std::io::stdin()
            .lock()
            .take(DOCKERFILE_BYTES_MAX + 1)
            .read_to_end(text)
            .map_err(|error| {
                ProgramError::input("could not read the Dockerfile from stdin").because(&error)
            })?;
        if text.len() as u64 > DOCKERFILE_BYTES_MAX {
            return Err(ProgramError::input(format!(
                "the Dockerfile on stdin is larger than {DOCKERFILE_BYTES_MAX} bytes"
            )));
        }
    }
    Ok(request)
}

fn is_remote(text: &str) -> bool {
    REMOTE.iter().any(|start| text.starts_with(start))
}
