//! Round trips, and signatures of another implementation (`tests/data/make.py`).

use super::*;
use crate::key::KeyKind;

fn data(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("a file of the test data")
}

const SUBJECT: &str = "sha256:f20c43161d73848408ef247f0ec7111b19fe58ffebc0cbcaa0d2c8bda4967268";

fn subject() -> Descriptor {
    Descriptor::new(MediaType::OciManifest, SUBJECT.parse().unwrap(), 246)
}

fn public(name: &str) -> PublicKey {
    PublicKey::read(&data(&format!("keys/{name}.pub"))).unwrap()
}

fn signer(name: &str) -> Result<CosignSigner, KeyError> {
    let key = PrivateKey::read(&data(&format!("keys/{name}.pem")), None).unwrap();
    CosignSigner::new(key)
}

fn layer_of(attachment: &Attachment) -> (&Descriptor, &[u8]) {
    let layer = &attachment.manifest.value().layers[0];
    let mut blobs = attachment.blobs.iter();
    let blob = blobs.find(|blob| blob.digest == layer.digest).unwrap();
    (layer, &blob.bytes)
}

#[test]
fn what_is_signed_verifies_with_every_key() {
    for name in ["p256", "rsa2048", "rsa3072", "rsa4096", "ed25519"] {
        let repository: oci::Reference = "registry.example/team/image".parse().unwrap();
        let signer = signer(name).unwrap();
        let attachment = signer.sign(&subject(), repository.repository()).unwrap();
        let tag = format!("{}.sig", SUBJECT.replace(':', "-"));
        let place = AttachmentPlace::Tag(tag.parse().unwrap());
        assert_eq!(attachment.place, place);
        let (layer, payload) = layer_of(&attachment);
        let digest = subject().digest;
        let keys = [public("rsa2048"), public(name)];
        let expected = if name == "rsa2048" { 0 } else { 1 };
        let verified = verify_cosign(layer, payload, &digest, &keys).unwrap();
        assert_eq!(verified.key, expected, "{name}");
        assert_eq!(verified.signed_name, "registry.example/team/image");
    }
    for (name, kind) in [("p384", KeyKind::P384), ("p521", KeyKind::P521)] {
        let error = signer(name).map(drop).unwrap_err();
        let wanted = Scheme::Cosign.keys();
        assert_eq!(
            error,
            KeyError::Scheme {
                wanted,
                found: kind
            }
        );
    }
}

/// The bytes that are signed are the ones that cosign writes.
#[test]
fn signatures_of_another_implementation_verify() {
    let payload = data("cosign/payload.json");
    for name in ["p256", "rsa2048", "ed25519"] {
        let signature = String::from_utf8(data(&format!("cosign/{name}.signature"))).unwrap();
        let layer = layer_with(&payload, &signature);
        let verified = verify_cosign(&layer, &payload, &subject().digest, &[public(name)]);
        assert_eq!(verified.unwrap().key, 0, "{name}");
    }
    let repository: oci::Reference = "registry.example/team/image".parse().unwrap();
    let made = signer("p256").unwrap();
    let made = made.sign(&subject(), repository.repository()).unwrap();
    assert_eq!(
        String::from_utf8_lossy(layer_of(&made).1),
        String::from_utf8_lossy(&payload)
    );
}

fn layer_with(payload: &[u8], signature: &str) -> Descriptor {
    let annotations = BTreeMap::from([(SIGNATURE_ANNOTATION.to_owned(), signature.to_owned())]);
    Descriptor {
        annotations,
        ..Descriptor::new(
            MediaType::from(SIMPLE_SIGNING_TYPE),
            Digest::of(payload),
            payload.len() as u64,
        )
    }
}

#[test]
fn what_is_wrong_is_refused() {
    let key = PrivateKey::read(&data("keys/p256.pem"), None).unwrap();
    let signed = |text: &str| {
        let signature = key.sign(Scheme::Cosign, text.as_bytes()).unwrap();
        (text.as_bytes().to_vec(), STANDARD.encode(signature))
    };
    let check = |(payload, signature): (Vec<u8>, String), expected: &str| {
        let layer = layer_with(&payload, &signature);
        let found = verify_cosign(&layer, &payload, &subject().digest, &[public("p256")]);
        let text = found.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    };
    let good = String::from_utf8(data("cosign/payload.json")).unwrap();
    let good = good.as_str();
    check(
        (b"{}".to_vec(), signed(good).1),
        "by none of the trusted keys",
    );
    check(
        (good.as_bytes().to_vec(), String::new()),
        "by none of the trusted keys",
    );
    check((good.as_bytes().to_vec(), "?".into()), "is not base64");
    check(signed("{}"), "not a document of cosign's");
    check(signed("null"), "not a document of cosign's");
    check(
        signed(&good.replace("f20c", "f20d")),
        "it is of another image",
    );
    check(
        signed(&good.replace("cosign container", "a container")),
        "not a document",
    );
    check(
        signed(&good.replace("\"type\":", "\"more\":1,\"type\":")),
        "not a document",
    );
    // Two digests, of which one is right.
    let twice = good.replace(
        "\"docker-manifest-digest\":",
        &format!("\"docker-manifest-digest\":\"{SUBJECT}\",\"docker-manifest-digest\":"),
    );
    check(signed(&twice), "not a document");

    let (payload, signature) = signed(good);
    let layer = layer_with(&payload, &signature);
    let digest = subject().digest;
    let keys = [public("p256")];
    assert_eq!(
        verify_cosign(&layer, b"{}", &digest, &keys),
        Err(CosignRefusal::Corrupted)
    );
    assert_eq!(
        verify_cosign(&layer, &payload, &digest, &[]),
        Err(CosignRefusal::NoKeys)
    );
    let other = verify_cosign(
        &layer,
        &payload,
        &digest,
        &[public("p384"), public("ed25519")],
    );
    assert!(matches!(other, Err(CosignRefusal::Integrity(_))));
    let odd = Descriptor {
        media_type: MediaType::from("text/plain"),
        ..layer
    };
    let found = verify_cosign(&odd, &payload, &digest, &keys);
    assert_eq!(found, Err(CosignRefusal::LayerType("text/plain".into())));
}
