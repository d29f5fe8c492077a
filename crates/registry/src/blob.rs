//! Blobs as they come in: streamed, resumed where they broke off, and verified
//! (distribution specification, "Pulling blobs").

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{HeaderValue, Method};
use oci::{Descriptor, Hasher, Repository};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::auth::Scope;
use crate::endpoint::{Endpoint, Wanted, for_pull};
use crate::error::{Error, ErrorKind, Operation};
use crate::exchange::{Ask, Exchange, Hosts, given_up};
use crate::retry::Budget;
use crate::transport::Answer;
use crate::{Progress, error};

/// Blobs up to this size are verified before the first byte is handed out, so
/// that a damaged one can be fetched again unnoticed.
const HELD_BYTES_MAX: u64 = 1024 * 1024;
/// How many pieces may wait for the reader; they have 8 to 64 KiB each.
const PIECES_WAITING: usize = 16;
/// Fewer new bytes than this are no progress: a peer that trickles would
/// otherwise be waited for without end.
const PROGRESS_BYTES_MIN: u64 = 64 * 1024;
/// How much of a blob is read to find out whether its consumer failed because
/// of damage.
const DRAIN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The bytes of a blob, verified: the stream ends without an error only when
/// digest and size were right. Dropping it stops the download.
pub struct BlobStream {
    receiver: mpsc::Receiver<Piece>,
    task: JoinHandle<()>,
    subject: String,
    ended: bool,
}

/// A [`BlobStream`] for plain threads. An `io::Error` of its own carries the
/// text of the [`Error`], which [`Self::take_error`] gives out; end of file
/// means that the blob is right.
pub struct BlobReader {
    stream: BlobStream,
    piece: Bytes,
    error: Option<Error>,
    failed: bool,
}

/// Why [`crate::Client::consume_blob`] failed.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError<E> {
    /// The blob could not be fetched, or is not what it should be.
    #[error(transparent)]
    Wire(Error),
    /// The blob is right, but the consumer failed.
    #[error("the consumer of the blob failed")]
    Consumer(E),
}

/// What the download hands to the stream. A channel that closes without `End`
/// is a download that was cut off, not a short blob.
enum Piece {
    Bytes(Bytes),
    End,
    Failed(Error),
}

/// The part of a blob that has come.
struct Fetch<'a> {
    descriptor: &'a Descriptor,
    sender: &'a mpsc::Sender<Piece>,
    progress: Option<&'a Progress>,
    hasher: Hasher,
    offset: u64,
    /// What has come and is not handed out yet; `None` for large blobs, which
    /// are handed out as they come.
    held: Option<Vec<Bytes>>,
    handed_out: bool,
}

/// Why one download ended early.
enum Broken {
    /// It may be resumed.
    Retry(Error),
    /// The bytes are wrong.
    Corrupted(Error),
    /// It cannot be had from here.
    Failed(Error),
    /// Nobody reads any more.
    Abandoned,
}

impl BlobStream {
    pub(crate) fn start(
        hosts: Arc<Hosts>,
        repository: Repository,
        descriptor: Descriptor,
        progress: Option<Progress>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        let subject = format!("{} from {repository}", descriptor.digest);
        let task = tokio::spawn({
            let subject = subject.clone();
            async move {
                let last = fetch(
                    &hosts,
                    &repository,
                    &descriptor,
                    progress,
                    &subject,
                    &sender,
                )
                .await
                .map_or_else(Piece::Failed, |()| Piece::End);
                let _ = sender.send(last).await;
            }
        });
        Self {
            receiver,
            task,
            subject,
            ended: false,
        }
    }

    /// The next bytes; `None` when all have come and are right.
    ///
    /// # Errors
    ///
    /// Once, as the last item.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// For reading on a thread that is not part of the runtime (or one for
    /// blocking work); must not be read inside async code.
    pub fn into_reader(self) -> BlobReader {
        BlobReader {
            stream: self,
            piece: Bytes::new(),
            error: None,
            failed: false,
        }
    }

    fn take(&mut self, piece: Option<Piece>) -> Option<Result<Bytes, Error>> {
        match piece {
            Some(Piece::Bytes(bytes)) => return Some(Ok(bytes)),
            Some(Piece::End) => self.ended = true,
            Some(Piece::Failed(error)) => {
                self.ended = true;
                return Some(Err(error));
            }
            None if self.ended => {}
            None => {
                self.ended = true;
                let error = Error::new(ErrorKind::Unreachable, Operation::PullBlob, &self.subject);
                return Some(Err(error.what("the download was cut off")));
            }
        }
        None
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match self.receiver.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(piece) => Poll::Ready(self.take(piece)),
        }
    }
}

impl Drop for BlobStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl BlobReader {
    /// The error behind a failed read, taken out.
    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    /// Reads on to the end, but no more than `bytes_max`. Returns whether the
    /// end was reached and the blob is right.
    fn drain(&mut self, bytes_max: u64) -> bool {
        let mut left = bytes_max;
        loop {
            left = left.saturating_sub(self.piece.len() as u64);
            self.piece.clear();
            match self.fill() {
                Err(_) => return false,
                Ok(false) => return true,
                Ok(true) if left == 0 => return false,
                Ok(true) => {}
            }
        }
    }

    /// Makes sure that there are bytes to hand out; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        while self.piece.is_empty() {
            if self.failed {
                return Err(io::Error::other("the blob could not be fetched"));
            }
            if self.stream.ended {
                return Ok(false);
            }
            let piece = self.stream.receiver.blocking_recv();
            match self.stream.take(piece) {
                None => return Ok(false),
                Some(Ok(bytes)) => self.piece = bytes,
                Some(Err(error)) => {
                    let text = error.to_string();
                    self.error = Some(error);
                    self.failed = true;
                    return Err(io::Error::other(text));
                }
            }
        }
        Ok(true)
    }
}

impl io::Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || !self.fill()? {
            return Ok(0);
        }
        let bytes = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..bytes]);
        Ok(bytes)
    }
}

impl io::BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill()?;
        Ok(&self.piece)
    }

    fn consume(&mut self, bytes: usize) {
        self.piece.advance(bytes.min(self.piece.len()));
    }
}

/// Runs `consume` on a thread, and once more when the blob was damaged.
pub(crate) async fn consume<T, E, F>(
    hosts: &Arc<Hosts>,
    repository: &Repository,
    descriptor: &Descriptor,
    progress: Option<Progress>,
    mut consume: F,
) -> Result<T, ConsumeError<E>>
where
    T: Send + 'static,
    E: Send + 'static,
    F: FnMut(&mut BlobReader) -> Result<T, E> + Send + 'static,
{
    let mut is_first = true;
    loop {
        let mut reader = BlobStream::start(
            Arc::clone(hosts),
            repository.clone(),
            descriptor.clone(),
            progress.clone(),
        )
        .into_reader();
        let work = tokio::task::spawn_blocking(move || {
            let result = consume(&mut reader);
            match &result {
                Ok(_) => reader.drain(u64::MAX),
                // Damage often shows in the consumer first, as a bad checksum.
                Err(_) => reader.drain(DRAIN_BYTES_MAX),
            };
            (consume, result, reader.take_error(), reader.failed)
        });
        let (again, result, error, failed) = match work.await {
            Ok(done) => done,
            Err(panicked) => match panicked.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => {
                    let error = Error::new(
                        ErrorKind::Unreachable,
                        Operation::PullBlob,
                        &descriptor.digest,
                    );
                    return Err(ConsumeError::Wire(
                        error.what("the runtime is shutting down"),
                    ));
                }
            },
        };
        consume = again;
        match (result, error) {
            (_, Some(error)) if *error.kind() == ErrorKind::Corrupted && is_first => {
                is_first = false;
            }
            (_, Some(error)) => return Err(ConsumeError::Wire(error)),
            (Err(error), None) => return Err(ConsumeError::Consumer(error)),
            (Ok(value), None) if !failed => return Ok(value),
            (Ok(_), None) => {
                // The consumer took the error out and still called it a success.
                let error = Error::new(
                    ErrorKind::Corrupted,
                    Operation::PullBlob,
                    &descriptor.digest,
                );
                return Err(ConsumeError::Wire(error));
            }
        }
    }
}

/// Fetches a blob from the first place that has it.
async fn fetch(
    hosts: &Hosts,
    repository: &Repository,
    descriptor: &Descriptor,
    progress: Option<Progress>,
    subject: &str,
    sender: &mpsc::Sender<Piece>,
) -> Result<(), Error> {
    let endpoints = for_pull(&hosts.options.settings, repository, Wanted::Digest)
        .map_err(|blocked| error::blocked(&blocked, Operation::PullBlob, subject))?;
    let mut fetch = Fetch {
        descriptor,
        sender,
        progress: progress.as_ref(),
        hasher: Hasher::new(descriptor.digest.algorithm()),
        offset: 0,
        held: (descriptor.size <= HELD_BYTES_MAX).then(Vec::new),
        handed_out: false,
    };
    let mut failure: Option<Error> = None;
    for endpoint in &endpoints {
        let mut may_restart = true;
        loop {
            match fetch.from(hosts, endpoint, subject).await {
                Ok(()) => return Ok(()),
                Err(Broken::Abandoned) => return Ok(()),
                Err(Broken::Corrupted(error)) => {
                    if fetch.handed_out {
                        return Err(error);
                    }
                    fetch.restart();
                    if may_restart {
                        may_restart = false;
                        continue;
                    }
                    failure = Some(prefer(failure, error, endpoint));
                }
                Err(Broken::Retry(error) | Broken::Failed(error)) => {
                    failure = Some(prefer(failure, error, endpoint));
                }
            }
            break;
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(ErrorKind::NotFound, Operation::PullBlob, subject)))
}

/// What the registry itself says is worth more than what a mirror says.
pub(crate) fn prefer(known: Option<Error>, new: Error, endpoint: &Endpoint) -> Error {
    match known {
        Some(known) if endpoint.is_mirror => known,
        _ => new,
    }
}

impl Fetch<'_> {
    fn restart(&mut self) {
        self.hasher = Hasher::new(self.descriptor.digest.algorithm());
        self.offset = 0;
        if let Some(held) = &mut self.held {
            held.clear();
        }
    }

    /// Fetches what is missing from one place, in as many pieces as it takes.
    async fn from(
        &mut self,
        hosts: &Hosts,
        endpoint: &Endpoint,
        subject: &str,
    ) -> Result<(), Broken> {
        let exchange = hosts.exchange(
            endpoint,
            Operation::PullBlob,
            subject,
            vec![Scope::pull(&endpoint.path)],
        );
        let url = exchange
            .url(&format!("blobs/{}", self.descriptor.digest))
            .await
            .map_err(Broken::Failed)?;
        let mut budget = Budget::new(exchange.timing());
        let mut use_range = true;
        loop {
            let start = self.offset;
            let mut ask = Ask::new(Method::GET, url.clone(), exchange.timing().headers)
                // A proxy that compresses on the way would change the bytes (D21).
                .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            if start > 0 && use_range {
                let range = HeaderValue::from_str(&format!("bytes={start}-"))
                    .expect("digits and a dash are a header");
                ask = ask.header(RANGE, range);
            }
            let mut answer = exchange.send(&ask).await.map_err(Broken::Failed)?;
            let error = match self.place(&answer) {
                Ok(skip) => match self.take(&exchange, &mut answer, skip).await {
                    Err(Broken::Retry(error)) => error,
                    other => return other,
                },
                Err(Some(what)) => {
                    // The peer's idea of a range is not ours: take it all again,
                    // and skip what we have.
                    use_range = false;
                    exchange
                        .error(ErrorKind::Protocol)
                        .what(what)
                        .status(answer.status())
                        .url(answer.url())
                }
                Err(None) => {
                    return Err(Broken::Failed(exchange.refused(&mut answer, None).await));
                }
            };
            drop(answer);
            if self.offset >= start + PROGRESS_BYTES_MIN {
                budget.progress();
            }
            if let Err(why) = budget.failed(None).await {
                return Err(Broken::Retry(given_up(error, why, budget.attempts() - 1)));
            }
        }
    }

    /// How many bytes of the answer's body are known already; or why the answer
    /// cannot be used; or that it is a plain refusal.
    fn place(&self, answer: &Answer) -> Result<u64, Option<String>> {
        match answer.status().as_u16() {
            200 => Ok(self.offset),
            206 => {
                let text = answer.header(CONTENT_RANGE.as_str()).unwrap_or("nothing");
                let start = text
                    .strip_prefix("bytes ")
                    .and_then(|rest| rest.split_once('-'))
                    .and_then(|(start, _)| start.parse::<u64>().ok());
                if start == Some(self.offset) {
                    Ok(0)
                } else {
                    let text: String = text.chars().take(60).collect();
                    Err(Some(format!(
                        "it answers the wish for bytes from {} with `{text}`",
                        self.offset
                    )))
                }
            }
            416 => Err(Some("it says that there is no more content".into())),
            _ => Err(None),
        }
    }

    /// Takes in a body. The hash goes with the offset, so that whatever a peer
    /// sends, wrong bytes cannot pass.
    async fn take(
        &mut self,
        exchange: &Exchange<'_>,
        answer: &mut Answer,
        mut skip: u64,
    ) -> Result<(), Broken> {
        let size = self.descriptor.size;
        let url = answer.url().clone();
        let corrupted = |what: String| {
            Broken::Corrupted(exchange.error(ErrorKind::Corrupted).what(what).url(&url))
        };
        let promised = answer
            .header(CONTENT_LENGTH.as_str())
            .and_then(|text| text.parse::<u64>().ok());
        let expected = size - self.offset + skip;
        if let Some(promised) = promised
            && promised != expected
        {
            return Err(corrupted(format!(
                "the registry offers {promised} bytes where {expected} are expected"
            )));
        }
        loop {
            let chunk = match answer.chunk().await {
                Ok(chunk) => chunk,
                // All of it is there: how the connection ends does not matter.
                Err(_) if self.offset == size && skip == 0 => None,
                Err(failure) => {
                    return Err(Broken::Retry(exchange.failed(failure, Some(&url))));
                }
            };
            let Some(mut chunk) = chunk else { break };
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            chunk.advance(known);
            skip -= known as u64;
            if chunk.is_empty() {
                continue;
            }
            if chunk.len() as u64 > size - self.offset {
                return Err(corrupted(format!(
                    "the registry sends more than the {size} bytes that it has"
                )));
            }
            self.hasher.update(&chunk);
            self.offset += chunk.len() as u64;
            if let Some(progress) = self.progress {
                progress(self.offset);
            }
            match &mut self.held {
                Some(held) => held.push(chunk),
                None => self.hand_out(chunk).await?,
            }
        }
        if self.offset < size {
            let error = exchange.error(ErrorKind::Corrupted).url(&url);
            return Err(Broken::Retry(error.what(format!(
                "the content ends after {} of {size} bytes",
                self.offset
            ))));
        }
        let found = self.hasher.clone().finish();
        if found != self.descriptor.digest {
            return Err(corrupted(format!("the content has the digest {found}")));
        }
        for piece in self.held.take().unwrap_or_default() {
            self.hand_out(piece).await?;
        }
        Ok(())
    }

    async fn hand_out(&mut self, piece: Bytes) -> Result<(), Broken> {
        self.handed_out = true;
        self.sender
            .send(Piece::Bytes(piece))
            .await
            .map_err(|_| Broken::Abandoned)
    }
}
