//! A part of a blob (distribution specification, "Pulling blobs": RFC 9110, section 14). What
//! comes is as it came: a part has no digest, so only whoever knows a hash of it can believe it.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use http::{HeaderValue, Method};
use oci::{Descriptor, Repository};

use crate::auth::Scope;
use crate::blob::prefer;
use crate::endpoint::{Endpoint, Wanted, for_pull};
use crate::error::{self, Error, ErrorKind, Operation};
use crate::exchange::{Ask, Exchange, Hosts, given_up};
use crate::retry::Budget;
use crate::transport::Answer;

/// The most bytes that are asked for at once, because they are held in memory: 64 MiB.
pub const RANGE_BYTES_MAX: u64 = 64 << 20;

/// Fetches a part of a blob from the first place that has it and answers for parts.
pub(crate) async fn fetch(
    hosts: &Hosts,
    repository: &Repository,
    descriptor: &Descriptor,
    range: Range<u64>,
) -> Result<Bytes, Error> {
    let subject = format!(
        "bytes {} to {} of {} from {repository}",
        range.start, range.end, descriptor.digest
    );
    if range.start >= range.end {
        return Ok(Bytes::new());
    }
    let bytes = range.end - range.start;
    if bytes > RANGE_BYTES_MAX || range.end > descriptor.size {
        return Err(
            Error::new(ErrorKind::TooLarge, Operation::PullBlob, &subject).what(format!(
                "a part has at most {RANGE_BYTES_MAX} bytes and ends where the blob of {} bytes ends",
                descriptor.size
            )),
        );
    }
    let endpoints = for_pull(&hosts.options.settings, repository, Wanted::Digest)
        .map_err(|blocked| error::blocked(&blocked, Operation::PullBlob, &subject))?;
    let mut failure: Option<Error> = None;
    for endpoint in &endpoints {
        match fetch_from(hosts, endpoint, &subject, descriptor, &range).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => failure = Some(prefer(failure, error, endpoint)),
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(ErrorKind::NotFound, Operation::PullBlob, &subject)))
}

async fn fetch_from(
    hosts: &Hosts,
    endpoint: &Endpoint,
    subject: &str,
    descriptor: &Descriptor,
    range: &Range<u64>,
) -> Result<Bytes, Error> {
    let scopes = vec![Scope::pull(&endpoint.path)];
    let exchange = hosts.exchange(endpoint, Operation::PullBlob, subject, scopes);
    let url = exchange
        .url(&format!("blobs/{}", descriptor.digest))
        .await?;
    let mut budget = Budget::new(exchange.timing());
    let mut got = BytesMut::new();
    loop {
        // What came before the connection broke is not asked for again.
        let rest = range.start + got.len() as u64..range.end;
        let wish = HeaderValue::from_str(&format!("bytes={}-{}", rest.start, rest.end - 1))
            .expect("digits and a dash are a header");
        let ask = Ask::new(Method::GET, url.clone(), exchange.timing().headers)
            // A proxy that compresses on the way would change the bytes (D21).
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .header(RANGE, wish);
        let mut answer = exchange.send(&ask).await?;
        place(&exchange, &mut answer, &rest).await?;
        let before = got.len();
        let error = match take(&exchange, &mut answer, range, &mut got).await {
            Ok(()) => return Ok(got.freeze()),
            Err(error) => error,
        };
        drop(answer);
        if *error.kind() == ErrorKind::Corrupted {
            return Err(error);
        }
        if got.len() > before {
            budget.progress();
        }
        if let Err(why) = budget.failed(None).await {
            return Err(given_up(error, why, budget.attempts() - 1));
        }
    }
}

/// Whether the answer is the part that was asked for.
async fn place(
    exchange: &Exchange<'_>,
    answer: &mut Answer,
    wanted: &Range<u64>,
) -> Result<(), Error> {
    let status = answer.status();
    let ignored = |what: String| {
        exchange
            .error(ErrorKind::Ranges)
            .what(what)
            .status(status)
            .url(answer.url())
    };
    match status.as_u16() {
        206 => {
            let text = answer.header(CONTENT_RANGE.as_str()).unwrap_or("nothing");
            let numbers = text
                .strip_prefix("bytes ")
                .and_then(|rest| rest.split_once('/'))
                .and_then(|(range, _)| range.split_once('-'))
                .and_then(|(start, last)| {
                    Some((start.parse::<u64>().ok()?, last.parse::<u64>().ok()?))
                });
            if numbers == Some((wanted.start, wanted.end - 1)) {
                return Ok(());
            }
            let text: String = text.chars().take(60).collect();
            Err(ignored(format!(
                "it answers the wish for bytes {} to {} with `{text}`",
                wanted.start, wanted.end
            )))
        }
        200 => Err(ignored("it answers with all of the blob".into())),
        416 => Err(ignored("it says that there are no such bytes".into())),
        _ => Err(exchange.refused(answer, None).await),
    }
}

async fn take(
    exchange: &Exchange<'_>,
    answer: &mut Answer,
    range: &Range<u64>,
    got: &mut BytesMut,
) -> Result<(), Error> {
    let wanted = range.end - range.start;
    let url = answer.url().clone();
    loop {
        let chunk = match answer.chunk().await {
            Ok(chunk) => chunk,
            // All of it is there: how the connection ends does not matter.
            Err(_) if got.len() as u64 == wanted => None,
            Err(failure) => return Err(exchange.failed(failure, Some(&url))),
        };
        let Some(chunk) = chunk else { break };
        if got.len() as u64 + chunk.len() as u64 > wanted {
            let error = exchange.error(ErrorKind::Corrupted).url(&url);
            return Err(error.what(format!("it sends more than the {wanted} bytes asked for")));
        }
        got.extend_from_slice(&chunk);
    }
    if got.len() as u64 == wanted {
        return Ok(());
    }
    let error = exchange.error(ErrorKind::Unreachable).url(&url);
    Err(error.what(format!(
        "the content ends after {} of {wanted} bytes",
        got.len()
    )))
}
