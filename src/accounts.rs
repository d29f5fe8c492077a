//! Who we are to registries and to Google: files and helpers as docker has them, and Google's
//! accounts, which are built in.

use std::sync::Arc;

use google::{GoogleError, GoogleErrorKind, HttpClients, SCOPE_CLOUD_PLATFORM};
use registry::{
    Account, Client, ClientOptions, Credential, CredentialProvider, CredentialStore, Provided,
    ProviderError, Secret,
};

use crate::error::ProgramError;
use crate::settings::Settings;

/// The name that goes with an access token (Artifact Registry's documentation, "Authenticate to
/// Artifact Registry").
pub(crate) const TOKEN_USER: &str = "oauth2accesstoken";

/// Our account at Google; nothing is read or asked yet.
pub(crate) fn google(settings: &Settings) -> google::Google {
    let mut ambient = settings.google.ambient.clone();
    if let Some(declared) = settings.declared_google() {
        declared.apply(&mut ambient.federation);
    }
    let (trust, proxies) = (settings.trust.clone(), settings.proxies.clone());
    let http = HttpClients::new(move || {
        let options = ClientOptions {
            trust: trust.clone(),
            proxies: proxies.clone(),
            ..ClientOptions::default()
        };
        let client = Client::new(options).and_then(|client| client.http());
        client.map_err(|error| error.to_string())
    });
    google::Google::new(google::Options {
        endpoints: settings.google.endpoints.clone(),
        ambient,
        http,
        ..google::Options::default()
    })
}

/// Asks Artifact Registry, as our account at Google.
pub(crate) fn artifact_registry(
    settings: &Settings,
) -> Result<artifact_registry::Client, ProgramError> {
    let options = ClientOptions {
        trust: settings.trust.clone(),
        proxies: settings.proxies.clone(),
        ..ClientOptions::default()
    };
    let http = Client::new(options).and_then(|client| client.http());
    let http = http.map_err(|error| {
        ProgramError::input("could not set up the client for Artifact Registry").because(&error)
    })?;
    let universe = settings.google.endpoints.universe.as_deref();
    let elsewhere = universe.map(|universe| format!("https://artifactregistry.{universe}"));
    let endpoint = settings.google.artifact_registry.clone().or(elsewhere);
    let timing = artifact_registry::Timing::default();
    Ok(artifact_registry::Client::new(
        google(settings),
        http,
        endpoint,
        timing,
    ))
}

/// All accounts for registries: those of files first, then Google's.
pub(crate) fn credentials(settings: &Settings) -> Result<CredentialStore, ProgramError> {
    let store = CredentialStore::load(settings.credentials.clone())
        .map_err(|error| ProgramError::input("could not read the credentials").because(&error))?;
    Ok(store.with_provider(Arc::new(provider(settings))))
}

/// Google's accounts, for the registries that take them.
pub(crate) fn provider(settings: &Settings) -> GoogleProvider {
    GoogleProvider {
        google: google(settings),
        hosts: settings.google.hosts.clone(),
    }
}

/// An error of Google's as the user meets it.
pub(crate) fn google_error(headline: &str, error: &GoogleError) -> ProgramError {
    let said = match error.kind() {
        GoogleErrorKind::NoAccount | GoogleErrorKind::Unusable => ProgramError::input(headline),
        GoogleErrorKind::Unreachable | GoogleErrorKind::Denied => ProgramError::failed(headline),
    };
    let said = said.because(error);
    match error.advice() {
        Some(advice) => said.hint(advice),
        None => said,
    }
}

/// Gives Google's access tokens to registries of Google's.
#[derive(Debug)]
pub(crate) struct GoogleProvider {
    google: google::Google,
    hosts: Vec<String>,
}

impl GoogleProvider {
    /// Registries that it certainly answers for.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        let own = google::REGISTRY_HOSTS.iter().copied();
        own.chain(self.hosts.iter().map(String::as_str))
    }

    async fn account(&self, fresh: bool) -> Result<Option<Provided>, GoogleError> {
        let scopes = &[SCOPE_CLOUD_PLATFORM];
        let token = match fresh {
            true => self.google.renewed_access_token(scopes).await,
            false => self.google.access_token(scopes).await,
        };
        let token = match token {
            Ok(token) => token,
            // Public repositories are for anybody.
            Err(error) if error.kind() == GoogleErrorKind::NoAccount => return Ok(None),
            Err(error) => return Err(error),
        };
        let identity = self.google.identity().await?;
        Ok(Some(Provided {
            credential: Credential::Password {
                username: TOKEN_USER.to_owned(),
                password: Secret::new(token.expose()),
            },
            account: Account {
                name: identity.account.unwrap_or_else(|| TOKEN_USER.to_owned()),
                source: format!("Google: {}, {}", identity.kind, identity.place),
            },
            time_left: Some(token.time_left()),
        }))
    }
}

impl CredentialProvider for GoogleProvider {
    fn name(&self) -> &str {
        "Google"
    }

    fn covers(&self, host: &str) -> bool {
        google::is_registry_host(host) || self.hosts.iter().any(|known| known == host)
    }

    fn find<'a>(&'a self, _host: &'a str, _path: &'a str, fresh: bool) -> registry::Answer<'a> {
        Box::pin(async move {
            self.account(fresh).await.map_err(|error| ProviderError {
                advice: error.advice(),
                source: Box::new(error),
            })
        })
    }
}
