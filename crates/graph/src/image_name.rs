//! How an image is named before it is looked up.

use std::fmt;

use oci::{Digest, Reference, Repository};

/// The name of an image that is to be looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ImageName {
    /// In a registry.
    Registry(Reference),
    /// In an OCI image layout of this machine, which only the user can name.
    Layout(LayoutImage),
}

/// An image in a directory with an OCI image layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayoutImage {
    /// The directory, as the user wrote it.
    pub directory: String,
    /// What the index calls the image (`org.opencontainers.image.ref.name`).
    pub tag: Option<String>,
    /// Of the manifest or index; wins over the tag.
    pub digest: Option<Digest>,
}

impl ImageName {
    /// As people write it.
    pub fn familiar(&self) -> String {
        match self {
            Self::Registry(reference) => reference.familiar(),
            Self::Layout(_) => self.to_string(),
        }
    }

    /// The same image, and no other: the name with the digest that was found.
    pub fn at(&self, digest: &Digest) -> String {
        match self {
            Self::Registry(reference) => reference.with_digest(digest.clone()).to_string(),
            Self::Layout(layout) => LayoutImage {
                digest: Some(digest.clone()),
                ..layout.clone()
            }
            .to_string(),
        }
    }

    /// Where its blobs can be had from a registry.
    pub fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Registry(reference) => Some(reference.repository()),
            Self::Layout(_) => None,
        }
    }
}

impl From<Reference> for ImageName {
    fn from(reference: Reference) -> Self {
        Self::Registry(reference)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(formatter),
            Self::Layout(layout) => layout.fmt(formatter),
        }
    }
}

impl fmt::Display for LayoutImage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            directory,
            tag,
            digest,
        } = self;
        write!(formatter, "oci-layout://{directory}")?;
        if let Some(tag) = tag {
            write!(formatter, ":{tag}")?;
        }
        match digest {
            Some(digest) => write!(formatter, "@{digest}"),
            None => Ok(()),
        }
    }
}
