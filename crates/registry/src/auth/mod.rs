//! Who we are to a registry.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

mod config_file;

pub use config_file::ConfigFileError;

/// A secret text, which no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

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

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account `{}` from {}", self.name, self.source)
    }
}

/// Where credentials are looked for, in this order. The program reads the
/// environment; this crate does not.
#[derive(Clone, Debug, Default)]
pub struct CredentialSources {
    /// The text of `DOCKER_AUTH_CONFIG`.
    pub docker_auth_config: Option<String>,
    /// Docker's `config.json`, for instance in `DOCKER_CONFIG`. May be missing.
    pub docker_config: Option<PathBuf>,
    /// `auth.json` files as podman writes them. May be missing.
    pub auth_files: Vec<PathBuf>,
    /// The text of `PATH`, for credential helpers.
    pub search_path: Option<OsString>,
    /// The whole environment of credential helpers; `None` lets them inherit ours.
    pub helper_environment: Option<Vec<(OsString, OsString)>>,
}

/// All the accounts that are known. The default knows none.
#[derive(Clone, Debug, Default)]
pub struct CredentialStore {}

/// Why credentials could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A configuration file is not right.
    #[error(transparent)]
    ConfigFile(#[from] ConfigFileError),
}

impl CredentialStore {
    /// Reads the files. Helpers are not run before they are needed.
    ///
    /// # Errors
    ///
    /// When a file is there and cannot be read or understood; the message names
    /// file and key, never a value.
    pub fn load(_sources: CredentialSources) -> Result<Self, CredentialError> {
        todo!()
    }

    /// Adds an account for `registry` (host and port, optionally a path), which
    /// wins over all files.
    pub fn with(self, _registry: &str, _credential: Credential, _source: &str) -> Self {
        todo!()
    }

    /// What the user should know about the files: loose modes, keys that can
    /// never match.
    pub fn notes(&self) -> &[String] {
        todo!()
    }
}
