//! Which account belongs to a registry: what files name for it comes first, then what the program
//! has of its own, and then nobody.
//!
//! What a file says about a host is final. A helper that is missing or fails is an error, and one
//! that knows nothing makes us a stranger; neither is a reason to try another account (D19).

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config_file::{ConfigFile, ConfigFileError, DOCKER_HUB_KEY};
use super::helper::{HelperError, HelperName, HelperSettings};
use super::provider::{CredentialProvider, Provided, ProviderError};
use super::{Account, Credential};

/// How long a helper may take.
pub(super) const HELPER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the answer of a helper is used. There is no expiry in the protocol,
/// and cloud tokens live for an hour at most.
const HELPER_ANSWER_AGE_MAX: Duration = Duration::from_secs(5 * 60);
/// The helper that we are ourselves: no process is needed to ask it.
const OWN_HELPER: &str = "docker-credential-kiln";

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
    providers: Vec<Arc<dyn CredentialProvider>>,
    notes: Vec<String>,
    answers: Arc<Mutex<HelperAnswers>>,
}

/// A program that a file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedHelper {
    /// The file.
    pub file: String,
    /// The registry that it is asked for; `None` for `credsStore`, which is asked for all.
    pub registry: Option<String>,
    /// Such as `docker-credential-gcloud`.
    pub program: String,
    /// Where it was found in the search path; our own needs no file.
    pub is_there: bool,
}

/// What was found for a registry, and how.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// The account, if there is one.
    pub found: Option<Provided>,
    /// Where it was looked, in order, and what was there.
    pub trail: Vec<String>,
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
        registry: Box<str>,
        /// The file that names the helper.
        source_name: Box<str>,
        /// The key that names it.
        key: Box<str>,
        /// Who could answer in its place.
        built_in: Option<Box<str>>,
        /// What went wrong.
        source: HelperError,
    },
    /// An account that the program has of its own cannot be used.
    #[error("the account of {provider} for {registry} cannot be used")]
    Provider {
        /// The registry whose account was wanted.
        registry: String,
        /// Whose account it is.
        provider: String,
        /// What went wrong.
        source: ProviderError,
    },
}

/// An account that was found.
pub(crate) type Found = Option<(Credential, Account)>;
/// What helpers answered, by program and server.
type HelperAnswers = HashMap<(String, String), (Instant, Option<Credential>)>;

/// What docker calls a registry in its files and to helpers: the names of Docker Hub are one.
pub fn server_key(host: &str) -> &str {
    match host {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB_KEY,
        other => other,
    }
}

impl CredentialError {
    /// Why we are a stranger, where that is better than nothing: an account of the program that does
    /// not work, such as a login that has ended, must not keep anybody from what is public. What a
    /// file names for a registry has no excuse (D19).
    pub(crate) fn excuse(&self) -> Option<String> {
        match self {
            Self::ConfigFile(_) | Self::Helper { .. } => None,
            Self::Provider { source, .. } => {
                let advice = source.advice.as_ref();
                let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
                Some(format!("{self}: {source}{advice}"))
            }
        }
    }

    /// What the user can do about it.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::ConfigFile(_) => None,
            Self::Provider { source, .. } => source.advice.clone(),
            Self::Helper {
                source_name,
                key,
                built_in,
                source,
                ..
            } => {
                let own = built_in.as_ref().map(|provider| {
                    format!(
                        "kiln has the accounts of {provider} built in: without {key} in \
                         {source_name} it needs no helper"
                    )
                });
                let first = match source {
                    HelperError::Missing { program } => {
                        format!("install {program}, or remove {key} from {source_name}")
                    }
                    HelperError::TimedOut { program, .. } => format!(
                        "run `{} get` by hand to see what it waits for",
                        program.display()
                    ),
                    HelperError::Run { .. }
                    | HelperError::TooMuch { .. }
                    | HelperError::Failed { .. }
                    | HelperError::Junk { .. }
                    | HelperError::Server(_) => return own,
                };
                Some(match own {
                    Some(own) => format!("{first}; {own}"),
                    None => first,
                })
            }
        }
    }
}

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
            files.push(ConfigFile::parse_variable(
                "DOCKER_AUTH_CONFIG",
                text.as_bytes(),
            )?);
        }
        for path in sources.docker_config.iter().chain(&sources.auth_files) {
            files.extend(ConfigFile::read(path, &mut notes)?);
        }
        for file in &files {
            for key in file.helpers.keys() {
                // Helpers are found by the exact host, as docker does it.
                if never_matches(key) {
                    let right = right_key(key);
                    notes.push(format!(
                        "{}: credHelpers[\"{key}\"] is never used: the key must be HOST[:PORT]{}",
                        file.name,
                        right.map_or_else(String::new, |right| format!(", such as {right}"))
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
            providers: Vec::new(),
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

    /// Adds somebody who is asked for registries that no file has an account for.
    #[must_use]
    pub fn with_provider(mut self, provider: Arc<dyn CredentialProvider>) -> Self {
        self.providers.push(provider);
        self
    }

    /// What the user should know about the files: loose modes, keys that can
    /// never match.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The same, and forgets them: who asks says them.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The names of the files that were read.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// The programs that the files name, in their order. None is run.
    pub fn helpers(&self) -> Vec<NamedHelper> {
        let is_there = |program: &str| {
            let settings = self.helpers.as_ref();
            program == OWN_HELPER || settings.is_some_and(|settings| settings.has(program))
        };
        let mut found = Vec::new();
        for file in &self.files {
            let store = file.store.as_ref().map(|helper| (None, helper));
            let own = file.helpers.iter();
            let own = own.filter_map(|(key, helper)| Some((Some(key.clone()), helper.as_ref()?)));
            for (registry, helper) in store.into_iter().chain(own) {
                let program = helper.program();
                found.push(NamedHelper {
                    file: file.name.clone(),
                    registry,
                    is_there: is_there(&program),
                    program,
                });
            }
        }
        found
    }

    /// The account for a repository of `host` (with its port, if it has one), and where it was looked
    /// for. `fresh` asks helpers and providers again: the last answer was refused.
    ///
    /// # Errors
    ///
    /// When whoever should know the account cannot say it.
    pub async fn look_up(
        &self,
        host: &str,
        path: &str,
        fresh: bool,
    ) -> Result<Lookup, CredentialError> {
        let server = server_key(host);
        let host = if server == DOCKER_HUB_KEY {
            "docker.io"
        } else {
            host
        };
        let mut lookup = Lookup::default();
        for file in &self.files {
            let mut look_in_accounts = true;
            // `credHelpers` is about this very host, so its answer is final.
            if let Some(helper) = file.helpers.get(server).or_else(|| file.helpers.get(host)) {
                if let Some(helper) = helper {
                    let key = format!("credHelpers[\"{server}\"]");
                    let found = self.ask(file, &key, helper, host, path, fresh).await?;
                    lookup.note(&file.name, &key, found.is_some());
                    lookup.found = found;
                    return Ok(lookup);
                }
                let key = format!("credHelpers[\"{server}\"]");
                lookup
                    .trail
                    .push(format!("{}: {key} is empty: no helper is asked", file.name));
            } else if let Some(helper) = &file.store {
                // Docker does not look into `auths` beside a store: what stands there is old.
                look_in_accounts = false;
                let key = "credsStore";
                let found = self.ask(file, key, helper, host, path, fresh).await?;
                lookup.note(&file.name, key, found.is_some());
                if found.is_some() {
                    lookup.found = found;
                    return Ok(lookup);
                }
            }
            let account = file.account(host, path).filter(|_| look_in_accounts);
            if let Some((key, credential)) = account {
                let key = format!("auths[\"{key}\"]");
                let account = Account {
                    name: credential.name().to_owned(),
                    source: format!("{} ({key})", file.name),
                };
                lookup.note(&file.name, &key, true);
                lookup.found = Some(Provided {
                    credential: credential.clone(),
                    account,
                    time_left: None,
                });
                return Ok(lookup);
            }
            if look_in_accounts {
                lookup
                    .trail
                    .push(format!("{}: nothing for {server}", file.name));
            }
        }
        let Some(provider) = self.provider(host) else {
            return Ok(lookup);
        };
        let found = provide(provider, host, path, fresh).await?;
        let what = match found {
            Some(_) => "an account",
            None => "no account",
        };
        lookup
            .trail
            .push(format!("{}, built in: {what}", provider.name()));
        lookup.found = found;
        Ok(lookup)
    }

    /// Only the account.
    pub(crate) async fn find(
        &self,
        host: &str,
        path: &str,
        fresh: bool,
    ) -> Result<Found, CredentialError> {
        let lookup = self.look_up(host, path, fresh).await?;
        Ok(lookup.found.map(|found| (found.credential, found.account)))
    }

    fn provider(&self, host: &str) -> Option<&dyn CredentialProvider> {
        let mut providers = self.providers.iter().map(AsRef::as_ref);
        providers.find(|provider| provider.covers(host))
    }

    async fn ask(
        &self,
        file: &ConfigFile,
        key: &str,
        helper: &HelperName,
        host: &str,
        path: &str,
        fresh: bool,
    ) -> Result<Option<Provided>, CredentialError> {
        let server = server_key(host);
        let built_in = self.provider(host);
        if helper.program() == OWN_HELPER {
            let found = match built_in {
                Some(provider) => provide(provider, host, path, fresh).await?,
                None => None,
            };
            return Ok(found);
        }
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
                        registry: server.into(),
                        source_name: file.name.as_str().into(),
                        key: key.into(),
                        built_in: built_in.map(|provider| provider.name().into()),
                        source,
                    }
                })?;
                answers.insert(slot, (Instant::now(), answer.clone()));
                answer
            }
        };
        Ok(answer.map(|credential| Provided {
            account: Account {
                name: credential.name().to_owned(),
                source: format!("{} ({}: {key})", helper.program(), file.name),
            },
            credential,
            time_left: None,
        }))
    }
}

impl Lookup {
    fn note(&mut self, file: &str, key: &str, found: bool) {
        let what = if found { "an account" } else { "no account" };
        self.trail.push(format!("{file}: {key}: {what}"));
    }
}

/// Whether docker can never find a helper by this key.
pub(super) fn never_matches(key: &str) -> bool {
    let bare_domain = matches!(
        key,
        "pkg.dev" | "rep.pkg.dev" | "amazonaws.com" | "azurecr.io"
    );
    key != DOCKER_HUB_KEY && (key.contains(['/', '*']) || bare_domain)
}

/// The key that was probably meant; `None` where nothing of the kind has one.
fn right_key(key: &str) -> Option<&str> {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or_default();
    match host {
        "" => None,
        "pkg.dev" | "*.pkg.dev" | "*-docker.pkg.dev" => Some("us-west1-docker.pkg.dev"),
        "rep.pkg.dev" | "*.rep.pkg.dev" => Some("docker.me-central2.rep.pkg.dev"),
        "*.gcr.io" => Some("gcr.io"),
        "amazonaws.com" | "*.amazonaws.com" => Some("123456789012.dkr.ecr.us-east-1.amazonaws.com"),
        "azurecr.io" | "*.azurecr.io" => Some("NAME.azurecr.io"),
        host if host.contains('*') => None,
        host => Some(host),
    }
}

async fn provide(
    provider: &dyn CredentialProvider,
    host: &str,
    path: &str,
    fresh: bool,
) -> Result<Option<Provided>, CredentialError> {
    provider
        .find(host, path, fresh)
        .await
        .map_err(|source| CredentialError::Provider {
            registry: host.to_owned(),
            provider: provider.name().to_owned(),
            source,
        })
}
