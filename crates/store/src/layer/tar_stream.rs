//! A tar that goes out to somebody else: headers, content, padding, end, in one
//! pass. Its bytes are those of `tar_writer`, so equal entries give equal tars.
//!
//! It knows no layers: nothing is hashed, compressed or kept, and entries come
//! in the caller's order.

use std::io::{self, Read, Write};

use super::tar_writer::{self, TarError};
use super::{ContentHash, Entry, EntryKind, EntryPath, Metadata};

/// Bytes of content moved at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Why a tar could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TarStreamError {
    /// Something that a tar cannot hold.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// Content that cannot be read, or that its reader found damaged.
    #[error("could not read the content of `{path}`")]
    Read {
        /// The file.
        path: EntryPath,
        /// Why.
        source: io::Error,
    },
    /// Content of another size than was announced in the header.
    #[error("`{path}` should have {expected} bytes and has {}", found.map_or("more".to_owned(), |found| found.to_string()))]
    Size {
        /// The file.
        path: EntryPath,
        /// Bytes announced.
        expected: u64,
        /// Bytes that came; `None` when there were more.
        found: Option<u64>,
    },
    /// Whoever takes the tar does not.
    #[error("could not write the tar")]
    Write(#[source] io::Error),
}

/// Writes a tar.
#[derive(Debug)]
pub struct TarStream<W> {
    output: W,
    header: Vec<u8>,
    piece: Vec<u8>,
}

impl<W: Write> TarStream<W> {
    /// An empty tar.
    pub fn new(output: W) -> Self {
        Self {
            output,
            header: Vec::new(),
            piece: vec![0; PIECE_BYTES],
        }
    }

    /// Adds an entry without content: anything but a file.
    ///
    /// # Errors
    ///
    /// [`TarStreamError::Tar`] and [`TarStreamError::Write`]; and
    /// [`TarStreamError::Size`] for a file that has content.
    pub fn add(&mut self, entry: &Entry) -> Result<(), TarStreamError> {
        if let EntryKind::File { size, .. } = entry.kind
            && size > 0
        {
            return Err(TarStreamError::Size {
                path: entry.path.clone(),
                expected: size,
                found: Some(0),
            });
        }
        self.header(entry)
    }

    /// Adds a file. `content` is read to its end, so that a reader that checks
    /// what it gives can say so.
    ///
    /// # Errors
    ///
    /// All of [`TarStreamError`]; the tar is of no use then.
    pub fn add_file(
        &mut self,
        path: EntryPath,
        metadata: Metadata,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), TarStreamError> {
        let entry = Entry {
            path,
            // A tar has no room for the hash.
            kind: EntryKind::File {
                size,
                content: ContentHash([0; 32]),
            },
            metadata,
        };
        self.header(&entry)?;
        let path = entry.path;
        let mut left = size;
        loop {
            let room = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            // One byte more than there should be tells of content that goes on.
            let room = room.max(1);
            let count = match content.read(&mut self.piece[..room]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(TarStreamError::Read { path, source }),
                Ok(count) => count,
            };
            let unexpected = |found| TarStreamError::Size {
                path: path.clone(),
                expected: size,
                found,
            };
            match (count, left) {
                (0, 0) => break,
                (0, left) => return Err(unexpected(Some(size - left))),
                (_, 0) => return Err(unexpected(None)),
                (count, _) => {
                    self.write(count)?;
                    left -= count as u64;
                }
            }
        }
        let padding = tar_writer::padding(size);
        self.piece[..padding].fill(0);
        self.write(padding)
    }

    /// Ends the tar and gives back what it was written to, flushed.
    ///
    /// # Errors
    ///
    /// [`TarStreamError::Write`].
    pub fn finish(mut self) -> Result<W, TarStreamError> {
        let ended = self.output.write_all(&tar_writer::END);
        ended
            .and_then(|()| self.output.flush())
            .map_err(TarStreamError::Write)?;
        Ok(self.output)
    }

    fn header(&mut self, entry: &Entry) -> Result<(), TarStreamError> {
        self.header.clear();
        tar_writer::header(entry, &mut self.header)?;
        self.output
            .write_all(&self.header)
            .map_err(TarStreamError::Write)
    }

    fn write(&mut self, count: usize) -> Result<(), TarStreamError> {
        self.output
            .write_all(&self.piece[..count])
            .map_err(TarStreamError::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text.as_bytes()).unwrap()
    }

    fn check(size: u64, content: &[u8], expected: &str) {
        let mut tar = TarStream::new(Vec::new());
        let metadata = Metadata::root_owned(0o644, 0);
        let result = tar
            .add_file(path("f"), metadata, size, &mut &*content)
            .and_then(|()| tar.finish());
        let shown = match result {
            Ok(tar) => format!("{} bytes", tar.len()),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{size} announced, {} given", content.len());
    }

    #[test]
    fn content_has_the_size_that_was_announced() {
        check(0, b"", "1536 bytes");
        check(1, b"x", "2048 bytes");
        check(512, &[b'x'; 512], "2048 bytes");
        check(513, &[b'x'; 513], "2560 bytes");
        check(600_000, &[b'x'; 600_000], "601600 bytes");
        check(3, b"xx", "`/f` should have 3 bytes and has 2");
        check(1, b"xx", "`/f` should have 1 bytes and has more");
        check(0, b"x", "`/f` should have 0 bytes and has more");
    }

    #[test]
    fn a_file_cannot_come_without_its_content() {
        let content = ContentHash([0; 32]);
        let entry = Entry {
            path: path("f"),
            kind: EntryKind::File { size: 1, content },
            metadata: Metadata::root_owned(0o644, 0),
        };
        let error = TarStream::new(Vec::new()).add(&entry).unwrap_err();
        assert!(matches!(error, TarStreamError::Size { .. }), "{error}");
    }
}
