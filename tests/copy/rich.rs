//! An image with everything that an image can have.

use std::collections::BTreeMap;

use oci::{Attachment, Descriptor, Digest, Index, MediaType, Platform, Raw};
use serde_json::json;
use testkit::{Layer, Registry, image};

/// An index with two platforms, an attestation as BuildKit has it, and everything that may belong
/// to an image.
pub(crate) struct Rich {
    pub(crate) index: Digest,
    pub(crate) images: Vec<Digest>,
    pub(crate) attestation: Digest,
    /// A signature of the index, and a note about the signature.
    pub(crate) signature: Digest,
    pub(crate) note: Digest,
    /// A list of contents of the first image.
    pub(crate) contents: Digest,
    /// cosign's tag for the index.
    pub(crate) cosign_tag: String,
    pub(crate) cosign: Digest,
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn descriptor(digest: &Digest, bytes: usize) -> Descriptor {
    Descriptor::new(MediaType::OciManifest, digest.clone(), bytes as u64)
}

fn text_layer(media_type: &str, text: &str) -> (MediaType, Vec<u8>, BTreeMap<String, String>) {
    (
        MediaType::Other(media_type.into()),
        text.as_bytes().to_vec(),
        BTreeMap::new(),
    )
}

/// Stores an attachment under its digest, or a tag.
fn seed_attachment(
    registry: &Registry,
    repository: &str,
    attachment: &Attachment,
    tag: Option<&str>,
) -> Digest {
    for blob in &attachment.blobs {
        registry.put_blob(repository, blob.bytes.clone());
    }
    let digest = attachment.manifest.digest().clone();
    let name = tag.unwrap_or(digest.as_str());
    let bytes = attachment.manifest.bytes().to_vec();
    registry.put_manifest(repository, name, OCI_MANIFEST, bytes)
}

/// Seeds one, tagged `1`.
pub(crate) fn seed_rich(registry: &Registry, repository: &str) -> Rich {
    let mut entries = Vec::new();
    let mut images = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let built = image()
            .architecture(architecture)
            .layer(Layer::new().file("/etc/shared", "for all"))
            .layer(Layer::new().file("/etc/own", architecture))
            .env("GREETING=hello")
            .config("Entrypoint", json!(["/bin/app"]))
            .config("Labels", json!({"team": "lattice"}))
            .build();
        registry.seed(repository, built.digest.as_str(), &built);
        let mut entry = descriptor(&built.digest, built.manifest.len());
        entry.platform = Some(Platform::normalised("linux", architecture, None));
        entries.push(entry);
        images.push(built.digest);
    }
    // BuildKit's attestation: an image for no platform.
    let statement = r#"{"_type":"https://in-toto.io/Statement/v0.1"}"#;
    let config = format!(
        r#"{{"architecture":"unknown","os":"unknown","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::of(statement.as_bytes())
    );
    registry.put_blob(repository, statement.as_bytes().to_vec());
    registry.put_blob(repository, config.clone().into_bytes());
    let mut layer = Descriptor::new(
        MediaType::Other("application/vnd.in-toto+json".into()),
        Digest::of(statement.as_bytes()),
        statement.len() as u64,
    );
    layer.annotations.insert(
        "in-toto.io/predicate-type".into(),
        "https://slsa.dev/provenance/v1".into(),
    );
    let manifest = Raw::write(oci::Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OciManifest),
        artifact_type: None,
        config: Descriptor::new(
            MediaType::OciConfig,
            Digest::of(config.as_bytes()),
            config.len() as u64,
        ),
        layers: vec![layer],
        subject: None,
        annotations: BTreeMap::new(),
    });
    let attestation = manifest.digest().clone();
    let bytes = manifest.bytes().to_vec();
    let mut entry = descriptor(&attestation, bytes.len());
    registry.put_manifest(repository, attestation.as_str(), OCI_MANIFEST, bytes);
    entry.platform = Some(Platform {
        os: "unknown".into(),
        architecture: "unknown".into(),
        variant: None,
        os_version: None,
        os_features: Vec::new(),
    });
    entry.annotations = BTreeMap::from([
        (
            "vnd.docker.reference.type".to_owned(),
            "attestation-manifest".to_owned(),
        ),
        (
            "vnd.docker.reference.digest".to_owned(),
            images[0].to_string(),
        ),
    ]);
    entries.push(entry);
    // Blanks that a rewriter would lose.
    let index = serde_json::to_string_pretty(&Index {
        schema_version: 2,
        media_type: Some(MediaType::OciIndex),
        artifact_type: None,
        manifests: entries.clone(),
        subject: None,
        annotations: BTreeMap::from([("who".to_owned(), "we".to_owned())]),
    })
    .expect("an index");
    let size = index.len();
    let index = registry.put_manifest(repository, "1", MediaType::OciIndex.as_str(), index);
    let of_index = Descriptor::new(MediaType::OciIndex, index.clone(), size as u64);
    let made = |when: &str| {
        BTreeMap::from([(
            "org.opencontainers.image.created".to_owned(),
            when.to_owned(),
        )])
    };
    let signature = Attachment::referrer(
        "application/vnd.cncf.notary.signature",
        of_index,
        vec![text_layer("application/jose+json", "{\"signed\":1}")],
        made("2026-01-01T00:00:00Z"),
    );
    let of_signature = descriptor(
        signature.manifest.digest(),
        signature.manifest.bytes().len(),
    );
    let note = Attachment::referrer(
        "application/vnd.example.note",
        of_signature,
        vec![text_layer("text/plain", "looked at")],
        made("2026-01-02T00:00:00Z"),
    );
    let contents = Attachment::referrer(
        "application/spdx+json",
        entries[0].clone(),
        vec![text_layer("application/spdx+json", "{\"packages\":[]}")],
        made("2026-01-03T00:00:00Z"),
    );
    let cosign_tag = format!("sha256-{}.sig", index.hex());
    let cosign = Raw::write(oci::Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OciManifest),
        artifact_type: None,
        config: Attachment::empty_config(),
        layers: Vec::new(),
        subject: None,
        annotations: BTreeMap::from([("by".to_owned(), "cosign".to_owned())]),
    });
    registry.put_blob(repository, oci::EMPTY_CONFIG.to_vec());
    let bytes = cosign.bytes().to_vec();
    registry.put_manifest(repository, &cosign_tag, OCI_MANIFEST, bytes);
    Rich {
        index,
        images,
        attestation,
        signature: seed_attachment(registry, repository, &signature, None),
        note: seed_attachment(registry, repository, &note, None),
        contents: seed_attachment(registry, repository, &contents, None),
        cosign_tag,
        cosign: cosign.digest().clone(),
    }
}
