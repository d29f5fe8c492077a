//! Layers and a target become an image: configuration and manifest, in
//! canonical bytes.

use graph::{HistoryEntry, TargetImage};
use oci::{Descriptor, History, ImageConfig, Manifest, MediaType, Platform, Raw, RootFs};

use crate::annotations::Annotations;
use crate::output::StepOutput;

/// A finished image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Its configuration.
    pub config: Raw<ImageConfig>,
    /// Its manifest.
    pub manifest: Raw<Manifest>,
    /// Its layers, bottom first.
    pub output: StepOutput,
}

impl Image {
    /// A descriptor of the manifest.
    pub(crate) fn descriptor(&self) -> Descriptor {
        self.manifest.descriptor(MediaType::OciManifest)
    }

    /// What it runs on.
    pub(crate) fn platform(&self) -> Platform {
        platform_of(self.config.value())
    }
}

/// Puts an image together. `created` is RFC 3339, the same in every entry.
pub(crate) fn assemble(
    target: &TargetImage,
    output: StepOutput,
    annotations: &Annotations,
    created: &str,
) -> Image {
    let history = target
        .history
        .iter()
        .map(|entry| match entry {
            HistoryEntry::Base(history) => history.clone(),
            HistoryEntry::Made {
                created_by,
                comment,
                layer,
            } => History {
                created: Some(created.to_owned()),
                created_by: Some(created_by.clone()),
                comment: Some((*comment).to_owned()),
                empty_layer: layer.is_none(),
                ..History::default()
            },
        })
        .collect();
    let config = Raw::write(ImageConfig {
        created: Some(created.to_owned()),
        rootfs: RootFs {
            diff_ids: output.diff_ids(),
            ..RootFs::default()
        },
        history,
        ..target.config.clone()
    });
    let manifest = Raw::write(Manifest {
        schema_version: 2,
        media_type: Some(MediaType::OciManifest),
        artifact_type: None,
        config: config.descriptor(MediaType::OciConfig),
        layers: output
            .stack
            .iter()
            .map(|layer| layer.blob.clone())
            .collect(),
        subject: None,
        annotations: annotations.of_manifest(&platform_of(config.value())),
    });
    Image {
        config,
        manifest,
        output,
    }
}

/// What the image of a configuration runs on.
pub(crate) fn platform_of(config: &ImageConfig) -> Platform {
    let ImageConfig {
        os,
        architecture,
        variant,
        os_version,
        os_features,
        ..
    } = config;
    Platform {
        os: os.clone(),
        architecture: architecture.clone(),
        variant: variant.clone(),
        os_version: os_version.clone(),
        os_features: os_features.clone().unwrap_or_default(),
    }
}

/// Seconds since 1970 as RFC 3339 in UTC.
pub(crate) fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_as_go_does() {
        assert_eq!(super::rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(super::rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
    }
}
