//! Who runs this, as a CI system's signature says it.
//!
//! A variable of the environment proves nothing: anybody can set it. What is believed is a token that
//! the issuer signed (OpenID Connect Core 1.0, "ID Token Validation"): its keys are fetched from the
//! issuer itself, and signature, audience and times are checked here. This runs on the machine of
//! whoever pushes, so it keeps out mistakes and not a changed kiln.

use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::{Identity, Rule};
use registry::{Client, Secret};
use serde::Deserialize;
use serde_json::Value;

/// The audience that tokens must be for, so that one made for somebody else is of no use here.
const AUDIENCE: &str = "kiln";

/// Issuers that are CI systems.
const KNOWN_CI: [&str; 2] = [
    "https://token.actions.githubusercontent.com",
    "https://gitlab.com",
];

/// The most that is read of an answer, in bytes.
const ANSWER_BYTES_MAX: usize = 512 * 1024;
/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 32 * 1024;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How far clocks may be apart, in seconds.
const CLOCK_SKEW_SECONDS: u64 = 60;

/// Where a CI system gives out tokens.
#[derive(Clone)]
pub(crate) enum TokenSource {
    /// GitHub Actions: `ACTIONS_ID_TOKEN_REQUEST_URL` and `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
    Request {
        /// The address.
        url: String,
        /// What opens it.
        secret: Secret,
    },
    /// A token that is there already: `KILN_ID_TOKEN`, as GitLab's `id_tokens` fills it.
    Given(Secret),
}

/// Somebody, with what the token says.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Value,
    exp: u64,
    #[serde(default)]
    nbf: Option<u64>,
    /// The commit, in GitHub's and in GitLab's tokens.
    #[serde(default)]
    sha: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

/// The verified identity, or why there is none.
pub(super) async fn verified(
    client: &Client,
    source: Option<&TokenSource>,
    rules: &[Rule],
) -> Result<Identity, String> {
    let Some(source) = source else {
        return Err(
            "no CI system offers an identity token here (ACTIONS_ID_TOKEN_REQUEST_URL and \
             KILN_ID_TOKEN are not set)"
                .to_owned(),
        );
    };
    let token = token(client, source).await?;
    let token = Token::read(token.expose())?;
    let issuer = token.claims.iss.trim_end_matches('/');
    let is_known_ci = KNOWN_CI.contains(&issuer);
    let is_named = rules
        .iter()
        .any(|rule| matches!(rule, Rule::Ci { issuer: Some(named) } if named == issuer));
    // Only issuers that somebody trusts are asked for keys.
    if !is_known_ci && !is_named {
        return Err(format!(
            "the identity token is of `{}`, which no rule names",
            shown(issuer)
        ));
    }
    let keys = keys(client, issuer).await?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    token.check(&keys, now)?;
    Ok(Identity {
        issuer: issuer.to_owned(),
        subject: shown(&token.claims.sub),
        commit: token.claims.sha.clone(),
        is_known_ci,
    })
}

/// Gets the token.
async fn token(client: &Client, source: &TokenSource) -> Result<Secret, String> {
    let (url, secret) = match source {
        TokenSource::Given(token) => return Ok(token.clone()),
        TokenSource::Request { url, secret } => (url, secret),
    };
    let joint = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{joint}audience={AUDIENCE}");
    let answer = get(client, &url, Some(secret))
        .await
        .map_err(|why| format!("the CI system gave no identity token: {why}"))?;
    match answer.get("value").and_then(Value::as_str) {
        Some(token) => Ok(Secret::new(token)),
        None => Err("the CI system's answer holds no identity token".to_owned()),
    }
}

/// The keys that an issuer signs with.
async fn keys(client: &Client, issuer: &str) -> Result<Keys, String> {
    if !is_private(issuer) {
        return Err(format!("the issuer `{}` is not at https", shown(issuer)));
    }
    let wrong = |why: String| format!("the keys of {issuer} cannot be had: {why}");
    let discovery = format!("{issuer}/.well-known/openid-configuration");
    let answer = get(client, &discovery, None).await.map_err(wrong)?;
    // A document of somebody else's must not name keys for this issuer.
    if answer.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(wrong(
            "its discovery document is of another issuer".to_owned(),
        ));
    }
    let url = answer
        .get("jwks_uri")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if origin(url).is_none() || origin(url) != origin(issuer) {
        return Err(wrong("they are at another host".to_owned()));
    }
    let answer = get(client, url, None).await.map_err(wrong)?;
    serde_json::from_value(answer).map_err(|error| wrong(error.to_string()))
}

/// `scheme://host[:port]`.
fn origin(url: &str) -> Option<&str> {
    let host_at = url.find("://")? + 3;
    let end = url[host_at..]
        .find('/')
        .map_or(url.len(), |at| host_at + at);
    Some(&url[..end])
}

/// Whether nobody on the way can answer in the issuer's place.
fn is_private(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://127.0.0.1:")
}

async fn get(client: &Client, url: &str, secret: Option<&Secret>) -> Result<Value, String> {
    let why = |error: &dyn std::error::Error| {
        // Addresses of token services hold secrets.
        let causes = std::iter::successors(Some(error), |error| error.source());
        causes.last().map(ToString::to_string).unwrap_or_default()
    };
    let http = client.http().map_err(|error| why(&error))?;
    let mut request = http
        .get(url)
        .timeout(PATIENCE)
        .header("accept", "application/json");
    if let Some(secret) = secret {
        request = request.bearer_auth(secret.expose());
    }
    let mut answer = request
        .send()
        .await
        .map_err(|error| why(&error.without_url()))?;
    if !answer.status().is_success() {
        return Err(format!("status {}", answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(piece) = answer
        .chunk()
        .await
        .map_err(|error| why(&error.without_url()))?
    {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(format!("the answer has more than {ANSWER_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    serde_json::from_slice(&body).map_err(|_| "the answer is not JSON".to_owned())
}

/// A token taken apart, and not believed yet.
struct Token {
    header: Header,
    claims: Claims,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

impl Token {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || "the identity token is none".to_owned();
        let text = text.trim();
        if text.len() > TOKEN_BYTES_MAX {
            return Err(wrong());
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(wrong());
        };
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| wrong());
        Ok(Self {
            header: serde_json::from_slice(&decoded(header)?).map_err(|_| wrong())?,
            claims: serde_json::from_slice(&decoded(claims)?).map_err(|_| wrong())?,
            signed: format!("{header}.{claims}").into_bytes(),
            signature: decoded(signature)?,
        })
    }

    /// Whether the issuer signed it, for us, and for now.
    fn check(&self, keys: &Keys, now: u64) -> Result<(), String> {
        // `none`, and algorithms in which a public key is a secret, are how such checks were fooled
        // (RFC 8725, "Perform Algorithm Verification").
        if self.header.alg != "RS256" {
            return Err(format!(
                "the identity token is signed with `{}`, and not with RS256",
                shown(&self.header.alg)
            ));
        }
        let is_meant = |key: &&Key| {
            key.kty == "RSA" && (self.header.kid.is_none() || key.kid == self.header.kid)
        };
        let is_signer = |key: &Key| {
            let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
            let (Some(n), Some(e)) = (decoded(&key.n), decoded(&key.e)) else {
                return false;
            };
            RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, &self.signed, &self.signature)
                .is_ok()
        };
        if !keys.keys.iter().filter(is_meant).any(is_signer) {
            return Err("the identity token is not signed by its issuer".to_owned());
        }
        let is_ours = match &self.claims.aud {
            Value::String(one) => one == AUDIENCE,
            Value::Array(several) => several.iter().any(|one| one == AUDIENCE),
            _ => false,
        };
        if !is_ours {
            return Err(format!(
                "the identity token is not for the audience `{AUDIENCE}`"
            ));
        }
        if self.claims.exp.saturating_add(CLOCK_SKEW_SECONDS) < now {
            return Err("the identity token has expired".to_owned());
        }
        if self
            .claims
            .nbf
            .is_some_and(|nbf| nbf > now + CLOCK_SKEW_SECONDS)
        {
            return Err("the identity token is not valid yet".to_owned());
        }
        Ok(())
    }
}

/// Text from outside, for messages and records.
fn shown(text: &str) -> String {
    let visible = text.chars().filter(|letter| !letter.is_control());
    visible.take(256).collect()
}

#[cfg(test)]
mod tests;
