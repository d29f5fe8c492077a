//! Why an image cannot be read.

use std::io;
use std::path::PathBuf;

use ::store::blob::BlobError;
use ::store::layer::TarReadError;
use oci::{Digest, DocumentError, Platform};

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A registry does not give it.
    #[error(transparent)]
    Registry(#[from] ::registry::Error),
    /// It is not there.
    #[error("{wanted} is not in {place}")]
    Absent {
        /// What was looked for.
        wanted: String,
        /// Where.
        place: String,
        /// What is there.
        known: Vec<String>,
    },
    /// There are several, and none was chosen.
    #[error("{place} holds {} images, and none was chosen", known.len())]
    Several {
        /// Where.
        place: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A file cannot be read.
    #[error("could not read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is there is something else.
    #[error("{} is no {expected}: {reason}", path.display())]
    Form {
        /// The file or directory.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// An archive is damaged.
    #[error("could not read the archive {}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TarReadError,
    },
    /// The store fails.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A document is not what its descriptor says.
    #[error("{digest} is not what points at it says: {reason}")]
    Mismatch {
        /// The document.
        digest: Digest,
        /// In what they differ.
        reason: String,
    },
    /// A document cannot be read, or in two ways.
    #[error("the document {digest} is refused")]
    Document {
        /// Which.
        digest: Digest,
        /// Why.
        source: DocumentError,
    },
    /// The image contradicts itself (D15).
    #[error("the image {manifest} is refused: {reason}")]
    Config {
        /// Its manifest.
        manifest: Digest,
        /// How.
        reason: String,
    },
    /// More than is read.
    #[error("the image is refused: {0}")]
    Bound(String),
    /// It is not for this platform.
    #[error("there is no image for {wanted}")]
    Platform {
        /// What was asked for.
        wanted: Box<Platform>,
        /// What there is.
        offered: Vec<String>,
    },
}

/// Names that a piece of advice lists.
const NAMES_SHOWN_MAX: usize = 10;

impl SourceError {
    /// Whether the user named a wrong thing.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Absent { .. }
            | Self::Several { .. }
            | Self::Form { .. }
            | Self::Platform { .. } => true,
            Self::File { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
            ),
            Self::Registry(_)
            | Self::Archive { .. }
            | Self::Blob(_)
            | Self::Mismatch { .. }
            | Self::Document { .. }
            | Self::Config { .. }
            | Self::Bound(_) => false,
        }
    }

    /// What the user can do about it.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.advice(),
            Self::Absent { known, place, .. } if known.is_empty() => {
                Some(format!("{place} holds no image with a name"))
            }
            Self::Absent { known, place, .. } => Some(format!("{place} has {}", listed(known))),
            Self::Several { known, .. } => Some(format!(
                "put the name behind the path, or `@` and the digest: there are {}",
                listed(known)
            )),
            Self::Platform { offered, .. } if offered.is_empty() => None,
            Self::Platform { offered, .. } => Some(format!("there is {}", listed(offered))),
            Self::Blob(BlobError::Absent(_)) => Some("build or pull the image again".to_owned()),
            Self::Blob(_)
            | Self::File { .. }
            | Self::Form { .. }
            | Self::Archive { .. }
            | Self::Mismatch { .. }
            | Self::Document { .. }
            | Self::Config { .. }
            | Self::Bound(_) => None,
        }
    }
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN_MAX);
    let shown: Vec<&str> = shown.map(String::as_str).collect();
    match names.len().saturating_sub(NAMES_SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
