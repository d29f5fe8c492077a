//! Which signatures count: by time, by trust, and by what their signer can do.

use super::*;

#[test]
fn time_decides() {
    let check = |name: &str, now: &str, expected: Result<usize, &str>| {
        let bytes = data(&format!("notary/{name}"));
        let trust = Trust {
            checks: Checks {
                expiry: Check::Skip,
                ..Checks::default()
            },
            ..trust()
        };
        let now = at(now);
        match (
            verify_notary(Envelope::Jws, &bytes, &subject(), &trust, now),
            expected,
        ) {
            (Ok(verified), Ok(notes)) => assert_eq!(verified.notes.len(), notes, "{verified:?}"),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, _) => panic!("{name} at {now}: {found:?}"),
        }
    };
    check("p256.jws", "2026-06-01T00:00:00Z", Ok(0));
    check("p256.jws", "2026-05-31T23:56:00Z", Ok(0));
    check("p256.jws", "2026-05-31T23:54:00Z", Err("yet to come"));
    check("p256.jws", "2036-01-01T00:00:00Z", Ok(0));
    check("p256.jws", "2036-01-01T00:04:00Z", Ok(1));
    check("p256.jws", "2036-01-01T00:06:00Z", Err("holds from"));
    // A timestamp keeps a signature alive after its certificates are over.
    check("p384.jws", "2036-01-01T00:06:00Z", Ok(0));
    check("p384.jws", "2060-01-01T00:00:00Z", Ok(0));
}

/// A timestamp is signed by nobody in the envelope: who takes it away must not gain by that.
#[test]
fn a_timestamp_that_is_wanted_must_be_there() {
    let check = |name: &str, stamps: Stamps, now: &str, expected: Result<bool, &str>| {
        let trust = Trust {
            checks: Checks {
                stamps,
                expiry: Check::Skip,
                ..Checks::default()
            },
            ..trust()
        };
        let bytes = data(&format!("notary/{name}"));
        let found = verify_notary(Envelope::Jws, &bytes, &subject(), &trust, at(now));
        match (found, expected) {
            (Ok(found), Ok(stamped)) => assert_eq!(found.timestamped_at.is_some(), stamped),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, _) => panic!("{name} {stamps:?}: {found:?}"),
        }
    };
    let (now, late) = ("2026-12-01T00:00:00Z", "2040-01-01T00:00:00Z");
    check("p384.jws", Stamps::Always, now, Ok(true));
    check("p256.jws", Stamps::Always, now, Err("it has no timestamp"));
    check("p256.jws", Stamps::IfThere, now, Ok(false));
    check("p384.jws", Stamps::AfterExpiry, now, Ok(false));
    check("p384.jws", Stamps::AfterExpiry, late, Ok(true));
    check("p256.jws", Stamps::AfterExpiry, now, Ok(false));
    check("p256.jws", Stamps::AfterExpiry, late, Err("holds from"));
}

#[test]
fn only_the_trusted_count() {
    let now = at("2026-12-01T00:00:00Z");
    let bytes = data("notary/p256.jws");
    let check = |trust: &Trust, expected: &str| {
        refused_with(Envelope::Jws, &bytes, &subject(), trust, now, expected);
    };
    let nobody = Trust::default();
    check(&nobody, "lead to no trusted root");
    // What is trusted for clocks or for services is not trusted for code.
    let others = Trust {
        roots: Vec::new(),
        authority_roots: trust().roots,
        ..trust()
    };
    check(&others, "lead to no trusted root");
    let of = |text: &str| Trust {
        identities: Identities::Of(vec![Identity::read(text).unwrap()]),
        ..trust()
    };
    check(
        &of("x509.subject: CN=p384"),
        "not one of the trusted identities",
    );
    let wanted = of("x509.subject: CN=p256");
    assert!(verify_notary(Envelope::Jws, &bytes, &subject(), &wanted, now).is_ok());
    // Where it is only to be told, it is.
    let told = Trust {
        checks: Checks {
            authenticity: Check::Log,
            ..Checks::default()
        },
        ..Trust::default()
    };
    let verified = verify_notary(Envelope::Jws, &bytes, &subject(), &told, now).unwrap();
    assert!(verified.notes[0].contains("lead to no trusted root"));
    // What is no chain has no times that could be right.
    let short = jws_with(
        |document, _, _| {
            document["header"]["x5c"]
                .as_array_mut()
                .unwrap()
                .truncate(1);
        },
        false,
    );
    let resigned = |bytes: Vec<u8>| {
        let mut document: Value = serde_json::from_slice(&bytes).unwrap();
        resign(&mut document);
        document.to_string().into_bytes()
    };
    let short = resigned(short);
    refused_with(Envelope::Jws, &short, &subject(), &told, now, "is no root");
    // An index is not one of its manifests.
    let index = Descriptor::new(MediaType::OciIndex, subject().digest, 246);
    refused_with(
        Envelope::Jws,
        &bytes,
        &index,
        &trust(),
        now,
        "it is of another image",
    );
}

#[test]
fn a_signer_is_found_out_at_once() {
    let key = |name: &str| PrivateKey::read(&data(&format!("keys/{name}.pem")), None).unwrap();
    let chain = |name: &str| Certificate::read_all(&data(&format!("chains/{name}.pem"))).unwrap();
    let check = |key: PrivateKey, chain: Vec<Certificate>, expected: &str| {
        let error = NotarySigner::new(key, chain, Envelope::Jws).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let text = format!("{error}: {}", source.unwrap_or_default());
        assert!(text.contains(expected), "{text}");
    };
    check(key("p256"), chain("p384"), "the key is not the one");
    check(key("ed25519"), chain("ed25519"), "the key is Ed25519");
    check(key("p256"), Vec::new(), "there is no certificate");
    check(key("p256"), chain("p256")[..1].to_vec(), "is no root");
    check(key("p256"), chain("p256")[..2].to_vec(), "is no root");
    let mut swapped = chain("p256");
    swapped.swap(1, 2);
    check(key("p256"), swapped, "allows fewer certificates below it");
    let skipped = vec![chain("p256")[0].clone(), chain("p256")[2].clone()];
    check(key("p256"), skipped, "is not signed by the one after it");
    let mut longer = chain("p256");
    longer.push(longer[2].clone());
    check(key("p256"), longer, "allows fewer certificates below it");
    let signer = signer("p256", Envelope::Jws);
    let early = at("2025-12-31T00:00:00Z");
    let error = signer
        .draft(&subject(), early, None)
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, SignerError::NotValid { .. }));
    let now = at("2026-12-31T00:00:00Z");
    let past = now - SignedDuration::from_secs(1);
    let error = signer
        .draft(&subject(), now, Some(past))
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error, SignerError::Expired(past));
}
