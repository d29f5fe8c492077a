//! Where the Dockerfile and the context come from.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use dockerfile::remote::{Remote, RemoteError, Written};
use engine::{BuildRequest, ContextSource, DockerfileSource};

use crate::error::ProgramError;

/// The largest Dockerfile that is read from stdin, in bytes. Nobody writes one of 1 MiB; somebody
/// might send an archive.
const DOCKERFILE_BYTES_MAX: u64 = 1024 * 1024;

/// What messages call a Dockerfile that came from stdin.
const STDIN: &str = "stdin";

/// Checks the context. What is on this machine is that, whatever its name looks like.
pub(super) fn context(given: &OsStr) -> Result<ContextSource, ProgramError> {
    if given == "-" {
        return Ok(ContextSource::Stdin);
    }
    let shown = given.to_string_lossy();
    let path = Path::new(given);
    if !path.exists() {
        if let Some(source) = address(&shown).map_err(|error| unusable("the context", &error))? {
            return Ok(source);
        }
        if shown.starts_with("oci-layout://") || shown.starts_with("docker-image://") {
            let error = ProgramError::input(format!("the context {shown} is an image"));
            return Err(error.hint("images can be named contexts: --build-context NAME=…"));
        }
    }
    on_this_machine("the context", path)
}

/// A directory, or a file that should be an archive.
pub(crate) fn on_this_machine(what: &str, path: &Path) -> Result<ContextSource, ProgramError> {
    let wrong = |why: &str| format!("{what} {} {why}", path.display());
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => match std::fs::read_dir(path) {
            Ok(_) => Ok(ContextSource::Directory(path.to_owned())),
            Err(error) => Err(ProgramError::input(wrong("cannot be read")).because(&error)),
        },
        Ok(metadata) if metadata.is_file() => Ok(ContextSource::Archive(path.to_owned())),
        Ok(_) => Err(ProgramError::input(wrong(
            "is neither a directory nor a file",
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(ProgramError::input(wrong("does not exist")))
        }
        Err(error) => Err(ProgramError::input(wrong("cannot be read")).because(&error)),
    }
}

/// What a word names that is elsewhere; `None` is a path.
pub(super) fn address(word: &str) -> Result<Option<ContextSource>, RemoteError> {
    let known = ["oci-layout://", "docker-image://", "target:", "input:"];
    if known.iter().any(|start| word.starts_with(start)) {
        return Ok(None);
    }
    let remote = Remote::parse(word, Written::ByUser)?;
    Ok(remote.map(|remote| match remote {
        Remote::Http(address) => ContextSource::Http(address),
        Remote::Git(address) => ContextSource::Git(address),
    }))
}

/// An address that cannot be used.
pub(super) fn unusable(what: &str, error: &RemoteError) -> ProgramError {
    let said = ProgramError::input(format!("{what} cannot be used: {error}"));
    match error {
        RemoteError::Key {
            near: Some(near), ..
        } => said.hint(format!("did you mean `{near}`?")),
        _ => said,
    }
}

/// Checks `--file`. Stdin is not read yet.
pub(super) fn dockerfile(
    given: Option<&OsStr>,
    context: &ContextSource,
) -> Result<DockerfileSource, ProgramError> {
    let Some(given) = given else {
        return Ok(DockerfileSource::Default);
    };
    if given == "-" {
        if matches!(context, ContextSource::Stdin) {
            return Err(ProgramError::input(
                "the context and the Dockerfile cannot both come from stdin",
            ));
        }
        return Ok(DockerfileSource::Text {
            name: STDIN.to_owned(),
            text: Vec::new(),
        });
    }
    let shown = given.to_string_lossy();
    let path = PathBuf::from(given);
    if !path.exists() {
        let what = format!("--file {shown}");
        match address(&shown).map_err(|error| unusable(&what, &error))? {
            Some(ContextSource::Http(address)) => return Ok(DockerfileSource::Http(address)),
            Some(_) => {
                return Err(
                    ProgramError::input(format!("{what}: a repository is no Dockerfile"))
                        .hint("make it the context, and name the Dockerfile in it with --file"),
                );
            }
            None => {}
        }
    }
    match context {
        ContextSource::Directory(_) | ContextSource::Empty => {}
        ContextSource::Archive(_)
        | ContextSource::Stdin
        | ContextSource::Http(_)
        | ContextSource::Git(_) => {
            let inside = shown.trim_start_matches("./").trim_start_matches('/');
            if inside.split('/').any(|name| name == "..") {
                return Err(ProgramError::input(format!(
                    "--file {shown} leads out of the context"
                ))
                .hint("--file is relative to the context when that is fetched or unpacked"));
            }
            return Ok(DockerfileSource::InContext(inside.to_owned()));
        }
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
