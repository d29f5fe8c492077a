//! A cache in an image: an annotation of its manifest says which of its layers came of
//! which key. What is in the image is all that there is (`mode=min`).

use std::collections::BTreeMap;
use std::sync::Arc;

use oci::{DiffId, Digest, Document, Manifest, Reference};
use registry::Client;
use serde::{Deserialize, Serialize};

use super::catalogue::{Catalogue, Kept};
use crate::output::LayerRef;

/// The annotation.
pub(crate) const ANNOTATION: &str = "dev.kiln.cache.v1";
/// The longest value that is read, in bytes.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// The most images of an index that are looked at.
const IMAGES_MAX: usize = 16;

/// Which layers came of which keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    diff_ids: Vec<DiffId>,
    /// For each key how many layers it stands for, from the bottom.
    records: BTreeMap<Digest, usize>,
}

/// The value of the annotation for an image with these layers.
pub(crate) fn value(layers: &[LayerRef], records: &BTreeMap<Digest, usize>) -> String {
    let text = Text {
        diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
        records: records.clone(),
    };
    serde_json::to_string(&text).expect("digests and numbers are JSON")
}

/// What the images under a name know; nothing when they say nothing.
pub(crate) async fn read(
    client: &Client,
    reference: &Reference,
) -> Result<Option<Catalogue>, registry::Error> {
    let mut catalogue = Catalogue::default();
    let mut says_something = false;
    match client.manifest(reference).await? {
        Document::Manifest(manifest) => {
            says_something |= add(&mut catalogue, manifest.value()).is_some();
        }
        Document::Index(index) => {
            for entry in index.value().manifests.iter().take(IMAGES_MAX) {
                if !entry.media_type.is_manifest() {
                    continue;
                }
                let image = reference.repository().at_digest(entry.digest.clone());
                if let Document::Manifest(manifest) = client.manifest(&image).await? {
                    says_something |= add(&mut catalogue, manifest.value()).is_some();
                }
            }
        }
    }
    Ok(says_something.then_some(catalogue))
}

fn add(catalogue: &mut Catalogue, manifest: &Manifest) -> Option<()> {
    let text = manifest.annotations.get(ANNOTATION)?;
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let text: Text = serde_json::from_str(text).ok()?;
    if text.diff_ids.len() != manifest.layers.len() {
        return None;
    }
    let layers: Vec<Arc<LayerRef>> = text
        .diff_ids
        .into_iter()
        .zip(&manifest.layers)
        .map(|(diff_id, blob)| {
            Arc::new(LayerRef {
                diff_id,
                blob: blob.clone(),
            })
        })
        .collect();
    for (key, count) in text.records {
        if let Some(layers) = layers.get(..count) {
            catalogue.add(key, Kept::of_layers(layers.to_vec()));
        }
    }
    for layer in &layers {
        catalogue.hold(&layer.blob);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use oci::{Compression, Descriptor, MediaType};

    use super::*;

    fn layer(name: &str) -> LayerRef {
        LayerRef {
            diff_id: DiffId(Digest::of(format!("{name} unpacked").as_bytes())),
            blob: Descriptor::new(
                MediaType::OciLayer(Compression::Gzip),
                Digest::of(name.as_bytes()),
                1,
            ),
        }
    }

    fn read_from(annotation: &str) -> Option<Catalogue> {
        let mut catalogue = Catalogue::default();
        let manifest = Manifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: layer("config").blob,
            layers: vec![layer("a").blob, layer("b").blob],
            subject: None,
            annotations: [(ANNOTATION.to_owned(), annotation.to_owned())].into(),
        };
        add(&mut catalogue, &manifest).map(|()| catalogue)
    }

    #[test]
    fn an_image_knows_its_layers() {
        let (one, two, far) = (Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3"));
        let records = [(one.clone(), 1), (two.clone(), 2), (far.clone(), 3)].into();
        let catalogue = read_from(&value(&[layer("a"), layer("b")], &records)).unwrap();
        assert_eq!(catalogue.get(&one).unwrap().layers, [Arc::new(layer("a"))]);
        assert_eq!(catalogue.get(&two).unwrap().layers.len(), 2);
        assert!(catalogue.get(&far).is_none());
        assert!(catalogue.holds(&layer("b").blob.digest));
    }

    #[test]
    fn other_texts_say_nothing() {
        for text in ["", "[]", "{", r#"{"diff_ids":[],"records":{}}"#] {
            assert_eq!(read_from(text), None, "{text}");
        }
    }
}
