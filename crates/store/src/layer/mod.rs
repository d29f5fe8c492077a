//! Layers as values: what is in them ([`entry`]), and the ways in and out.

mod entry;

pub use entry::{
    ContentHash, Entry, EntryKind, EntryPath, Metadata, NAME_BYTES_MAX, PATH_BYTES_MAX, PathError,
};
