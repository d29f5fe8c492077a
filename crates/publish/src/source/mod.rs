//! Images from wherever they are, as [`Content`]: documents in memory, blobs as something that can
//! be read. Everything is compared with its digest and size; names inside of archives choose an
//! image and name nothing elsewhere (E17).

mod attached;
mod blob;
mod docker_archive;
mod error;
mod gather;
mod joinable;
mod layout;
mod registry;
mod store;
mod tar_file;

use std::sync::Arc;

use ::registry::Client;
use ::store::Store;
use oci::{Digest, Platform, Repository};

use crate::{Address, Content};
pub use attached::{Attached, AttachedSet, attached, is_derived_tag};
pub use blob::{BlobCause, remote_blob, stored_blob};
pub use error::SourceError;
pub use gather::platforms;
pub use joinable::joinable;

/// Which part of an image is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Part {
    /// What the name points at, with everything below it.
    #[default]
    Whole,
    /// The image for one platform: its manifest, and nothing around it.
    Platform(Platform),
}

/// What images are read with.
#[derive(Clone)]
pub struct Sources {
    /// For registries.
    pub client: Client,
    /// The store.
    pub store: Option<Store>,
    /// Where blobs can be had that an image of the store lacks.
    pub origins: Option<Arc<dyn Origins>>,
}

/// Knows where the blobs are that the store lacks.
pub trait Origins: Send + Sync {
    /// The repositories that a blob of the image with this digest came from.
    fn of(&self, image: &Digest, blob: &Digest) -> Vec<Repository>;
}

/// Reads what an address stands for. Must be called on a runtime.
///
/// # Errors
///
/// [`SourceError`].
pub async fn open(
    address: &Address,
    part: &Part,
    sources: &Sources,
) -> Result<Content, SourceError> {
    match address {
        Address::Registry(reference) => registry::open(reference, part, &sources.client).await,
        Address::Store(name) => store::open(name, part, sources).await,
        Address::Layout { path, choice } => layout::open(path, choice, part).await,
        Address::LayoutArchive { path, choice } => layout::open_archive(path, choice, part).await,
        Address::DockerArchive { path, choice } => docker_archive::open(path, choice, part).await,
    }
}
