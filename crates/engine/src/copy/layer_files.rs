//! The files of one layer of a stage: in a directory, or where the layer lies.

use std::io::{self, Read};
use std::sync::Arc;

use store::dir::Dir;
use store::layer::{EntryPath, FileExtent};

use crate::lazy::Lazy;
use crate::output::LayerRef;

/// Bytes that are read at once of a file that lies elsewhere.
const READ_BYTES: usize = 256 * 1024;

/// Where the contents of one layer are read.
pub(crate) enum LayerFiles {
    /// Nothing of it is needed.
    Unused,
    /// A directory that it was unpacked into.
    Unpacked(Dir),
    /// Its blob, wherever that is.
    Lying(Arc<Lazy>, Box<LayerRef>),
}

impl LayerFiles {
    /// Opens the regular file of this path, which lies in the tar as `extent` says.
    pub(crate) fn open(
        &self,
        path: &EntryPath,
        extent: Option<FileExtent>,
    ) -> io::Result<Box<dyn Read + '_>> {
        match self {
            Self::Unused => Err(io::Error::other("a layer that nobody has opened")),
            Self::Unpacked(directory) => Ok(Box::new(directory.open_seen_file(path.as_bytes())?)),
            Self::Lying(lazy, layer) => {
                let extent =
                    extent.ok_or_else(|| io::Error::other("nobody knows where it lies"))?;
                let file = Lying {
                    lazy,
                    layer,
                    extent,
                    offset: 0,
                };
                Ok(Box::new(io::BufReader::with_capacity(READ_BYTES, file)))
            }
        }
    }
}

/// A file that is read where its layer lies.
struct Lying<'l> {
    lazy: &'l Lazy,
    layer: &'l LayerRef,
    extent: FileExtent,
    offset: u64,
}

impl Read for Lying<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self
            .lazy
            .read(self.layer, &self.extent, self.offset, buffer)?;
        self.offset += count as u64;
        Ok(count)
    }
}
