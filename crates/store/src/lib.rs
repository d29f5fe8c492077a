//! The disk: all local state that outlives a step — blobs, layers and their
//! indexes, records, unpacked layers — and what may be done with it by several
//! processes at once, any of which may be killed.
//!
//! It does not know that registries exist, nor Dockerfiles.

pub mod layer;
