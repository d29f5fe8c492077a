//! A signing service that is told digests and keeps the signatures itself: "trusted collections",
//! over TLS with a client certificate (image-builder.md §13.5 to §13.7).
//!
//! The service answers 202 and nothing else that counts; no signature comes back.

mod client;
mod credentials;

pub use client::{Signify, SignifyError, SignifyTiming};
pub use credentials::{SignifyCredentials, SignifyCredentialsError};

use oci::{Descriptor, Repository, Tag};
use serde::Serialize;

/// What is asked: one collection for each name, each with one target.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'r> {
    trusted_collections: Vec<Collection<'r>>,
}

#[derive(Debug, Serialize)]
struct Collection<'r> {
    /// The "globally unique name": registry and path.
    gun: String,
    targets: [Target<'r>; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Target<'r> {
    /// The tag.
    name: &'r str,
    byte_size: u64,
    /// Without its algorithm.
    digest: &'r str,
}

/// The bytes of a request: the same for every attempt.
fn request(subject: &Descriptor, repository: &Repository, tags: &[Tag]) -> Vec<u8> {
    let collections = tags.iter().map(|tag| Collection {
        gun: gun(repository),
        targets: [Target {
            name: tag.as_str(),
            byte_size: subject.size,
            digest: subject.digest.hex(),
        }],
    });
    let request = Request {
        trusted_collections: collections.collect(),
    };
    // Texts and numbers: nothing that could not be written.
    serde_json::to_vec(&request).unwrap_or_default()
}

/// Docker Hub has an older name there.
fn gun(repository: &Repository) -> String {
    match repository.registry() {
        "docker.io" => format!("index.docker.io/{}", repository.path()),
        registry => format!("{registry}/{}", repository.path()),
    }
}

#[cfg(test)]
mod tests;
