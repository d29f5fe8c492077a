//! Why a shelf could not be read or filled.

use std::error::Error as StdError;

/// Something went wrong with a shelf. Whoever uses one as a cache goes on without it.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} {address}")]
pub struct ShelfError {
    kind: ShelfErrorKind,
    /// Such as `read the blob sha256:… of`.
    operation: String,
    /// Of the shelf, without credentials.
    address: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShelfErrorKind {
    /// What was asked for is not there.
    Absent,
    /// We may not.
    Denied,
    /// Nobody answers, or not in time.
    Unreachable,
    /// Something else is there than should be.
    Damaged,
    /// What is there belongs to another program, or to a newer kiln: it is not
    /// to be replaced.
    Foreign,
    /// The address cannot be opened as it is.
    Unusable,
    /// It takes no more, or not so much at once.
    Full,
    /// It cannot give parts of blobs.
    Ranges,
    /// What was to be kept could not be read here.
    Source,
    /// Anything else that it answered.
    Refused,
}

impl ShelfError {
    /// An error. `operation` is a verb with its object, in front of the address.
    pub fn new(
        kind: ShelfErrorKind,
        operation: impl Into<String>,
        address: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            operation: operation.into(),
            address: address.into(),
            source: None,
        }
    }

    /// The same with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of trouble it is.
    pub fn kind(&self) -> ShelfErrorKind {
        self.kind
    }
}
