//! The badge: access tokens for Google's services, from a service account's key, a user's login, the
//! machine's metadata server, or the token of another identity provider.
//!
//! ```text
//! account    which source is used, and the tokens that it gave
//! file       what files of credentials say           source     how each becomes a token
//! subject    tokens of other identity providers      metadata   the machine's own account
//! endpoints  where services are, and which to trust  wire       requests, their time and size
//! program    gcloud, and programs that files name    advice     what to do about refusals
//! ```
//!
//! It knows tokens and nothing of what they open. It reads no environment variable: what is ambient
//! is handed in, in [`Options`].

mod account;
mod advice;
mod assertion;
mod endpoints;
mod error;
mod file;
mod hosts;
mod metadata;
mod options;
mod program;
mod secret;
mod source;
mod subject;
mod token;
mod wire;

pub use account::{Google, Identity};
pub use endpoints::{Endpoints, UNIVERSE};
pub use error::{GoogleError, GoogleErrorKind};
pub use hosts::{REGISTRY_HOSTS, is_registry_host};
pub use options::{
    Ambient, Federation, GithubIdentity, HttpClients, MetadataUse, Options, SubjectToken, Timing,
};
pub use secret::Secret;
pub use token::AccessToken;

/// Everything that the account may do, which is what images and their repositories need.
pub const SCOPE_CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
/// To read and write objects of Cloud Storage.
pub const SCOPE_STORAGE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
