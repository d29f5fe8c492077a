//! `--ssh`: the agents and keys that RUN may use.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use engine::SshSource;

use crate::error::ProgramError;

/// Reads all of them. `usual`: where the user's agent listens.
pub(super) fn read(
    texts: &[String],
    usual: Option<&Path>,
) -> Result<BTreeMap<String, SshSource>, ProgramError> {
    let mut agents = BTreeMap::new();
    for text in texts {
        let (id, source) = agent(text, usual)?;
        if agents.insert(id.clone(), source).is_some() {
            let message = format!("--ssh: the id `{id}` is given twice");
            return Err(ProgramError::input(message));
        }
    }
    Ok(agents)
}

fn agent(text: &str, usual: Option<&Path>) -> Result<(String, SshSource), ProgramError> {
    let wrong = |reason: &str| ProgramError::input(format!("--ssh {text}: {reason}"));
    let (id, paths) = match text.split_once('=') {
        Some((id, paths)) => (id, paths),
        None => (text, ""),
    };
    if id.is_empty() {
        return Err(wrong("there is no id").hint("write --ssh default, or --ssh ID=PATH"));
    }
    let paths: Vec<PathBuf> = if paths.is_empty() {
        let usual = usual.ok_or_else(|| {
            wrong("SSH_AUTH_SOCK is not set, so there is no agent")
                .hint("start one with ssh-agent, or name a socket or a key: --ssh default=PATH")
        })?;
        vec![usual.to_owned()]
    } else {
        paths.split(',').map(PathBuf::from).collect()
    };
    let mut keys = Vec::new();
    for path in &paths {
        let metadata = std::fs::metadata(path).map_err(|error| {
            wrong(&format!("{} cannot be used", path.display())).because(&error)
        })?;
        let kind = metadata.file_type();
        if kind.is_socket() {
            if paths.len() > 1 {
                return Err(wrong("a socket stands alone: several paths are keys"));
            }
            return Ok((id.to_owned(), SshSource::Socket(path.clone())));
        }
        if !kind.is_file() {
            let path = path.display();
            return Err(wrong(&format!(
                "{path} is neither a socket nor a file with a key"
            )));
        }
        keys.push(path.clone());
    }
    Ok((id.to_owned(), SshSource::Keys(keys)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Rows: R10
    #[test]
    fn agents_are_sockets_or_keys() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = |name: &str| directory.path().join(name);
        let _listener = UnixListener::bind(place("sock")).expect("a socket");
        std::fs::write(place("key"), "key").expect("a file");
        let check = |text: &str, usual: Option<&str>, expected: &str| {
            let usual = usual.map(place);
            let text = text.replace('@', &format!("{}/", directory.path().display()));
            let found = match agent(&text, usual.as_deref()) {
                Ok((id, source)) => format!("{id}: {source:?}"),
                Err(error) => error.headline,
            };
            let found = found.replace(&format!("{}/", directory.path().display()), "@");
            assert_eq!(found, expected);
        };
        check("default", Some("sock"), "default: Socket(\"@sock\")");
        check("other", Some("sock"), "other: Socket(\"@sock\")");
        check("a=@sock", None, "a: Socket(\"@sock\")");
        check("a=@key", None, "a: Keys([\"@key\"])");
        check("a=@key,@key", None, "a: Keys([\"@key\", \"@key\"])");
        check(
            "default",
            None,
            "--ssh default: SSH_AUTH_SOCK is not set, so there is no agent",
        );
        check("=@key", None, "--ssh =@key: there is no id");
        check("a=@gone", None, "--ssh a=@gone: @gone cannot be used");
        check(
            "a=@sock,@key",
            None,
            "--ssh a=@sock,@key: a socket stands alone: several paths are keys",
        );
        check(
            "a=/",
            None,
            "--ssh a=/: / is neither a socket nor a file with a key",
        );
    }
}
