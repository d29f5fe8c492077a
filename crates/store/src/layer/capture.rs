//! Turns the upper directory of an overlay into a layer.

use super::{Layer, LayerError, LayerWriter, Tree};
use crate::dir::Dir;

/// How an upper directory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// The latest time that a file may have, in seconds since 1970: later ones
    /// become this, in the layer and in `upper`.
    pub epoch: i64,
}

/// Why an upper directory could not be made a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The layer could not be written.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// Writes what changed: `upper` is the upper directory of an overlay that was
/// mounted with `userxattr` over `lower` and is unmounted now. Afterwards
/// `upper` is what unpacking the layer would give, and can be kept as that.
///
/// # Errors
///
/// [`CaptureError`], naming the file.
pub fn capture(
    upper: &Dir,
    lower: &Tree,
    writer: LayerWriter,
    options: CaptureOptions,
) -> Result<Layer, CaptureError> {
    let _ = (upper, lower, writer, options);
    todo!("within the hour")
}
