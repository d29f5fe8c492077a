//! Manifests and indices: what a tag points at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Descriptor, MediaType, Raw, RawError};

/// The manifest of one image (image specification, "OCI Image Manifest";
/// Docker's schema 2 has the same form).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u8,
    /// The type of this document; optional when read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The kind of artefact, when this is not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// The manifest that this artefact is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Arbitrary metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, one for each platform (image specification, "OCI Image
/// Index").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u8,
    /// The type of this document; optional when read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The kind of artefact, when this is not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this artefact is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Arbitrary metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a reference can point at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Box<Raw<Manifest>>),
    /// Several images.
    Index(Box<Raw<Index>>),
}

/// Why bytes are neither a manifest nor an index that can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or not of the form.
    #[error(transparent)]
    Raw(#[from] RawError),
    /// Fields of a manifest and of an index together (CVE-2021-41190: two
    /// readers would see two images).
    #[error("the document has both `{0}` and `{1}`: it could be read as a manifest or as an index")]
    Ambiguous(&'static str, &'static str),
    /// A key that readers who do not look at the case of letters take for another (D08).
    #[error("the document has a key `{found}`, which some readers take for `{meant}`")]
    Spelling {
        /// The key.
        found: String,
        /// The one that is meant by the specification.
        meant: &'static str,
    },
    /// The header says one type and the document another.
    #[error("the registry calls the document {header}, the document calls itself {document}")]
    TypeMismatch {
        /// From `Content-Type`.
        header: MediaType,
        /// From `mediaType`.
        document: MediaType,
    },
    /// Neither a manifest nor an index.
    #[error("`{0}` is neither an image manifest nor an image index that kiln can read")]
    Unsupported(String),
}

/// The keys that have a meaning (image specification, "OCI Image Manifest", "OCI Image Index").
const KEYS: [&str; 8] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
];

/// The fields that tell manifests and indices apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    media_type: Option<MediaType>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a manifest or an index.
    ///
    /// `header` is the `Content-Type` it came with, when it came by HTTP.
    ///
    /// # Errors
    ///
    /// When the document could be read as both, disagrees with its header, or
    /// is of another type.
    pub fn read(
        bytes: impl Into<Box<[u8]>>,
        header: Option<&MediaType>,
    ) -> Result<Self, DocumentError> {
        let bytes = bytes.into();
        let shape: Shape = serde_json::from_slice(&bytes).map_err(RawError::from)?;
        let keys: BTreeMap<String, serde::de::IgnoredAny> =
            serde_json::from_slice(&bytes).map_err(RawError::from)?;
        for found in keys.into_keys() {
            let meant = KEYS.iter().find(|key| key.eq_ignore_ascii_case(&found));
            if let Some(meant) = meant.filter(|meant| **meant != found) {
                return Err(DocumentError::Spelling { found, meant });
            }
        }
        if shape.manifests.is_some() && shape.layers.is_some() {
            return Err(DocumentError::Ambiguous("layers", "manifests"));
        }
        if shape.manifests.is_some() && shape.config.is_some() {
            return Err(DocumentError::Ambiguous("config", "manifests"));
        }
        let header = header.filter(|header| header.is_index() || header.is_manifest());
        if let (Some(header), Some(document)) = (header, &shape.media_type)
            && header != document
        {
            return Err(DocumentError::TypeMismatch {
                header: header.clone(),
                document: document.clone(),
            });
        }
        let declared = shape.media_type.as_ref().or(header);
        let is_index = match declared {
            Some(declared) if declared.is_index() => true,
            Some(declared) if declared.is_manifest() => false,
            Some(other) => return Err(DocumentError::Unsupported(other.to_string())),
            None => shape.manifests.is_some(),
        };
        if is_index {
            let value = serde_json::from_slice(&bytes).map_err(RawError::from)?;
            Ok(Self::Index(Box::new(Raw::from_parts(value, bytes))))
        } else {
            let value = serde_json::from_slice(&bytes).map_err(RawError::from)?;
            Ok(Self::Manifest(Box::new(Raw::from_parts(value, bytes))))
        }
    }

    /// The type that the document has; OCI where it does not say.
    pub fn media_type(&self) -> MediaType {
        match self {
            Self::Manifest(manifest) => manifest
                .value()
                .media_type
                .clone()
                .unwrap_or(MediaType::OciManifest),
            Self::Index(index) => index
                .value()
                .media_type
                .clone()
                .unwrap_or(MediaType::OciIndex),
        }
    }

    /// The bytes as stored.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Manifest(manifest) => manifest.bytes(),
            Self::Index(index) => index.bytes(),
        }
    }

    /// A descriptor that points at the document.
    pub fn descriptor(&self) -> Descriptor {
        match self {
            Self::Manifest(manifest) => manifest.descriptor(self.media_type()),
            Self::Index(index) => index.descriptor(self.media_type()),
        }
    }
}

impl Index {
    /// The entry for `platform`: the best match by variant, ignoring entries
    /// that are not images (attestations are listed as `unknown/unknown`).
    pub fn select(&self, platform: &crate::Platform) -> Option<&Descriptor> {
        self.manifests
            .iter()
            .filter(|entry| entry.media_type.is_manifest() || entry.media_type.is_index())
            .filter_map(|entry| {
                let rank = entry
                    .platform
                    .as_ref()
                    .and_then(|offered| platform.accepts(offered))?;
                Some((rank, entry))
            })
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, entry)| entry)
    }

    /// The platforms that the index offers, in its order.
    pub fn platforms(&self) -> Vec<&crate::Platform> {
        self.manifests
            .iter()
            .filter_map(|entry| entry.platform.as_ref())
            .filter(|platform| platform.os != "unknown")
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, header: Option<MediaType>) -> Result<&'static str, String> {
        match Document::read(json.as_bytes(), header.as_ref()) {
            Ok(Document::Manifest(_)) => Ok("manifest"),
            Ok(Document::Index(_)) => Ok("index"),
            Err(error) => Err(error.to_string()),
        }
    }

    const CONFIG: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;

    #[test]
    fn documents_are_told_apart_by_type_and_shape() {
        let manifest = format!(r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[]}}"#);
        assert_eq!(check(&manifest, None), Ok("manifest"));
        assert_eq!(
            check(&manifest, Some(MediaType::DockerManifest)),
            Ok("manifest")
        );
        assert_eq!(
            check(r#"{"schemaVersion":2,"manifests":[]}"#, None),
            Ok("index")
        );
        assert!(check(&manifest, Some(MediaType::OciIndex)).is_err());
    }

    #[test]
    fn documents_with_two_meanings_are_refused() {
        let both = format!(r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[],"manifests":[]}}"#);
        assert!(
            check(&both, None)
                .unwrap_err()
                .contains("both `layers` and `manifests`")
        );
        let typed = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        assert!(
            check(typed, Some(MediaType::OciManifest))
                .unwrap_err()
                .contains("calls itself")
        );
        assert!(check("{\"schemaVersion\":2,\"manifests\":[]} x", None).is_err());
        let spelt = r#"{"schemaVersion":2,"manifests":[],"Manifests":[]}"#;
        assert!(check(spelt, None).unwrap_err().contains("`Manifests`"));
        let twice = r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
        assert!(check(twice, None).unwrap_err().contains("duplicate"));
    }
}
