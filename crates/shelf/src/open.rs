//! From an address to a shelf. Nothing is asked of anybody yet.

use std::sync::Arc;

use registry::{Client, ProxySettings, TrustSettings};

use crate::directory::DirectoryShelf;
use crate::registry_shelf::RegistryShelf;
use crate::{Address, Shelf, ShelfError, ShelfErrorKind};

/// How shelves reach other machines.
#[derive(Clone)]
pub struct Network {
    /// For registries.
    pub client: Client,
    /// For everything else: whom to trust.
    pub trust: TrustSettings,
    /// For everything else: proxies.
    pub proxies: ProxySettings,
}

/// Opens the shelf of an address. No request is made, and no directory.
///
/// # Errors
///
/// [`ShelfErrorKind::Unusable`] for an address that no shelf can have.
pub fn open(address: &Address, network: &Network) -> Result<Arc<dyn Shelf>, ShelfError> {
    match address {
        Address::Registry(reference) => Ok(Arc::new(RegistryShelf::new(
            reference.clone(),
            network.client.clone(),
        ))),
        Address::Directory(directory) => Ok(Arc::new(DirectoryShelf::new(
            directory.clone(),
            address.to_string(),
        ))),
        Address::S3(_) | Address::Gcs(_) | Address::Azblob(_) | Address::Gha(_) => Err(
            ShelfError::new(ShelfErrorKind::Unusable, "open", address.to_string()),
        ),
    }
}
