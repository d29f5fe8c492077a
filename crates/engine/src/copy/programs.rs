//! Notices programs while files are copied, so that one for the wrong processor can be named.

use std::io::{self, Read};

use store::layer::EntryPath;

use crate::machine::{HEADER_BYTES, Machine};

/// Programs that are remembered of one step. Who copies more knows what they do.
const PROGRAMS_MAX: usize = 64;

/// A program that was copied.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Where to.
    pub path: EntryPath,
    /// What it is for.
    pub machine: &'static Machine,
}

/// The programs among the files that pass by.
#[derive(Debug, Default)]
pub(crate) struct Programs(Vec<Program>);

impl Programs {
    /// Remembers a file that can be executed if it turned out to be a program.
    pub(crate) fn note(&mut self, path: &EntryPath, mode: u32, header: &Header) {
        if mode & 0o111 != 0
            && self.0.len() < PROGRAMS_MAX
            && let Some(machine) = Machine::of_program(&header.bytes[..header.filled])
        {
            self.0.push(Program {
                path: path.clone(),
                machine,
            });
        }
    }

    /// All of them.
    pub(crate) fn into_list(self) -> Vec<Program> {
        self.0
    }
}

/// The beginning of a file.
#[derive(Debug, Default)]
pub(crate) struct Header {
    bytes: [u8; HEADER_BYTES],
    filled: usize,
}

impl Header {
    /// The same reader; what comes first is kept here.
    pub(crate) fn of<'h, R: Read>(&'h mut self, inner: &'h mut R) -> Watched<'h, R> {
        Watched {
            header: self,
            inner,
        }
    }
}

/// A reader whose first bytes are kept.
pub(crate) struct Watched<'h, R> {
    header: &'h mut Header,
    inner: &'h mut R,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let Header { bytes, filled } = &mut *self.header;
        if *filled < HEADER_BYTES {
            let kept = count.min(HEADER_BYTES - *filled);
            bytes[*filled..*filled + kept].copy_from_slice(&buffer[..kept]);
            *filled += kept;
        }
        Ok(count)
    }
}
