//! The cadastre: repositories of Google's Artifact Registry: made when they are missing, compared
//! with what they should be, described.
//!
//! ```text
//! place       which repository a reference is in
//! repository  what a repository is, and what is wanted of it
//! wire        requests, their time, size and repetition
//! client      the calls: get, make, mend, images
//! error       why a call failed, and which permission it wants
//! ```
//!
//! It pushes nothing and pulls nothing: images are the registry client's. It reads no environment
//! variable.

mod client;
mod error;
mod place;
mod repository;
mod wire;

pub use client::{Client, Ensured, ImageFacts, Outcome};
pub use error::{ApiError, PlaceError};
pub use place::Place;
pub use repository::{Drift, Repository, Wanted};
pub use wire::Timing;

/// Where the service is, unless somebody says otherwise.
pub const ENDPOINT: &str = "https://artifactregistry.googleapis.com";
