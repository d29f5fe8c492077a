//! `type=local`: the root file system of the target as files in a directory,
//! which belong to the caller.
//!
//! Every name is made relative to a directory handle and through no link, so
//! that nothing in the image or in the directory leads out of it. What has the
//! name of an exported file is replaced, what has another name stays.
//!
//! Because files get another owner here, what would act with the owner's rights
//! or the kernel's is left out, and said: devices, set-user-id and set-group-id
//! bits, and extended attributes other than the user's own.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, Timespec, Timestamps};
use rustix::io::Errno;
use store::dir::{self, Dir, FileKind, RemoveError};
use store::layer::{EntryPath, Metadata};
use store::replace::{ReplaceError, Replacement, replace};

use super::platform_roots::{ATTESTATION_MODE, AttestationFile};
use super::root_files::{RootEntry, RootError, RootFiles, RootKind};
use crate::interrupt::Interrupt;

/// Permission bits that files keep: all but set-user-id and set-group-id.
const MODE_KEPT: u32 = 0o1777;

/// Why the files could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    #[error("could not use the directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("could not write {path}")]
    Write { path: EntryPath, source: io::Error },
    #[error("could not write {path}")]
    Replace {
        path: EntryPath,
        source: ReplaceError,
    },
    #[error("could not make place for the directory {path}")]
    Remove {
        path: EntryPath,
        source: RemoveError,
    },
    #[error("interrupted")]
    Interrupted,
}

impl LocalError {
    /// Whether the user named a wrong place.
    pub(crate) fn is_input(&self) -> bool {
        match self {
            Self::Directory { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists
            ),
            Self::Root(_)
            | Self::Write { .. }
            | Self::Replace { .. }
            | Self::Remove { .. }
            | Self::Interrupted => false,
        }
    }
}

/// Things of one kind that were left out: how many, and the first.
#[derive(Debug, Default)]
struct Left {
    count: usize,
    first: Option<EntryPath>,
}

/// What was left out.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    devices: Left,
    set_ids: Left,
    attributes: Left,
}

impl Left {
    fn add(&mut self, path: &EntryPath) {
        self.count += 1;
        self.first.get_or_insert_with(|| path.clone());
    }
}

impl LeftOut {
    /// One sentence for each kind.
    pub(crate) fn warnings(&self) -> Vec<String> {
        [
            (&self.devices, "devices are not exported to a directory"),
            (
                &self.set_ids,
                "set-user-id and set-group-id bits are not exported to a directory",
            ),
            (
                &self.attributes,
                "extended attributes were not exported to the directory",
            ),
        ]
        .into_iter()
        .filter_map(|(some, what)| {
            let first = some.first.as_ref()?;
            Some(match some.count {
                1 => format!("{what}: {first}"),
                count => format!("{what}: {first} and {} more", count - 1),
            })
        })
        .collect()
    }
}

/// Writes the files below `path`, which is made if missing.
pub(crate) fn write(
    root: &RootFiles,
    path: &Path,
    interrupt: &Interrupt,
) -> Result<LeftOut, LocalError> {
    let unusable = |source| LocalError::Directory {
        path: path.to_owned(),
        source,
    };
    if path.exists() && !path.is_dir() {
        let source = io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory");
        return Err(unusable(source));
    }
    fs::create_dir_all(path).map_err(unusable)?;
    let mut export = Export {
        open: (EntryPath::root(), Dir::open(path).map_err(unusable)?),
        root: Dir::open(path).map_err(unusable)?,
        directories: Vec::new(),
        left_out: LeftOut::default(),
        interrupt,
    };
    for entry in root.entries() {
        if interrupt.is_triggered() {
            return Err(LocalError::Interrupted);
        }
        export.add(entry?)?;
    }
    export.finish()
}

/// Writes files that say something of the others, beside them.
pub(crate) fn write_attestations(
    files: &[AttestationFile],
    directory: &Path,
    interrupt: &Interrupt,
) -> Result<(), LocalError> {
    if files.is_empty() {
        return Ok(());
    }
    let unusable = |source| LocalError::Directory {
        path: directory.to_owned(),
        source,
    };
    let root = Dir::open(directory).map_err(unusable)?;
    for AttestationFile {
        path,
        bytes,
        epoch_seconds,
    } in files
    {
        let replaced = |source| LocalError::Replace {
            path: path.clone(),
            source,
        };
        let mut file = Replacement::create(&root, ATTESTATION_MODE).map_err(replaced)?;
        let stop = || interrupt.is_triggered();
        file.fill(&mut &**bytes, &stop).map_err(replaced)?;
        let metadata = Metadata::root_owned(ATTESTATION_MODE, *epoch_seconds);
        finish(file.file(), path, &metadata, &mut LeftOut::default())?;
        file.finish(path.name()).map_err(replaced)?;
    }
    Ok(())
}

struct Export<'r> {
    root: Dir,
    /// The directory of the last entry, which usually is that of the next.
    open: (EntryPath, Dir),
    /// Directories so far: their metadata comes last, for files made in them
    /// change their times, and their modes may keep us out.
    directories: Vec<(EntryPath, &'r Metadata)>,
    left_out: LeftOut,
    interrupt: &'r Interrupt,
}

impl<'r> Export<'r> {
    fn add(&mut self, entry: RootEntry<'r>) -> Result<(), LocalError> {
        let RootEntry {
            path,
            kind,
            metadata,
        } = entry;
        let failed = |source| LocalError::Write {
            path: path.clone(),
            source,
        };
        let replaced = |source| LocalError::Replace {
            path: path.clone(),
            source,
        };
        let directory = path.parent().unwrap_or_else(EntryPath::root);
        if self.open.0 != directory {
            let opened = self.root.open_dir(directory.as_bytes()).map_err(failed)?;
            self.open = (directory, opened);
        }
        let parent = &self.open.1;
        match kind {
            RootKind::Directory => {
                make_directory(parent, &path)?;
                self.directories.push((path, metadata));
            }
            RootKind::File { size: _, content } => {
                let mut file = Replacement::create(parent, 0o600).map_err(replaced)?;
                let mut reader = content.open()?;
                file.fill(&mut reader, &|| self.interrupt.is_triggered())
                    .map_err(replaced)?;
                finish(file.file(), &path, metadata, &mut self.left_out)?;
                file.finish(path.name()).map_err(replaced)?;
            }
            RootKind::HardLink { first } => {
                let from = first.parent().unwrap_or_else(EntryPath::root);
                let from = self.root.open_dir(from.as_bytes()).map_err(failed)?;
                match from.stat(first.name()) {
                    // Another name of a device, which is not there.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        self.left_out.devices.add(&path);
                        return Ok(());
                    }
                    other => other.map_err(failed)?,
                };
                replace(
                    parent,
                    path.name(),
                    |name| from.hard_link(first.name(), parent, name),
                    |_| Ok(()),
                )
                .map_err(replaced)?;
            }
            RootKind::Symlink { target } => replace(
                parent,
                path.name(),
                |name| parent.symlink(name, target),
                |name| parent.set_time(name, metadata.mtime),
            )
            .map_err(replaced)?,
            RootKind::Fifo => replace(
                parent,
                path.name(),
                // The mask of the user applies, as nothing is kept in a pipe.
                |name| parent.create_node(name, FileType::Fifo, metadata.mode & 0o777, 0, 0),
                |name| parent.set_time(name, metadata.mtime),
            )
            .map_err(replaced)?,
            RootKind::CharacterDevice { .. } | RootKind::BlockDevice { .. } => {
                // What was there before is not what the image has.
                parent
                    .remove_tree(path.name())
                    .map_err(|source| LocalError::Remove {
                        path: path.clone(),
                        source,
                    })?;
                self.left_out.devices.add(&path);
            }
        }
        Ok(())
    }

    /// Gives directories their metadata, those inside before those around them.
    fn finish(mut self) -> Result<LeftOut, LocalError> {
        for (path, metadata) in self.directories.iter().rev() {
            let directory = self.root.open_dir(path.as_bytes());
            let directory = directory.map_err(|source| LocalError::Write {
                path: path.clone(),
                source,
            })?;
            finish(&directory, path, metadata, &mut self.left_out)?;
        }
        Ok(self.left_out)
    }
}

/// Makes a directory, or takes the one that is there. It can be written to until
/// [`Export::finish`].
fn make_directory(parent: &Dir, path: &EntryPath) -> Result<(), LocalError> {
    let name = path.name();
    let failed = |source| LocalError::Write {
        path: path.clone(),
        source,
    };
    match parent.create_dir(name, 0o700) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other.map_err(failed),
    }
    let found = parent.stat(name).map_err(failed)?;
    if found.kind == FileKind::Directory {
        if found.mode & 0o700 != 0o700 {
            let directory = parent.open_dir(name).map_err(failed)?;
            let mode = Mode::from_raw_mode(found.mode | 0o700);
            rustix::fs::fchmod(&directory, mode).map_err(|errno| failed(errno.into()))?;
        }
        return Ok(());
    }
    parent
        .remove_file(name)
        .and_then(|()| parent.create_dir(name, 0o700))
        .map_err(failed)
}

/// Attributes, mode and time, in this order: a mode without write would forbid
/// attributes.
fn finish(
    file: impl AsFd,
    path: &EntryPath,
    metadata: &Metadata,
    left_out: &mut LeftOut,
) -> Result<(), LocalError> {
    let failed = |source| LocalError::Write {
        path: path.clone(),
        source,
    };
    let mut all = true;
    for (name, value) in &metadata.xattrs {
        if !name.starts_with(b"user.") {
            all = false;
            continue;
        }
        match dir::set_xattr(&file, name, value) {
            Err(error) if error.raw_os_error() == Some(Errno::NOTSUP.raw_os_error()) => all = false,
            other => other.map_err(failed)?,
        }
    }
    if !all {
        left_out.attributes.add(path);
    }
    if metadata.mode & !MODE_KEPT != 0 {
        left_out.set_ids.add(path);
    }
    let time = Timespec {
        tv_sec: metadata.mtime,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::fchmod(&file, Mode::from_raw_mode(metadata.mode & MODE_KEPT))
        .and_then(|()| rustix::fs::futimens(&file, &times))
        .map_err(|errno| failed(errno.into()))
}
