//! Media types: the ones that kiln writes or must recognise, and all others as
//! text.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a layer blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip, RFC 1952; the default everywhere.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// A media type of the image specification or of Docker's schema 2.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaType {
    /// `application/vnd.oci.image.index.v1+json`
    OciIndex,
    /// `application/vnd.oci.image.manifest.v1+json`
    OciManifest,
    /// `application/vnd.oci.image.config.v1+json`
    OciConfig,
    /// `application/vnd.oci.image.layer.v1.tar` with its compression suffix.
    OciLayer(Compression),
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerIndex,
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// `application/vnd.docker.container.image.v1+json`
    DockerConfig,
    /// `application/vnd.docker.image.rootfs.diff.tar` with its suffix.
    DockerLayer(Compression),
    /// Everything else, as it was written.
    Other(Box<str>),
}

impl MediaType {
    /// The type as it stands in documents and headers.
    pub fn as_str(&self) -> &str {
        match self {
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
            Self::OciConfig => "application/vnd.oci.image.config.v1+json",
            Self::OciLayer(Compression::None) => "application/vnd.oci.image.layer.v1.tar",
            Self::OciLayer(Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::OciLayer(Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            Self::DockerIndex => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerConfig => "application/vnd.docker.container.image.v1+json",
            Self::DockerLayer(Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
            Self::DockerLayer(Compression::Gzip) => {
                "application/vnd.docker.image.rootfs.diff.tar.gzip"
            }
            Self::DockerLayer(Compression::Zstd) => {
                "application/vnd.docker.image.rootfs.diff.tar.zstd"
            }
            Self::Other(text) => text,
        }
    }

    /// Whether this is a list of manifests.
    pub fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerIndex)
    }

    /// Whether this is a manifest of one image.
    pub fn is_manifest(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest)
    }

    /// The compression of a layer; `None` when this is not a layer that kiln
    /// can read.
    pub fn layer_compression(&self) -> Option<Compression> {
        match self {
            Self::OciLayer(compression) | Self::DockerLayer(compression) => Some(*compression),
            Self::OciIndex
            | Self::OciManifest
            | Self::OciConfig
            | Self::DockerIndex
            | Self::DockerManifest
            | Self::DockerConfig
            | Self::Other(_) => None,
        }
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        let known = [
            Self::OciIndex,
            Self::OciManifest,
            Self::OciConfig,
            Self::OciLayer(Compression::None),
            Self::OciLayer(Compression::Gzip),
            Self::OciLayer(Compression::Zstd),
            Self::DockerIndex,
            Self::DockerManifest,
            Self::DockerConfig,
            Self::DockerLayer(Compression::None),
            Self::DockerLayer(Compression::Gzip),
            Self::DockerLayer(Compression::Zstd),
        ];
        known
            .into_iter()
            .find(|known| known.as_str() == text)
            .unwrap_or_else(|| Self::Other(text.into()))
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::from(&*text))
    }
}
