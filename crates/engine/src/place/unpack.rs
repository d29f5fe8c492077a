//! The tree of an archive, on disk: every entry is opened beneath the directory and through no
//! link, so nothing in it can lead out of it.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FileType, Mode, fchmod};
use store::dir::{Dir, FileKind};
use store::layer::{Archive, ArchiveEntry, ArchiveError, ArchiveKind, EntryPath};

/// Permissions of directories that the archive leaves out.
const DIRECTORY_MODE: u32 = 0o755;

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("`{path}` cannot be made")]
    Make { path: EntryPath, source: io::Error },
    #[error("`{0}` is a device, which no context can hold")]
    Device(EntryPath),
}

/// Writes all entries of an archive below an empty directory. Owners and times are left out: in a
/// context they mean nothing (C1).
pub(super) fn unpack(mut archive: Archive<'_>, directory: &Path) -> Result<(), UnpackError> {
    let root = Dir::open(directory).map_err(|source| UnpackError::Make {
        path: EntryPath::root(),
        source,
    })?;
    // A directory may not be writable for whoever unpacks; it gets its permissions at the end.
    let mut directories: Vec<(EntryPath, u32)> = Vec::new();
    // The directory of the last entry, which usually is that of the next.
    let mut last: Option<(EntryPath, Dir)> = None;
    while let Some(entry) = archive.next_entry()? {
        let Some(parent) = entry.path.parent() else {
            continue;
        };
        let made = |source| UnpackError::Make {
            path: entry.path.clone(),
            source,
        };
        let above = match last.take() {
            Some((path, above)) if path == parent => above,
            _ => make_directories(&root, &parent).map_err(made)?,
        };
        if let ArchiveKind::CharacterDevice { .. } | ArchiveKind::BlockDevice { .. } = entry.kind {
            return Err(UnpackError::Device(entry.path));
        }
        if entry.kind == ArchiveKind::Directory {
            directories.push((entry.path.clone(), entry.metadata.mode));
        }
        make(&root, &above, &entry, &mut archive).map_err(made)?;
        // What was a directory may be one no longer.
        last = (entry.kind != ArchiveKind::Directory).then_some((parent, above));
    }
    for (path, mode) in directories.iter().rev() {
        // It may have been replaced by a later entry.
        let Ok(made) = root.open_dir(path.as_bytes()) else {
            continue;
        };
        set_mode(made, *mode).map_err(|source| UnpackError::Make {
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

fn make(
    root: &Dir,
    above: &Dir,
    entry: &ArchiveEntry,
    archive: &mut Archive<'_>,
) -> io::Result<()> {
    let name = entry.path.name();
    let there = match above.stat(name) {
        Ok(stat) => Some(stat.kind),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match (there, &entry.kind) {
        (None, _) => {}
        (Some(FileKind::Directory), ArchiveKind::Directory) => return Ok(()),
        // The last of several entries of one name counts.
        (Some(FileKind::Directory), _) => above.remove_tree(name).map_err(io::Error::other)?,
        (Some(_), _) => above.remove_file(name)?,
    }
    match &entry.kind {
        ArchiveKind::Directory => above.create_dir(name, 0o700),
        ArchiveKind::File { .. } => {
            let mut file: File = above.create_file(name, 0o600)?;
            io::copy(archive, &mut file)?;
            set_mode(&file, entry.metadata.mode)
        }
        ArchiveKind::Symlink { target } => above.symlink(name, target),
        ArchiveKind::HardLink { target } => {
            let parent = target.parent().unwrap_or_else(EntryPath::root);
            let of = root.open_dir(parent.as_bytes())?;
            of.hard_link(target.name(), above, name)
        }
        ArchiveKind::Fifo => above.create_node(name, FileType::Fifo, 0o600, 0, 0),
        ArchiveKind::CharacterDevice { .. } | ArchiveKind::BlockDevice { .. } => {
            Err(io::Error::from(io::ErrorKind::Unsupported))
        }
    }
}

fn make_directories(root: &Dir, path: &EntryPath) -> io::Result<Dir> {
    let mut at = root.try_clone()?;
    for component in path.components() {
        at = at.open_or_create_dir(component, DIRECTORY_MODE)?;
    }
    Ok(at)
}

fn set_mode(file: impl std::os::fd::AsFd, mode: u32) -> io::Result<()> {
    Ok(fchmod(file, Mode::from_raw_mode(mode & 0o7777))?)
}
