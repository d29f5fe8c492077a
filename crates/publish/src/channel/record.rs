//! The form of a record, and the artifact that it is kept as.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use oci::{
    Attachment, Descriptor, Digest, Document, Manifest, MediaType, Platform, Raw, Repository, Tag,
};
use serde::{Deserialize, Serialize};

use super::held::Held;
use crate::Content;

/// The version of the form of [`ChannelRecord`].
pub const CHANNEL_SCHEMA: u32 = 1;

/// The type of the artifact.
pub const CHANNEL_ARTIFACT: &str = "application/vnd.kiln.channel.v1+json";

/// The type of its one layer.
pub const CHANNEL_LAYER: &str = "application/vnd.kiln.channel.record.v1+json";

/// The tag of the record that a channel has now.
pub const CURRENT_TAG: &str = "current";

/// The longest record that is read or written, in bytes.
pub const RECORD_BYTES_MAX: u64 = 1024 * 1024;

/// The most images that a channel can have, variants counted.
pub const CHANNEL_IMAGES_MAX: usize = 2048;

/// The longest text in a record, in bytes: a name, a commit, a person.
const TEXT_BYTES_MAX: usize = 1024;

/// What a channel holds. Fields are added, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRecord {
    /// The version of this form: [`CHANNEL_SCHEMA`].
    pub schema: u32,
    /// The channel.
    pub channel: String,
    /// The commit that the channel is of; of a mixed one, that of the last push.
    pub commit: Option<String>,
    /// Whether there was more than was committed.
    pub dirty: bool,
    /// Whether its images come from several pushes.
    pub mixed: bool,
    /// Who moved it.
    pub who: Who,
    /// When, RFC 3339 in UTC.
    pub when: String,
    /// The program and its version.
    pub tool: String,
    /// The digest of the record before.
    pub previous: Option<Digest>,
    /// Where the images come from, when they were not built for this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<ChannelOrigin>,
    /// What was overridden to move it.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overridden: Option<ChannelOverride>,
    /// The tag that is moved in the repositories of the images.
    pub tag: String,
    /// The images, by name and variant.
    pub images: Vec<ChannelImage>,
}

/// Who moved a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// A verified subject, or what the user is called on that machine.
    pub name: String,
    /// Whether somebody's signature says so.
    pub verified: bool,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// Where the images come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ChannelOrigin {
    /// Another channel, as its record says.
    Promoted {
        /// The channel.
        channel: String,
        /// Its record.
        record: Digest,
    },
    /// An earlier record of this channel.
    Restored {
        /// That record.
        record: Digest,
    },
}

/// Rules that did not hold when somebody moved a protected channel by spelling its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelOverride {
    /// The rules, as they are written.
    pub rules: Vec<String>,
}

/// An image in a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelImage {
    /// Its name in the declaration.
    pub name: String,
    /// Its variant.
    pub variant: String,
    /// Its path below the channel.
    pub path: String,
    /// Its repository, such as `registry.example/kevin/epp`.
    pub repository: String,
    /// The manifest or index.
    pub digest: Digest,
    /// What it runs on.
    pub platforms: Vec<Platform>,
    /// Tags in its repository that never move: they keep it from being taken for garbage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The digest of everything that it was made from, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<Digest>,
    /// The commit that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A record of this channel is something else.
    #[error("it is not a record of a channel: {0}")]
    NotARecord(String),
    /// Not JSON, or not of the form.
    #[error("its form is wrong")]
    Json(#[from] serde_json::Error),
    /// Written by a newer version.
    #[error(
        "it has the form {0}, which is newer than what this version of kiln reads ({CHANNEL_SCHEMA})"
    )]
    Newer(u32),
    /// The record of another channel.
    #[error("it is the record of the channel `{0}`")]
    OtherChannel(String),
    /// Too much of something, or something that cannot be.
    #[error("{0}")]
    Bounds(String),
}

impl ChannelRecord {
    /// Reads the JSON of a record.
    ///
    /// # Errors
    ///
    /// For everything that [`Self::to_json`] does not write.
    pub fn from_json(json: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        if json.len() as u64 > RECORD_BYTES_MAX {
            return Err(RecordError::Bounds(format!(
                "it has {} bytes, more than {RECORD_BYTES_MAX}",
                json.len()
            )));
        }
        // The version first: a newer form may be wrong in the eyes of this one.
        let version: Version = serde_json::from_slice(json)?;
        if version.schema > CHANNEL_SCHEMA {
            return Err(RecordError::Newer(version.schema));
        }
        let record: Self = serde_json::from_slice(json)?;
        match record.fault() {
            None => Ok(record),
            Some(fault) => Err(RecordError::Bounds(fault)),
        }
    }

    /// Canonical JSON (RFC 8785).
    pub fn to_json(&self) -> Vec<u8> {
        Raw::write(self.clone()).bytes().to_vec()
    }

    /// What is wrong with it, whoever wrote it: its texts reach terminals and shells.
    pub fn fault(&self) -> Option<String> {
        if self.images.len() > CHANNEL_IMAGES_MAX {
            return Some(format!(
                "it has {} images, more than {CHANNEL_IMAGES_MAX}",
                self.images.len()
            ));
        }
        let texts = [
            &self.channel,
            &self.who.name,
            &self.when,
            &self.tool,
            &self.tag,
        ];
        let own = texts
            .into_iter()
            .chain(&self.commit)
            .chain(&self.who.issuer)
            .chain(self.overridden.iter().flat_map(|forced| &forced.rules));
        let of_images = self.images.iter().flat_map(|image| {
            [&image.name, &image.variant, &image.path, &image.repository]
                .into_iter()
                .chain(&image.commit)
        });
        for text in own.chain(of_images) {
            if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
                return Some("a text in it is too long, or has control characters".to_owned());
            }
        }
        if self.tag.parse::<Tag>().is_err() {
            return Some(format!("`{}` is not a tag", self.tag));
        }
        let mut members = std::collections::BTreeSet::new();
        let mut repositories = std::collections::BTreeSet::new();
        for image in &self.images {
            let what = format!("{} ({})", image.name, image.variant);
            if image.tags.iter().any(|tag| tag.parse::<Tag>().is_err()) {
                return Some(format!("a tag of {what} is none"));
            }
            if image.repository.parse::<Repository>().is_err() {
                return Some(format!("the repository of {what} is none"));
            }
            if !members.insert((&image.name, &image.variant))
                || !repositories.insert(&image.repository)
            {
                return Some(format!("{what} is in it twice"));
            }
        }
        None
    }

    /// The artifact: its manifest, and what the manifest names.
    pub fn content(&self) -> Content {
        let json = self.to_json();
        let layer = Descriptor::new(
            MediaType::Other(CHANNEL_LAYER.into()),
            Digest::of(&json),
            json.len() as u64,
        );
        let config = Attachment::empty_config();
        let mut annotations = BTreeMap::from([(
            "org.opencontainers.image.created".to_owned(),
            self.when.clone(),
        )]);
        if let Some(commit) = &self.commit {
            let revision = "org.opencontainers.image.revision".to_owned();
            annotations.insert(revision, commit.clone());
        }
        let blobs = Held::new([
            (config.digest.clone(), Bytes::from_static(oci::EMPTY_CONFIG)),
            (layer.digest.clone(), Bytes::from(json)),
        ]);
        let manifest = Raw::write(Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            artifact_type: Some(CHANNEL_ARTIFACT.to_owned()),
            config,
            layers: vec![layer],
            subject: None,
            annotations,
        });
        Content {
            root: manifest.descriptor(MediaType::OciManifest),
            documents: vec![Document::Manifest(Box::new(manifest))],
            blobs: Arc::new(blobs),
        }
    }

    /// The tags of the record, the last of them [`CURRENT_TAG`]: one of its own, that keeps it from
    /// being taken for garbage, then those that move.
    pub fn tags(&self, digest: &Digest) -> (Vec<Tag>, Vec<Tag>) {
        let tag = |text: &str| text.parse::<Tag>().ok();
        let own = tag(&format!("record-{}", &digest.hex()[..16]));
        let commit = self.commit.as_deref().and_then(|commit| match self.dirty {
            false => tag(commit),
            true => tag(&format!("{commit}-dirty")),
        });
        let moving = commit.into_iter().chain(tag(CURRENT_TAG));
        (own.into_iter().collect(), moving.collect())
    }

    /// The image of a name in a variant.
    pub fn image(&self, name: &str, variant: &str) -> Option<&ChannelImage> {
        let mut images = self.images.iter();
        images.find(|image| image.name == name && image.variant == variant)
    }
}

#[cfg(test)]
mod tests;
