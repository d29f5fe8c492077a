//! Tokens that are believed, and those that are not.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;

struct Issuer(KeyPair);

impl Issuer {
    fn new() -> Self {
        Self(KeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn keys(&self) -> Keys {
        // `RSAPublicKey` of RFC 8017: a sequence of a number of 257 bytes and one of 3.
        let der = self.0.public_key().as_ref();
        let (modulus, exponent) = (&der[9..265], &der[267..]);
        let key = json!({
            "kty": "RSA",
            "kid": "one",
            "n": URL_SAFE_NO_PAD.encode(modulus),
            "e": URL_SAFE_NO_PAD.encode(exponent),
        });
        serde_json::from_value(json!({"keys": [{"kty": "EC"}, key]})).unwrap()
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn header() -> Value {
    json!({"alg": "RS256", "kid": "one", "typ": "JWT"})
}

fn claims() -> Value {
    json!({
        "iss": "https://ci.example",
        "sub": "repo:org/app:ref:refs/heads/main",
        "aud": "kiln",
        "exp": NOW + 300,
        "nbf": NOW - 10,
        "sha": "abc",
    })
}

#[test]
fn tokens_are_believed_when_everything_fits() {
    let issuer = Issuer::new();
    let keys = issuer.keys();
    let check = |header: Value, claims: Value, expected: Result<(), &str>| {
        let text = issuer.token(&header, &claims);
        let found = Token::read(&text).and_then(|token| token.check(&keys, NOW));
        assert_eq!(
            found.as_ref().copied().map_err(String::as_str),
            expected,
            "{claims}"
        );
    };
    let with = |key: &str, value: Value| {
        let mut claims = claims();
        claims[key] = value;
        claims
    };
    check(header(), claims(), Ok(()));
    check(header(), with("aud", json!(["other", "kiln"])), Ok(()));
    check(json!({"alg": "RS256"}), claims(), Ok(()));
    // Clocks may be a little apart.
    check(header(), with("exp", json!(NOW - 30)), Ok(()));
    check(header(), with("nbf", json!(NOW + 30)), Ok(()));

    let audience = Err("the identity token is not for the audience `kiln`");
    check(header(), with("aud", json!("other")), audience);
    check(header(), with("aud", json!(null)), audience);
    check(
        header(),
        with("exp", json!(NOW - 61)),
        Err("the identity token has expired"),
    );
    check(
        header(),
        with("nbf", json!(NOW + 61)),
        Err("the identity token is not valid yet"),
    );
    check(
        json!({"alg": "none"}),
        claims(),
        Err("the identity token is signed with `none`, and not with RS256"),
    );
    check(
        json!({"alg": "HS256", "kid": "one"}),
        claims(),
        Err("the identity token is signed with `HS256`, and not with RS256"),
    );
    check(
        json!({"alg": "RS256", "kid": "two"}),
        claims(),
        Err("the identity token is not signed by its issuer"),
    );
    check(
        header(),
        with("exp", json!("soon")),
        Err("the identity token is none"),
    );
}

#[test]
fn tampered_tokens_are_refused() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let text = issuer.token(&header(), &claims());
    let token = Token::read(&text).unwrap();
    let unsigned = "the identity token is not signed by its issuer";
    assert_eq!(token.check(&other.keys(), NOW), Err(unsigned.to_owned()));
    let parts: Vec<&str> = text.split('.').collect();
    let mut forged = claims();
    forged["sub"] = json!("repo:org/app:environment:production");
    let forged = URL_SAFE_NO_PAD.encode(forged.to_string());
    let forged = format!("{}.{forged}.{}", parts[0], parts[2]);
    let token = Token::read(&forged).unwrap();
    assert_eq!(token.check(&issuer.keys(), NOW), Err(unsigned.to_owned()));
    for text in [
        "",
        "a.b",
        "a.b.c.d",
        "!.!.!",
        &"a".repeat(TOKEN_BYTES_MAX + 1),
    ] {
        assert!(Token::read(text).is_err(), "{text}");
    }
}

#[test]
fn keys_are_fetched_from_the_issuer_only() {
    assert_eq!(origin("https://a.example/x/y"), Some("https://a.example"));
    assert_eq!(origin("https://a.example"), Some("https://a.example"));
    assert_eq!(origin("a.example"), None);
    for (url, expected) in [
        ("https://a.example", true),
        ("http://127.0.0.1:80", true),
        ("http://127.0.0.1.evil.example", false),
        ("http://a.example", false),
        ("file:///etc/passwd", false),
    ] {
        assert_eq!(is_private(url), expected, "{url}");
    }
}
