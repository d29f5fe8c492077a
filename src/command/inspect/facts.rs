//! What is known of an image. Its JSON is described in docs/inspect.md: fields are added, never
//! changed.

use std::collections::BTreeMap;

use oci::Digest;
use serde::Serialize;

/// An image or an index.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    pub(super) schema: u32,
    pub(super) address: String,
    pub(super) digest: Digest,
    pub(super) media_type: String,
    /// Of the manifest or index itself, in bytes.
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Digest>,
    pub(super) platforms: Vec<String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) images: Vec<ImageFacts>,
    /// The tags that point at the same digest; absent where there are no tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tags: Option<TagFacts>,
    pub(super) referrers: Vec<ReferrerFacts>,
    /// What could not be found out.
    pub(super) notes: Vec<String>,
}

/// One image.
#[derive(Debug, Serialize)]
pub(super) struct ImageFacts {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    /// Of the manifest itself, in bytes.
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    /// Of all layers, as they are stored, in bytes.
    pub(super) layers_size: u64,
    pub(super) layers: Vec<LayerFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<ConfigFacts>,
    pub(super) annotations: BTreeMap<String, String>,
    /// As BuildKit lists them beside the image in its index.
    pub(super) attestations: Vec<AttestationFacts>,
}

/// A layer.
#[derive(Debug, Serialize)]
pub(super) struct LayerFacts {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) size: u64,
}

/// What is asked of a configuration most often.
#[derive(Debug, Serialize)]
pub(super) struct ConfigFacts {
    pub(super) digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
    pub(super) env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) working_dir: Option<String>,
    pub(super) exposed_ports: Vec<String>,
    pub(super) volumes: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
}

/// An attestation inside of an index.
#[derive(Debug, Serialize)]
pub(super) struct AttestationFacts {
    pub(super) manifest: Digest,
    pub(super) predicate_types: Vec<String>,
}

/// Tags of one digest.
#[derive(Debug, Serialize)]
pub(super) struct TagFacts {
    pub(super) names: Vec<String>,
    /// Whether all tags of the repository were looked at.
    pub(super) complete: bool,
}

/// What refers to the image, or stands under a tag made from its digest.
#[derive(Debug, Serialize)]
pub(super) struct ReferrerFacts {
    pub(super) digest: Digest,
    pub(super) subject: Digest,
    pub(super) kind: ReferrerKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tag: Option<String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// What it is for, as far as its type tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReferrerKind {
    Signature,
    Attestation,
    Sbom,
    Other,
}

impl ReferrerKind {
    /// By the kind of artefact, or by cosign's tag.
    pub(super) fn of(artifact_type: Option<&str>, tag: Option<&str>) -> Self {
        if let Some((_, suffix)) = tag.and_then(|tag| tag.rsplit_once('.')) {
            return match suffix {
                "sig" => Self::Signature,
                "att" => Self::Attestation,
                "sbom" => Self::Sbom,
                _ => Self::Other,
            };
        }
        match artifact_type.unwrap_or_default() {
            "application/vnd.cncf.notary.signature"
            | "application/vnd.dev.cosign.artifact.sig.v1+json"
            | "application/vnd.dev.cosign.simplesigning.v1+json" => Self::Signature,
            "application/vnd.in-toto+json"
            | "application/vnd.docker.attestation.manifest.v1+json"
            | "application/vnd.dsse.envelope.v1+json"
            | "application/vnd.dev.sigstore.bundle.v0.3+json" => Self::Attestation,
            "application/spdx+json"
            | "text/spdx+json"
            | "application/vnd.cyclonedx"
            | "application/vnd.cyclonedx+json" => Self::Sbom,
            _ => Self::Other,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Attestation => "attestation",
            Self::Sbom => "sbom",
            Self::Other => "other",
        }
    }
}
