//! The `images` of a kustomization.

use std::fmt::Write as _;

use crate::PublishedImage;
use crate::scalar::scalar;

/// A kustomization (kind `Component`, so that it can be listed under `components`) that puts the
/// published images in the place of images that manifests name by `name`.
pub fn kustomize(images: &[PublishedImage]) -> String {
    let mut out =
        String::from("apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages:\n");
    for image in images {
        let repository = image.repository.to_string();
        let _ = writeln!(out, "  - name: {}", scalar(&image.name));
        let _ = writeln!(out, "    newName: {}", scalar(&repository));
        let _ = writeln!(out, "    digest: {}", scalar(image.digest.as_str()));
    }
    out
}
