//! Keys in every form, against files that another implementation wrote: `tests/data/make.py`.

use super::*;

/// A file of the test data.
fn data(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a file of the test data")
}

fn read(name: &str, passphrase: Option<&str>) -> Result<PrivateKey, KeyError> {
    let passphrase = passphrase.map(|text| Passphrase::new(text.into()));
    PrivateKey::read(&data(name), passphrase.as_ref())
}

#[test]
fn every_form_of_a_key_is_the_same_key() {
    let check = |name: &str, public: &str, kind: KeyKind| {
        let key = read(&format!("keys/{name}.pem"), Some("a passphrase"))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let public = PublicKey::read(&data(&format!("keys/{public}.pub"))).unwrap();
        assert_eq!(key.kind(), kind, "{name}");
        assert!(key.public().same_as(&public), "{name}");
        for scheme in [Scheme::Notary, Scheme::Cosign] {
            if !kind.suits(scheme) {
                assert!(matches!(
                    key.sign(scheme, b"message"),
                    Err(KeyError::Scheme { .. })
                ));
                assert_eq!(
                    public.verify(scheme, b"message", b""),
                    Err(VerifyError::Unsuitable(kind))
                );
                continue;
            }
            let mut signature = key.sign(scheme, b"message").unwrap();
            assert_eq!(public.verify(scheme, b"message", &signature), Ok(()));
            let mismatch = Err(VerifyError::Mismatch);
            assert_eq!(public.verify(scheme, b"massage", &signature), mismatch);
            let last = signature.len() - 1;
            signature[last] ^= 1;
            assert_eq!(public.verify(scheme, b"message", &signature), mismatch);
            assert_eq!(public.verify(scheme, b"message", b""), mismatch);
        }
    };
    check("rsa2048", "rsa2048", KeyKind::Rsa(2048));
    check("rsa2048-old", "rsa2048", KeyKind::Rsa(2048));
    check("rsa2048-sealed", "rsa2048", KeyKind::Rsa(2048));
    check("rsa3072", "rsa3072", KeyKind::Rsa(3072));
    check("rsa4096", "rsa4096", KeyKind::Rsa(4096));
    check("p256", "p256", KeyKind::P256);
    check("p256-old", "p256", KeyKind::P256);
    check("p256-sealed", "p256", KeyKind::P256);
    check("p256-cosign", "p256", KeyKind::P256);
    check("p384", "p384", KeyKind::P384);
    check("p384-old", "p384", KeyKind::P384);
    check("p521", "p521", KeyKind::P521);
    check("p521-old", "p521", KeyKind::P521);
    check("ed25519", "ed25519", KeyKind::Ed25519);
    check("ed25519-sealed", "ed25519", KeyKind::Ed25519);
}

#[test]
fn what_is_no_key_says_why_and_shows_nothing() {
    let check = |name: &str, passphrase: Option<&str>, expected: KeyError| {
        let error = read(name, passphrase).map(|_| ()).unwrap_err();
        assert_eq!(error, expected, "{name}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret words"), "{shown}");
    };
    let words = Some("secret words");
    check("keys/p256-sealed.pem", None, KeyError::PassphraseMissing);
    check("keys/p256-sealed.pem", words, KeyError::PassphraseWrong);
    check("keys/p256-cosign.pem", None, KeyError::PassphraseMissing);
    check("keys/p256-cosign.pem", words, KeyError::PassphraseWrong);
    check("keys/p256-sealed-old.pem", words, KeyError::Traditional);
    check("keys/p256.pub", None, KeyError::Public);
    check("root.pem", None, KeyError::Missing);
    check(
        "keys/rsa1024.pem",
        None,
        KeyError::Unsuitable(PublicKeyError::Length(1024)),
    );
    check(
        "keys/secp256k1.pem",
        None,
        KeyError::Unsuitable(PublicKeyError::Algorithm("1.3.132.0.10".into())),
    );
}

#[test]
fn a_public_key_is_one_and_strong() {
    let check = |pem: &[u8], expected: PublicKeyError| {
        assert_eq!(PublicKey::read(pem).unwrap_err(), expected);
    };
    check(b"", PublicKeyError::Missing);
    check(&data("keys/p256.pem"), PublicKeyError::Private);
    check(&data("keys/rsa1024.pub"), PublicKeyError::Length(1024));
    let two = [data("keys/p256.pub"), data("keys/p384.pub")].concat();
    check(&two, PublicKeyError::Several);
    check(
        b"-----BEGIN PUBLIC KEY-----\nAQID\n-----END PUBLIC KEY-----\n",
        PublicKeyError::Malformed,
    );
}

/// A file that says that opening it takes all memory there is.
#[test]
fn a_sealed_key_cannot_ask_for_all_memory() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let check = |cost: &str, blocks: &str, parallel: &str| {
        let document = format!(
            r#"{{"kdf":{{"name":"scrypt","params":{{"N":{cost},"r":{blocks},"p":{parallel}}},"salt":""}},
            "cipher":{{"name":"nacl/secretbox","nonce":"{}"}},"ciphertext":""}}"#,
            STANDARD.encode([0; 24])
        );
        let pem = format!(
            "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n{}\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
            STANDARD.encode(document)
        );
        let passphrase = Passphrase::new(Vec::new());
        let error = PrivateKey::read(pem.as_bytes(), Some(&passphrase)).map(|_| ());
        assert!(
            matches!(error, Err(KeyError::Encryption(_))),
            "{cost} {blocks} {parallel}: {error:?}"
        );
    };
    check("4294967296", "8", "1");
    check("18446744073709551615", "8", "1");
    check("32768", "4294967295", "1");
    check("32768", "8", "1000000");
    check("1000", "8", "1");
    check("0", "8", "1");
}

#[test]
fn nothing_shows_a_key() {
    let key = read("keys/p256.pem", None).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey(EC on P-256, …)");
    let passphrase = Passphrase::from_file(b"secret words\r\n".to_vec());
    assert_eq!(format!("{passphrase:?}"), "Passphrase(…)");
    assert_eq!(passphrase.expose(), b"secret words");
}
