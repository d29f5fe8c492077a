//! Images as files: an OCI image layout as a directory or a tar, and the archive that docker and
//! podman load. Their bytes depend on nothing but the image and its names.

mod archive_file;
mod image_files;
mod joined;
mod layout;
mod store;

pub use archive_file::{ArchiveFile, ArchiveFileError, Destination};
pub use image_files::{
    ArchiveError, ImageFiles, LayoutName, NotOneImage, REFERENCE_NAME, described, entries,
};
pub use joined::joined;
pub use layout::{LayoutError, write_layout};
pub use store::{KeepError, keep};

pub(crate) use image_files::{DOCKER_FILE, IMAGE_NAME, INDEX_FILE, LAYOUT_FILE, blob_name};

/// Says whether the user wishes to stop; asked between pieces.
pub type Stop<'s> = &'s (dyn Fn() -> bool + Sync);
