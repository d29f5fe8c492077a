//! What files of credentials say: of a user, of a service's account, of an identity that another
//! provider vouches for, and of any of them acting as another account.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Secret;
use crate::endpoints::{Endpoints, is_account};
use crate::error::GoogleError;

/// The largest file of credentials or of a token, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 64 * 1024;
/// How deep one account may act as another in one file.
const DEPTH_MAX: usize = 4;
/// How long a token of another account is to be good, in seconds.
const IMPERSONATION_SECONDS: u64 = 3600;
/// The most that an organisation may allow, in seconds.
const IMPERSONATION_SECONDS_MAX: u64 = 12 * 3600;

/// What a file of credentials says.
#[derive(Debug)]
pub(crate) enum Credentials {
    /// What `gcloud auth application-default login` keeps.
    AuthorizedUser(User),
    /// The key of a service's account.
    ServiceAccount(Key),
    /// Somebody whom another provider vouches for.
    External(Box<External>),
    /// A user whom another provider vouched for when he logged in.
    ExternalUser(User),
    /// One of the others, acting as an account.
    Acting {
        /// Who acts.
        source: Box<Credentials>,
        /// As whom.
        target: Target,
    },
}

/// A login of a user.
#[derive(Debug, Deserialize)]
pub(crate) struct User {
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    pub(crate) refresh_token: Secret,
    #[serde(alias = "token_url")]
    pub(crate) token_uri: Option<String>,
    #[serde(default)]
    pub(crate) account: Option<String>,
}

/// A key of an account.
#[derive(Debug, Deserialize)]
pub(crate) struct Key {
    pub(crate) client_email: String,
    pub(crate) private_key: Secret,
    pub(crate) private_key_id: Option<String>,
    pub(crate) token_uri: Option<String>,
}

/// An identity at another provider.
#[derive(Debug)]
pub(crate) struct External {
    pub(crate) audience: String,
    pub(crate) subject_token_type: String,
    pub(crate) token_url: Option<String>,
    pub(crate) subject: Subject,
    /// For pools of a workforce.
    pub(crate) user_project: Option<String>,
    /// For `Authorization` at the exchange.
    pub(crate) client: Option<(String, Secret)>,
}

/// Where the other provider's token is.
#[derive(Debug)]
pub(crate) enum Subject {
    /// In a file.
    File { path: PathBuf, format: Format },
    /// Behind an address.
    Url {
        url: String,
        headers: BTreeMap<String, Secret>,
        format: Format,
    },
    /// A program says it.
    Executable {
        command: String,
        timeout_millis: Option<u64>,
        output_file: Option<PathBuf>,
    },
    /// In a variable.
    Variable { name: String, token: Option<Secret> },
    /// The runner of GitHub Actions says it, for this audience.
    Github { audience: String },
}

/// How a token is written.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    /// Alone.
    Text,
    /// In this field of JSON.
    Json(String),
}

/// An account to act as.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) email: String,
    pub(crate) delegates: Vec<String>,
    pub(crate) seconds: u64,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: Option<String>,
    universe_domain: Option<String>,
}

#[derive(Deserialize)]
struct RawExternal {
    audience: String,
    subject_token_type: String,
    token_url: Option<String>,
    credential_source: RawSource,
    service_account_impersonation_url: Option<String>,
    service_account_impersonation: Option<RawLifetime>,
    workforce_pool_user_project: Option<String>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
}

#[derive(Deserialize)]
struct RawLifetime {
    token_lifetime_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct RawSource {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    format: Option<RawFormat>,
    executable: Option<RawExecutable>,
    environment_id: Option<String>,
    certificate: Option<Value>,
}

#[derive(Deserialize)]
struct RawFormat {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
struct RawExecutable {
    command: String,
    timeout_millis: Option<u64>,
    output_file: Option<PathBuf>,
}

#[derive(Deserialize)]
struct RawActing {
    service_account_impersonation_url: String,
    source_credentials: Value,
    #[serde(default)]
    delegates: Vec<String>,
}

impl Credentials {
    /// Reads a file.
    pub(crate) fn read(path: &Path, endpoints: &Endpoints) -> Result<Self, GoogleError> {
        let place = path.display().to_string();
        let text = read_file(path).map_err(|error| GoogleError::File {
            place: place.clone(),
            reason: error.to_string(),
        })?;
        let value: Value = serde_json::from_slice(&text).map_err(|error| GoogleError::File {
            place: place.clone(),
            reason: format!(
                "it is no JSON (line {} column {})",
                error.line(),
                error.column()
            ),
        })?;
        Self::parse(value, &place, endpoints, 0)
    }

    fn parse(
        value: Value,
        place: &str,
        endpoints: &Endpoints,
        depth: usize,
    ) -> Result<Self, GoogleError> {
        let wrong = |reason: String| GoogleError::File {
            place: place.to_owned(),
            reason,
        };
        let head: Head = typed(&value, place)?;
        if let Some(universe) = &head.universe_domain
            && universe != endpoints.universe()
        {
            return Err(GoogleError::Foreign {
                place: place.to_owned(),
                what: "universe_domain",
                host: universe.chars().take(100).collect(),
                universe: endpoints.universe().to_owned(),
            });
        }
        match head.kind.as_deref() {
            Some("authorized_user") => Ok(Self::AuthorizedUser(typed(&value, place)?)),
            Some("service_account") => Ok(Self::ServiceAccount(typed(&value, place)?)),
            Some("external_account_authorized_user") => {
                Ok(Self::ExternalUser(typed(&value, place)?))
            }
            Some("external_account") => {
                let raw: RawExternal = typed(&value, place)?;
                raw.credentials(place, endpoints)
            }
            Some("impersonated_service_account") => {
                if depth >= DEPTH_MAX {
                    return Err(wrong("it nests too many accounts".to_owned()));
                }
                let raw: RawActing = typed(&value, place)?;
                let url = &raw.service_account_impersonation_url;
                let email = endpoints.impersonated(place, url)?;
                if !raw.delegates.iter().all(|delegate| is_delegate(delegate)) {
                    return Err(wrong("one of its delegates is no account".to_owned()));
                }
                let source = Self::parse(raw.source_credentials, place, endpoints, depth + 1)?;
                Ok(Self::Acting {
                    source: Box::new(source),
                    target: Target {
                        email,
                        delegates: raw.delegates,
                        seconds: IMPERSONATION_SECONDS,
                    },
                })
            }
            Some(other) => {
                let shown: String = other.chars().filter(|c| !c.is_control()).take(60).collect();
                Err(wrong(format!(
                    "credentials of type `{shown}` are not known; there are authorized_user, \
                     service_account, external_account, impersonated_service_account and \
                     external_account_authorized_user"
                )))
            }
            None => Err(wrong(
                "it has no `type`, and so is no file of Google's credentials".to_owned(),
            )),
        }
    }
}

impl Target {
    /// The account as such.
    pub(crate) fn new(email: &str) -> Option<Self> {
        is_account(email).then(|| Self {
            email: email.to_owned(),
            delegates: Vec::new(),
            seconds: IMPERSONATION_SECONDS,
        })
    }
}

impl RawExternal {
    fn credentials(self, place: &str, endpoints: &Endpoints) -> Result<Credentials, GoogleError> {
        let wrong = |reason: &str| GoogleError::File {
            place: place.to_owned(),
            reason: reason.to_owned(),
        };
        let subject = self.credential_source.subject(&wrong)?;
        let target = match &self.service_account_impersonation_url {
            None => None,
            Some(url) => Some(Target {
                email: endpoints.impersonated(place, url)?,
                delegates: Vec::new(),
                seconds: self
                    .service_account_impersonation
                    .and_then(|lifetime| lifetime.token_lifetime_seconds)
                    .unwrap_or(IMPERSONATION_SECONDS)
                    .clamp(1, IMPERSONATION_SECONDS_MAX),
            }),
        };
        let client = match (self.client_id, self.client_secret) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(wrong("client_id and client_secret belong together"));
            }
        };
        let external = Credentials::External(Box::new(External {
            audience: self.audience,
            subject_token_type: self.subject_token_type,
            token_url: self.token_url,
            subject,
            user_project: self.workforce_pool_user_project,
            client,
        }));
        Ok(match target {
            None => external,
            Some(target) => Credentials::Acting {
                source: Box::new(external),
                target,
            },
        })
    }
}

impl RawSource {
    fn subject(self, wrong: &impl Fn(&str) -> GoogleError) -> Result<Subject, GoogleError> {
        if self.environment_id.is_some() {
            return Err(wrong(
                "identities of AWS are not supported: exchange them for a token in a file, and name \
                 that in credential_source.file",
            ));
        }
        if self.certificate.is_some() {
            return Err(wrong(
                "identities by certificate are not supported: use a token in a file or behind a URL",
            ));
        }
        let format = match self.format {
            None => Format::Text,
            Some(format) => match (format.kind.as_deref(), format.subject_token_field_name) {
                (Some("text"), _) | (None, None) => Format::Text,
                (Some("json") | None, Some(field)) => Format::Json(field),
                (Some("json"), None) => {
                    return Err(wrong("its format json lacks subject_token_field_name"));
                }
                (Some(_), _) => return Err(wrong("its format is neither text nor json")),
            },
        };
        match (self.file, self.url, self.executable) {
            (Some(path), None, None) => Ok(Subject::File { path, format }),
            (None, Some(url), None) => Ok(Subject::Url {
                url,
                headers: self.headers,
                format,
            }),
            (None, None, Some(executable)) => Ok(Subject::Executable {
                command: executable.command,
                timeout_millis: executable.timeout_millis,
                output_file: executable.output_file,
            }),
            _ => Err(wrong(
                "its credential_source needs one of file, url and executable",
            )),
        }
    }
}

fn is_delegate(text: &str) -> bool {
    let email = text.strip_prefix("projects/-/serviceAccounts/");
    is_account(email.unwrap_or(text))
}

/// A part of the file as a type. The parser's own words could be words of the file, which is secret;
/// only the name of a field that is missing is passed on.
fn typed<T: DeserializeOwned>(value: &Value, place: &str) -> Result<T, GoogleError> {
    T::deserialize(value).map_err(|error| {
        let text = error.to_string();
        let reason = match text.strip_prefix("missing field `") {
            Some(rest) => format!("it lacks `{}`", rest.split('`').next().unwrap_or("")),
            None => "one of its values is of the wrong kind".to_owned(),
        };
        GoogleError::File {
            place: place.to_owned(),
            reason,
        }
    })
}

pub(crate) fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credentials.json");
        std::fs::write(&path, text).unwrap();
        match Credentials::read(&path, &Endpoints::default()) {
            Ok(found) => {
                let found = format!("{found:?}");
                assert!(found.starts_with(expected), "{found}");
                assert!(!found.contains("hunter2"), "{found}");
            }
            Err(error) => {
                let said = format!("{error} {error:?}");
                assert!(said.contains(expected), "{said}");
                assert!(!said.contains("hunter2"), "{said}");
            }
        }
    }

    #[test]
    fn files_are_read_and_mistakes_are_named_without_values() {
        check(
            r#"{"type":"authorized_user","client_id":"c","client_secret":"hunter2","refresh_token":"hunter2"}"#,
            "AuthorizedUser",
        );
        check(
            r#"{"type":"service_account","client_email":"a@b","private_key":"hunter2"}"#,
            "ServiceAccount",
        );
        let external = |source: &str, more: &str| {
            format!(
                r#"{{"type":"external_account","audience":"a","subject_token_type":"t","credential_source":{source}{more}}}"#
            )
        };
        check(&external(r#"{"file":"/t"}"#, ""), "External");
        check(
            &external(r#"{"url":"https://x","headers":{"A":"hunter2"}}"#, ""),
            "External",
        );
        check(
            &external(
                r#"{"file":"/t"}"#,
                r#","service_account_impersonation_url":"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken""#,
            ),
            "Acting",
        );
        check(
            &external(
                r#"{"file":"/t"}"#,
                r#","service_account_impersonation_url":"https://evil.example/serviceAccounts/a@b:generateAccessToken""#,
            ),
            "is at `evil.example`",
        );
        check(&external(r#"{"environment_id":"aws1"}"#, ""), "AWS");
        check(&external(r#"{"certificate":{}}"#, ""), "certificate");
        check(&external("{}", ""), "one of file, url and executable");
        check(
            &external(r#"{"file":"/t","format":{"type":"json"}}"#, ""),
            "subject_token_field_name",
        );
        check(
            &external(r#"{"file":"/t","format":{"type":"yaml"}}"#, ""),
            "neither text nor json",
        );
        check(
            r#"{"type":"impersonated_service_account","service_account_impersonation_url":"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken","source_credentials":{"type":"authorized_user","client_id":"c","client_secret":"hunter2","refresh_token":"hunter2"}}"#,
            "Acting",
        );
        check(
            r#"{"type":"external_account_authorized_user","audience":"a","client_id":"c","client_secret":"hunter2","refresh_token":"hunter2","token_url":"https://sts.googleapis.com/v1/oauthtoken"}"#,
            "ExternalUser",
        );
        check("hunter2", "it is no JSON (line 1");
        check(r#""hunter2""#, "wrong kind");
        check("{}", "it has no `type`");
        check(r#"{"type":"hunter"}"#, "type `hunter` are not known");
        check(
            r#"{"type":"service_account","client_email":"a@b","private_key":{"x":"hunter2"}}"#,
            "wrong kind",
        );
        check(
            r#"{"type":"service_account","client_email":"a@b"}"#,
            "it lacks `private_key`",
        );
        check(
            r#"{"type":"service_account","universe_domain":"evil.example"}"#,
            "its universe_domain is at `evil.example`",
        );
    }
}
