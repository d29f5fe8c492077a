//! Opens files that somebody else may have made: a pipe without a writer would be waited for
//! without end, and a device may have no end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file for reading; links are followed. What is no regular file is an error, and is not
/// waited for.
///
/// # Errors
///
/// The operating system's, or that it is not a regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return Ok(file);
    }
    Err(io::Error::other(match metadata.is_dir() {
        true => "it is a directory",
        false => "it is not a regular file",
    }))
}

/// Reads a file, but no more than one byte over `bytes_max`: then it is too large, even if it has
/// grown since somebody looked.
///
/// # Errors
///
/// As [`open`].
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
