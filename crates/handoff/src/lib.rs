//! The handover: published images in the files that others read, and digests in
//! the place of tags.
//!
//! ```text
//! image        what was published, as far as other files name it
//! pin          image names in manifests and Dockerfiles, each with its place
//! helm         values for a chart, and whether the chart reads them
//! kustomize, environment, skaffold, promoter    one file each
//! ```
//!
//! Texts come in and texts go out: it touches no file and asks no registry.

mod environment;
mod helm;
mod image;
mod kustomize;
mod pin;
mod promoter;
mod scalar;
mod skaffold;

pub use environment::environment;
pub use helm::{Chart, ChartError, HelmError, HelmValues, Ignored, Leaf, Shape, ShapeError};
pub use image::PublishedImage;
pub use kustomize::kustomize;
pub use pin::{FileKind, Finding, Findings, Place, Unread, find, replace};
pub use promoter::promoter;
pub use skaffold::skaffold;
