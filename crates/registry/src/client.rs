//! The client: what is shared by all operations on all registries.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use oci::{Descriptor, Digest, Document, MediaType, Reference, Repository, Tag};

use crate::error::{ErrorKind, Operation};
use crate::exchange::{Hosts, of_failure};
use crate::{Access, Lookup, access};
use crate::{
    BlobReader, BlobSource, BlobStream, ClientOptions, ConsumeError, Error, MountOutcome, Progress,
    PushOptions, Pushed, Selector, Traffic,
};
use crate::{blob, blob_range, catalog, delete, manifest, referrers, tags, upload};

/// A client for any number of registries. Cheap to clone; clones share
/// connections, tokens and counters. Its futures run on a tokio runtime.
#[derive(Clone)]
pub struct Client {
    hosts: Arc<Hosts>,
}

impl Client {
    /// A client. No connection is made and no certificate is read before the
    /// first request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for options that cannot be used, such as a
    /// proxy that is no URL.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        let hosts = Arc::new(Hosts::new(Arc::new(options))?);
        Ok(Self { hosts })
    }

    /// A client for what is no registry, with the same roots of trust and proxies. It follows no
    /// redirect and counts nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Tls`] for certificates that cannot be used.
    pub fn http(&self) -> Result<reqwest::Client, Error> {
        self.hosts
            .transport
            .client_for_others()
            .map_err(|failure| of_failure(failure, Operation::Configure, "other services"))
    }

    /// The account that is used for a repository, and where it was looked for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Credentials`] when whoever should know the account cannot say it.
    pub async fn account(&self, repository: &Repository) -> Result<Lookup, Error> {
        access::account(&self.hosts, repository).await
    }

    /// Whether the registry at `host` accepts our account for it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] when it does not; see [`Error`].
    pub async fn check_login(&self, host: &str) -> Result<(), Error> {
        access::check_login(&self.hosts, host).await
    }

    /// Whether our account may pull what `reference` names.
    ///
    /// # Errors
    ///
    /// When the registry does not say. A refusal is an outcome.
    pub async fn may_pull(&self, reference: &Reference) -> Result<Access, Error> {
        access::may_pull(&self.hosts, reference).await
    }

    /// Whether our account may push to `repository`: an upload is opened and cancelled.
    ///
    /// # Errors
    ///
    /// When the registry does not say. A refusal is an outcome.
    pub async fn may_push(&self, repository: &Repository) -> Result<Access, Error> {
        access::may_push(&self.hosts, repository).await
    }

    /// What time it is at the registry of `repository`, as its answer says it (RFC 9110, 5.6.7).
    ///
    /// # Errors
    ///
    /// When there is no answer, or one that shuts us out.
    pub async fn date(&self, repository: &Repository) -> Result<Option<String>, Error> {
        access::date(&self.hosts, repository).await
    }

    /// The same as [`Self::http`], showing a certificate of our own: `pem` has the chain and its key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Tls`] for certificates that cannot be used.
    pub fn http_as(&self, pem: &[u8]) -> Result<reqwest::Client, Error> {
        self.hosts
            .transport
            .client_for_others_as(pem)
            .map_err(|failure| of_failure(failure, Operation::Configure, "other services"))
    }

    /// What has been sent and received so far.
    pub fn traffic(&self) -> Traffic {
        self.hosts.transport.counters.read()
    }

    /// What `reference` points at: one HEAD, or a GET where the registry does
    /// not answer a HEAD in full.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when there is no such manifest; see [`Error`].
    pub async fn resolve(&self, reference: &Reference) -> Result<Descriptor, Error> {
        manifest::resolve(&self.hosts, reference).await
    }

    /// The digest that the tag of `reference` points at; `None` when there is no such tag.
    ///
    /// # Errors
    ///
    /// Whatever keeps the registry from answering.
    pub async fn tag_points_at(&self, reference: &Reference) -> Result<Option<Digest>, Error> {
        match self.resolve(reference).await {
            Ok(descriptor) => Ok(Some(descriptor.digest)),
            Err(error) if *error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The manifest or index that `reference` points at, verified against the
    /// digest asked for and the one in the answer, at most
    /// [`oci::DOCUMENT_BYTES_MAX`] long.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupted`] when digests disagree,
    /// [`ErrorKind::Protocol`] when types do; see [`Error`].
    pub async fn manifest(&self, reference: &Reference) -> Result<Document, Error> {
        manifest::pull(&self.hosts, reference).await
    }

    /// A whole small blob, such as an image configuration, verified.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] when `descriptor` says more than `bytes_max`.
    pub async fn document(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        bytes_max: u64,
    ) -> Result<Bytes, Error> {
        if descriptor.size > bytes_max {
            return Err(
                Error::new(ErrorKind::TooLarge, Operation::PullBlob, &descriptor.digest).what(
                    format!("it has {} bytes, more than {bytes_max}", descriptor.size),
                ),
            );
        }
        let mut stream = self.blob(repository, descriptor, None);
        let mut bytes = BytesMut::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes.freeze())
    }

    /// Starts to fetch a blob. Must be called on a tokio runtime; the stream
    /// can be read anywhere, see [`BlobStream::into_reader`].
    ///
    /// The stream ends with `None` only after size and digest have been found
    /// right. Resets are resumed where they happened.
    pub fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        progress: Option<Progress>,
    ) -> BlobStream {
        BlobStream::start(
            Arc::clone(&self.hosts),
            repository.clone(),
            descriptor.clone(),
            progress,
        )
    }

    /// Fetches a part of a blob. Nothing says that the bytes are right: the caller has to know
    /// what they should be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Ranges`] where the registry only gives blobs as a whole;
    /// [`ErrorKind::TooLarge`] beyond [`crate::RANGE_BYTES_MAX`] or the end of the blob.
    pub async fn blob_range(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        range: std::ops::Range<u64>,
    ) -> Result<Bytes, Error> {
        blob_range::fetch(&self.hosts, repository, descriptor, range).await
    }

    /// Fetches a blob and has `consume` read it on a thread for blocking work.
    /// When the content turns out to be corrupted, `consume` is run once more
    /// on a fresh copy; it must undo what it did with the first. Whatever
    /// `consume` leaves unread is read and verified before this returns.
    ///
    /// # Errors
    ///
    /// [`ConsumeError::Wire`] when the blob could not be had,
    /// [`ConsumeError::Consumer`] with the error of `consume` when it could.
    pub async fn consume_blob<T, E, F>(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        progress: Option<Progress>,
        consume: F,
    ) -> Result<T, ConsumeError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnMut(&mut BlobReader) -> Result<T, E> + Send + 'static,
    {
        blob::consume(&self.hosts, repository, descriptor, progress, consume).await
    }

    /// Whether the registry has a blob. A registry that does not say (405, 5xx)
    /// counts as one that has not.
    ///
    /// # Errors
    ///
    /// Whatever keeps the registry from answering.
    pub async fn has_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<bool, Error> {
        upload::has_blob(&self.hosts, repository, descriptor).await
    }

    /// Asks the registry to take a blob over from another of its repositories.
    ///
    /// # Errors
    ///
    /// When the registry cannot be reached. A refusal is an outcome.
    pub async fn mount(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        from: &Repository,
    ) -> Result<MountOutcome, Error> {
        upload::mount(&self.hosts, repository, descriptor, from).await
    }

    /// Makes sure that the registry has a blob: looks, mounts, or sends.
    ///
    /// # Errors
    ///
    /// See [`Error`]; [`ErrorKind::Source`] when `source` cannot be read.
    pub async fn push_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
        options: &PushOptions,
    ) -> Result<Pushed, Error> {
        upload::push(&self.hosts, repository, descriptor, source, options).await
    }

    /// Stores a manifest or index under a tag or its digest, and reads back
    /// that it is there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BlobUnknown`] when a blob is missing: push it and try again.
    pub async fn push_manifest(
        &self,
        repository: &Repository,
        selector: &Selector,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<Digest, Error> {
        manifest::push(&self.hosts, repository, selector, media_type, bytes).await
    }

    /// The same in one attempt that is not read back, for what is made from what stood there before
    /// (D18): another attempt would overwrite what others wrote meanwhile. The caller looks whether
    /// it is there, and makes it anew if it is not.
    ///
    /// # Errors
    ///
    /// As [`Self::push_manifest`]; what may pass is not waited for.
    pub async fn push_manifest_once(
        &self,
        repository: &Repository,
        selector: &Selector,
        media_type: &MediaType,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let manner = manifest::Manner::Once { if_match: None };
        manifest::store(&self.hosts, repository, selector, media_type, bytes, manner)
            .await
            .map(drop)
    }

    /// The repositories of the registry that `root` is in, at most [`crate::REPOSITORIES_MAX`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where the registry has no such list;
    /// [`ErrorKind::Denied`] or [`ErrorKind::Unauthorized`] where others may see it.
    pub async fn repositories(&self, root: &Repository) -> Result<Vec<Repository>, Error> {
        catalog::list(&self.hosts, root).await
    }

    /// The tags of a repository in the registry's order, those that no registry may have left out,
    /// at most [`crate::TAGS_MAX`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] for an unknown repository; [`ErrorKind::TooLarge`] beyond the
    /// bounds; [`ErrorKind::Protocol`] when the next page is elsewhere (D04).
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, Error> {
        tags::list(&self.hosts, repository).await
    }

    /// What refers to a manifest: signatures, attestations and the like. With `artifact_type`,
    /// only those of that type. The newest first, as far as they say when they were made, and none
    /// twice; at most [`crate::REFERRERS_MAX`].
    ///
    /// What the registry lists and what stands under the tag made from the digest, where clients
    /// of registries without such lists put it, are merged (distribution specification, "Listing
    /// Referrers"). Descriptors are as the registry tells them: whoever reads what they point at
    /// has to look at its subject.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] beyond the bounds (D17); whatever keeps the registry from
    /// answering. That nothing refers to it, or that it does not exist, is no error.
    pub async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        referrers::list(&self.hosts, repository, digest, artifact_type).await
    }

    /// Stores a manifest that has a subject under its digest, and makes sure that
    /// [`Self::referrers`] of the subject lists it: where the registry does not say that it does,
    /// by adding it to the index under the tag made from the subject's digest (D18). Entries of
    /// others there stay as they are. The blobs must have been pushed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for a document without a subject;
    /// [`ErrorKind::NotStored`] when others overwrite the index again and again.
    pub async fn add_referrer(
        &self,
        repository: &Repository,
        manifest: &Document,
    ) -> Result<Descriptor, Error> {
        referrers::add(&self.hosts, repository, manifest).await
    }

    /// Deletes a manifest or an index, with all of its tags.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] where the registry does not delete;
    /// [`ErrorKind::NotFound`] when there was nothing.
    pub async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(), Error> {
        delete::manifest(&self.hosts, repository, digest).await
    }

    /// Deletes a tag, and not what it points at.
    ///
    /// # Errors
    ///
    /// As [`Self::delete_manifest`]. Registries that delete by digest only say that they do not
    /// delete.
    pub async fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<(), Error> {
        delete::tag(&self.hosts, repository, tag).await
    }
}
