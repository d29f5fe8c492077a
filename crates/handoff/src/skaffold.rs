//! What `skaffold deploy --build-artifacts` reads.

use serde_json::json;

use crate::PublishedImage;

/// The file that `skaffold build --file-output` writes, with a final newline.
pub fn skaffold(images: &[PublishedImage]) -> String {
    let builds: Vec<_> = images
        .iter()
        .map(|image| json!({"imageName": image.name, "tag": image.reference()}))
        .collect();
    let document = json!({ "builds": builds });
    format!("{document:#}\n")
}
