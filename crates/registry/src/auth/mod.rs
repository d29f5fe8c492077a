//! Who we are to a registry.
//!
//! ```text
//! mod          which account belongs to a registry, from all sources
//! config_file  what config.json and auth.json say
//! helper       asking a credential helper
//! challenge    what a 401 asks for
//! token        what a token service answers
//! ```
//!
//! An account is looked for under the registry's own name and nowhere else: a
//! helper that is missing or fails is an error, never a reason to try another
//! account (D19, CVE-2021-41092).

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

mod challenge;
mod config_file;
mod helper;
mod token;

pub(crate) use challenge::{Challenge, challenges};
pub use config_file::ConfigFileError;
use config_file::{ConfigFile, DOCKER_HUB_KEY};
pub use helper::HelperError;
use helper::{HelperName, HelperSettings};
pub(crate) use token::{Scope, Token, TokenAnswer};

/// How long a helper may take.
const HELPER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the answer of a helper is used. There is no expiry in the protocol,
/// and cloud tokens live for an hour at most.
const HELPER_ANSWER_AGE_MAX: Duration = Duration::from_secs(5 * 60);

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
    /// The whole environment of credential helpers; `None` lets them inherit
    /// ours.
    pub helper_environment: Option<Vec<(OsString, OsString)>>,
}

/// All the accounts that are known. The default knows none. Clones share what
/// helpers have answered.
#[derive(Clone, Debug, Default)]
pub struct CredentialStore {
    files: Vec<ConfigFile>,
    helpers: Option<HelperSettings>,
    notes: Vec<String>,
    answers: Arc<Mutex<HelperAnswers>>,
}

/// Why credentials could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A configuration file is not right.
    #[error(transparent)]
    ConfigFile(#[from] ConfigFileError),
    /// A credential helper gave no answer.
    #[error("the credential helper for {registry} ({source_name}: {key}) gave no answer")]
    Helper {
        /// The registry whose account was wanted.
        registry: String,
        /// The file that names the helper.
        source_name: String,
        /// The key that names it.
        key: String,
        /// What went wrong.
        source: HelperError,
    },
}

/// An account that was found.
pub(crate) type Found = Option<(Credential, Account)>;
/// What helpers answered, by program and server.
type HelperAnswers = HashMap<(String, String), (Instant, Option<Credential>)>;

impl CredentialStore {
    /// Reads the files. Helpers are not run before they are needed.
    ///
    /// # Errors
    ///
    /// When a file is there and cannot be read or understood; the message names
    /// file and key, never a value.
    pub fn load(sources: CredentialSources) -> Result<Self, CredentialError> {
        let mut files = Vec::new();
        let mut notes = Vec::new();
        if let Some(text) = &sources.docker_auth_config {
            files.push(ConfigFile::parse("DOCKER_AUTH_CONFIG", text.as_bytes())?);
        }
        for path in sources.docker_config.iter().chain(&sources.auth_files) {
            files.extend(ConfigFile::read(path, &mut notes)?);
        }
        for file in &files {
            for key in file.helpers.keys() {
                // Helpers are found by the exact host, as docker does it.
                if key != DOCKER_HUB_KEY && key.contains(['/', '*']) {
                    notes.push(format!(
                        "{}: credHelpers[\"{key}\"] is never used: the key must be HOST[:PORT]",
                        file.name
                    ));
                }
            }
        }
        Ok(Self {
            files,
            helpers: Some(HelperSettings {
                search_path: sources.search_path,
                environment: sources.helper_environment,
                time_max: HELPER_TIME_MAX,
            }),
            notes,
            answers: Arc::default(),
        })
    }

    /// Adds an account for `registry` (host and port, optionally a path), which
    /// wins over all files. `source` says in messages where it comes from.
    #[must_use]
    pub fn with(mut self, registry: &str, credential: Credential, source: &str) -> Self {
        let mut file = ConfigFile {
            name: source.to_owned(),
            ..ConfigFile::default()
        };
        file.accounts
            .insert(registry.to_owned(), (registry.to_owned(), Some(credential)));
        self.files.insert(0, file);
        self
    }

    /// What the user should know about the files: loose modes, keys that can
    /// never match.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The account for a repository of `host` (with its port, if it has one).
    /// `fresh` asks helpers again: the last answer was refused.
    pub(crate) async fn find(
        &self,
        host: &str,
        path: &str,
        fresh: bool,
    ) -> Result<Found, CredentialError> {
        let is_docker_hub = matches!(
            host,
            "docker.io" | "index.docker.io" | "registry-1.docker.io"
        );
        let (host, server) = if is_docker_hub {
            ("docker.io", DOCKER_HUB_KEY)
        } else {
            (host, host)
        };
        for file in &self.files {
            // `credHelpers` is about this very host, so its answer is final.
            if let Some(helper) = file.helpers.get(server).or_else(|| file.helpers.get(host)) {
                if let Some(helper) = helper {
                    let key = format!("credHelpers[\"{server}\"]");
                    return self.ask(file, &key, helper, server, fresh).await;
                }
            } else if let Some(helper) = &file.store {
                let found = self.ask(file, "credsStore", helper, server, fresh).await?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            if let Some((key, credential)) = file.account(host, path) {
                let account = Account {
                    name: credential.name().to_owned(),
                    source: format!("{} (auths[\"{key}\"])", file.name),
                };
                return Ok(Some((credential.clone(), account)));
            }
        }
        Ok(None)
    }

    async fn ask(
        &self,
        file: &ConfigFile,
        key: &str,
        helper: &HelperName,
        server: &str,
        fresh: bool,
    ) -> Result<Found, CredentialError> {
        let Some(settings) = &self.helpers else {
            return Ok(None);
        };
        // The lock is held while the helper runs: ten layers that start at once
        // need one answer, not ten.
        let mut answers = self.answers.lock().await;
        let slot = (helper.program(), server.to_owned());
        let known = answers
            .get(&slot)
            .filter(|(when, _)| !fresh && when.elapsed() < HELPER_ANSWER_AGE_MAX)
            .map(|(_, answer)| answer.clone());
        let answer = match known {
            Some(answer) => answer,
            None => {
                let answer = settings.get(helper, server).await.map_err(|source| {
                    CredentialError::Helper {
                        registry: server.to_owned(),
                        source_name: file.name.clone(),
                        key: key.to_owned(),
                        source,
                    }
                })?;
                answers.insert(slot, (Instant::now(), answer.clone()));
                answer
            }
        };
        Ok(answer.map(|credential| {
            let account = Account {
                name: credential.name().to_owned(),
                source: format!("{} ({}: {key})", helper.program(), file.name),
            };
            (credential, account)
        }))
    }
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
    fn name(&self) -> &str {
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
