//! Which source is used, in the order of Google's own libraries, and the tokens that it gave.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use crate::error::{GoogleError, GoogleErrorKind};
use crate::file::{Credentials, External, Subject, Target};
use crate::options::{Federation, Options, SubjectToken};
use crate::source::Way;
use crate::token::AccessToken;
use crate::wire::Wire;
use crate::{Secret, metadata, program};

/// How long gcloud may take.
const GCLOUD_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a token of gcloud is used that does not say how long it is good.
const GCLOUD_LIFE: Duration = Duration::from_secs(5 * 60);

/// Who we are at Google. Cheap to clone; clones share tokens. Nothing is read and nobody is asked
/// before the first token is wanted.
#[derive(Clone, Debug)]
pub struct Google {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    wire: Wire,
    /// What was found, or why nothing was.
    chosen: OnceCell<Result<Chosen, Vec<String>>>,
    /// A slot for each set of scopes; its lock is held while a token is on its way, so that many who
    /// want one ask once.
    tokens: Mutex<HashMap<String, Arc<Mutex<Option<AccessToken>>>>>,
}

/// The source that is used.
#[derive(Debug)]
struct Chosen {
    source: Source,
    /// For messages.
    place: String,
    /// As whom to act beside.
    target: Option<Target>,
}

#[derive(Debug)]
enum Source {
    Credentials(Credentials),
    Metadata,
    Gcloud(PathBuf),
}

/// Who we are, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account, where it is known without asking for more.
    pub account: Option<String>,
    /// What kind of source it is.
    pub kind: &'static str,
    /// Where it is.
    pub place: String,
}

impl Google {
    /// Takes what is ambient.
    pub fn new(options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                wire: Wire::new(options.http.clone(), options.timing.clone()),
                options,
                chosen: OnceCell::new(),
                tokens: Mutex::default(),
            }),
        }
    }

    /// The same network and services with the credentials of a file, and nothing else.
    ///
    /// # Errors
    ///
    /// [`GoogleErrorKind::Unusable`] for a file that cannot be read or understood, or would have
    /// tokens sent elsewhere.
    pub fn with_file(&self, path: &Path) -> Result<Self, GoogleError> {
        let options = self.inner.options.clone();
        let credentials = Credentials::read(path, &options.endpoints)?;
        let google = Self::new(options);
        let chosen = Chosen {
            source: Source::Credentials(credentials),
            place: path.display().to_string(),
            target: None,
        };
        // A new cell is empty.
        let _ = google.inner.chosen.set(Ok(chosen));
        Ok(google)
    }

    /// A token that is good for some minutes at least, for these scopes.
    ///
    /// # Errors
    ///
    /// [`GoogleErrorKind::NoAccount`] when there is no source at all; anything else when there is one
    /// and it gives nothing. A source that is there is never passed over in silence.
    pub async fn access_token(&self, scopes: &[&str]) -> Result<AccessToken, GoogleError> {
        self.token(scopes, false).await
    }

    /// Another token, because the last one was refused.
    ///
    /// # Errors
    ///
    /// Those of [`Self::access_token`].
    pub async fn renewed_access_token(&self, scopes: &[&str]) -> Result<AccessToken, GoogleError> {
        self.token(scopes, true).await
    }

    /// Who we are; nothing is exchanged for that.
    ///
    /// # Errors
    ///
    /// Those of [`Self::access_token`].
    pub async fn identity(&self) -> Result<Identity, GoogleError> {
        let chosen = self.chosen().await?;
        let target = chosen.target.as_ref().map(|target| target.email.clone());
        let (account, kind) = match &chosen.source {
            Source::Credentials(credentials) => (credentials.name(), credentials.kind()),
            Source::Metadata => {
                let inner = &*self.inner;
                let email = metadata::email(&inner.options.endpoints, &inner.wire).await;
                (email.ok(), "the account of this machine")
            }
            Source::Gcloud(_) => (None, "the active account of gcloud"),
        };
        Ok(Identity {
            account: target.or(account),
            kind,
            place: chosen.place.clone(),
        })
    }

    async fn token(&self, scopes: &[&str], renew: bool) -> Result<AccessToken, GoogleError> {
        let chosen = self.chosen().await?;
        let asked = Instant::now();
        let slot = {
            let mut tokens = self.inner.tokens.lock().await;
            Arc::clone(tokens.entry(scopes.join(" ")).or_default())
        };
        let mut known = slot.lock().await;
        if let Some(token) = &*known {
            // One that somebody else got while we waited is new enough, whatever was refused before.
            let is_newer = token.arrived() > asked;
            if token.is_fresh() && (!renew || is_newer) {
                return Ok(token.clone());
            }
        }
        match self.fetch(chosen, scopes).await {
            Ok(token) => {
                *known = Some(token.clone());
                Ok(token)
            }
            // Near its end it is still good, and the service may be back in time.
            Err(error) if error.kind() == GoogleErrorKind::Unreachable && !renew => match &*known {
                Some(token) if !token.time_left().is_zero() => Ok(token.clone()),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn fetch(&self, chosen: &Chosen, scopes: &[&str]) -> Result<AccessToken, GoogleError> {
        let inner = &*self.inner;
        let way = Way {
            endpoints: &inner.options.endpoints,
            ambient: &inner.options.ambient,
            wire: &inner.wire,
            place: &chosen.place,
        };
        let outer = [crate::SCOPE_CLOUD_PLATFORM];
        let asked_for: &[&str] = match chosen.target {
            Some(_) => &outer,
            None => scopes,
        };
        let token = match &chosen.source {
            Source::Credentials(credentials) => way.token(credentials, asked_for).await?,
            Source::Metadata => {
                metadata::token(asked_for, &inner.options.endpoints, &inner.wire).await?
            }
            Source::Gcloud(program) => gcloud(program).await?,
        };
        match &chosen.target {
            None => Ok(token),
            Some(target) => way.act_as(target, &token, scopes, &chosen.place).await,
        }
    }

    async fn chosen(&self) -> Result<&Chosen, GoogleError> {
        let chosen = self.inner.chosen.get_or_try_init(|| self.choose()).await?;
        chosen.as_ref().map_err(|tried| GoogleError::NoAccount {
            tried: tried.clone(),
        })
    }

    /// Looks for a source. What is there and cannot be used is an error, never a reason to go on.
    async fn choose(&self) -> Result<Result<Chosen, Vec<String>>, GoogleError> {
        let Options {
            endpoints, ambient, ..
        } = &self.inner.options;
        let federation = &ambient.federation;
        let target = self.target()?;
        if federation.subject.is_some() && federation.provider.is_none() {
            return Err(GoogleError::File {
                place: "an identity token was named".to_owned(),
                reason: "it needs a --gcp-workload-identity-provider that takes it".to_owned(),
            });
        }
        // An account that belongs to a declared provider is not for others.
        let is_for_all = federation.is_account_demanded || federation.provider.is_none();
        let own_target = target.clone().filter(|_| is_for_all);
        let mut tried = Vec::new();
        if federation.is_provider_demanded && federation.provider.is_some() {
            return Ok(Ok(federated(federation, target)?));
        }
        let file = |path: &Path, place: String| -> Result<Chosen, GoogleError> {
            Ok(Chosen {
                source: Source::Credentials(Credentials::read(path, endpoints)?),
                place,
                target: own_target.clone(),
            })
        };
        match &ambient.credentials_file {
            Some(path) => return Ok(Ok(file(path, path.display().to_string())?)),
            None => tried.push("GOOGLE_APPLICATION_CREDENTIALS is not set".to_owned()),
        }
        // What is declared for everybody is for jobs that can prove who they are.
        if federation.provider.is_some() {
            if federation.subject.is_some() || ambient.is_github {
                return Ok(Ok(federated(federation, target)?));
            }
            tried.push("this is no job that can prove its identity".to_owned());
        }
        if let Some(path) = &ambient.gcloud_file {
            if path.exists() {
                return Ok(Ok(file(path, path.display().to_string())?));
            }
            tried.push(format!("{} does not exist", path.display()));
        }
        if metadata::is_present(ambient.metadata, endpoints, &self.inner.wire).await? {
            return Ok(Ok(Chosen {
                source: Source::Metadata,
                place: "the metadata server".to_owned(),
                target: own_target,
            }));
        }
        tried.push("there is no metadata server".to_owned());
        let search_path = ambient.search_path.as_deref();
        if let Some(program) = program::find("gcloud", search_path) {
            // One that nobody has logged in to is as good as none.
            match gcloud(&program).await {
                Ok(_) => {
                    return Ok(Ok(Chosen {
                        place: program.display().to_string(),
                        source: Source::Gcloud(program),
                        target: own_target,
                    }));
                }
                Err(error) => tried.push(error.to_string()),
            }
        } else {
            tried.push("gcloud is not installed".to_owned());
        }
        Ok(Err(tried))
    }

    fn target(&self) -> Result<Option<Target>, GoogleError> {
        let Some(email) = &self.inner.options.ambient.federation.service_account else {
            return Ok(None);
        };
        Target::new(email)
            .map(Some)
            .ok_or_else(|| GoogleError::File {
                place: "--gcp-service-account".to_owned(),
                reason: "it is not the e-mail address of an account".to_owned(),
            })
    }
}

impl Default for Google {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

/// An identity of another provider, without any file.
fn federated(federation: &Federation, target: Option<Target>) -> Result<Chosen, GoogleError> {
    let provider = federation.provider.as_deref().unwrap_or("");
    let path = provider_path(provider).ok_or_else(|| GoogleError::File {
        place: "the workload identity provider".to_owned(),
        reason: format!(
            "`{}` is not projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/\
             PROVIDER; the number is that of `gcloud projects describe PROJECT`",
            provider
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect::<String>()
        ),
    })?;
    let (subject, place) = match &federation.subject {
        Some(SubjectToken::File(path)) => (
            Subject::File {
                path: path.clone(),
                format: crate::file::Format::Text,
            },
            format!("the identity token in {}", path.display()),
        ),
        Some(SubjectToken::Variable { name, token }) => (
            Subject::Variable {
                name: name.clone(),
                token: token.clone(),
            },
            format!("the identity token in {name}"),
        ),
        None => (
            Subject::Github {
                audience: format!("https://iam.googleapis.com/{path}"),
            },
            "the identity of this job of GitHub Actions".to_owned(),
        ),
    };
    Ok(Chosen {
        source: Source::Credentials(Credentials::External(Box::new(External {
            audience: format!("//iam.googleapis.com/{path}"),
            subject_token_type: "urn:ietf:params:oauth:token-type:jwt".to_owned(),
            token_url: None,
            subject,
            user_project: None,
            client: None,
        }))),
        place,
        target,
    })
}

/// The path of a provider, from any of the forms in which it is copied around.
fn provider_path(text: &str) -> Option<&str> {
    let path = text
        .trim_start_matches("https:")
        .trim_start_matches("//iam.googleapis.com")
        .trim_start_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    let is_name = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    match parts.as_slice() {
        [
            "projects",
            number,
            "locations",
            location,
            "workloadIdentityPools",
            pool,
            "providers",
            provider,
        ] if !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && [location, pool, provider].iter().all(|part| is_name(part)) =>
        {
            Some(path)
        }
        _ => None,
    }
}

/// What gcloud knows of its active account.
async fn gcloud(program: &Path) -> Result<AccessToken, GoogleError> {
    #[derive(Deserialize)]
    struct Helper {
        credential: Credential,
    }
    #[derive(Deserialize)]
    struct Credential {
        access_token: Secret,
        token_expiry: Option<String>,
    }

    let failed = |reason: String| GoogleError::Program {
        program: program.display().to_string(),
        reason,
    };
    let asked = Instant::now();
    let arguments = ["config", "config-helper", "--format=json"].map(str::to_owned);
    let output = program::run(program, &arguments, &[], GCLOUD_TIME_MAX)
        .await
        .map_err(failed)?;
    if !output.succeeded {
        return Err(failed(match output.complaint.as_str() {
            "" => "it failed".to_owned(),
            complaint => complaint.to_owned(),
        }));
    }
    let helper: Helper = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("it did not print a credential".to_owned()))?;
    let life = helper.credential.token_expiry.and_then(|text| {
        let end: jiff::Timestamp = text.parse().ok()?;
        let now = jiff::Timestamp::try_from(SystemTime::now()).ok()?;
        u64::try_from(end.as_second() - now.as_second()).ok()
    });
    let life = life.map_or(GCLOUD_LIFE, Duration::from_secs);
    Ok(AccessToken::new(
        helper.credential.access_token,
        asked,
        life,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_named_by_number() {
        let path = "projects/12/locations/global/workloadIdentityPools/gh/providers/p-1";
        for text in [
            path.to_owned(),
            format!("//iam.googleapis.com/{path}"),
            format!("https://iam.googleapis.com/{path}"),
        ] {
            assert_eq!(provider_path(&text), Some(path), "{text}");
        }
        for text in [
            "",
            "gh",
            "projects/my-project/locations/global/workloadIdentityPools/gh/providers/p",
            "projects/12/locations/global/workloadIdentityPools/gh",
            "projects/12/locations/global/workloadIdentityPools/gh/providers/",
            "projects/12/locations/global/workloadIdentityPools/gh/providers/p/x",
            "https://evil.example/projects/1/locations/global/workloadIdentityPools/g/providers/p",
        ] {
            assert_eq!(provider_path(text), None, "{text}");
        }
    }
}
