//! The body of an upload: read on a thread for blocking work, taken by the
//! connection, watched in between.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Progress;
use crate::retry::Timing;
use crate::traffic::Counters;

/// How much is read at once, in bytes.
const PIECE_BYTES: usize = 128 * 1024;
/// How many pieces may wait for the connection.
const PIECES_WAITING: usize = 4;

/// Bytes that are about to be sent.
pub(crate) struct UploadBody {
    reader: Box<dyn Read + Send>,
    bytes: u64,
    /// Bytes of the blob that were sent before, for the progress.
    before: u64,
    progress: Option<Progress>,
    activity: Arc<Activity>,
}

/// What the connection does with a body.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    /// Microseconds after `start` at which the connection last took something.
    last: AtomicU64,
    sent: AtomicU64,
    total: u64,
    /// Whether the connection waits for our source: then the silence is ours.
    starved: AtomicBool,
    finished: AtomicBool,
    source_error: Mutex<Option<io::Error>>,
}

struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    activity: Arc<Activity>,
    counters: Arc<Counters>,
    progress: Option<Progress>,
    before: u64,
}

impl UploadBody {
    /// A body of exactly `bytes` bytes of `reader`.
    pub(crate) fn new(
        reader: Box<dyn Read + Send>,
        bytes: u64,
        before: u64,
        progress: Option<Progress>,
    ) -> Self {
        Self {
            reader,
            bytes,
            before,
            progress,
            activity: Arc::new(Activity {
                start: Instant::now(),
                last: AtomicU64::new(0),
                sent: AtomicU64::new(0),
                total: bytes,
                starved: AtomicBool::new(false),
                finished: AtomicBool::new(bytes == 0),
                source_error: Mutex::new(None),
            }),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    pub(crate) fn into_body(self, counters: Arc<Counters>) -> reqwest::Body {
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        let activity = Arc::clone(&self.activity);
        let (reader, bytes) = (self.reader, self.bytes);
        // Ends by itself when the connection drops the receiver.
        tokio::task::spawn_blocking(move || read_pieces(reader, bytes, &sender, &activity));
        reqwest::Body::wrap_stream(Pieces {
            receiver,
            activity: self.activity,
            counters,
            progress: self.progress,
            before: self.before,
        })
    }
}

fn read_pieces(
    mut reader: Box<dyn Read + Send>,
    bytes: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    activity: &Activity,
) {
    let mut left = bytes;
    while left > 0 {
        let want = PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES));
        let mut piece = vec![0; want];
        let read = loop {
            match reader.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let error = match read {
            Ok(0) => io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("it ends {left} bytes before the size that its descriptor says"),
            ),
            Ok(read) => {
                piece.truncate(read);
                left -= read as u64;
                if sender.blocking_send(Ok(piece.into())).is_err() {
                    return;
                }
                continue;
            }
            Err(error) => error,
        };
        let mut slot = lock(&activity.source_error);
        *slot = Some(error);
        drop(slot);
        let _ = sender.blocking_send(Err(io::Error::other("the source failed")));
        return;
    }
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.receiver.poll_recv(context);
        let activity = &self.activity;
        activity.touch();
        activity.starved.store(next.is_pending(), Ordering::Relaxed);
        match &next {
            Poll::Pending | Poll::Ready(None | Some(Err(_))) => {}
            Poll::Ready(Some(Ok(piece))) => {
                let bytes = piece.len() as u64;
                self.counters.up(piece.len());
                let sent = activity.sent.fetch_add(bytes, Ordering::Relaxed) + bytes;
                // With a length in the headers nobody asks for the end.
                if sent >= activity.total {
                    activity.finished.store(true, Ordering::Relaxed);
                }
                if let Some(progress) = &self.progress {
                    progress(self.before + sent);
                }
            }
        }
        next
    }
}

impl Activity {
    fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Bytes that the connection has taken.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn source_error(&self) -> Option<io::Error> {
        lock(&self.source_error).take()
    }

    /// Ends when the peer has been silent for too long: for `Timing::idle` in
    /// the middle of the body, for `deadline` behind it.
    pub(crate) async fn silence(&self, timing: &Timing, deadline: Duration) {
        let tick = (timing.idle.min(deadline) / 8).max(Duration::from_millis(1));
        loop {
            tokio::time::sleep(tick).await;
            if self.starved.load(Ordering::Relaxed) && !self.finished.load(Ordering::Relaxed) {
                continue;
            }
            let last = Duration::from_micros(self.last.load(Ordering::Relaxed));
            let quiet = self.start.elapsed().saturating_sub(last);
            let limit = if self.finished.load(Ordering::Relaxed) {
                deadline
            } else {
                timing.idle
            };
            if quiet > limit {
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
