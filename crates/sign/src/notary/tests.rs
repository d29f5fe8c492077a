//! Round trips, signatures of another implementation (`tests/data/make.py`), and everything that
//! can be wrong with a signature.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use coset::cbor::value::Value as Cbor;
use jiff::SignedDuration;
use oci::{Attachment, AttachmentPlace, Digest};
use serde_json::{Value, json};

use super::*;
use crate::certificate::{Certificate, Identity};
use crate::key::{PrivateKey, Scheme};

mod judgement;

const NAMES: [&str; 6] = ["rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521"];

fn data(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a file of the test data")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// image-builder.md §13.5: the manifest of 246 bytes.
fn subject() -> Descriptor {
    let hex = "f20c43161d73848408ef247f0ec7111b19fe58ffebc0cbcaa0d2c8bda4967268";
    let digest: Digest = format!("sha256:{hex}").parse().unwrap();
    Descriptor::new(MediaType::OciManifest, digest, 246)
}

fn trust() -> Trust {
    let root = Certificate::read_all(&data("root.pem")).unwrap();
    Trust {
        roots: root.clone(),
        timestamp_roots: root,
        ..Trust::default()
    }
}

fn signer(name: &str, envelope: Envelope) -> NotarySigner {
    let key = PrivateKey::read(&data(&format!("keys/{name}.pem")), None).unwrap();
    let chain = Certificate::read_all(&data(&format!("chains/{name}.pem"))).unwrap();
    NotarySigner::new(key, chain, envelope).unwrap()
}

fn envelope_bytes(attachment: &Attachment) -> (&[u8], Envelope) {
    let (layer, kind) = envelope_of(attachment.manifest.value()).unwrap();
    let mut blobs = attachment.blobs.iter();
    let blob = blobs.find(|blob| blob.digest == layer.digest).unwrap();
    assert_eq!(blob.bytes.len() as u64, layer.size);
    (&blob.bytes, kind)
}

#[test]
fn what_is_signed_verifies_with_every_key_in_both_envelopes() {
    let now = at("2026-11-21T12:00:00.5Z");
    for name in NAMES {
        for kind in Envelope::ALL {
            let signer = signer(name, kind);
            let expires = at("2027-01-01T00:00:00Z");
            let draft = signer.draft(&subject(), now, Some(expires)).unwrap();
            let attachment = draft.finish(None).unwrap();
            assert_eq!(attachment.place, AttachmentPlace::Referrer);
            let manifest = attachment.manifest.value();
            assert_eq!(manifest.subject, Some(subject()));
            assert_eq!(manifest.config.media_type.as_str(), NOTARY_ARTIFACT_TYPE);
            let prints: Vec<String> =
                serde_json::from_str(&manifest.annotations[THUMBPRINTS]).unwrap();
            assert_eq!(prints.len(), 3);
            let (bytes, found) = envelope_bytes(&attachment);
            assert_eq!(found, kind);
            let verified = verify_notary(kind, bytes, &subject(), &trust(), now).unwrap();
            assert_eq!(verified.signed_at, at("2026-11-21T12:00:00Z"));
            assert_eq!(verified.expires, Some(expires));
            assert_eq!(verified.certificate, prints[0]);
            assert_eq!(verified.notes, Vec::<String>::new());
            assert!(verified.signer.contains(&format!("CN={name}")));
        }
    }
}

#[test]
fn signatures_of_another_implementation_verify() {
    for name in NAMES {
        for (kind, extension) in [(Envelope::Jws, "jws"), (Envelope::Cose, "cose")] {
            let bytes = data(&format!("notary/{name}.{extension}"));
            let now = at("2026-12-01T00:00:00Z");
            let verified = verify_notary(kind, &bytes, &subject(), &trust(), now);
            let verified = verified.unwrap_or_else(|error| panic!("{name} {extension}: {error:?}"));
            assert_eq!(verified.signed_at, at("2026-06-01T00:00:00Z"));
            let stamped = matches!(name, "rsa2048" | "p384");
            assert_eq!(verified.timestamped_at.is_some(), stamped, "{name}");
        }
    }
}

/// The manifest is of the form that the specification draws, to the letter.
#[test]
fn the_signature_manifest_is_the_specifications() {
    let signer = signer("p256", Envelope::Cose);
    let draft = signer.draft(&subject(), at("2026-06-01T00:00:00Z"), None);
    let attachment = draft.unwrap().finish(None).unwrap();
    let manifest: Value = serde_json::from_slice(attachment.manifest.bytes()).unwrap();
    let layer = &attachment.blobs[1];
    let prints: Vec<String> = signer
        .chain()
        .certificates()
        .iter()
        .map(Certificate::fingerprint)
        .collect();
    let expected = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.notary.signature",
        "config": {
            "mediaType": "application/vnd.cncf.notary.signature",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
        },
        "layers": [{
            "mediaType": "application/cose",
            "digest": layer.digest.to_string(),
            "size": layer.bytes.len(),
        }],
        "subject": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": subject().digest.to_string(),
            "size": 246,
        },
        "annotations": {
            "io.cncf.notary.x509chain.thumbprint#S256": serde_json::to_string(&prints).unwrap(),
            "org.opencontainers.image.created": "2026-06-01T00:00:00Z",
        },
    });
    assert_eq!(manifest, expected);
}

/// Checks one envelope of the test data against the reason why it does not count.
fn refused(kind: Envelope, bytes: &[u8], expected: &str) {
    let now = at("2026-12-01T00:00:00Z");
    refused_with(kind, bytes, &subject(), &trust(), now, expected);
}

fn refused_with(
    kind: Envelope,
    bytes: &[u8],
    subject: &Descriptor,
    trust: &Trust,
    now: Timestamp,
    expected: &str,
) {
    let error = verify_notary(kind, bytes, subject, trust, now).unwrap_err();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    assert!(text.contains(expected), "{text}\nis not: {expected}");
}

/// A JWS with its parts changed, signed again where that is asked for.
fn jws_with(change: impl FnOnce(&mut Value, &mut Value, &mut Value), signed: bool) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(&data("notary/p256.jws")).unwrap();
    let part = |document: &Value, name: &str| -> Value {
        let bytes = URL_SAFE_NO_PAD
            .decode(document[name].as_str().unwrap())
            .unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let (mut protected, mut payload) = (part(&document, "protected"), part(&document, "payload"));
    change(&mut document, &mut protected, &mut payload);
    document["protected"] = json!(URL_SAFE_NO_PAD.encode(protected.to_string()));
    document["payload"] = json!(URL_SAFE_NO_PAD.encode(payload.to_string()));
    if signed {
        resign(&mut document);
    }
    document.to_string().into_bytes()
}

fn resign(document: &mut Value) {
    let message = format!(
        "{}.{}",
        document["protected"].as_str().unwrap(),
        document["payload"].as_str().unwrap()
    );
    let key = PrivateKey::read(&data("keys/p256.pem"), None).unwrap();
    let signature = key.sign(Scheme::Notary, message.as_bytes()).unwrap();
    document["signature"] = json!(URL_SAFE_NO_PAD.encode(signature));
}

#[test]
fn a_tampered_jws_is_refused() {
    let check = |bytes: Vec<u8>, expected: &str| refused(Envelope::Jws, &bytes, expected);
    let unsigned = |change: fn(&mut Value, &mut Value, &mut Value)| jws_with(change, false);
    let signed = |change: fn(&mut Value, &mut Value, &mut Value)| jws_with(change, true);
    let changed = "it was changed";
    check(
        unsigned(|_, _, p| p["targetArtifact"]["size"] = json!(7)),
        changed,
    );
    check(
        unsigned(|_, h, _| h["io.cncf.notary.signingTime"] = json!("2026-07-01T00:00:00Z")),
        changed,
    );
    check(
        unsigned(|d, _, _| d["signature"] = json!(URL_SAFE_NO_PAD.encode([0; 64]))),
        changed,
    );
    check(unsigned(|d, _, _| d["signature"] = json!("")), changed);
    // The signer itself may not do what follows either.
    check(
        signed(|_, h, _| h["crit"].as_array_mut().unwrap().push(json!("example.new"))),
        "does not understand `example.new`",
    );
    check(
        signed(|_, h, _| {
            let scheme = h["crit"][0].clone();
            h["crit"].as_array_mut().unwrap().push(scheme);
        }),
        "`crit` is missing, not of the right form, or there more than once",
    );
    check(
        signed(|_, h, _| h["crit"] = json!([])),
        "is not marked as critical",
    );
    check(
        signed(|_, h, _| h["crit"] = json!(["io.cncf.notary.signingScheme"])),
        "`io.cncf.notary.expiry` is not marked as critical",
    );
    check(
        signed(|_, h, _| h["crit"] = json!("x")),
        "`crit` is missing",
    );
    check(
        signed(|_, h, _| h["alg"] = json!("none")),
        "algorithm `none`",
    );
    check(
        signed(|_, h, _| h["alg"] = json!("HS256")),
        "algorithm `HS256`",
    );
    check(
        signed(|_, h, _| h["alg"] = json!("ES384")),
        "not the one that belongs to the key",
    );
    check(
        signed(|_, h, _| h["cty"] = json!("text/plain")),
        "of the type `text/plain`",
    );
    check(
        signed(|_, h, _| h["io.cncf.notary.signingScheme"] = json!("notary.x")),
        "scheme `notary.x` is not known",
    );
    check(
        signed(|_, h, _| h["io.cncf.notary.signingTime"] = json!("yesterday")),
        "`io.cncf.notary.signingTime` is missing",
    );
    check(
        signed(|_, h, _| {
            h["io.cncf.notary.authenticSigningTime"] = json!("2026-07-01T00:00:00Z");
        }),
        "`io.cncf.notary.authenticSigningTime`",
    );
    check(
        signed(|_, h, _| h["io.cncf.notary.signingTime"] = json!("2026-12-01T00:06:00Z")),
        "yet to come",
    );
    check(
        signed(|_, h, _| h["io.cncf.notary.signingTime"] = json!("2025-12-31T23:59:59Z")),
        "not at 2025-12-31T23:59:59Z",
    );
    check(
        signed(|_, h, _| h["io.cncf.notary.expiry"] = json!("2026-12-01T00:00:00Z")),
        "it expired at 2026-12-01T00:00:00Z",
    );
    check(
        signed(|_, _, p| {
            p["targetArtifact"]["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
        }),
        "it is of another image",
    );
    check(
        signed(|_, _, p| p["targetArtifact"]["size"] = json!(247)),
        "247 bytes",
    );
    check(
        signed(|_, _, p| {
            p["targetArtifact"]["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
        }),
        "it is of another image",
    );
    check(
        signed(|_, _, p| p["more"] = json!(1)),
        "is not the description of an image",
    );
    check(
        signed(|_, _, p| *p = json!([])),
        "is not the description of an image",
    );
    check(
        unsigned(|d, _, _| d["more"] = json!(1)),
        "not of the form of a JWS",
    );
    check(
        unsigned(|d, _, _| d["header"]["x5c"] = json!([])),
        "no certificates",
    );
    check(
        unsigned(|d, _, _| d["header"]["x5c"] = json!(["AQID"])),
        "certificate 1 ",
    );
    check(
        unsigned(|d, _, _| d["header"]["x5c"] = json!(["?"])),
        "`x5c`",
    );
    check(
        unsigned(|d, _, _| d["header"]["alg"] = json!("ES256")),
        "`alg`",
    );
    check(
        unsigned(|d, _, _| {
            let leaf = d["header"]["x5c"][0].clone();
            d["header"]["x5c"] = json!(vec![leaf; 11]);
        }),
        "more than 10 certificates",
    );
    check(b"{}".to_vec(), "not of the form of a JWS");
    check(vec![b' '; ENVELOPE_BYTES_MAX + 1], "larger than");
}

/// Names that are there twice: one reader takes the first, another the last.
#[test]
fn nothing_is_there_twice() {
    let text = String::from_utf8(data("notary/p256.jws")).unwrap();
    let form = "not of the form of a JWS";
    let twice = text.replacen("\"payload\":", "\"payload\": \"e30\", \"payload\":", 1);
    refused(Envelope::Jws, twice.as_bytes(), form);
    let twice = text.replacen("\"x5c\":", "\"x5c\": [], \"x5c\":", 1);
    refused(Envelope::Jws, twice.as_bytes(), form);
    let mut document: Value = serde_json::from_str(&text).unwrap();
    let protected = URL_SAFE_NO_PAD
        .decode(document["protected"].as_str().unwrap())
        .unwrap();
    let protected = String::from_utf8(protected).unwrap();
    let twice = protected.replacen("{", "{\"alg\": \"ES256\", ", 1);
    document["protected"] = json!(URL_SAFE_NO_PAD.encode(twice));
    resign(&mut document);
    refused(Envelope::Jws, document.to_string().as_bytes(), form);
    let payload = URL_SAFE_NO_PAD
        .decode(document["payload"].as_str().unwrap())
        .unwrap();
    let payload = String::from_utf8(payload).unwrap();
    let twice = payload.replacen("\"size\":", "\"size\":7,\"size\":", 1);
    document["protected"] = json!(URL_SAFE_NO_PAD.encode(protected));
    document["payload"] = json!(URL_SAFE_NO_PAD.encode(twice));
    resign(&mut document);
    let expected = "is not the description of an image";
    refused(Envelope::Jws, document.to_string().as_bytes(), expected);
}

/// The parts of a COSE envelope, changed.
fn cose_with(change: impl FnOnce(&mut Vec<Cbor>)) -> Vec<u8> {
    let value: Cbor = coset::cbor::from_reader(data("notary/p256.cose").as_slice()).unwrap();
    let Cbor::Tag(18, parts) = value else {
        panic!("a tag");
    };
    let mut parts = parts.into_array().unwrap();
    change(&mut parts);
    let mut bytes = Vec::new();
    coset::cbor::into_writer(&Cbor::Tag(18, Box::new(Cbor::Array(parts))), &mut bytes).unwrap();
    bytes
}

/// The protected header changed, and the whole signed again.
fn cose_header(change: impl FnOnce(&mut Vec<(Cbor, Cbor)>)) -> Vec<u8> {
    cose_with(|parts| {
        let bytes = parts[0].as_bytes().unwrap().clone();
        let header: Cbor = coset::cbor::from_reader(bytes.as_slice()).unwrap();
        let mut header = header.into_map().unwrap();
        change(&mut header);
        let mut bytes = Vec::new();
        coset::cbor::into_writer(&Cbor::Map(header), &mut bytes).unwrap();
        parts[0] = Cbor::Bytes(bytes.clone());
        let mut message = Vec::new();
        let structure = Cbor::Array(vec![
            Cbor::Text("Signature1".into()),
            Cbor::Bytes(bytes),
            Cbor::Bytes(Vec::new()),
            parts[2].clone(),
        ]);
        coset::cbor::into_writer(&structure, &mut message).unwrap();
        let key = PrivateKey::read(&data("keys/p256.pem"), None).unwrap();
        parts[3] = Cbor::Bytes(key.sign(Scheme::Notary, &message).unwrap());
    })
}

#[test]
fn a_tampered_cose_is_refused() {
    let check = |bytes: Vec<u8>, expected: &str| refused(Envelope::Cose, &bytes, expected);
    let form = "not of the form of a COSE";
    check(
        cose_with(|parts| parts[3] = Cbor::Bytes(vec![0; 64])),
        "it was changed",
    );
    check(
        cose_with(|parts| parts[2] = Cbor::Bytes(b"{}".to_vec())),
        "it was changed",
    );
    check(cose_with(|parts| parts[2] = Cbor::Null), form);
    check(cose_with(|parts| parts.truncate(3)), form);
    check(
        cose_with(|parts| parts[1] = Cbor::Map(Vec::new())),
        "no certificates",
    );
    let chain = |value: Cbor| {
        cose_with(|parts| parts[1] = Cbor::Map(vec![(Cbor::Integer(33.into()), value)]))
    };
    check(chain(Cbor::Array(Vec::new())), "no certificates");
    check(chain(Cbor::Bytes(vec![1])), "`x5chain`");
    check(
        chain(Cbor::Array(vec![Cbor::Text("x".into())])),
        "`x5chain`",
    );
    let set = |number: i64, value: Cbor| {
        cose_header(|header| {
            let name = Cbor::Integer(number.into());
            let mut entries = header.iter_mut();
            entries.find(|(known, _)| *known == name).unwrap().1 = value;
        })
    };
    check(set(1, Cbor::Integer((-35).into())), "belongs to the key");
    check(set(1, Cbor::Integer(5.into())), "algorithm `5`");
    check(set(3, Cbor::Text("text/plain".into())), "type `text/plain`");
    let names = |names: &[&str]| {
        let names = names.iter().map(|name| Cbor::Text((*name).into()));
        Cbor::Array(names.collect())
    };
    check(
        set(2, names(&[SCHEME])),
        "`io.cncf.notary.expiry` is not marked",
    );
    check(
        set(2, names(&[SCHEME, EXPIRY, "x.y"])),
        "does not understand `x.y`",
    );
    check(set(2, names(&[SCHEME, EXPIRY, SCHEME])), "`crit`");
    check(
        cose_header(|header| {
            let again = header[0].clone();
            header.push(again);
        }),
        form,
    );
    check(
        cose_header(|header| {
            for (name, value) in header {
                if *name == Cbor::Text(SIGNING_TIME.into()) {
                    // Without its tag.
                    *value = Cbor::Integer(1.into());
                }
            }
        }),
        SIGNING_TIME,
    );
    let mut untagged = data("notary/p256.cose");
    untagged.remove(0);
    check(untagged, form);
    let mut longer = data("notary/p256.cose");
    longer.push(0);
    check(longer, form);
    check(Vec::new(), form);
    check(vec![0x9f; 100_000], form);
    check(
        vec![0xd2, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        form,
    );
    check(vec![0; ENVELOPE_BYTES_MAX + 1], "larger than");
    // The kind is the manifest's word; the bytes must be of it.
    check(data("notary/p256.jws"), form);
    refused(
        Envelope::Jws,
        &data("notary/p256.cose"),
        "not of the form of a JWS",
    );
}

/// The timestamp is signed by nobody in the envelope: it may be another's, damaged, or of an
/// authority that nobody trusts.
#[test]
fn a_timestamp_must_be_of_this_signature() {
    let token = |name: &str| {
        let document: Value = serde_json::from_slice(&data(name)).unwrap();
        document["header"][TIMESTAMP].as_str().unwrap().to_owned()
    };
    let with = |token: &str| {
        let mut document: Value = serde_json::from_slice(&data("notary/p384.jws")).unwrap();
        document["header"][TIMESTAMP] = json!(token);
        document.to_string().into_bytes()
    };
    let other = with(&token("notary/rsa2048.jws"));
    refused(
        Envelope::Jws,
        &other,
        "its timestamp does not count: it is of another signature",
    );
    let own = token("notary/p384.jws");
    let mut damaged = STANDARD.decode(&own).unwrap();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    refused(
        Envelope::Jws,
        &with(&STANDARD.encode(damaged)),
        "its timestamp does not count",
    );
    refused(Envelope::Jws, &with("AQID"), "not a token of RFC 3161");
    refused(
        Envelope::Jws,
        &with("?"),
        "`io.cncf.notary.timestampSignature`",
    );

    let now = at("2026-12-01T00:00:00Z");
    let stranger = rcgen::CertificateParams::new(vec![])
        .unwrap()
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap();
    let stranger = Certificate::read_all(stranger.der()).unwrap();
    let trust_of = |roots| Trust {
        timestamp_roots: roots,
        ..trust()
    };
    let bytes = data("notary/p384.jws");
    refused_with(
        Envelope::Jws,
        &bytes,
        &subject(),
        &trust_of(stranger),
        now,
        "leads to no trusted timestamp authority",
    );
    // Where no authority is trusted, the timestamp is nothing.
    let verified = verify_notary(
        Envelope::Jws,
        &bytes,
        &subject(),
        &trust_of(Vec::new()),
        now,
    )
    .unwrap();
    assert_eq!(verified.timestamped_at, None);
    assert_eq!(verified.notes.len(), 1);
}
