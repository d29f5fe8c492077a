//! What a publication that failed left behind: for every destination what is there, what is not,
//! and why.

use std::fmt;
use std::sync::Arc;

use oci::{Digest, Reference, Repository};
use store::DiskError;

use crate::{SealError, UploadError};

/// Why an image is not in a repository, or not all that belongs to it.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// A blob did not arrive.
    #[error(transparent)]
    Upload(Arc<UploadError>),
    /// The registry did not do what it was asked.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// It was not sealed.
    #[error("could not seal it with {seal}")]
    Seal {
        /// Which seal.
        seal: String,
        /// Why.
        #[source]
        source: SealError,
    },
    /// An attachment does not come with what its manifest names.
    #[error("the attachment {attachment} names the blob {blob} and does not have it")]
    Hollow {
        /// The attachment's manifest.
        attachment: Digest,
        /// What it lacks.
        blob: Digest,
    },
    /// Signatures cannot be stored where they belong.
    #[error("{tag}, where signatures belong, is an index")]
    Occupied {
        /// The tag made from the digest.
        tag: Reference,
    },
    /// Others store signatures at the same time, again and again, or there are too many.
    #[error("the signature could not be added to those of {tag}")]
    Crowded {
        /// The tag made from the digest.
        tag: Reference,
    },
    /// What was sealed could not be noted.
    #[error(transparent)]
    Journal(#[from] DiskError),
}

impl DestinationError {
    /// What the user can do about it.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Upload(error) => match &**error {
                UploadError::Registry(error) => error.advice(),
                UploadError::Fault(_) => {
                    Some("build the image again: what was damaged is made anew".to_owned())
                }
                UploadError::Lost(_) => {
                    Some("build the image again, with `--no-cache` if need be".to_owned())
                }
                UploadError::Stopped(_) => None,
            },
            Self::Registry(error) => error.advice(),
            Self::Seal { source, .. } => source.advice.clone(),
            Self::Hollow { .. } | Self::Occupied { .. } | Self::Journal(_) => None,
            Self::Crowded { .. } => Some("try again".to_owned()),
        }
    }
}

/// How much of an image is in a repository; each includes what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// Nothing was sent.
    Nothing,
    /// Configurations and layers.
    Blobs,
    /// Manifests and indices, by digest.
    Image,
    /// All that must stand beside it.
    Sealed,
    /// Tags that never move.
    ImmutableTags,
    /// All tags: it is published.
    Tags,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing is there",
            Self::Blobs => "layers are there, no manifest is",
            Self::Image => "the image is there by digest, no tag points at it",
            Self::Sealed => {
                "the image is there by digest with all that belongs to it, no tag was moved"
            }
            Self::ImmutableTags => "immutable tags are set, no floating tag was moved",
            Self::Tags => "published",
        })
    }
}

/// How one destination ended.
#[derive(Debug)]
pub struct Standing {
    /// The image.
    pub name: String,
    /// Where it was to go.
    pub repository: Repository,
    /// Its digest.
    pub digest: Digest,
    /// What is there for certain.
    pub reached: Reached,
    /// Why there is not more; `None` where only others failed.
    pub failure: Option<DestinationError>,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}: ", self.repository, self.digest)?;
        let Some(failure) = &self.failure else {
            return write!(f, "{}", self.reached);
        };
        write!(f, "{failure}")?;
        // What the failure does not say itself.
        if let DestinationError::Seal { source, .. } = failure {
            write!(f, ": {source}")?;
        }
        match self.reached {
            Reached::Nothing => Ok(()),
            Reached::Blobs
            | Reached::Image
            | Reached::Sealed
            | Reached::ImmutableTags
            | Reached::Tags => write!(f, " ({})", self.reached),
        }
    }
}

/// A floating tag that was moved, and had to be put back because another one could not be moved.
#[derive(Debug)]
pub struct PutBack {
    /// The tag.
    pub reference: Reference,
    /// Where it was before; `None` where there was no such tag.
    pub previous: Option<Digest>,
    /// Why it is still where it was moved to.
    pub failure: Option<registry::Error>,
}

impl fmt::Display for PutBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            reference,
            previous,
            failure,
        } = self;
        match (previous, failure) {
            (Some(previous), None) => write!(f, "{reference} was put back to {previous}"),
            (None, None) => write!(f, "{reference} was removed again"),
            (Some(previous), Some(why)) => {
                write!(f, "{reference} could not be put back to {previous}: {why}")
            }
            (None, Some(why)) => write!(f, "{reference} is new and stays: {why}"),
        }
    }
}

/// All of a publication that failed.
#[derive(Debug)]
pub struct Unfinished {
    /// Every destination, in the order of the publication. At least one has a failure.
    pub destinations: Vec<Standing>,
    /// Floating tags that were moved before something failed.
    pub put_back: Vec<PutBack>,
}

impl Unfinished {
    /// The failures.
    pub fn failures(&self) -> impl Iterator<Item = &DestinationError> {
        self.destinations
            .iter()
            .filter_map(|standing| standing.failure.as_ref())
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.destinations.as_slice() {
            [
                Standing {
                    failure: Some(failure),
                    ..
                },
            ] => write!(f, "{failure}")?,
            all => {
                let failed = self.failures().count();
                write!(f, "{failed} of {} destinations failed", all.len())?;
                if self.put_back.is_empty() {
                    f.write_str(", and no floating tag was moved in any")?;
                }
                for standing in all {
                    write!(f, "\n{standing}")?;
                }
            }
        }
        for tag in &self.put_back {
            write!(f, "\n{tag}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unfinished {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.destinations.as_slice() {
            // The text is the failure's.
            [
                Standing {
                    failure: Some(failure),
                    ..
                },
            ] => failure.source(),
            _ => None,
        }
    }
}
