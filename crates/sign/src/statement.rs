//! Statements of in-toto: "of these subjects, this is said", and the manifest that keeps them beside
//! an image. It does not know what is said.
//!
//! In-toto attestation framework, "Statement" version 1; how they are kept is BuildKit's "Image
//! attestation storage".

use std::collections::BTreeMap;

use oci::{
    AttachedBlob, Attachment, Descriptor, DiffId, Digest, ImageConfig, Manifest, MediaType,
    Platform, Raw, RootFs,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The type of a statement's bytes.
pub const STATEMENT_MEDIA_TYPE: &str = "application/vnd.in-toto+json";
/// What the `_type` of a statement says.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The annotation of a layer that says what kind of statement it is.
pub const PREDICATE_TYPE_KEY: &str = "in-toto.io/predicate-type";
/// The annotation of a descriptor in an index that says that it is no image.
pub const REFERENCE_TYPE_KEY: &str = "vnd.docker.reference.type";
/// The value of [`REFERENCE_TYPE_KEY`].
pub const REFERENCE_TYPE: &str = "attestation-manifest";
/// The annotation of a descriptor in an index that says which image it is about.
pub const REFERENCE_DIGEST_KEY: &str = "vnd.docker.reference.digest";

/// What something is said about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementSubject {
    /// A package URL, a path, or `_` where it has no name.
    pub name: String,
    /// By algorithm, in hex.
    pub digest: BTreeMap<String, String>,
}

/// A claim about subjects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// What it is about; never empty.
    pub subject: Vec<StatementSubject>,
    /// What kind of claim it is.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// The claim.
    pub predicate: Value,
}

/// An attestation manifest: what an index lists beside an image to say something about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationManifest {
    /// The manifest.
    pub manifest: Raw<Manifest>,
    /// Its configuration and its statements, each once.
    pub blobs: Vec<AttachedBlob>,
    /// The image's manifest.
    pub subject: Digest,
}

impl StatementSubject {
    /// A name for a digest.
    pub fn new(name: impl Into<String>, digest: &Digest) -> Self {
        let (algorithm, hex) = (digest.algorithm().name(), digest.hex());
        Self {
            name: name.into(),
            digest: BTreeMap::from([(algorithm.to_owned(), hex.to_owned())]),
        }
    }
}

impl Statement {
    /// A statement.
    pub fn new(subject: Vec<StatementSubject>, predicate_type: &str, predicate: Value) -> Self {
        Self {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject,
            predicate_type: predicate_type.to_owned(),
            predicate,
        }
    }

    /// Its bytes. Equal statements have equal bytes.
    pub fn bytes(&self) -> Vec<u8> {
        // Texts, numbers, lists and maps with texts as keys: nothing that JSON cannot say.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The same for people, as BuildKit writes it to files.
    pub fn pretty_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

impl AttestationManifest {
    /// Puts the statements about one image into a manifest.
    ///
    /// The configuration is that of an image for no platform: readers that know nothing of
    /// attestations see an image that runs nowhere.
    pub fn new(subject: Digest, statements: &[Statement]) -> Self {
        let mut blobs: Vec<AttachedBlob> = Vec::new();
        let mut layers = Vec::new();
        for statement in statements {
            let bytes = statement.bytes();
            let media_type = MediaType::Other(STATEMENT_MEDIA_TYPE.into());
            let plain = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
            let kind = statement.predicate_type.clone();
            if !blobs.iter().any(|blob| blob.digest == plain.digest) {
                blobs.push(AttachedBlob {
                    digest: plain.digest.clone(),
                    bytes,
                });
            }
            layers.push(Descriptor {
                annotations: BTreeMap::from([(PREDICATE_TYPE_KEY.to_owned(), kind)]),
                ..plain
            });
        }
        let Platform {
            os, architecture, ..
        } = no_platform();
        let config = Raw::write(ImageConfig {
            os,
            architecture,
            rootfs: RootFs {
                // They are not compressed, so both names are one.
                diff_ids: layers
                    .iter()
                    .map(|layer| DiffId(layer.digest.clone()))
                    .collect(),
                ..RootFs::default()
            },
            ..ImageConfig::default()
        });
        blobs.push(AttachedBlob {
            digest: config.digest().clone(),
            bytes: config.bytes().to_vec(),
        });
        let manifest = Raw::write(Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            artifact_type: None,
            config: config.descriptor(MediaType::OciConfig),
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        });
        Self {
            manifest,
            blobs,
            subject,
        }
    }

    /// How an index lists it.
    pub fn descriptor(&self) -> Descriptor {
        let (kind, subject) = (REFERENCE_TYPE.to_owned(), self.subject.to_string());
        Descriptor {
            annotations: BTreeMap::from([
                (REFERENCE_TYPE_KEY.to_owned(), kind),
                (REFERENCE_DIGEST_KEY.to_owned(), subject),
            ]),
            platform: Some(no_platform()),
            ..self.manifest.descriptor(MediaType::OciManifest)
        }
    }
}

/// The platform of what does not run.
pub fn no_platform() -> Platform {
    Platform {
        os: "unknown".to_owned(),
        architecture: "unknown".to_owned(),
        variant: None,
        os_version: None,
        os_features: Vec::new(),
    }
}

/// Whether a descriptor of an index lists an attestation manifest, and of which image.
pub fn attested(descriptor: &Descriptor) -> Option<Digest> {
    let annotations = &descriptor.annotations;
    if annotations.get(REFERENCE_TYPE_KEY)? != REFERENCE_TYPE {
        return None;
    }
    annotations.get(REFERENCE_DIGEST_KEY)?.parse().ok()
}

/// A statement as a referrer of the image's manifest, for those who look for them there
/// (distribution specification 1.1, "Listing Referrers").
pub fn referrer(subject: &Descriptor, statement: &Statement) -> Attachment {
    let kind = statement.predicate_type.clone();
    let annotations = BTreeMap::from([(PREDICATE_TYPE_KEY.to_owned(), kind)]);
    let layer = (
        MediaType::Other(STATEMENT_MEDIA_TYPE.into()),
        statement.bytes(),
        annotations.clone(),
    );
    let layers = vec![layer];
    Attachment::referrer(STATEMENT_MEDIA_TYPE, subject.clone(), layers, annotations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn statement(kind: &str) -> Statement {
        let subject = StatementSubject::new("_", &Digest::of(b"image"));
        Statement::new(vec![subject], kind, json!({"b": 1, "a": [true]}))
    }

    #[test]
    fn a_manifest_of_attestations_has_the_shape_that_buildkit_gives_it() {
        let image = Digest::of(b"image");
        let made = AttestationManifest::new(image.clone(), &[statement("k1"), statement("k2")]);
        let manifest = made.manifest.value();
        let kinds: Vec<_> = manifest
            .layers
            .iter()
            .map(|layer| {
                (
                    layer.media_type.as_str(),
                    &*layer.annotations[PREDICATE_TYPE_KEY],
                )
            })
            .collect();
        let in_toto = "application/vnd.in-toto+json";
        assert_eq!(kinds, [(in_toto, "k1"), (in_toto, "k2")]);
        let config: Value = serde_json::from_slice(&made.blobs[2].bytes).expect("JSON");
        assert_eq!(config["os"], "unknown");
        assert_eq!(config["architecture"], "unknown");
        assert_eq!(
            config["rootfs"]["diff_ids"][1],
            json!(manifest.layers[1].digest)
        );
        let descriptor = made.descriptor();
        assert_eq!(attested(&descriptor), Some(image));
        let platform = descriptor.platform.expect("a platform");
        assert_eq!(platform.to_string(), "unknown/unknown");
        for blob in &made.blobs {
            assert!(blob.digest.matches(&blob.bytes));
        }
    }

    #[test]
    fn other_descriptors_are_not_taken_for_attestations() {
        let check = |annotations: &[(&str, &str)]| {
            let mut descriptor = Descriptor::new(MediaType::OciManifest, Digest::of(b""), 0);
            for (name, value) in annotations {
                let (name, value) = ((*name).to_owned(), (*value).to_owned());
                descriptor.annotations.insert(name, value);
            }
            assert_eq!(attested(&descriptor), None, "{annotations:?}");
        };
        let digest = Digest::of(b"image").to_string();
        check(&[]);
        check(&[(REFERENCE_DIGEST_KEY, &digest)]);
        check(&[(REFERENCE_TYPE_KEY, REFERENCE_TYPE)]);
        check(&[
            (REFERENCE_TYPE_KEY, "else"),
            (REFERENCE_DIGEST_KEY, &digest),
        ]);
        check(&[
            (REFERENCE_TYPE_KEY, REFERENCE_TYPE),
            (REFERENCE_DIGEST_KEY, "sha256:1"),
        ]);
    }

    #[test]
    fn a_referrer_says_what_it_is_about_and_of_which_kind() {
        let image = Descriptor::new(MediaType::OciManifest, Digest::of(b"image"), 5);
        let referrer = referrer(&image, &statement("k"));
        let manifest = referrer.manifest.value();
        assert_eq!(
            manifest.artifact_type.as_deref(),
            Some(STATEMENT_MEDIA_TYPE)
        );
        assert_eq!(manifest.subject.as_ref(), Some(&image));
        assert_eq!(manifest.annotations[PREDICATE_TYPE_KEY], "k");
    }
}
