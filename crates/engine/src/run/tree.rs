//! Files of a source as files of a directory of ours: the first content of a cache, and a context
//! that cannot be shown as it is.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use graph::MountOwner;
use sandbox::CancelToken;
use store::dir::{Dir, set_xattr};
use store::layer::EntryPath;

use crate::copy::files::{LinkGroup, Node, NodeKind};
use crate::copy::select::Match;

/// How much of a file is copied between two looks at whether it still has to be.
const PIECE_BYTES: u64 = 64 * 1024 * 1024;

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
#[error("could not copy {path}")]
pub(crate) struct TreeError {
    path: EntryPath,
    source: io::Error,
}

/// Opens a file of the source.
pub(crate) type Open<'o> = dyn Fn(&EntryPath) -> io::Result<File> + 'o;

/// Makes `target`, which is not there yet for a file and empty for a directory, a copy of what was
/// found. Devices and sockets are left out: nobody could use them where this is mounted.
/// Ends with an error soon after the token is cancelled, however much there is.
pub(crate) fn copy(
    found: &Match,
    open: &Open<'_>,
    target: &Path,
    cancel: &CancelToken,
) -> Result<(), TreeError> {
    let mut links = HashMap::new();
    let mut directories = Vec::new();
    let top = (&found.path, &found.node, target.to_owned());
    let below = found.below.iter().map(|below| {
        let place = target.join(std::ffi::OsStr::from_bytes(below.relative.as_bytes()));
        (&below.path, &below.node, place)
    });
    for (number, (path, node, place)) in std::iter::once(top).chain(below).enumerate() {
        let failed = |source| TreeError {
            path: path.clone(),
            source,
        };
        go_on(cancel).map_err(failed)?;
        match &node.kind {
            NodeKind::Directory => {
                // The top one is there.
                if number > 0 {
                    fs::create_dir(&place).map_err(failed)?;
                }
                directories.push((path, node, place));
                continue;
            }
            NodeKind::File { link, .. } => {
                let from = || open(path);
                write_file(node, link.as_ref(), &from, &place, &mut links, cancel)
                    .map_err(failed)?;
            }
            NodeKind::Symlink(text) => {
                std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(text), &place)
                    .and_then(|()| own(node, &place))
                    .map_err(failed)?;
            }
            NodeKind::Fifo => {
                make_fifo(&place, node).map_err(failed)?;
            }
            NodeKind::CharacterDevice { .. } | NodeKind::BlockDevice { .. } | NodeKind::Socket => {}
        }
    }
    // Last and from below: what is put into a directory changes its time.
    for (path, node, place) in directories.into_iter().rev() {
        let finished = own(node, &place)
            .and_then(|()| fs::set_permissions(&place, permissions(node)))
            .and_then(|()| set_time(node, &File::open(&place)?));
        finished.map_err(|source| TreeError {
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

fn go_on(cancel: &CancelToken) -> io::Result<()> {
    if cancel.is_cancelled() {
        return Err(io::Error::other("cancelled"));
    }
    Ok(())
}

fn write_file(
    node: &Node,
    link: Option<&LinkGroup>,
    open: &dyn Fn() -> io::Result<File>,
    place: &Path,
    links: &mut HashMap<LinkGroup, PathBuf>,
    cancel: &CancelToken,
) -> io::Result<()> {
    if let Some(group) = link {
        if let Some(first) = links.get(group) {
            return fs::hard_link(first, place);
        }
        links.insert(*group, place.to_owned());
    }
    let mut from = open()?;
    let mut to = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(place)?;
    while io::copy(&mut (&mut from).take(PIECE_BYTES), &mut to)? > 0 {
        go_on(cancel)?;
    }
    own(node, place)?;
    to.set_permissions(permissions(node))?;
    for (name, value) in &node.metadata.xattrs {
        set_xattr(&to, name, value)?;
    }
    set_time(node, &to)
}

fn make_fifo(place: &Path, node: &Node) -> io::Result<()> {
    let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
        return Ok(());
    };
    let mode = node.metadata.mode;
    Dir::open(parent)?.create_node(name.as_bytes(), rustix::fs::FileType::Fifo, mode, 0, 0)?;
    own(node, place)?;
    fs::set_permissions(place, permissions(node))
}

/// Gives a file or directory of ours to somebody inside. The kernel's "invalid argument" for one
/// who does not exist there is told in words.
pub(crate) fn give(path: &Path, owner: MountOwner) -> io::Result<()> {
    let MountOwner { mode, uid, gid } = owner;
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(|error| {
        if error.kind() == io::ErrorKind::InvalidInput {
            io::Error::other(format!(
                "the owner {uid}:{gid} is not among the users and groups that there are inside"
            ))
        } else {
            error
        }
    })?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn own(node: &Node, place: &Path) -> io::Result<()> {
    let (uid, gid) = (node.metadata.uid, node.metadata.gid);
    std::os::unix::fs::lchown(place, Some(uid), Some(gid))
}

fn permissions(node: &Node) -> fs::Permissions {
    fs::Permissions::from_mode(node.metadata.mode)
}

/// The time of a context's file is in its stamp: its metadata has the one of a layer.
fn set_time(node: &Node, file: &File) -> io::Result<()> {
    let seconds = match &node.kind {
        NodeKind::File {
            stamp: Some(stamp), ..
        } => stamp.mtime,
        _ if node.metadata.mtime == i64::MAX => return Ok(()),
        _ => node.metadata.mtime,
    };
    let time = match u64::try_from(seconds) {
        Ok(after) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(after)),
        Err(_before) => {
            SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs()))
        }
    };
    match time {
        Some(time) => file.set_times(fs::FileTimes::new().set_modified(time)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use dockerfile::ignore::IgnoreFile;

    use super::*;
    use crate::copy::context::Context;
    use crate::copy::select::select_path;

    #[test]
    fn a_copy_ends_when_it_is_cancelled_and_not_when_all_is_there() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        for path in [&from, &to] {
            fs::create_dir(path).expect("a directory");
        }
        for name in ["a", "b", "c"] {
            fs::write(from.join(name), name).expect("a file");
        }
        let ignore = (IgnoreFile::default(), String::new());
        let store = store::Store::open(&directory.path().join("store")).expect("a store");
        let hashes = store.stat_cache(&from);
        let context = Context::open(&from, ignore.0, ignore.1, hashes);
        let context = context.expect("a context");
        let found = select_path(&context, "").expect("it is there");
        let cancel = CancelToken::new().expect("a token");
        let opened = std::cell::Cell::new(0);
        let open = |path: &EntryPath| {
            opened.set(opened.get() + 1);
            // As somebody would who presses Ctrl-C while the second one is copied.
            if opened.get() == 2 {
                cancel.cancel();
            }
            context.open_file(path)
        };
        let error = copy(&found, &open, &to, &cancel).expect_err("it was cancelled");
        assert_eq!(error.source.to_string(), "cancelled");
        assert_eq!(opened.get(), 2, "another file was opened");
    }

    #[test]
    fn an_owner_who_does_not_exist_is_told_in_words() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let nobody = MountOwner {
            mode: 0o600,
            uid: u32::MAX - 1,
            gid: u32::MAX - 1,
        };
        // Root of the whole machine may give it to anybody.
        if let Err(error) = give(file.path(), nobody) {
            assert!(!error.to_string().contains("nvalid argument"), "{error}");
        }
    }
}
