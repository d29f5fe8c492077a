//! Identity tokens of jobs that an issuer really signs, with the documents by which anybody can check
//! them (OpenID Connect Discovery 1.0, section 4; RFC 7517).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Where the documents are.
pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";
pub(crate) const KEYS: &str = "/keys";

/// What the issuer says of itself.
pub(crate) fn discovery(issuer: &str) -> Value {
    json!({ "issuer": issuer, "jwks_uri": format!("{issuer}{KEYS}") })
}

/// The keys, made from an `RSAPublicKey` (RFC 8017, A.1.1) of 2048 bits: a sequence of a number of
/// 257 bytes, of which the first is 0, and one of three.
pub(crate) fn keys(public: &[u8]) -> Value {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (modulus, exponent) = (encode(&public[9..265]), encode(&public[267..]));
    json!({ "keys": [{ "kty": "RSA", "alg": "RS256", "n": modulus, "e": exponent }] })
}

/// The token of a job for an audience, as of a commit.
pub(crate) fn token(key: &[u8], issuer: &str, subject: &str, audience: &str, sha: &str) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(json!({ "alg": "RS256", "typ": "JWT" }));
    let claims = encode(json!({
        "iss": issuer, "sub": subject, "aud": audience, "sha": sha, "exp": 4_000_000_000_u64,
    }));
    let signed = format!("{header}.{claims}");
    let pair = KeyPair::from_pkcs8(key).expect("a key");
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
