//! Who we are to a registry.
//!
//! ```text
//! mod          what an account is
//! store        which account belongs to a registry, from all sources
//! config_file  what config.json and auth.json say
//! edit         what is written into config.json
//! keeper       where a new account is kept, and an old one forgotten
//! helper       asking a credential helper
//! provider     accounts that the program has of its own
//! challenge    what a 401 asks for
//! token        what a token service answers
//! ```
//!
//! An account is looked for under the registry's own name and nowhere else: a
//! helper that is missing or fails is an error, never a reason to try another
//! account (D19, CVE-2021-41092).

use std::fmt;

mod challenge;
mod config_file;
mod edit;
mod helper;
mod keeper;
mod provider;
mod store;
mod token;

pub(crate) use challenge::{Challenge, challenges};
pub use config_file::ConfigFileError;
pub use edit::{EditError, HelperPlan};
pub use helper::HelperError;
pub use keeper::{AccountKeeper, KeepError, Kept};
pub use provider::{Answer, CredentialProvider, Provided, ProviderError};
pub(crate) use store::Found;
pub use store::{
    CredentialError, CredentialSources, CredentialStore, Lookup, NamedHelper, server_key,
};
pub(crate) use token::{Scope, Token, TokenAnswer};

/// A secret text, which no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What can be shown to a registry or its token service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// For `Basic`, and for asking a token service.
    Password {
        /// The user's name.
        username: String,
        /// The user's password or access token.
        password: Secret,
    },
    /// An OAuth2 refresh token, exchanged at the token service.
    IdentityToken(Secret),
    /// A token to be shown to the registry as it is.
    RegistryToken(Secret),
}

/// Which account was used, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's name; `<token>` for tokens.
    pub name: String,
    /// Where it was found: a file and key, or a helper program.
    pub source: String,
}

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the moment in which it is sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Credential {
    /// The user's name, or what stands for it.
    pub fn name(&self) -> &str {
        match self {
            Self::Password { username, .. } => username,
            Self::IdentityToken(_) | Self::RegistryToken(_) => "<token>",
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account `{}` from {}", self.name, self.source)
    }
}
