//! Where an archive is written to: a file that appears when it is complete, or
//! the standard output.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::Stop;

/// Where an archive goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The standard output.
    Stdout,
    /// A file, or a device.
    File(PathBuf),
}

/// Why nothing can be written to a destination.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFileError {
    /// An archive is one file.
    #[error("{} is a directory, and an archive is one file", .0.display())]
    Directory(PathBuf),
    /// The directory that it should be in does not exist.
    #[error("there is no directory {} to write to", .0.display())]
    NoDirectory(PathBuf),
    /// It cannot be made or replaced.
    #[error("could not create {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The standard output is closed.
    #[error("could not use the standard output")]
    Stdout(#[source] io::Error),
}

impl ArchiveFileError {
    /// Whether the user named a wrong place.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Directory(_) | Self::NoDirectory(_) => true,
            Self::Create { .. } | Self::Stdout(_) => false,
        }
    }
}

/// An open destination. Dropped before [`ArchiveFile::finish`], it leaves nothing
/// behind; a process that is killed leaves a file `.kiln-…` beside the
/// destination, and never half an archive under its name.
pub struct ArchiveFile<'s> {
    target: Target,
    is_stopped: Stop<'s>,
}

#[derive(Debug)]
enum Target {
    /// A file that gets its name at the end.
    Renamed { file: NamedTempFile, path: PathBuf },
    /// The standard output, a pipe or a device, which cannot be replaced.
    Direct(File),
}

impl<'s> ArchiveFile<'s> {
    /// Opens a destination.
    ///
    /// # Errors
    ///
    /// [`ArchiveFileError`].
    pub fn open(destination: &Destination, is_stopped: Stop<'s>) -> Result<Self, ArchiveFileError> {
        let target = match destination {
            Destination::Stdout => {
                // The program's own handle looks for line ends in what it writes.
                let own = io::stdout().as_fd().try_clone_to_owned();
                Target::Direct(own.map_err(ArchiveFileError::Stdout)?.into())
            }
            Destination::File(path) => open_file(path)?,
        };
        Ok(Self { target, is_stopped })
    }

    /// Whether a destination can be opened, as far as that can be told without
    /// touching it.
    ///
    /// # Errors
    ///
    /// [`ArchiveFileError`].
    pub fn check(destination: &Destination) -> Result<(), ArchiveFileError> {
        match destination {
            Destination::File(path) if path.is_dir() => {
                Err(ArchiveFileError::Directory(path.clone()))
            }
            Destination::File(path) if !directory_of(path).is_dir() => {
                Err(ArchiveFileError::NoDirectory(directory_of(path).to_owned()))
            }
            Destination::File(_) | Destination::Stdout => Ok(()),
        }
    }

    /// Lets the file appear, durable.
    ///
    /// # Errors
    ///
    /// [`ArchiveFileError::Create`].
    pub fn finish(self) -> Result<(), ArchiveFileError> {
        match self.target {
            Target::Direct(_) => Ok(()),
            Target::Renamed { file, path } => {
                let failed = |source| ArchiveFileError::Create {
                    path: path.clone(),
                    source,
                };
                // A name must not outlive a power cut that its content does not.
                file.as_file().sync_all().map_err(failed)?;
                file.persist(&path)
                    .map(drop)
                    .map_err(|error| failed(error.error))
            }
        }
    }
}

impl Write for ArchiveFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whoever waits for us has gone when the user interrupts.
        if (self.is_stopped)() {
            return Err(io::Error::other("interrupted"));
        }
        match &mut self.target {
            Target::Renamed { file, .. } => file.as_file_mut().write(bytes),
            Target::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open_file(path: &Path) -> Result<Target, ArchiveFileError> {
    let failed = |source| ArchiveFileError::Create {
        path: path.to_owned(),
        source,
    };
    let path = match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(ArchiveFileError::Directory(path.to_owned())),
        // A link keeps leading to the archive.
        Ok(found) if found.is_file() => fs::canonicalize(path).map_err(failed)?,
        // `/dev/null`, a named pipe: nothing that a file may take the place of.
        Ok(_) => {
            let file = File::options().write(true).open(path).map_err(failed)?;
            return Ok(Target::Direct(file));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(failed(error)),
    };
    let directory = directory_of(&path);
    let made = tempfile::Builder::new()
        .prefix(".kiln-")
        // As for any file that a program makes; the mask of the user applies.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(directory);
    match made {
        Ok(file) => Ok(Target::Renamed { file, path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ArchiveFileError::NoDirectory(directory.to_owned()))
        }
        Err(error) => Err(failed(error)),
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}
