//! Requests to services that keep objects: sent again where that may help, answers as they come in,
//! content as it goes out. Nothing is ever held as a whole that is not small.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use oci::{Algorithm, Descriptor, Digest};
use registry::BlobSource;
use reqwest::{Body, Client, Method, Response, Url};
use tokio::sync::mpsc;

use crate::{ShelfError, ShelfErrorKind};

/// How often a request is sent.
const ATTEMPTS_MAX: u32 = 4;
/// The pause before the second attempt; it doubles before the next.
const PAUSE: Duration = Duration::from_millis(300);
/// The longest pause that a service may ask for. Longer ones are worth a warning, not the wait.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// Until the head of an answer is there. A PUT is answered when all was sent.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
const PUT_PATIENCE: Duration = Duration::from_secs(30 * 60);
/// The longest pause between two pieces of an answer.
const IDLE: Duration = Duration::from_secs(30);
/// How much of a refusal is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 4 * 1024;
/// How much of it is shown, in characters.
const REFUSAL_SHOWN_MAX: usize = 200;
/// Pieces on their way between a thread that blocks and the network.
const PIECES: usize = 4;
const PIECE_BYTES: usize = 256 * 1024;

/// A request that can be made any number of times.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

/// Why a request was not answered as it should be.
#[derive(Debug)]
pub(crate) struct HttpTrouble {
    kind: ShelfErrorKind,
    reason: String,
}

impl HttpTrouble {
    pub(crate) fn new(kind: ShelfErrorKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }

    pub(crate) fn kind(&self) -> ShelfErrorKind {
        self.kind
    }

    pub(crate) fn into_error(self, operation: impl Into<String>, address: &str) -> ShelfError {
        ShelfError::new(self.kind, operation, address).because(self.reason)
    }
}

/// What is sent.
pub(crate) struct Content {
    pub(crate) length: u64,
    /// In hex, where it is known before anything is sent.
    pub(crate) sha256: Option<String>,
    source: Arc<dyn BlobSource>,
}

impl Content {
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self {
            length: bytes.len() as u64,
            sha256: Some(Digest::of(&bytes).hex().to_owned()),
            source: Arc::new(bytes),
        }
    }

    pub(crate) fn of_blob(blob: &Descriptor, source: Arc<dyn BlobSource>) -> Self {
        let is_sha256 = blob.digest.algorithm() == Algorithm::Sha256;
        Self {
            length: blob.size,
            sha256: is_sha256.then(|| blob.digest.hex().to_owned()),
            source,
        }
    }

    fn body(&self) -> Body {
        let (send, receive) = mpsc::channel::<io::Result<Bytes>>(PIECES);
        let source = Arc::clone(&self.source);
        tokio::task::spawn_blocking(move || {
            let sent = source.open(0).and_then(|mut reader| {
                loop {
                    let mut piece = vec![0; PIECE_BYTES];
                    let count = match reader.read(&mut piece) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        read => read?,
                    };
                    piece.truncate(count);
                    // Nobody takes it any more.
                    if count == 0 || send.blocking_send(Ok(piece.into())).is_err() {
                        return Ok(());
                    }
                }
            });
            if let Err(error) = sent {
                let _ = send.blocking_send(Err(error));
            }
        });
        Body::wrap_stream(stream::unfold(receive, |mut receive| async move {
            let piece = receive.recv().await?;
            Some((piece, receive))
        }))
    }
}

/// Sends a request until it is answered for good. `make` makes it anew each time, since signatures
/// have a time in them. Answers outside of 200 to 299 are trouble.
pub(crate) async fn send(
    client: &Client,
    content: Option<&Content>,
    make: impl Fn() -> Result<Call, HttpTrouble>,
) -> Result<Response, HttpTrouble> {
    let mut pause = PAUSE;
    let mut attempt = 1;
    loop {
        let Call {
            method,
            url,
            mut headers,
        } = make()?;
        let mut request = client.request(method, url);
        let mut patience = HEAD_PATIENCE;
        if let Some(content) = content {
            headers.insert(CONTENT_LENGTH, content.length.into());
            request = request.body(content.body());
            patience = PUT_PATIENCE;
        }
        let sent = tokio::time::timeout(patience, request.headers(headers).send()).await;
        let (trouble, asked) = match sent {
            Ok(Ok(answer)) if answer.status().is_success() => return Ok(answer),
            Ok(Ok(answer)) => {
                let asked = pause_of(&answer);
                let status = answer.status();
                let trouble = refusal(answer).await;
                if !is_transient(status) {
                    return Err(trouble);
                }
                (trouble, asked)
            }
            Ok(Err(error)) => {
                let reason = chain(&error.without_url());
                (HttpTrouble::new(ShelfErrorKind::Unreachable, reason), None)
            }
            Err(_elapsed) => {
                let reason = "no answer came in time";
                (HttpTrouble::new(ShelfErrorKind::Unreachable, reason), None)
            }
        };
        let wait = asked.unwrap_or(pause);
        if attempt >= ATTEMPTS_MAX || wait > PAUSE_MAX {
            return Err(trouble);
        }
        tokio::time::sleep(wait).await;
        attempt += 1;
        pause *= 2;
    }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn pause_of(answer: &Response) -> Option<Duration> {
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

async fn refusal(answer: Response) -> HttpTrouble {
    let status = answer.status();
    let kind = match status.as_u16() {
        404 | 410 => ShelfErrorKind::Absent,
        401 | 403 | 407 => ShelfErrorKind::Denied,
        413 | 429 | 507 => ShelfErrorKind::Full,
        416 => ShelfErrorKind::Ranges,
        500..=599 => ShelfErrorKind::Unreachable,
        _ => ShelfErrorKind::Refused,
    };
    let text = first_bytes(answer, REFUSAL_BYTES_MAX).await;
    let text = String::from_utf8_lossy(&text);
    let shown: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REFUSAL_SHOWN_MAX)
        .collect();
    let reason = match shown.trim() {
        "" => format!("the answer is {status}"),
        shown => format!("the answer is {status}: {shown}"),
    };
    HttpTrouble::new(kind, reason)
}

async fn first_bytes(mut answer: Response, max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Ok(Some(piece))) = tokio::time::timeout(IDLE, answer.chunk()).await {
        bytes.extend_from_slice(&piece[..piece.len().min(max - bytes.len())]);
        if bytes.len() >= max {
            break;
        }
    }
    bytes
}

/// Reads an answer that must be small.
pub(crate) async fn read_all(mut answer: Response, max: usize) -> Result<Bytes, HttpTrouble> {
    let mut bytes = Vec::new();
    loop {
        let piece = match tokio::time::timeout(IDLE, answer.chunk()).await {
            Ok(Ok(Some(piece))) => piece,
            Ok(Ok(None)) => return Ok(bytes.into()),
            Ok(Err(error)) => {
                let reason = chain(&error.without_url());
                return Err(HttpTrouble::new(ShelfErrorKind::Unreachable, reason));
            }
            Err(_elapsed) => {
                let reason = "the answer stands still";
                return Err(HttpTrouble::new(ShelfErrorKind::Unreachable, reason));
            }
        };
        if bytes.len() + piece.len() > max {
            let reason = "the answer is larger than it may be";
            return Err(HttpTrouble::new(ShelfErrorKind::Damaged, reason));
        }
        bytes.extend_from_slice(&piece);
    }
}

/// Reads the answer to a request for a part.
pub(crate) async fn read_part(answer: Response, length: usize) -> Result<Bytes, HttpTrouble> {
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        let reason = "it answers with the whole where a part was asked for";
        return Err(HttpTrouble::new(ShelfErrorKind::Ranges, reason));
    }
    let bytes = read_all(answer, length).await?;
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(HttpTrouble::new(
            ShelfErrorKind::Damaged,
            "the part is shorter than it should be",
        )),
    }
}

/// An answer's body, for a thread that may block.
pub(crate) struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl BodyReader {
    /// Reads ahead a little on the runtime.
    pub(crate) fn new(mut answer: Response) -> Self {
        let (send, pieces) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            loop {
                let piece = match tokio::time::timeout(IDLE, answer.chunk()).await {
                    Ok(Ok(None)) => return,
                    Ok(Ok(Some(piece))) => Ok(piece),
                    Ok(Err(error)) => Err(io::Error::other(chain(&error.without_url()))),
                    Err(_elapsed) => Err(io::Error::from(io::ErrorKind::TimedOut)),
                };
                let is_last = piece.is_err();
                if send.send(piece).await.is_err() || is_last {
                    return;
                }
            }
        });
        Self {
            pieces,
            piece: Bytes::new(),
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
