//! What the key of a service account signs, and what can be read in the tokens of others.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::Secret;

/// How long what is signed here is good, in seconds: the most that Google takes.
const ASSERTION_SECONDS: u64 = 3600;

/// What a token of another identity provider says of itself. Nothing of it is verified here: it
/// serves messages, and the time at which the token ends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Claims {
    pub(crate) iss: Option<String>,
    pub(crate) sub: Option<String>,
    pub(crate) exp: Option<f64>,
}

impl Claims {
    /// Reads a token, if it is one of JSON (RFC 7519).
    pub(crate) fn read(token: &str) -> Option<Self> {
        let claims = token.split('.').nth(1)?;
        let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// How long the token is still good, by the wall clock.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let left = self.exp? - seconds_now() as f64;
        Duration::try_from_secs_f64(left.max(0.0)).ok()
    }
}

/// A token that says who we are, signed with the key of the account (RFC 7523, section 3; RFC 7515,
/// section 3.1). The reason of a failure says nothing of the key.
pub(crate) fn sign(
    email: &str,
    private_key: &Secret,
    id: Option<&str>,
    audience: &str,
    scope: &str,
) -> Result<Secret, &'static str> {
    let unusable = "its private_key is not an RSA key in PEM (PKCS #8)";
    let base64: String = private_key
        .expose()
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .map(str::trim)
        .collect();
    let der = STANDARD.decode(base64).map_err(|_| unusable)?;
    let key = KeyPair::from_pkcs8(&der).map_err(|_| unusable)?;
    let now = seconds_now();
    let mut header = serde_json::json!({ "alg": "RS256", "typ": "JWT" });
    if let Some(id) = id {
        header["kid"] = id.into();
    }
    let claims = serde_json::json!({
        "iss": email,
        "scope": scope,
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
    .map_err(|_| unusable)?;
    Ok(Secret::new(format!("{text}.{}", encode(&signature))))
}

fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
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
        let pem = Secret::new(format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        ));
        let signed = sign("me@example", &pem, Some("k1"), "https://t.example", "s").unwrap();
        let (text, signature) = signed.expose().rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
            .verify(text.as_bytes(), &signature)
            .unwrap();
        let read = |at: usize| -> serde_json::Value {
            let part = text.split('.').nth(at).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(read(0)["kid"], "k1");
        assert_eq!(read(1)["iss"], "me@example");
        assert_eq!(read(1)["aud"], "https://t.example");
        let life = read(1)["exp"].as_u64().unwrap() - read(1)["iat"].as_u64().unwrap();
        assert_eq!(life, 3600);
        let claims = Claims::read(signed.expose()).unwrap();
        assert_eq!(claims.iss.as_deref(), Some("me@example"));
        assert!(claims.time_left().unwrap() > Duration::from_secs(3000));
        let wrong = sign("me@example", &Secret::new("not a key"), None, "a", "s");
        assert!(wrong.is_err());
    }

    #[test]
    fn what_is_no_token_says_nothing() {
        for text in ["", "a.b", "a.b.c", "....", "opaque"] {
            assert!(Claims::read(text).is_none(), "{text}");
        }
    }
}
