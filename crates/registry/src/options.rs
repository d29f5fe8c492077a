//! What a client is made of: all of it handed in, nothing looked up.

use std::path::PathBuf;

use crate::{CredentialStore, RegistrySettings, Timing};

/// What a [`crate::Client`] is made of.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Mirrors, insecure registries and certificates.
    pub settings: RegistrySettings,
    /// Who we are.
    pub credentials: CredentialStore,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Requests at once to one registry; a blob that is being read counts.
    pub max_concurrency: usize,
    /// Which certificates are trusted.
    pub trust: TrustSettings,
    /// Proxies.
    pub proxies: ProxySettings,
    /// Deadlines and pauses.
    pub timing: Timing,
}

/// Where the roots of trust for https come from.
#[derive(Clone, Debug, Default)]
pub struct TrustSettings {
    /// PEM bundles, for instance of `SSL_CERT_FILE` or
    /// `/etc/ssl/certs/ca-certificates.crt`: the first that exists is used.
    /// When none exists, Mozilla's roots, which are compiled in, are.
    pub bundles: Vec<PathBuf>,
}

/// Proxies as the usual variables give them; nothing is read from the
/// environment.
#[derive(Clone, Debug, Default)]
pub struct ProxySettings {
    /// For plain http, as in `HTTP_PROXY`.
    pub http: Option<String>,
    /// For https, as in `HTTPS_PROXY`.
    pub https: Option<String>,
    /// Hosts that are asked directly, as in `NO_PROXY`. Loopback hosts always
    /// are.
    pub no_proxy: Option<String>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            settings: RegistrySettings::default(),
            credentials: CredentialStore::default(),
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_concurrency: 8,
            trust: TrustSettings::default(),
            proxies: ProxySettings::default(),
            timing: Timing::default(),
        }
    }
}
