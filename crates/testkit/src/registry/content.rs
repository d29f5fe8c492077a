//! What a registry holds, and its verbs on plain data. Knows nothing of HTTP
//! beyond status codes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use oci::Digest;
use serde_json::Value;

use super::ImmutableTags;

/// Largest manifest taken, in bytes (distribution-spec, "Pushing Manifests").
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Everything stored.
#[derive(Debug, Default)]
pub(crate) struct Content {
    blobs: BTreeMap<Digest, Bytes>,
    repositories: BTreeMap<String, Repository>,
    uploads: BTreeMap<String, Upload>,
    uploads_begun: u64,
}

#[derive(Debug, Default)]
struct Repository {
    blobs: BTreeSet<Digest>,
    manifests: BTreeMap<Digest, Stored>,
    tags: BTreeMap<String, Digest>,
    immutable_tags: Option<ImmutableTags>,
}

/// A manifest as it was put.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) content_type: String,
    pub(crate) bytes: Bytes,
}

#[derive(Debug)]
struct Upload {
    repository: String,
    bytes: Vec<u8>,
}

/// A refusal: status, code of the distribution specification, words.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) u16, pub(crate) &'static str, pub(crate) String);

fn refused<T>(status: u16, code: &'static str, words: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(status, code, words.into()))
}

impl Content {
    pub(crate) fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        let known = self.repositories.get(repository)?.blobs.contains(digest);
        known.then(|| self.blobs.get(digest).cloned()).flatten()
    }

    pub(crate) fn put_blob(&mut self, repository: &str, bytes: Bytes) -> Digest {
        let digest = Digest::of(&bytes);
        self.put_blob_as(repository, digest.clone(), bytes);
        digest
    }

    /// Stores bytes under a name that need not be theirs.
    pub(crate) fn put_blob_as(&mut self, repository: &str, digest: Digest, bytes: Bytes) {
        self.blobs.insert(digest.clone(), bytes);
        self.repository(repository).blobs.insert(digest);
    }

    pub(crate) fn delete_blob(&mut self, repository: &str, digest: &Digest) -> bool {
        self.repository(repository).blobs.remove(digest)
    }

    /// Makes a blob of one repository known in another.
    pub(crate) fn mount(&mut self, repository: &str, from: &str, digest: &Digest) -> bool {
        let known = self.blob(from, digest).is_some();
        if known {
            self.repository(repository).blobs.insert(digest.clone());
        }
        known
    }

    pub(crate) fn begin_upload(&mut self, repository: &str) -> String {
        self.uploads_begun += 1;
        let session = format!("session-{}", self.uploads_begun);
        self.uploads.insert(
            session.clone(),
            Upload {
                repository: repository.to_owned(),
                bytes: Vec::new(),
            },
        );
        session
    }

    /// Bytes that an upload has; `None` when there is no such session.
    pub(crate) fn upload_size(&self, repository: &str, session: &str) -> Option<u64> {
        let upload = self.uploads.get(session)?;
        (upload.repository == repository).then_some(upload.bytes.len() as u64)
    }

    pub(crate) fn append(&mut self, session: &str, bytes: &[u8]) {
        if let Some(upload) = self.uploads.get_mut(session) {
            upload.bytes.extend_from_slice(bytes);
        }
    }

    pub(crate) fn cancel_upload(&mut self, session: &str) -> bool {
        self.uploads.remove(session).is_some()
    }

    /// Ends an upload: its bytes become a blob if they are what `digest`
    /// says. A wrong digest ends the session too, as in the real thing.
    pub(crate) fn finish_upload(
        &mut self,
        session: &str,
        digest: &str,
        keep: bool,
    ) -> Result<Digest, Refused> {
        let Some(upload) = self.uploads.remove(session) else {
            return refused(404, "BLOB_UPLOAD_UNKNOWN", session);
        };
        let Ok(digest) = digest.parse::<Digest>() else {
            return refused(400, "DIGEST_INVALID", digest);
        };
        if !digest.matches(&upload.bytes) {
            let words = format!("{} bytes are not {digest}", upload.bytes.len());
            return refused(400, "DIGEST_INVALID", words);
        }
        if keep {
            self.put_blob_as(&upload.repository, digest.clone(), upload.bytes.into());
        }
        Ok(digest)
    }

    /// A manifest by tag or digest.
    pub(crate) fn manifest(&self, repository: &str, reference: &str) -> Option<(Digest, Stored)> {
        let repository = self.repositories.get(repository)?;
        let digest = match reference.parse::<Digest>() {
            Ok(digest) => digest,
            Err(_) => repository.tags.get(reference)?.clone(),
        };
        let stored = repository.manifests.get(&digest)?.clone();
        Some((digest, stored))
    }

    pub(crate) fn set_immutable_tags(&mut self, repository: &str, words: ImmutableTags) {
        self.repository(repository).immutable_tags = Some(words);
    }

    /// Whether a tag may be set to a digest, or deleted when there is none.
    pub(crate) fn check_tag(
        &self,
        repository: &str,
        tag: &str,
        digest: Option<&Digest>,
    ) -> Result<(), Refused> {
        let Some(known) = self.repositories.get(repository) else {
            return Ok(());
        };
        let (Some(words), Some(current)) = (known.immutable_tags, known.tags.get(tag)) else {
            return Ok(());
        };
        match words {
            ImmutableTags::ArtifactRegistry if digest == Some(current) => Ok(()),
            ImmutableTags::ArtifactRegistry => refused(
                400,
                "MANIFEST_INVALID",
                format!("cannot update tag {tag}. The repository has enabled tag immutability"),
            ),
            ImmutableTags::Ecr => refused(
                400,
                "TAG_INVALID",
                format!(
                    "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten because the repository is immutable."
                ),
            ),
        }
    }

    /// Stores a manifest after the checks that Distribution makes. Returns its
    /// digest and its subject.
    pub(crate) fn put_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        content_type: &str,
        bytes: Bytes,
        keep: bool,
    ) -> Result<(Digest, Option<String>), Refused> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return refused(413, "MANIFEST_INVALID", "manifest is too large");
        }
        let Ok(json) = serde_json::from_slice::<Value>(&bytes) else {
            return refused(400, "MANIFEST_INVALID", "not JSON");
        };
        if let Some(media_type) = json["mediaType"].as_str()
            && media_type != content_type
        {
            let words = format!("Content-Type {content_type} but mediaType {media_type}");
            return refused(400, "MANIFEST_INVALID", words);
        }
        self.check_references(repository, &json)?;
        let by_digest = reference.parse::<Digest>().ok();
        let digest = match &by_digest {
            Some(digest) if digest.matches(&bytes) => digest.clone(),
            Some(digest) => {
                return refused(400, "DIGEST_INVALID", format!("content is not {digest}"));
            }
            None if !is_tag(reference) => return refused(400, "TAG_INVALID", reference),
            None => Digest::of(&bytes),
        };
        if by_digest.is_none() {
            self.check_tag(repository, reference, Some(&digest))?;
        }
        if keep {
            let stored = Stored {
                content_type: content_type.to_owned(),
                bytes,
            };
            let repository = self.repository(repository);
            repository.manifests.insert(digest.clone(), stored);
            if by_digest.is_none() {
                repository.tags.insert(reference.to_owned(), digest.clone());
            }
        }
        let subject = json["subject"]["digest"].as_str().map(str::to_owned);
        Ok((digest, subject))
    }

    fn check_references(&self, repository: &str, json: &Value) -> Result<(), Refused> {
        let digest_of =
            |value: &Value| (value["digest"].as_str()).and_then(|text| text.parse::<Digest>().ok());
        let layers = json["layers"].as_array().map_or(&[][..], Vec::as_slice);
        let blobs = layers.iter().chain(json.get("config"));
        for blob in blobs {
            let Some(digest) = digest_of(blob) else {
                return refused(400, "MANIFEST_INVALID", "descriptor without a digest");
            };
            if self.blob(repository, &digest).is_none() {
                return refused(400, "MANIFEST_BLOB_UNKNOWN", digest.to_string());
            }
        }
        let children = json["manifests"].as_array().map_or(&[][..], Vec::as_slice);
        for child in children {
            let Some(digest) = digest_of(child) else {
                return refused(400, "MANIFEST_INVALID", "descriptor without a digest");
            };
            if self.manifest(repository, digest.as_str()).is_none() {
                return refused(400, "MANIFEST_BLOB_UNKNOWN", digest.to_string());
            }
        }
        Ok(())
    }

    /// Stores a manifest as it is, unchecked: for what a good registry would
    /// have refused.
    pub(crate) fn put_manifest_as(
        &mut self,
        repository: &str,
        reference: &str,
        stored: Stored,
    ) -> Digest {
        let digest = (reference.parse::<Digest>()).unwrap_or_else(|_| Digest::of(&stored.bytes));
        let repository = self.repository(repository);
        repository.manifests.insert(digest.clone(), stored);
        if digest.as_str() != reference {
            repository.tags.insert(reference.to_owned(), digest.clone());
        }
        digest
    }

    pub(crate) fn delete_manifest(&mut self, repository: &str, reference: &str) -> bool {
        let repository = self.repository(repository);
        match reference.parse::<Digest>() {
            Ok(digest) => {
                repository.tags.retain(|_, tagged| *tagged != digest);
                repository.manifests.remove(&digest).is_some()
            }
            Err(_) => repository.tags.remove(reference).is_some(),
        }
    }

    /// The tags in lexical order; `None` for a repository nobody wrote to.
    /// The names of all repositories.
    pub(crate) fn names(&self) -> Vec<String> {
        self.repositories.keys().cloned().collect()
    }

    pub(crate) fn tags(&self, repository: &str) -> Option<Vec<String>> {
        let repository = self.repositories.get(repository)?;
        Some(repository.tags.keys().cloned().collect())
    }

    /// Descriptors of the manifests whose subject is `digest`.
    pub(crate) fn referrers(&self, repository: &str, digest: &str) -> Vec<Value> {
        let manifests = self
            .repositories
            .get(repository)
            .map(|known| &known.manifests);
        let mut found = Vec::new();
        for (name, stored) in manifests.into_iter().flatten() {
            let Ok(json) = serde_json::from_slice::<Value>(&stored.bytes) else {
                continue;
            };
            if json["subject"]["digest"].as_str() != Some(digest) {
                continue;
            }
            let kind = json
                .get("artifactType")
                .unwrap_or(&json["config"]["mediaType"]);
            let mut descriptor = serde_json::json!({
                "mediaType": stored.content_type,
                "digest": name.as_str(),
                "size": stored.bytes.len(),
                "artifactType": kind,
            });
            if let Some(annotations) = json.get("annotations") {
                descriptor["annotations"] = annotations.clone();
            }
            found.push(descriptor);
        }
        found
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }
}

/// Distribution-spec, "Pulling manifests": `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|first| word(*first))
        && bytes.len() <= 128
        && (bytes.iter()).all(|byte| word(*byte) || matches!(byte, b'.' | b'-'))
}
