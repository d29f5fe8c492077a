//! What was changed since a commit, as one digest: names, kinds and contents.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The most bytes that are read at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// The paths that have changed, and the commits of submodules that are at another one.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<PathBuf, Option<String>>);

impl Changes {
    /// Adds a path below the root. `commit` is where a submodule is now.
    pub(crate) fn add(&mut self, path: PathBuf, commit: Option<String>) {
        self.0.insert(path, commit);
    }

    /// The digest in hex; nothing where nothing has changed. The order of the paths is the same
    /// everywhere, and everything has its length before it.
    pub(crate) fn digest(self, root: &Path) -> Result<Option<String>, (PathBuf, io::Error)> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut hash = Sha256::new();
        // Everything below a directory that is new as a whole, such as a repository of its own.
        let mut pending: Vec<(PathBuf, Option<String>)> = self.0.into_iter().rev().collect();
        while let Some((path, commit)) = pending.pop() {
            let below = add(&mut hash, root, &path, commit.as_deref());
            let below = below.map_err(|error| (root.join(&path), error))?;
            pending.extend(below.into_iter().rev().map(|name| (path.join(name), None)));
        }
        let digest = hash.finalize();
        Ok(Some(
            digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    }
}

/// Adds one path, and says which names are below it.
fn add(
    hash: &mut Sha256,
    root: &Path,
    path: &Path,
    commit: Option<&str>,
) -> io::Result<Vec<std::ffi::OsString>> {
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    // git names a directory with a slash behind it.
    let name = path.as_os_str().as_bytes();
    field(name.strip_suffix(b"/").unwrap_or(name));
    if let Some(commit) = commit {
        field(b"submodule");
        field(commit.as_bytes());
        return Ok(Vec::new());
    }
    let path = root.join(path);
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            field(b"gone");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let kind = found.file_type();
    if kind.is_symlink() {
        field(b"link");
        field(fs::read_link(&path)?.as_os_str().as_bytes());
    } else if kind.is_dir() {
        field(b"directory");
        let mut names = Vec::new();
        for entry in fs::read_dir(&path)? {
            names.push(entry?.file_name());
        }
        names.retain(|name| name != ".git");
        names.sort();
        return Ok(names);
    } else if kind.is_file() {
        let runs = found.permissions().mode() & 0o100 != 0;
        field(if runs { b"program" } else { b"file" });
        let mut content = Sha256::new();
        let mut file = File::open(&path)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => content.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        field(&content.finalize());
    } else {
        // A pipe or a socket: no build takes its content.
        field(b"other");
    }
    Ok(Vec::new())
}
