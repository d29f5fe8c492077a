//! One file of a directory that others may look at: it is complete when it gets
//! its name, and takes the place of whatever had that name.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::dir::{Dir, RemoveError};

/// Names that are tried for an unfinished file.
const NAMES_MAX: u32 = 10_000;
/// Bytes moved at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Why a file was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// Its content cannot be read.
    #[error("could not read the content")]
    Read(#[source] io::Error),
    /// It cannot be written.
    #[error(transparent)]
    Write(io::Error),
    /// A directory of its name cannot be removed.
    #[error("could not remove what is in its place")]
    Remove(#[source] RemoveError),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// Something under a name of its own, until [`Unfinished::place`] gives it the right one.
struct Unfinished<'d> {
    parent: &'d Dir,
    name: Vec<u8>,
    placed: bool,
}

/// A file that is being written.
pub struct Replacement<'d> {
    unfinished: Unfinished<'d>,
    file: File,
}

impl<'d> Replacement<'d> {
    /// Begins a file in `parent`.
    pub fn create(parent: &'d Dir, mode: u32) -> Result<Self, ReplaceError> {
        let (unfinished, file) = make(parent, |name| parent.create_file(name, mode))?;
        Ok(Self { unfinished, file })
    }

    /// The file, for its metadata.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Takes in content up to its end.
    pub fn fill(
        &mut self,
        content: &mut dyn Read,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), ReplaceError> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            if is_stopped() {
                return Err(ReplaceError::Interrupted);
            }
            match content.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => self
                    .file
                    .write_all(&piece[..count])
                    .map_err(ReplaceError::Write)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReplaceError::Read(error)),
            }
        }
    }

    /// Gives the file its name.
    pub fn finish(self, name: &[u8]) -> Result<(), ReplaceError> {
        self.unfinished.place(name)
    }
}

/// Makes something else than a file under `name`: a link, a pipe. `make` gets
/// the name to use for now; `prepare` may change what was made.
pub fn replace(
    parent: &Dir,
    name: &[u8],
    make_it: impl Fn(&[u8]) -> io::Result<()>,
    prepare: impl FnOnce(&[u8]) -> io::Result<()>,
) -> Result<(), ReplaceError> {
    let (unfinished, ()) = make(parent, make_it)?;
    prepare(&unfinished.name).map_err(ReplaceError::Write)?;
    unfinished.place(name)
}

fn make<'d, T>(
    parent: &'d Dir,
    make_it: impl Fn(&[u8]) -> io::Result<T>,
) -> Result<(Unfinished<'d>, T), ReplaceError> {
    let process = std::process::id();
    for number in 0..NAMES_MAX {
        let name = format!(".kiln-{process}-{number}").into_bytes();
        match make_it(&name) {
            // Left by a process that was killed, or of somebody else.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(ReplaceError::Write(error)),
            Ok(made) => {
                let unfinished = Unfinished {
                    parent,
                    name,
                    placed: false,
                };
                return Ok((unfinished, made));
            }
        }
    }
    Err(ReplaceError::Write(io::ErrorKind::AlreadyExists.into()))
}

impl Unfinished<'_> {
    fn place(mut self, name: &[u8]) -> Result<(), ReplaceError> {
        match self.parent.rename(&self.name, self.parent, name) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                self.parent
                    .remove_tree(name)
                    .map_err(ReplaceError::Remove)?;
                self.parent
                    .rename(&self.name, self.parent, name)
                    .map_err(ReplaceError::Write)?;
            }
            other => other.map_err(ReplaceError::Write)?,
        }
        self.placed = true;
        Ok(())
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.placed {
            let _ = self.parent.remove_file(&self.name);
        }
    }
}
