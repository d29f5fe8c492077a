//! Signatures of cosign with a key: a small JSON document that names the digest, its signature in
//! an annotation, under a tag made from the digest (cosign's signature specification).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{
    AttachedBlob, Attachment, AttachmentPlace, Descriptor, Digest, Manifest, MediaType, Raw,
    Repository, Tag,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::key::{KeyError, PrivateKey, PublicKey, Scheme, VerifyError};

/// The type of a layer that is a signed document.
pub const SIMPLE_SIGNING_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation with the signature of a layer, base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// What the document says that it is.
const DOCUMENT_TYPE: &str = "cosign container image signature";
/// The most bytes of a signed document.
pub const SIMPLE_SIGNING_BYTES_MAX: u64 = 64 * 1024;
/// The most signatures of one manifest that are looked at (E16).
pub const COSIGN_SIGNATURES_MAX: usize = 100;

/// A key for cosign's signatures.
#[derive(Debug)]
pub struct CosignSigner {
    key: PrivateKey,
}

/// A signature that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignVerified {
    /// Which of the keys it is of, by its place in the list.
    pub key: usize,
    /// Under which name the signer knew the image: nothing that was checked.
    pub signed_name: String,
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignRefusal {
    /// A layer of another type.
    #[error("its layer is of the type `{0}`, not `{SIMPLE_SIGNING_TYPE}`")]
    LayerType(String),
    /// No signature beside it.
    #[error("its layer has no `{SIGNATURE_ANNOTATION}`, or one that is not base64")]
    NoSignature,
    /// A document that is too large.
    #[error("what is signed is larger than {SIMPLE_SIGNING_BYTES_MAX} bytes")]
    TooLarge,
    /// Other bytes than the layer names.
    #[error("what is signed is not what the manifest names")]
    Corrupted,
    /// By none of the keys.
    #[error("it was changed, or is by none of the trusted keys")]
    Integrity(#[source] VerifyError),
    /// No keys are trusted.
    #[error("no key is trusted")]
    NoKeys,
    /// Not a document of cosign's.
    #[error("what is signed is not a document of cosign's")]
    Form,
    /// Another image.
    #[error("it is of another image, {0}")]
    OtherSubject(String),
}

#[derive(Serialize, Deserialize)]
struct Document {
    critical: Critical,
    #[serde(default)]
    optional: Option<BTreeMap<String, Value>>,
}

/// What must be understood: a key more is an error.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Identity {
    docker_reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Image {
    docker_manifest_digest: String,
}

/// The tag that has the signatures of a digest.
pub fn signature_tag(subject: &Digest) -> Option<Tag> {
    let text = format!("{}-{}.sig", subject.algorithm().name(), subject.hex());
    text.parse().ok()
}

impl CosignSigner {
    /// Takes a key.
    ///
    /// # Errors
    ///
    /// When cosign has no signatures with it.
    pub fn new(key: PrivateKey) -> Result<Self, KeyError> {
        key.suits(Scheme::Cosign)?;
        Ok(Self { key })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        self.key.public()
    }

    /// Signs what a descriptor names. `name` is where it is, for whoever reads the document. Who
    /// stores it keeps the layers of those who signed before.
    ///
    /// # Errors
    ///
    /// When the key cannot sign.
    pub fn sign(&self, subject: &Descriptor, name: &Repository) -> Result<Attachment, KeyError> {
        let document = Document {
            critical: Critical {
                identity: Identity {
                    docker_reference: name.to_string(),
                },
                image: Image {
                    docker_manifest_digest: subject.digest.to_string(),
                },
                kind: DOCUMENT_TYPE.to_owned(),
            },
            optional: None,
        };
        let failed = KeyError::Signing(self.key.kind());
        let payload = serde_json::to_vec(&document).map_err(|_| failed.clone())?;
        let signature = self.key.sign(Scheme::Cosign, &payload)?;
        let tag = signature_tag(&subject.digest).ok_or(failed)?;
        let layer = Descriptor {
            annotations: BTreeMap::from([(
                SIGNATURE_ANNOTATION.to_owned(),
                STANDARD.encode(signature),
            )]),
            ..Descriptor::new(
                MediaType::from(SIMPLE_SIGNING_TYPE),
                Digest::of(&payload),
                payload.len() as u64,
            )
        };
        // A configuration as images have it, naming the layer: registries that look into
        // configurations find what they expect.
        let config = serde_json::json!({
            "architecture": "",
            "config": {},
            "os": "",
            "rootfs": { "type": "layers", "diff_ids": [layer.digest.to_string()] },
        });
        let config = config.to_string().into_bytes();
        let config_descriptor = Descriptor::new(
            MediaType::OciConfig,
            Digest::of(&config),
            config.len() as u64,
        );
        let blobs = vec![
            AttachedBlob {
                digest: config_descriptor.digest.clone(),
                bytes: config,
            },
            AttachedBlob {
                digest: layer.digest.clone(),
                bytes: payload,
            },
        ];
        let manifest = Raw::write(Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            artifact_type: None,
            config: config_descriptor,
            layers: vec![layer],
            subject: None,
            annotations: BTreeMap::new(),
        });
        Ok(Attachment {
            manifest,
            blobs,
            place: AttachmentPlace::Tag(tag),
        })
    }
}

/// Checks one layer of a signature manifest: `payload` are the bytes that it names.
///
/// # Errors
///
/// Why it does not count.
pub fn verify_cosign(
    layer: &Descriptor,
    payload: &[u8],
    subject: &Digest,
    keys: &[PublicKey],
) -> Result<CosignVerified, CosignRefusal> {
    if layer.media_type != MediaType::from(SIMPLE_SIGNING_TYPE) {
        let name = crate::said(layer.media_type.as_str());
        return Err(CosignRefusal::LayerType(name));
    }
    if payload.len() as u64 > SIMPLE_SIGNING_BYTES_MAX {
        return Err(CosignRefusal::TooLarge);
    }
    if !layer.digest.matches(payload) || layer.size != payload.len() as u64 {
        return Err(CosignRefusal::Corrupted);
    }
    let signature = layer.annotations.get(SIGNATURE_ANNOTATION);
    let signature = signature.and_then(|text| STANDARD.decode(text).ok());
    let signature = signature.ok_or(CosignRefusal::NoSignature)?;
    let mut refusal = CosignRefusal::NoKeys;
    for (place, key) in keys.iter().enumerate() {
        match key.verify(Scheme::Cosign, payload, &signature) {
            Ok(()) => {
                return Ok(CosignVerified {
                    key: place,
                    signed_name: signed_name(payload, subject)?,
                });
            }
            Err(error) => refusal = CosignRefusal::Integrity(error),
        }
    }
    Err(refusal)
}

/// What a signed document says, once its signature is known to be right (CVE-2022-23649,
/// CVE-2022-36056: a valid signature of another digest is none).
fn signed_name(payload: &[u8], subject: &Digest) -> Result<String, CosignRefusal> {
    let document: Document = serde_json::from_slice(payload).map_err(|_| CosignRefusal::Form)?;
    if document.critical.kind != DOCUMENT_TYPE {
        return Err(CosignRefusal::Form);
    }
    let digest = &document.critical.image.docker_manifest_digest;
    if digest != subject.as_str() {
        return Err(CosignRefusal::OtherSubject(crate::said(digest)));
    }
    Ok(crate::said(&document.critical.identity.docker_reference))
}

#[cfg(test)]
mod tests;
