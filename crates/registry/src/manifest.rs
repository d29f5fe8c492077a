//! Manifests and indices, coming and going (distribution specification,
//! "Pulling manifests", "Pushing Manifests").

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH};
use http::{HeaderValue, Method, StatusCode};
use oci::{
    DOCUMENT_BYTES_MAX, Descriptor, Digest, Document, MediaType, Reference, Repository, Tag,
};

use crate::auth::Scope;
use crate::blob::prefer;
use crate::endpoint::{Endpoint, Wanted, for_pull, for_push};
use crate::error::{self, Error, ErrorKind, Operation};
use crate::exchange::{Ask, Exchange, Hosts, given_up};
use crate::retry::Budget;
use crate::transport::Answer;

/// What we can read, the preferred ones first.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The digest of the content of an answer.
pub(crate) const CONTENT_DIGEST: &str = "docker-content-digest";
/// Says that a manifest was listed among the referrers of its subject.
const SUBJECT: &str = "oci-subject";

/// Under which name a manifest is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A tag, which is moved if it exists.
    Tag(Tag),
    /// Its own digest.
    Digest(Digest),
}

impl Selector {
    fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag.as_str(),
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

/// What a reference points at.
pub(crate) async fn resolve(hosts: &Hosts, reference: &Reference) -> Result<Descriptor, Error> {
    let mut failure = None;
    for endpoint in &places(hosts, reference, Operation::Resolve)? {
        match resolve_at(hosts, endpoint, reference).await {
            Ok(descriptor) => return Ok(descriptor),
            Err(error) => failure = Some(prefer(failure, error, endpoint)),
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(ErrorKind::NotFound, Operation::Resolve, reference)))
}

/// The document that a reference points at.
pub(crate) async fn pull(hosts: &Hosts, reference: &Reference) -> Result<Document, Error> {
    let mut failure = None;
    for endpoint in &places(hosts, reference, Operation::PullManifest)? {
        match pull_at(hosts, endpoint, reference, Operation::PullManifest).await {
            Ok(document) => return Ok(document),
            Err(error) => failure = Some(prefer(failure, error, endpoint)),
        }
    }
    Err(failure
        .unwrap_or_else(|| Error::new(ErrorKind::NotFound, Operation::PullManifest, reference)))
}

fn places(
    hosts: &Hosts,
    reference: &Reference,
    operation: Operation,
) -> Result<Vec<Endpoint>, Error> {
    let wanted = if reference.digest().is_some() {
        Wanted::Digest
    } else {
        Wanted::Tag
    };
    for_pull(&hosts.options.settings, reference.repository(), wanted)
        .map_err(|blocked| error::blocked(&blocked, operation, reference))
}

async fn resolve_at(
    hosts: &Hosts,
    endpoint: &Endpoint,
    reference: &Reference,
) -> Result<Descriptor, Error> {
    let exchange = exchange(hosts, endpoint, Operation::Resolve, reference);
    let ask = ask(&exchange, Method::HEAD, reference.manifest_selector()).await?;
    let mut answer = exchange.send(&ask).await?;
    match answer.status().as_u16() {
        200 => {}
        // Some registries and proxies know only GET.
        405 | 501 | 400 => {
            drop(answer);
            return Ok(pull_at(hosts, endpoint, reference, Operation::Resolve)
                .await?
                .descriptor());
        }
        _ => return Err(exchange.refused(&mut answer, None).await),
    }
    let digest = digest_of(&exchange, &answer)?;
    if let (Some(wanted), Some(found)) = (reference.digest(), &digest)
        && wanted.algorithm() == found.algorithm()
        && wanted != found
    {
        return Err(exchange
            .error(ErrorKind::Corrupted)
            .what(format!("the registry answers with {found}"))
            .url(answer.url()));
    }
    let bytes = answer
        .header(CONTENT_LENGTH.as_str())
        .and_then(|text| text.parse::<u64>().ok());
    let media_type = media_type_of(&answer).filter(|found| found.is_index() || found.is_manifest());
    let known = reference.digest().cloned().or(digest);
    match (media_type, known, bytes) {
        (Some(media_type), Some(digest), Some(bytes)) if bytes > 0 => {
            Ok(Descriptor::new(media_type, digest, bytes))
        }
        _ => {
            drop(answer);
            Ok(pull_at(hosts, endpoint, reference, Operation::Resolve)
                .await?
                .descriptor())
        }
    }
}

/// Fetches a document; once more when it was damaged on the way.
async fn pull_at(
    hosts: &Hosts,
    endpoint: &Endpoint,
    reference: &Reference,
    operation: Operation,
) -> Result<Document, Error> {
    let exchange = exchange(hosts, endpoint, operation, reference);
    let ask = ask(&exchange, Method::GET, reference.manifest_selector()).await?;
    let mut budget = Budget::new(exchange.timing());
    let mut is_first = true;
    loop {
        let mut answer = exchange.send(&ask).await?;
        if answer.status() != StatusCode::OK {
            return Err(exchange.refused(&mut answer, None).await);
        }
        let bytes = match answer.bytes(DOCUMENT_BYTES_MAX).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                return Err(exchange
                    .error(ErrorKind::TooLarge)
                    .what(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes"))
                    .url(answer.url()));
            }
            Err(failure) => {
                let error = exchange.failed(failure, Some(answer.url()));
                drop(answer);
                if let Err(why) = budget.failed(None).await {
                    return Err(given_up(error, why, budget.attempts() - 1));
                }
                continue;
            }
        };
        match check_digest(&exchange, &answer, reference.digest(), &bytes) {
            Ok(()) => {}
            Err(_) if is_first => {
                is_first = false;
                continue;
            }
            Err(error) => return Err(error),
        }
        return Document::read(bytes.to_vec(), media_type_of(&answer).as_ref()).map_err(|error| {
            let kind = match error {
                oci::DocumentError::Raw(_)
                | oci::DocumentError::Ambiguous(..)
                | oci::DocumentError::Spelling { .. }
                | oci::DocumentError::TypeMismatch { .. } => ErrorKind::Protocol,
                oci::DocumentError::Unsupported(_) => ErrorKind::Unsupported,
            };
            exchange
                .error(kind)
                .what(error.to_string())
                .url(answer.url())
                .because(error)
        });
    }
}

/// Compares a body with the digest that was asked for and the one that the
/// registry claims (D11).
fn check_digest(
    exchange: &Exchange<'_>,
    answer: &Answer,
    wanted: Option<&Digest>,
    bytes: &Bytes,
) -> Result<(), Error> {
    let claimed = digest_of(exchange, answer)?;
    for digest in wanted.into_iter().chain(claimed.as_ref()) {
        if !digest.matches(bytes) {
            return Err(exchange
                .error(ErrorKind::Corrupted)
                .what(format!(
                    "the content has the digest {}, not {digest}",
                    Digest::of(bytes)
                ))
                .url(answer.url()));
        }
    }
    Ok(())
}

/// The digest that an answer claims.
pub(crate) fn digest_of(exchange: &Exchange<'_>, answer: &Answer) -> Result<Option<Digest>, Error> {
    let Some(text) = answer
        .header(CONTENT_DIGEST)
        .filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|error| {
        exchange
            .error(ErrorKind::Protocol)
            .what(format!("its header {CONTENT_DIGEST} is wrong: {error}"))
            .url(answer.url())
    })
}

fn media_type_of(answer: &Answer) -> Option<MediaType> {
    let text = answer.header(CONTENT_TYPE.as_str())?;
    let essence = text.split(';').next().unwrap_or("").trim();
    Some(MediaType::from(essence))
}

fn exchange<'a>(
    hosts: &'a Hosts,
    endpoint: &'a Endpoint,
    operation: Operation,
    reference: &Reference,
) -> Exchange<'a> {
    let scope = Scope::pull(&endpoint.path);
    hosts.exchange(endpoint, operation, reference, vec![scope])
}

async fn ask(exchange: &Exchange<'_>, method: Method, selector: &str) -> Result<Ask, Error> {
    let url = exchange.url(&format!("manifests/{selector}")).await?;
    Ok(Ask::new(method, url, exchange.timing().headers)
        .header(ACCEPT, HeaderValue::from_static(ACCEPTED)))
}

/// Stores a manifest, and reads back that it is there.
pub(crate) async fn push(
    hosts: &Hosts,
    repository: &Repository,
    selector: &Selector,
    media_type: &MediaType,
    bytes: &[u8],
) -> Result<Digest, Error> {
    let stored = store(
        hosts,
        repository,
        selector,
        media_type,
        bytes,
        Manner::Surely,
    )
    .await?;
    Ok(stored.digest)
}

/// What a registry made of a manifest.
pub(crate) struct StoredManifest {
    pub(crate) digest: Digest,
    /// Whether the registry says that it listed the manifest as a referrer of its subject
    /// (distribution specification, "Pushing Manifests with Subject").
    pub(crate) is_listed: bool,
}

/// How a manifest is stored.
pub(crate) enum Manner {
    /// As often as it takes, until it can be read back.
    Surely,
    /// In one attempt that is not checked, because what is written depends on what was read: only
    /// while the registry still has what the entity tag stands for, where there is one.
    Once {
        /// For `If-Match`.
        if_match: Option<HeaderValue>,
    },
}

/// Stores a manifest.
pub(crate) async fn store(
    hosts: &Hosts,
    repository: &Repository,
    selector: &Selector,
    media_type: &MediaType,
    bytes: &[u8],
    manner: Manner,
) -> Result<StoredManifest, Error> {
    let subject = match selector {
        Selector::Tag(tag) => format!("{repository}:{tag}"),
        Selector::Digest(digest) => format!("{repository}@{digest}"),
    };
    let endpoint = for_push(&hosts.options.settings, repository)
        .map_err(|blocked| error::blocked(&blocked, Operation::PushManifest, &subject))?;
    let scope = Scope::push(&endpoint.path);
    let exchange = hosts.exchange(&endpoint, Operation::PushManifest, &subject, vec![scope]);
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(exchange
            .error(ErrorKind::TooLarge)
            .what(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes")));
    }
    let digest = match selector {
        Selector::Digest(digest) if !digest.matches(bytes) => {
            return Err(exchange
                .error(ErrorKind::Corrupted)
                .what("the manifest does not have the digest under which it is to be pushed"));
        }
        Selector::Digest(digest) => digest.clone(),
        Selector::Tag(_) => Digest::of(bytes),
    };
    let content_type = HeaderValue::from_str(media_type.as_str()).map_err(|_| {
        exchange
            .error(ErrorKind::Unsupported)
            .what("its media type cannot be a header")
    })?;
    let url = exchange
        .url(&format!("manifests/{}", selector.as_str()))
        .await?;
    let mut put =
        Ask::new(Method::PUT, url, exchange.timing().finish).header(CONTENT_TYPE, content_type);
    let is_once = match manner {
        Manner::Surely => false,
        Manner::Once { if_match } => {
            if let Some(entity_tag) = if_match {
                put = put.header(IF_MATCH, entity_tag);
            }
            true
        }
    };
    put.body = Bytes::copy_from_slice(bytes);
    let mut budget = Budget::new(exchange.timing());
    loop {
        let mut answer = if is_once {
            exchange.send_up_to(&put, 1).await?
        } else {
            exchange.send(&put).await?
        };
        if !answer.status().is_success() {
            let error = exchange.refused(&mut answer, None).await;
            drop(answer);
            // A tag that may not be moved, but is where it should be, is no
            // failure (R18).
            let stands = matches!(
                error.kind(),
                ErrorKind::Refused
                    | ErrorKind::Denied
                    | ErrorKind::Unsupported
                    | ErrorKind::TagImmutable
            ) && stands(&exchange, selector, &digest).await.unwrap_or(false);
            return if stands {
                Ok(StoredManifest {
                    digest,
                    is_listed: false,
                })
            } else {
                Err(error)
            };
        }
        if let Some(claimed) = digest_of(&exchange, &answer)?
            && claimed.algorithm() == digest.algorithm()
            && claimed != digest
        {
            return Err(exchange
                .error(ErrorKind::Protocol)
                .what(format!(
                    "the registry says that it stored {claimed}, but {digest} was sent"
                ))
                .url(answer.url())
                .status(answer.status()));
        }
        let is_listed = answer.header(SUBJECT).is_some();
        drop(answer);
        if is_once || stands(&exchange, selector, &digest).await? {
            return Ok(StoredManifest { digest, is_listed });
        }
        let error = exchange.error(ErrorKind::NotStored).url(&put.url);
        if let Err(why) = budget.failed(None).await {
            return Err(given_up(error, why, budget.attempts() - 1));
        }
    }
}

/// Whether the registry answers the selector with this digest.
async fn stands(
    exchange: &Exchange<'_>,
    selector: &Selector,
    digest: &Digest,
) -> Result<bool, Error> {
    let head = ask(exchange, Method::HEAD, selector.as_str()).await?;
    let mut answer = exchange.send(&head).await?;
    match answer.status().as_u16() {
        200 => {
            if let Some(found) = digest_of(exchange, &answer)?
                && found.algorithm() == digest.algorithm()
            {
                return Ok(found == *digest);
            }
        }
        404 => return Ok(false),
        405 | 501 | 400 => {}
        _ => return Err(exchange.refused(&mut answer, None).await),
    }
    drop(answer);
    let get = ask(exchange, Method::GET, selector.as_str()).await?;
    let mut answer = exchange.send(&get).await?;
    match answer.status().as_u16() {
        200 => {}
        404 => return Ok(false),
        _ => return Err(exchange.refused(&mut answer, None).await),
    }
    let bytes = answer
        .bytes(DOCUMENT_BYTES_MAX)
        .await
        .map_err(|failure| exchange.failed(failure, Some(&get.url)))?;
    Ok(bytes.is_some_and(|bytes| digest.matches(&bytes)))
}
