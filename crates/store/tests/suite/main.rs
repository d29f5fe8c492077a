//! The promises of the store, on real disks, with real mounts and real deaths.

// A test that cannot run here says so.
#![allow(clippy::print_stderr)]

mod cached;
mod captured;
mod collected;
mod damaged;
mod killed;
mod layers;
mod opened;
mod recorded;
mod scanned_again;
mod snapshots;
mod sought;

use std::num::NonZeroUsize;
use std::path::Path;

use oci::{Compression, Descriptor, MediaType};
use store::Store;
use store::layer::{EntryPath, LayerOptions, LayerWriter, Metadata};

/// A directory that goes away, below the build's own place for such things.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn open(path: &Path) -> Store {
    Store::open(&path.join("store")).unwrap()
}

fn path(text: &str) -> EntryPath {
    EntryPath::parse(text.as_bytes()).unwrap()
}

fn options(compression: Compression, threads: usize) -> LayerOptions {
    LayerOptions {
        compression,
        level: None,
        threads: NonZeroUsize::new(threads).unwrap(),
    }
}

fn add_file(writer: &mut LayerWriter, name: &str, content: &[u8]) {
    let metadata = Metadata::root_owned(0o644, 0);
    let size = content.len() as u64;
    writer
        .add_file(path(name), metadata, size, None, &mut &content[..])
        .unwrap();
}

fn plain(digest: &oci::Digest, size: u64) -> Descriptor {
    let media_type = MediaType::from("application/octet-stream");
    Descriptor::new(media_type, digest.clone(), size)
}
