//! What must be done to a digest before a tag may point at it.

use std::future::Future;
use std::pin::Pin;

use oci::{Attachment, Descriptor, Repository, Tag};

/// A signer, as the transaction sees it. It is given digests of what was pushed, never a tag to
/// look up (E07).
pub trait Seal: Send + Sync {
    /// How messages call it.
    fn name(&self) -> &str;

    /// What tells it from others of its name, such as the digest of its public key. What was made
    /// before a run died is used again by a run whose seal has the same identity, and by no other.
    fn identity(&self) -> String {
        self.name().to_owned()
    }

    /// Whether it seals the tags and not the digest alone: what it made for some tags then says
    /// nothing of others.
    fn signs_tags(&self) -> bool {
        false
    }

    /// Whether it seals what is in this repository.
    fn seals(&self, _repository: &Repository) -> bool {
        true
    }

    /// Seals `subject`. What it returns is stored beside the subject before any tag moves.
    fn seal<'s>(
        &'s self,
        subject: &'s Subject,
    ) -> Pin<Box<dyn Future<Output = Result<Sealed, SealError>> + Send + 's>>;
}

/// What is to be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Digest, size and type of what was pushed.
    pub descriptor: Descriptor,
    /// Where it is.
    pub repository: Repository,
    /// The tags that are going to point at it.
    pub tags: Vec<Tag>,
}

/// What a seal came to.
#[derive(Clone, Debug, Default)]
pub struct Sealed {
    /// What is to be stored beside the subject; empty where a service keeps the seal itself.
    pub attachments: Vec<Attachment>,
}

/// Why something was not sealed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SealError {
    /// What happened.
    pub message: String,
    /// What the user can do about it.
    pub advice: Option<String>,
    /// What is behind it.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
