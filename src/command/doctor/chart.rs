//! Whether a chart reads the values that `kiln emit helm` would write.

use std::path::Path;

use handoff::{HelmValues, PublishedImage};
use oci::Digest;
use project::Project;

use super::finding::{Finding, Level};
use crate::command::emit::helm::{check_texts, shape};

const CHECK: &str = "chart";

/// Stands for the image's repository, which is not what is judged.
const STAND_IN: &str = "registry.example/image";

/// Judges the values of all images that say where they belong.
pub(super) fn check(directory: &Path, project: Option<&Project>) -> Vec<Finding> {
    let images = project.into_iter().flat_map(|project| &project.images);
    let mut findings = Vec::new();
    for (name, image) in images {
        let Some(helm) = &image.helm else { continue };
        let Ok(repository) = STAND_IN.parse() else {
            continue;
        };
        let image = PublishedImage {
            name: name.clone(),
            repository,
            tag: "v1".parse().ok(),
            digest: Digest::of(b""),
        };
        let mut values = HelmValues::default();
        let put = shape(helm.shape)
            .parse()
            .map_err(|error| format!("{error}"))
            .and_then(|shape| {
                let put = values.put(&helm.path, &shape, &image);
                put.map_err(|error| error.to_string())
            });
        findings.push(match (put, check_texts(directory, &values)) {
            (Err(error), _) => Finding::problem(CHECK, format!("{name}: {error}")),
            (Ok(()), Err(error)) => {
                let finding = Finding::of_error(Level::Problem, CHECK, &error);
                let said = format!("{name}: {}", finding.said);
                Finding { said, ..finding }
            }
            (Ok(()), Ok(())) => Finding::ok(
                CHECK,
                format!("{name}: {} reads `{}`", directory.display(), helm.path),
            ),
        });
    }
    if findings.is_empty() {
        findings.push(
            Finding::warning(CHECK, "no image says where it belongs in values of a chart")
                .fix("`helm: {path: ..., shape: ...}` of an image in kiln.yaml"),
        );
    }
    findings
}
