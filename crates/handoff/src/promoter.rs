//! What the image promoter of Kubernetes reads: digests, and the tags that they are to get.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::PublishedImage;
use crate::scalar::scalar;

/// A list of images, each with a map from digests to tags. An image without a tag is promoted by
/// digest alone.
pub fn promoter(images: &[PublishedImage]) -> String {
    let mut by_name: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for image in images {
        let digests = by_name.entry(&image.name).or_default();
        let tags = digests.entry(image.digest.as_str()).or_default();
        tags.extend(image.tag.as_ref().map(oci::Tag::as_str));
        tags.sort_unstable();
        tags.dedup();
    }
    let mut out = String::new();
    for (name, digests) in by_name {
        let _ = writeln!(out, "- name: {}\n  dmap:", scalar(name));
        for (digest, tags) in digests {
            let tags: Vec<String> = tags
                .iter()
                .map(|tag| serde_json::Value::from(*tag).to_string())
                .collect();
            let _ = writeln!(out, "    \"{digest}\": [{}]", tags.join(", "));
        }
    }
    out
}
