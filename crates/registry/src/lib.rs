//! The wire: a client for OCI registries that pulls, pushes and mounts, and
//! proves who it is (distribution specification 1.1).
//!
//! Everything streams in bounded memory, everything that arrives is compared
//! with its digest and size, everything that was sent is asked for again, and
//! no peer can make it wait for ever. One policy, in [`Origin`]'s module,
//! decides where credentials and follow-up requests may go.
//!
//! This crate does not know that disks exist, except for the configuration and
//! certificate files whose paths it is given. It reads no environment variable:
//! whatever is ambient is a field of [`ClientOptions`],
//! [`RegistrySettings`] or [`CredentialSources`]. It never moves a tag on its
//! own account and knows nothing of builds, layers or caches.

mod access;
mod auth;
mod blob;
mod blob_range;
mod body;
mod catalog;
mod client;
mod delete;
mod endpoint;
mod error;
mod error_document;
mod exchange;
mod manifest;
mod options;
mod origin;
mod pages;
mod referrers;
mod retry;
mod settings;
mod tags;
mod traffic;
mod transport;
mod upload;

pub use access::Access;
pub use auth::{
    Account, AccountKeeper, Answer, ConfigFileError, Credential, CredentialError,
    CredentialProvider, CredentialSources, CredentialStore, EditError, HelperError, HelperPlan,
    KeepError, Kept, Lookup, NamedHelper, Provided, ProviderError, Secret, server_key,
};
pub use blob::{BlobReader, BlobStream, ConsumeError};
pub use blob_range::RANGE_BYTES_MAX;
pub use catalog::REPOSITORIES_MAX;
pub use client::Client;
pub use error::{Error, ErrorKind, Operation, RegistryMessage};
pub use manifest::Selector;
pub use options::{ClientOptions, ProxySettings, TrustSettings};
pub use origin::{Origin, OriginError};
pub use referrers::{REFERRERS_MAX, referrers_tag};
pub use retry::Timing;
pub use settings::{
    CertificateError, Mirror, MirrorUse, Note, RegistryRule, RegistrySettings, SettingsError,
    SettingsSources,
};
pub use tags::TAGS_MAX;
pub use traffic::{Progress, Traffic};
pub use upload::{BlobSource, MountOutcome, PushOptions, Pushed};
