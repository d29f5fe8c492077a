//! What is ambient, as parameters: files, variables, times, and how the network is reached.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{Endpoints, Secret};

/// Everything that [`crate::Google`] is made of. The default finds no account.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where services are.
    pub endpoints: Endpoints,
    /// What was found around us.
    pub ambient: Ambient,
    /// How long is waited for what.
    pub timing: Timing,
    /// How the network is reached.
    pub http: HttpClients,
}

/// What was found around us.
#[derive(Clone, Debug, Default)]
pub struct Ambient {
    /// `GOOGLE_APPLICATION_CREDENTIALS`, or `CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE`: must be there.
    pub credentials_file: Option<PathBuf>,
    /// `application_default_credentials.json` in gcloud's directory: may be missing.
    pub gcloud_file: Option<PathBuf>,
    /// Who we are by another identity provider.
    pub federation: Federation,
    /// What a job of GitHub Actions may ask for, where it was allowed to.
    pub github: Option<GithubIdentity>,
    /// Whether this is a job of GitHub Actions, allowed to or not.
    pub is_github: bool,
    /// Whether files of credentials may name programs that are run
    /// (`GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES`).
    pub allow_executables: bool,
    /// Whether the machine is asked for its own account.
    pub metadata: MetadataUse,
    /// Where gcloud is looked for, when nothing else is there.
    pub search_path: Option<OsString>,
}

/// Whether the metadata server is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetadataUse {
    /// No.
    #[default]
    Never,
    /// When it is found.
    Detect,
    /// It is there, because somebody said where.
    Present,
}

/// Who we are by another identity provider, and as whom we want to act.
#[derive(Clone, Debug, Default)]
pub struct Federation {
    /// `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`.
    pub provider: Option<String>,
    /// The account to act as.
    pub service_account: Option<String>,
    /// The other provider's token; where nothing is said, a job's of GitHub Actions.
    pub subject: Option<SubjectToken>,
    /// Whether the provider was asked for by this very command, and so wins over files; what is
    /// declared once for everybody counts only in jobs that can prove who they are.
    pub is_provider_demanded: bool,
    /// Whether the account was: then any identity acts as it.
    pub is_account_demanded: bool,
}

/// Where a token of another identity provider is.
#[derive(Clone, Debug)]
pub enum SubjectToken {
    /// In a file, read again for every exchange.
    File(PathBuf),
    /// In a variable of this name.
    Variable {
        /// For messages.
        name: String,
        /// The token; `None` when the variable is not set.
        token: Option<Secret>,
    },
}

/// What the runner of GitHub Actions gives to a job with `permissions: id-token: write`.
#[derive(Clone, Debug)]
pub struct GithubIdentity {
    /// `ACTIONS_ID_TOKEN_REQUEST_URL`.
    pub request_url: String,
    /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
    pub request_token: Secret,
}

/// How long is waited for what.
#[derive(Clone, Debug)]
pub struct Timing {
    /// For one answer of a service.
    pub patience: Duration,
    /// How often a service that is in trouble is asked.
    pub attempts_max: u32,
    /// The pause after the first trouble; it doubles from one to the next.
    pub pause: Duration,
    /// For one answer to the question whether this is a machine of Google's.
    pub detection: Duration,
    /// How long a metadata server may take until it knows the account of a new pod.
    pub readiness: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            attempts_max: 4,
            pause: Duration::from_millis(250),
            detection: Duration::from_secs(3),
            readiness: Duration::from_secs(30),
        }
    }
}

/// Makes the client for services when one is needed: most commands never do, and reading the
/// machine's certificates takes time.
#[derive(Clone)]
pub struct HttpClients(Arc<dyn Fn() -> Result<reqwest::Client, String> + Send + Sync>);

impl HttpClients {
    /// From a function. The client must follow no redirect.
    pub fn new(make: impl Fn() -> Result<reqwest::Client, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    pub(crate) fn make(&self) -> Result<reqwest::Client, String> {
        (self.0)()
    }
}

impl Default for HttpClients {
    /// Speaks plain http only.
    fn default() -> Self {
        Self::new(|| plain_client().map_err(|error| error.to_string()))
    }
}

impl fmt::Debug for HttpClients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HttpClients")
    }
}

/// For plain http, without any proxy: what the metadata server needs.
pub(crate) fn plain_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .tls_certs_only([])
        .build()
}
