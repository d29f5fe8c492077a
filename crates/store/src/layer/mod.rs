//! Layers as values: what is in them ([`entry`]), and the ways in and out.

mod archive;
mod capture;
mod compress;
mod entry;
mod index;
mod limits;
mod scan;
mod tar_writer;
mod tree;
mod unpack;
mod writer;

pub use archive::{Archive, ArchiveEntry, ArchiveError, ArchiveKind};
pub use capture::{CaptureError, CaptureOptions, capture};
pub use compress::{BLOCK_BYTES, default_level, levels};
pub use entry::{
    ContentHash, Entry, EntryKind, EntryPath, Metadata, NAME_BYTES_MAX, PATH_BYTES_MAX, PathError,
};
pub use index::{IndexError, LayerIndex, SMALL_FILE_BYTES_MAX};
pub use limits::Limits;
pub use scan::{ScanError, ScanOptions, scan};
pub use tar_writer::TarError;
pub use tree::{Follow, Node, NodeId, ResolveError, Resolved, Tree};
pub use unpack::{Ownership, UnpackTarget};
pub use writer::{Layer, LayerError, LayerOptions, LayerWriter, recompress};
