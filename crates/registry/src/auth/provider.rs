//! Accounts that the program has of its own, such as those of a cloud: asked when no file names an
//! account for a registry.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Account, Credential};

/// Somebody who knows accounts for some registries.
pub trait CredentialProvider: fmt::Debug + Send + Sync {
    /// For messages, such as `Google`.
    fn name(&self) -> &str;

    /// Whether a registry by this name (`HOST[:PORT]`) is one of those.
    fn covers(&self, host: &str) -> bool;

    /// The account for a repository of a registry that it covers; `None` for strangers. `fresh`: the
    /// last answer was refused.
    fn find<'a>(&'a self, host: &'a str, path: &'a str, fresh: bool) -> Answer<'a>;
}

/// What a provider will have found.
pub type Answer<'a> = BoxFuture<'a, Result<Option<Provided>, ProviderError>>;

/// An account that was found.
#[derive(Clone, Debug)]
pub struct Provided {
    /// What is shown to the registry.
    pub credential: Credential,
    /// For messages.
    pub account: Account,
    /// How long it is good, where that is known.
    pub time_left: Option<Duration>,
}

/// Why a provider that should know an account could not give it.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct ProviderError {
    /// What went wrong; nothing secret.
    pub source: Box<dyn std::error::Error + Send + Sync>,
    /// What to do about it.
    pub advice: Option<String>,
}
