//! What refers to a manifest: listed by the registry, or in an index under a tag made from the
//! digest (distribution specification 1.1, "Listing Referrers", "Referrers Tag Schema").

use std::collections::HashSet;

use http::header::{ACCEPT, ETAG};
use http::{HeaderValue, Method};
use oci::{DOCUMENT_BYTES_MAX, Descriptor, Digest, Document, MediaType, Repository, Tag};
use serde_json::{Value, json};

use crate::auth::Scope;
use crate::endpoint::{Endpoint, for_push};
use crate::error::{self, Error, ErrorKind, Operation};
use crate::exchange::{Ask, Exchange, Hosts, given_up};
use crate::manifest::{self, Manner, Selector, digest_of};
use crate::pages::{Page, Pages};
use crate::retry::Budget;

/// The most referrers of one manifest that are listed (D17).
pub const REFERRERS_MAX: usize = 10_000;
/// How often the index under the tag is written before others are said to overwrite it (D18).
const WRITES_MAX: u32 = 8;
/// When something was made (image specification, "Pre-Defined Annotation Keys").
const CREATED: &str = "org.opencontainers.image.created";

/// The tag under which the referrers of `digest` are listed where the registry has no list of its
/// own: `sha256-` and the digits; of longer digests the first 64.
///
/// # Panics
///
/// Never: a digest's letters are a tag's.
pub fn referrers_tag(digest: &Digest) -> Tag {
    const ENCODED_CHARS_MAX: usize = 64;
    let (algorithm, encoded) = digest.as_str().split_once(':').unwrap_or_default();
    let encoded = &encoded[..encoded.len().min(ENCODED_CHARS_MAX)];
    format!("{algorithm}-{encoded}")
        .parse()
        .expect("letters, digits and a dash are a tag")
}

/// What refers to `digest`, the newest first.
pub(crate) async fn list(
    hosts: &Hosts,
    repository: &Repository,
    digest: &Digest,
    artifact_type: Option<&str>,
) -> Result<Vec<Descriptor>, Error> {
    let subject = format!("{repository}@{digest}");
    let operation = Operation::ListReferrers;
    let endpoint = for_push(&hosts.options.settings, repository)
        .map_err(|blocked| error::blocked(&blocked, operation, &subject))?;
    let scope = Scope::pull(&endpoint.path);
    let exchange = hosts.exchange(&endpoint, operation, &subject, vec![scope]);
    let mut found = Found::new(artifact_type);
    from_registry(&exchange, digest, &mut found).await?;
    if let Some(fallback) = fetch(&exchange, &referrers_tag(digest)).await?
        && let Some(entries) = entries_of(&fallback.index)
    {
        found.take(&exchange, entries)?;
    }
    let mut descriptors = found.descriptors;
    // Texts of RFC 3339 in UTC are in the order of time. Equal ones stay in the registry's order.
    descriptors.sort_by(|a, b| b.annotations.get(CREATED).cmp(&a.annotations.get(CREATED)));
    Ok(descriptors)
}

/// Descriptors, each once, of the type that was asked for. Registries may leave the choice to us
/// and need not say so, so it is always made here.
struct Found<'a> {
    artifact_type: Option<&'a str>,
    descriptors: Vec<Descriptor>,
    seen: HashSet<Digest>,
    entries: usize,
}

impl<'a> Found<'a> {
    fn new(artifact_type: Option<&'a str>) -> Self {
        Self {
            artifact_type,
            descriptors: Vec::new(),
            seen: HashSet::new(),
            entries: 0,
        }
    }

    fn take(&mut self, exchange: &Exchange<'_>, entries: &[Value]) -> Result<(), Error> {
        self.entries += entries.len();
        if self.entries > REFERRERS_MAX {
            return Err(exchange.error(ErrorKind::TooLarge).what(format!(
                "more than {REFERRERS_MAX} manifests refer to it, which are not read"
            )));
        }
        for entry in entries {
            // What is not well-formed cannot be fetched either.
            let Ok(descriptor) = serde_json::from_value::<Descriptor>(entry.clone()) else {
                continue;
            };
            let fits = match self.artifact_type {
                Some(wanted) => descriptor.artifact_type.as_deref() == Some(wanted),
                None => true,
            };
            if fits && self.seen.insert(descriptor.digest.clone()) {
                self.descriptors.push(descriptor);
            }
        }
        Ok(())
    }
}

/// Reads the registry's own list, if it has one.
async fn from_registry(
    exchange: &Exchange<'_>,
    digest: &Digest,
    found: &mut Found<'_>,
) -> Result<(), Error> {
    let mut first = exchange.url(&format!("referrers/{digest}")).await?;
    if let Some(artifact_type) = found.artifact_type {
        first
            .query_pairs_mut()
            .append_pair("artifactType", artifact_type);
    }
    let accept = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
    let mut pages = Pages::new(exchange, first, Some(accept));
    let mut is_first = true;
    while let Some(page) = pages.next().await? {
        match page {
            Page::Whole {
                body, content_type, ..
            } => {
                let index = serde_json::from_slice::<Value>(&body).ok();
                match index.as_ref().and_then(entries_of) {
                    Some(entries) => found.take(exchange, entries)?,
                    // A page for people, from a proxy or a console: there is no such list.
                    None if is_first && !content_type.contains("oci") => return Ok(()),
                    None => {
                        return Err(exchange
                            .error(ErrorKind::Protocol)
                            .what("the answer is no list of referrers"));
                    }
                }
            }
            Page::Refused(answer)
                if is_first && matches!(answer.status().as_u16(), 400 | 404 | 405 | 406 | 501) =>
            {
                return Ok(());
            }
            Page::Refused(mut answer) => return Err(exchange.refused(&mut answer, None).await),
        }
        is_first = false;
    }
    Ok(())
}

fn entries_of(index: &Value) -> Option<&[Value]> {
    match index.get("manifests")? {
        Value::Array(entries) => Some(entries),
        // An empty list, as Go writes it.
        Value::Null => Some(&[]),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
    }
}

/// The index under the tag, with all that is in it, ours or not.
struct Fallback {
    index: Value,
    /// What the registry calls this state of it, where it does.
    etag: Option<HeaderValue>,
}

/// Reads the index under the tag; `None` when there is none.
async fn fetch(exchange: &Exchange<'_>, tag: &Tag) -> Result<Option<Fallback>, Error> {
    let url = exchange.url(&format!("manifests/{tag}")).await?;
    let ask = Ask::new(Method::GET, url.clone(), exchange.timing().headers).header(
        ACCEPT,
        HeaderValue::from_static(
            "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json",
        ),
    );
    let mut budget = Budget::new(exchange.timing());
    loop {
        let mut answer = exchange.send(&ask).await?;
        match answer.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            _ => return Err(exchange.refused(&mut answer, None).await),
        }
        let claimed = digest_of(exchange, &answer)?;
        let etag = answer
            .header(ETAG.as_str())
            .filter(|text| !text.starts_with("W/"))
            .and_then(|text| HeaderValue::from_str(text).ok());
        let bytes = match answer.bytes(DOCUMENT_BYTES_MAX).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                return Err(exchange
                    .error(ErrorKind::TooLarge)
                    .what(format!(
                        "its list of referrers is larger than {DOCUMENT_BYTES_MAX} bytes"
                    ))
                    .url(&url));
            }
            Err(failure) => {
                let error = exchange.failed(failure, Some(&url));
                drop(answer);
                if let Err(why) = budget.failed(None).await {
                    return Err(given_up(error, why, budget.attempts() - 1));
                }
                continue;
            }
        };
        // D11: a list that was damaged on the way would be written back without what it lost.
        if let Some(claimed) = claimed
            && !claimed.matches(&bytes)
        {
            let error = exchange
                .error(ErrorKind::Corrupted)
                .what(format!(
                    "its list of referrers does not have the digest {claimed}"
                ))
                .url(&url);
            if let Err(why) = budget.failed(None).await {
                return Err(given_up(error, why, budget.attempts() - 1));
            }
            continue;
        }
        let index = serde_json::from_slice(&bytes).map_err(|source| {
            exchange
                .error(ErrorKind::Protocol)
                .what(format!("what is tagged {tag} is no index"))
                .url(&url)
                .because(source)
        })?;
        return Ok(Some(Fallback { index, etag }));
    }
}

/// Stores a manifest with a subject, and sees to it that it is listed.
pub(crate) async fn add(
    hosts: &Hosts,
    repository: &Repository,
    document: &Document,
) -> Result<Descriptor, Error> {
    let operation = Operation::AddReferrer;
    let descriptor = described(document);
    let subject = match document {
        Document::Manifest(manifest) => manifest.value().subject.as_ref(),
        Document::Index(index) => index.value().subject.as_ref(),
    };
    let Some(subject) = subject else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            operation,
            format!("{repository}@{}", descriptor.digest),
        )
        .what("the manifest has no subject"));
    };
    let selector = Selector::Digest(descriptor.digest.clone());
    let stored = manifest::store(
        hosts,
        repository,
        &selector,
        &descriptor.media_type,
        document.bytes(),
        Manner::Surely,
    )
    .await?;
    if stored.is_listed {
        return Ok(descriptor);
    }
    let name = format!("{repository}@{}", subject.digest);
    let endpoint = for_push(&hosts.options.settings, repository)
        .map_err(|blocked| error::blocked(&blocked, operation, &name))?;
    let list = List {
        hosts,
        repository,
        endpoint: &endpoint,
        tag: referrers_tag(&subject.digest),
        name,
    };
    list.enter(&descriptor).await?;
    Ok(descriptor)
}

/// The descriptor of a document, as a list of referrers has it.
fn described(document: &Document) -> Descriptor {
    let (artifact_type, annotations) = match document {
        Document::Manifest(manifest) => {
            let value = manifest.value();
            let kind = (value.artifact_type.clone())
                .filter(|kind| !kind.is_empty())
                .unwrap_or_else(|| value.config.media_type.to_string());
            (Some(kind), value.annotations.clone())
        }
        Document::Index(index) => (
            index.value().artifact_type.clone(),
            index.value().annotations.clone(),
        ),
    };
    Descriptor {
        artifact_type,
        annotations,
        ..document.descriptor()
    }
}

/// The list of referrers under a tag.
struct List<'a> {
    hosts: &'a Hosts,
    repository: &'a Repository,
    endpoint: &'a Endpoint,
    tag: Tag,
    name: String,
}

impl List<'_> {
    /// Enters a descriptor, whoever else does so at the same time: the entry has to be found again,
    /// and once more after a pause, because somebody else may have read before we wrote and write
    /// after we looked.
    async fn enter(&self, descriptor: &Descriptor) -> Result<(), Error> {
        // Whoever shares this client need not race, and does not wait for other registries.
        let host = self.hosts.host(self.endpoint);
        let _alone = host.referrers_lists.lock().await;
        let scope = Scope::push(&self.endpoint.path);
        let exchange = self.hosts.exchange(
            self.endpoint,
            Operation::AddReferrer,
            &self.name,
            vec![scope],
        );
        let mut budget = Budget::with_attempts(exchange.timing(), WRITES_MAX);
        let mut is_settling = false;
        loop {
            let (mut index, if_match) = match fetch(&exchange, &self.tag).await? {
                Some(Fallback { index, etag }) => (index, etag),
                None => (empty(), None),
            };
            if lists(&index, &descriptor.digest) {
                if is_settling || budget.attempts() == 1 {
                    return Ok(());
                }
                is_settling = true;
                tokio::time::sleep(exchange.timing().backoff).await;
                continue;
            }
            is_settling = false;
            self.add_entry(&exchange, &mut index, descriptor)?;
            let stored = manifest::store(
                self.hosts,
                self.repository,
                &Selector::Tag(self.tag.clone()),
                &MediaType::OciIndex,
                index.to_string().as_bytes(),
                Manner::Once { if_match },
            )
            .await;
            let (error, pause) = match stored {
                Ok(_) => (
                    exchange.error(ErrorKind::NotStored).what(format!(
                        "others write over the index tagged {} again and again",
                        self.tag
                    )),
                    // The first look is not late: nobody need be in the way.
                    (budget.attempts() == 1).then_some(std::time::Duration::ZERO),
                ),
                // Changed since it was read, or a failure that may pass.
                Err(error)
                    if error.may_pass() || matches!(error.http_status(), Some(409 | 412)) =>
                {
                    (error, None)
                }
                Err(error) => return Err(error.during(Operation::AddReferrer)),
            };
            if let Err(why) = budget.failed(pause).await {
                let error = error.during(Operation::AddReferrer);
                return Err(given_up(error, why, budget.attempts() - 1));
            }
        }
    }

    fn add_entry(
        &self,
        exchange: &Exchange<'_>,
        index: &mut Value,
        descriptor: &Descriptor,
    ) -> Result<(), Error> {
        let entries = index.get_mut("manifests");
        let entries = match entries {
            Some(Value::Array(entries)) => entries,
            Some(null @ Value::Null) => {
                *null = json!([]);
                null.as_array_mut().expect("it was made a list")
            }
            Some(_) | None => {
                return Err(exchange.error(ErrorKind::Protocol).what(format!(
                    "what is tagged {} is no index of referrers, and is left alone",
                    self.tag
                )));
            }
        };
        if entries.len() >= REFERRERS_MAX {
            return Err(exchange
                .error(ErrorKind::TooLarge)
                .what(format!("{REFERRERS_MAX} manifests refer to it already")));
        }
        entries.push(json!(descriptor));
        Ok(())
    }
}

fn empty() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciIndex.as_str(),
        "manifests": [],
    })
}

fn lists(index: &Value, digest: &Digest) -> bool {
    entries_of(index)
        .unwrap_or_default()
        .iter()
        .any(|entry| entry["digest"].as_str() == Some(digest.as_str()))
}
