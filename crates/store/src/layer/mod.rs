//! Layers as values: what is in them ([`Entry`]), and the ways in and out.

mod admit;
mod archive;
mod capture;
mod compress;
mod decompress;
mod entry;
mod index;
mod limits;
mod merge;
mod scan;
mod settle;
mod sparse;
mod tar_header;
mod tar_pax;
mod tar_reader;
mod tar_stream;
mod tar_writer;
mod tree;
mod unpack;
mod whiteout;
mod writer;

pub use admit::EntryError;
pub use archive::{Archive, ArchiveEntry, ArchiveError, ArchiveKind};
pub use capture::{CaptureError, CaptureOptions, capture};
pub use compress::{BLOCK_BYTES, default_level, levels};
pub use decompress::{DecompressError, Wrapping};
pub use entry::{
    ContentHash, Entry, EntryKind, EntryPath, Metadata, NAME_BYTES_MAX, PATH_BYTES_MAX, PathError,
};
pub use index::{IndexError, LayerIndex, SMALL_FILE_BYTES_MAX};
pub use limits::Limits;
pub use merge::PlaceError;
pub use scan::{ScanError, ScanOptions, scan};
pub use settle::{Settled, settle};
pub use sparse::SparseError;
pub use tar_header::NumberError;
pub use tar_pax::PaxError;
pub use tar_reader::{Chunk, METADATA_BYTES_MAX, TarEntry, TarKind, TarReadError, TarReader};
pub use tar_stream::{TarStream, TarStreamError};
pub use tar_writer::TarError;
pub use tree::{Follow, LINKS_MAX, Node, NodeId, ResolveError, Resolved, Tree};
pub use unpack::{OPAQUE_XATTR, Ownership, UnpackError, UnpackTarget};
pub use whiteout::WhiteoutError;
pub use writer::{Layer, LayerError, LayerOptions, LayerWriter, recompress};
