//! From an address to a shelf. Nothing is asked of anybody yet.

use std::sync::Arc;

use registry::{Client, ProxySettings, TrustSettings};

use crate::bucket::{BucketShelf, Objects};
use crate::directory::DirectoryShelf;
use crate::gha::GhaShelf;
use crate::registry_shelf::RegistryShelf;
use crate::sealed::{SealKey, Sealed};
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
    /// Who we are at Google, where an address does not say it.
    pub google: google::Google,
}

/// Opens the shelf of an address. No request is made, and no directory. With a key only documents
/// that are sealed with it are believed, and all that are put there are sealed.
///
/// # Errors
///
/// [`ShelfErrorKind::Unusable`] for an address that no shelf can have.
pub fn open(
    address: &Address,
    network: &Network,
    key: Option<&SealKey>,
) -> Result<Arc<dyn Shelf>, ShelfError> {
    let shelf = plain(address, network)?;
    Ok(Arc::new(Sealed::new(shelf, key.cloned())))
}

fn plain(address: &Address, network: &Network) -> Result<Arc<dyn Shelf>, ShelfError> {
    match address {
        Address::Registry(reference) => Ok(Arc::new(RegistryShelf::new(
            reference.clone(),
            network.client.clone(),
        ))),
        Address::Directory(directory) => Ok(Arc::new(DirectoryShelf::new(
            directory.clone(),
            address.to_string(),
        ))),
        Address::S3(s3) => {
            let objects = Objects::s3(s3, http(address, network)?)
                .map_err(|error| unusable(address, &error))?;
            Ok(Arc::new(BucketShelf::new(objects, &s3.paths, address)))
        }
        Address::Gcs(gcs) => {
            let objects = Objects::gcs(gcs, http(address, network)?, &network.google)
                .map_err(|error| unusable(address, &error))?;
            Ok(Arc::new(BucketShelf::new(objects, &gcs.paths, address)))
        }
        Address::Azblob(azblob) => {
            let objects = Objects::azblob(azblob, http(address, network)?)
                .map_err(|error| unusable(address, &error))?;
            Ok(Arc::new(BucketShelf::new(objects, &azblob.paths, address)))
        }
        Address::Gha(gha) => Ok(Arc::new(
            GhaShelf::new(gha, http(address, network)?, address)
                .map_err(|error| unusable(address, &error))?,
        )),
    }
}

fn http(address: &Address, network: &Network) -> Result<reqwest::Client, ShelfError> {
    network.client.http().map_err(|error| {
        ShelfError::new(ShelfErrorKind::Unusable, "open", address.to_string()).because(error)
    })
}

fn unusable(address: &Address, reason: &str) -> ShelfError {
    ShelfError::new(ShelfErrorKind::Unusable, "open", address.to_string()).because(reason)
}
