//! From a shelf to a catalogue.

use std::time::Duration;

use shelf::{DocumentName, Shelf, ShelfError, ShelfErrorKind};

use super::catalogue::{Catalogue, CatalogueError};

/// Why a cache cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// Its shelf does not give its catalogue, or does not take one.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// What the shelf gives cannot be used.
    #[error("could not read {address}: {source}")]
    Catalogue {
        address: String,
        source: CatalogueError,
    },
}

impl LoadError {
    /// Whether what is there is ours and worth nothing: a new catalogue may take its place.
    pub(crate) fn may_be_replaced(&self) -> bool {
        match self {
            Self::Shelf(error) => error.kind() == ShelfErrorKind::Absent,
            Self::Catalogue { source, .. } => match source {
                CatalogueError::Damaged => true,
                CatalogueError::Newer => false,
            },
        }
    }

    /// Whether another program's content is there.
    pub(crate) fn is_foreign(&self) -> bool {
        match self {
            Self::Shelf(error) => error.kind() == ShelfErrorKind::Foreign,
            Self::Catalogue { .. } => false,
        }
    }

    /// One sentence with its causes.
    pub(crate) fn told(&self) -> String {
        told(self)
    }
}

/// An error and its causes in one sentence.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !sentence.contains(&text) {
            sentence.push_str(": ");
            sentence.push_str(&text);
        }
        next = cause.source();
    }
    sentence
}

/// How long a catalogue may take: a cache that stalls a build is worse than none.
pub(crate) const READ_WAIT: Duration = Duration::from_secs(30);

/// Reads the catalogue of a shelf; an empty one where there is none yet.
pub(crate) async fn load(shelf: &dyn Shelf) -> Result<Catalogue, LoadError> {
    let name = DocumentName::main();
    let read = tokio::time::timeout(READ_WAIT, shelf.document(&name));
    let document = read.await.unwrap_or_else(|_| {
        let error = ShelfError::new(ShelfErrorKind::Unreachable, "read", shelf.address());
        Err(error.because(format!("it takes longer than {} s", READ_WAIT.as_secs())))
    });
    let Some(document) = document? else {
        return Ok(Catalogue::default());
    };
    Catalogue::read(&document).map_err(|source| LoadError::Catalogue {
        address: shelf.address().to_owned(),
        source,
    })
}
