//! Tokens for Google Cloud Storage, from the files that Google's tools keep: of a user, of a service's
//! account (RFC 7523), and of an identity that another service vouches for (RFC 8693), such as a
//! job's of a CI.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use registry::Secret;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;

use super::http::{HttpTrouble, read_all};
use crate::ShelfErrorKind;

const TOKENS: &str = "https://oauth2.googleapis.com/token";
/// What is asked for: to read and write objects.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
/// The largest file of credentials or of a token, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The longest answer of a token service, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long what is signed here is good, in seconds: the most that Google takes.
const ASSERTION_SECONDS: u64 = 3600;
/// How long a token is used that does not say how long it is good.
const LIFE: Duration = Duration::from_secs(30 * 60);
/// A token is renewed this long before its end.
const SLACK: Duration = Duration::from_secs(60);
/// How long a token service is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a file of credentials says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Credentials {
    /// What `gcloud auth application-default login` keeps.
    AuthorizedUser {
        client_id: String,
        client_secret: String,
        refresh_token: String,
        token_uri: Option<String>,
    },
    /// The key of a service's account.
    ServiceAccount {
        client_email: String,
        private_key: String,
        private_key_id: Option<String>,
        token_uri: Option<String>,
    },
    /// Somebody whom another service vouches for.
    ExternalAccount {
        audience: String,
        subject_token_type: String,
        token_url: String,
        credential_source: Source,
        service_account_impersonation_url: Option<String>,
    },
}

/// Where what vouches is.
#[derive(Deserialize)]
pub(crate) struct Source {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    format: Option<Format>,
}

/// How it is written there: alone, or in a field of JSON.
#[derive(Deserialize)]
struct Format {
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

impl Credentials {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let failed = |reason: String| format!("the credentials {}: {reason}", path.display());
        let text = read_file(path).map_err(|error| failed(error.to_string()))?;
        // The words of the error may be words of the file, which is secret.
        serde_json::from_slice(&text).map_err(|_| {
            failed(
                "they are none of authorized_user, service_account and external_account, or lack \
                 something; a token can be given with token="
                    .to_owned(),
            )
        })
    }

    /// Exchanges them for a token; says when to ask for another one.
    pub(crate) async fn token(&self, client: &Client) -> Result<(Secret, Instant), HttpTrouble> {
        match self {
            Self::AuthorizedUser {
                client_id,
                client_secret,
                refresh_token,
                token_uri,
            } => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", client_id),
                    ("client_secret", client_secret),
                    ("refresh_token", refresh_token),
                ];
                let url = token_uri.as_deref().unwrap_or(TOKENS);
                granted(client.post(url).form(&form)).await
            }
            Self::ServiceAccount {
                client_email,
                private_key,
                private_key_id,
                token_uri,
            } => {
                let url = token_uri.as_deref().unwrap_or(TOKENS);
                let id = private_key_id.as_deref();
                let assertion = assertion(client_email, private_key, id, url)?;
                let form = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", &assertion),
                ];
                granted(client.post(url).form(&form)).await
            }
            Self::ExternalAccount {
                audience,
                subject_token_type,
                token_url,
                credential_source,
                service_account_impersonation_url,
            } => {
                let subject = credential_source.subject(client).await?;
                let form = [
                    (
                        "grant_type",
                        "urn:ietf:params:oauth:grant-type:token-exchange",
                    ),
                    (
                        "requested_token_type",
                        "urn:ietf:params:oauth:token-type:access_token",
                    ),
                    ("audience", audience),
                    ("scope", "https://www.googleapis.com/auth/cloud-platform"),
                    ("subject_token", subject.expose()),
                    ("subject_token_type", subject_token_type),
                ];
                let (token, end) = granted(client.post(token_url).form(&form)).await?;
                match service_account_impersonation_url {
                    None => Ok((token, end)),
                    Some(url) => impersonate(client, url, &token).await,
                }
            }
        }
    }
}

impl Source {
    async fn subject(&self, client: &Client) -> Result<Secret, HttpTrouble> {
        let text = match (&self.file, &self.url) {
            (Some(path), _) => read_file(path).map_err(|error| {
                denied(format!(
                    "what vouches for us is not in {}: {error}",
                    path.display()
                ))
            })?,
            (None, Some(url)) => {
                let mut request = client.get(url);
                for (name, value) in &self.headers {
                    request = request.header(name, value);
                }
                answer(request).await?
            }
            (None, None) => {
                return Err(denied(
                    "what vouches for us is neither in a file nor behind a URL".to_owned(),
                ));
            }
        };
        let field = self
            .format
            .as_ref()
            .and_then(|format| format.subject_token_field_name.as_deref());
        let subject = match field {
            None => std::str::from_utf8(&text)
                .ok()
                .map(|text| text.trim().to_owned()),
            Some(field) => serde_json::from_slice::<serde_json::Value>(&text)
                .ok()
                .and_then(|value| value.get(field)?.as_str().map(str::to_owned)),
        };
        let subject = subject.filter(|subject| !subject.is_empty());
        subject
            .map(Secret::new)
            .ok_or_else(|| denied("what vouches for us cannot be read".to_owned()))
    }
}

/// What the key of an account signs (RFC 7523, section 3; RFC 7515, section 3.1).
fn assertion(
    email: &str,
    private_key: &str,
    id: Option<&str>,
    audience: &str,
) -> Result<String, HttpTrouble> {
    let unusable = || denied("the private key of the account cannot be used".to_owned());
    let base64: String = private_key
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .map(str::trim)
        .collect();
    let der = STANDARD.decode(base64).map_err(|_| unusable())?;
    let key = KeyPair::from_pkcs8(&der).map_err(|_| unusable())?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    let header = serde_json::json!({ "alg": "RS256", "typ": "JWT", "kid": id });
    let claims = serde_json::json!({
        "iss": email,
        "scope": SCOPE,
        "aud": audience,
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
    });
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let text = format!(
        "{}.{}",
        encode(header.to_string().as_bytes()),
        encode(claims.to_string().as_bytes())
    );
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .map_err(|_| unusable())?;
    Ok(format!("{text}.{}", encode(&signature)))
}

async fn granted(request: RequestBuilder) -> Result<(Secret, Instant), HttpTrouble> {
    let bytes = answer(request).await?;
    let granted: Granted = serde_json::from_slice(&bytes)
        .map_err(|_| denied("the answer of the token service cannot be understood".to_owned()))?;
    let life = granted.expires_in.map_or(LIFE, Duration::from_secs);
    let end = Instant::now() + life.min(LIFE * 2).saturating_sub(SLACK);
    Ok((Secret::new(granted.access_token), end))
}

/// Becomes the account of a service, which the identity may be.
async fn impersonate(
    client: &Client,
    url: &str,
    token: &Secret,
) -> Result<(Secret, Instant), HttpTrouble> {
    #[derive(Deserialize)]
    struct Become {
        #[serde(rename = "accessToken")]
        access_token: String,
    }

    let request = client
        .post(url)
        .bearer_auth(token.expose())
        .json(&serde_json::json!({ "scope": [SCOPE] }));
    let bytes = answer(request).await?;
    let granted: Become = serde_json::from_slice(&bytes)
        .map_err(|_| denied("the account of the service cannot be used".to_owned()))?;
    Ok((Secret::new(granted.access_token), Instant::now() + LIFE))
}

async fn answer(request: RequestBuilder) -> Result<Vec<u8>, HttpTrouble> {
    let sent = tokio::time::timeout(PATIENCE, request.send()).await;
    let answer = match sent {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let reason = error.without_url().to_string();
            return Err(HttpTrouble::new(ShelfErrorKind::Unreachable, reason));
        }
        Err(_elapsed) => {
            let reason = "the token service does not answer in time";
            return Err(HttpTrouble::new(ShelfErrorKind::Unreachable, reason));
        }
    };
    if !answer.status().is_success() {
        return Err(denied(format!("no token is given: {}", answer.status())));
    }
    Ok(read_all(answer, ANSWER_BYTES_MAX).await?.to_vec())
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

fn denied(reason: String) -> HttpTrouble {
    HttpTrouble::new(ShelfErrorKind::Denied, reason)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    #[test]
    fn an_account_signs_what_its_public_key_verifies() {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = key.as_der().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let signed = assertion("me@example", &pem, Some("k1"), "https://t.example").unwrap();
        let (text, signature) = signed.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
            .verify(text.as_bytes(), &signature)
            .unwrap();
        let claims = URL_SAFE_NO_PAD
            .decode(text.split('.').nth(1).unwrap())
            .unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["iss"], "me@example");
        assert_eq!(claims["aud"], "https://t.example");
        let wrong = assertion("me@example", "not a key", None, "https://t.example");
        assert!(wrong.is_err());
    }
}
