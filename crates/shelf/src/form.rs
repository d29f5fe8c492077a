//! How a document is kept among images: as an OCI image manifest like any other.
//! Registries refuse indexes of blobs and configurations of unknown types; none
//! refuses an image.
//!
//! ```text
//! manifest ─ config    an image configuration for nobody (unknown/unknown)
//!          └ layers[0] the body, of a type of its own
//!            layers[1…] the blobs
//! ```

use oci::{
    Descriptor, DiffId, Digest, Document as OciDocument, ImageConfig, Manifest, MediaType, Raw,
    RootFs,
};

use crate::Document;

/// The type of a body.
const BODY_TYPE: &str = "application/vnd.kiln.shelf.document.v1";
/// The longest body, in bytes. A catalogue of a thousand steps has some 100 KB.
pub(crate) const BODY_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// No machine.
const NOBODY: &str = "unknown";

/// The documents of a document.
pub(crate) struct Form {
    pub(crate) manifest: Raw<Manifest>,
    pub(crate) config: Raw<ImageConfig>,
    pub(crate) body: Descriptor,
}

impl Form {
    /// The form of a document.
    pub(crate) fn of(document: &Document) -> Self {
        let body = Descriptor::new(
            MediaType::from(BODY_TYPE),
            Digest::of(&document.body),
            document.body.len() as u64,
        );
        let layers: Vec<Descriptor> = std::iter::once(&body)
            .chain(&document.blobs)
            .map(|blob| Descriptor::new(blob.media_type.clone(), blob.digest.clone(), blob.size))
            .collect();
        // As many diff ids as layers, for readers that count. Whoever tries to run this
        // finds them wrong, which is right.
        let config = Raw::write(ImageConfig {
            architecture: NOBODY.to_owned(),
            os: NOBODY.to_owned(),
            rootfs: RootFs {
                diff_ids: layers
                    .iter()
                    .map(|layer| DiffId(layer.digest.clone()))
                    .collect(),
                ..RootFs::default()
            },
            ..ImageConfig::default()
        });
        let manifest = Raw::write(Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            artifact_type: None,
            config: config.descriptor(MediaType::OciConfig),
            layers,
            subject: None,
            annotations: Default::default(),
        });
        Self {
            manifest,
            config,
            body,
        }
    }
}

/// Where the body is, and the blobs; nothing when this is not a document of ours.
pub(crate) fn read(document: &OciDocument) -> Option<(Descriptor, Vec<Descriptor>)> {
    let OciDocument::Manifest(manifest) = document else {
        return None;
    };
    let (body, blobs) = manifest.value().layers.split_first()?;
    (body.media_type.as_str() == BODY_TYPE).then(|| (body.clone(), blobs.to_vec()))
}

/// What is there instead of a document of ours, for people.
pub(crate) fn what_else(document: &OciDocument) -> &'static str {
    let is_of_buildkit = |descriptor: &Descriptor| {
        let media_type = descriptor.media_type.as_str();
        media_type.starts_with("application/vnd.buildkit.cacheconfig")
    };
    match document {
        OciDocument::Manifest(manifest) if is_of_buildkit(&manifest.value().config) => {
            "it is a cache of BuildKit"
        }
        OciDocument::Manifest(_) => "it is an image",
        OciDocument::Index(index) if index.value().manifests.iter().any(is_of_buildkit) => {
            "it is a cache of BuildKit"
        }
        OciDocument::Index(_) => "it is an image index",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_images_and_come_back() {
        let layer = b"a layer";
        let document = Document {
            body: bytes::Bytes::from_static(b"{}"),
            blobs: vec![Descriptor::new(
                MediaType::OciLayer(oci::Compression::Gzip),
                Digest::of(layer),
                layer.len() as u64,
            )],
        };
        let form = Form::of(&document);
        let written = OciDocument::read(form.manifest.bytes(), None).unwrap();
        let (body, blobs) = read(&written).unwrap();
        assert!(body.digest.matches(&document.body));
        assert_eq!(blobs, document.blobs);
        let config = form.config.value();
        assert_eq!(
            config.rootfs.diff_ids.len(),
            form.manifest.value().layers.len()
        );
    }

    #[test]
    fn other_things_are_told_apart() {
        let check = |text: &str, expected: &str| {
            let document = OciDocument::read(text.as_bytes(), None).unwrap();
            assert_eq!(read(&document), None, "{text}");
            assert_eq!(what_else(&document), expected, "{text}");
        };
        let digest = format!("sha256:{}", "0".repeat(64));
        let descriptor =
            |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":1}}"#);
        let config = descriptor("application/vnd.oci.image.config.v1+json");
        let cache = descriptor("application/vnd.buildkit.cacheconfig.v0");
        let layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip");
        let manifest = |config: &str, layers: &str| {
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{config},"layers":[{layers}]}}"#
            )
        };
        let index = |manifests: &str| {
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{manifests}]}}"#
            )
        };
        check(&manifest(&config, &layer), "it is an image");
        check(&manifest(&config, ""), "it is an image");
        check(&manifest(&cache, &layer), "it is a cache of BuildKit");
        check(
            &index(&format!("{layer},{cache}")),
            "it is a cache of BuildKit",
        );
        check(&index(""), "it is an image index");
    }
}
