//! Requests, answers, and tokens of OpenSSL's authority.

use super::request::{Answer, answer, nonce, request};
use super::*;
use crate::certificate::Certificate;
use crate::der::{Tag, write};

fn data(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a file of the test data")
}

/// A token and the signature that it is of.
fn stamped() -> (Vec<u8>, Vec<u8>) {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let document: serde_json::Value = serde_json::from_slice(&data("notary/rsa2048.jws")).unwrap();
    let token = &document["header"]["io.cncf.notary.timestampSignature"];
    (
        STANDARD.decode(token.as_str().unwrap()).unwrap(),
        URL_SAFE_NO_PAD
            .decode(document["signature"].as_str().unwrap())
            .unwrap(),
    )
}

/// The letters of a request, made by hand from RFC 3161, 2.4.1.
#[test]
fn a_request_is_the_standards() {
    let imprint = [7; 32];
    let made = request(Hash::Sha256, &imprint, &nonce([0xff; 16]));
    let mut expected = vec![0x30, 0x4b, 2, 1, 1, 0x30, 0x31, 0x30, 0x0d, 6, 9];
    expected.extend([0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32]);
    expected.extend(imprint);
    expected.extend([2, 16, 0x7f]);
    expected.extend([0xff; 15]);
    expected.extend([1, 1, 0xff]);
    assert_eq!(made, expected);
}

#[test]
fn an_answer_is_a_token_or_a_refusal() {
    let status = |number: u8, words: &[&str]| {
        let words = words
            .iter()
            .map(|text| write(Tag::UTF8_STRING, &[text.as_bytes()]));
        let words = write(Tag::SEQUENCE, &[&words.collect::<Vec<_>>().concat()]);
        write(Tag::SEQUENCE, &[&write(Tag::INTEGER, &[&[number]]), &words])
    };
    let token = write(Tag::SEQUENCE, &[&[5, 0]]);
    let whole = |parts: &[&[u8]]| write(Tag::SEQUENCE, parts);
    let granted = whole(&[&status(0, &[]), &token]);
    assert_eq!(answer(&granted), Ok(Answer::Granted(&token)));
    let refused = whole(&[&status(2, &["not\ttoday\u{7}", "friend"])]);
    let words = "not today friend".to_owned();
    assert_eq!(answer(&refused), Ok(Answer::Refused { status: 2, words }));
    assert!(answer(&whole(&[&status(0, &[])])).is_err());
    assert!(answer(b"<html>").is_err());
    assert!(answer(b"").is_err());
}

#[test]
fn no_byte_of_a_token_is_free() {
    let roots = Certificate::read_all(&data("root.pem")).unwrap();
    let (token, signature) = stamped();
    let stamp = verify(&token, &signature, None, &roots).unwrap();
    assert_eq!(stamp.accuracy, SignedDuration::from_secs(1));
    assert_eq!(
        verify(&token, &signature, Some(&[1; 16]), &roots).unwrap_err(),
        TokenError::Nonce
    );
    assert_eq!(
        verify(&token, b"another", None, &roots).unwrap_err(),
        TokenError::Imprint
    );
    assert!(matches!(
        verify(&token, &signature, None, &[]),
        Err(TokenError::Untrusted { .. })
    ));
    // Where a certificate for code signs the time, it is none.
    assert!(verify(&token[..token.len() - 1], &signature, None, &roots).is_err());
    let mut wrong = 0;
    for at in 0..token.len() {
        let mut changed = token.clone();
        changed[at] ^= 0x20;
        if let Ok(found) = verify(&changed, &signature, None, &roots) {
            // What is not signed may change: it says nothing.
            assert_eq!(found, stamp, "byte {at}");
            wrong += 1;
        }
    }
    assert!(wrong < 40, "{wrong} bytes of {} are free", token.len());
    assert_eq!(
        verify(&vec![0x30; TOKEN_BYTES_MAX + 1], &signature, None, &roots).unwrap_err(),
        TokenError::TooLarge
    );
}
