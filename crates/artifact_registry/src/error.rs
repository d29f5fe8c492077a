//! Why a call failed, and what to do about it.

use google::GoogleError;

/// Why a reference is in no repository of Artifact Registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Another registry.
    #[error(
        "{0} is not Artifact Registry: its hosts are LOCATION-docker.pkg.dev, \
         docker.LOCATION.rep.pkg.dev and gcr.io"
    )]
    Foreign(String),
    /// No project.
    #[error("{0} names no project: expected HOST/PROJECT/REPOSITORY")]
    NoProject(String),
    /// No repository.
    #[error("{0} names no repository: expected HOST/PROJECT/REPOSITORY")]
    NoRepository(String),
    /// A name that no repository has.
    #[error(
        "`{0}` cannot be the name of a repository: it begins with a small letter, goes on with small \
         letters, digits and hyphens, does not end with a hyphen, and has at most 63 characters"
    )]
    Name(String),
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no token.
    #[error("Artifact Registry cannot be asked without an account")]
    Account(#[from] GoogleError),
    /// No answer.
    #[error("Artifact Registry cannot be reached: {0}")]
    Unreachable(String),
    /// The answer is no.
    #[error("Artifact Registry refuses to {action}: {message} ({status})")]
    Refused {
        /// What was asked, with its object.
        action: String,
        /// Such as `PERMISSION_DENIED`, or the status of HTTP.
        status: String,
        /// In the service's words.
        message: String,
        /// What to do about it.
        advice: Option<String>,
    },
    /// There is no such thing.
    #[error("there is no {0}")]
    Missing(String),
    /// The answer makes no sense.
    #[error("the answer of Artifact Registry cannot be understood: {0}")]
    Answer(String),
    /// Something that was begun does not end.
    #[error("{0} is still not done: look again later")]
    Unfinished(String),
}

impl ApiError {
    /// What the user can do about it.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Account(error) => error.advice(),
            Self::Refused { advice, .. } => advice.clone(),
            Self::Unreachable(_) | Self::Missing(_) | Self::Answer(_) | Self::Unfinished(_) => None,
        }
    }
}
