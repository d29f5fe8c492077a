//! A response body that can end in other ways than well.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame};
use tokio::time::Sleep;

use super::log::Entry;

/// Largest piece handed to the connection at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Time for what was sent to leave the process before the connection is cut,
/// so that "after k bytes" is true for the client too.
const FLUSH_PAUSE: Duration = Duration::from_millis(30);

/// How a body ends once its bytes are out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it should.
    Whole,
    /// The connection closes in good order, too early.
    Closed,
    /// The connection is reset.
    Reset,
    /// Never.
    Stalled,
}

/// The bytes, their pace and their end.
pub(crate) struct ScriptedBody {
    bytes: Bytes,
    end: End,
    piece: usize,
    pause: Option<Duration>,
    sleeping: Option<Pin<Box<Sleep>>>,
    ending: bool,
    reset: Arc<AtomicBool>,
    entry: Arc<Entry>,
}

/// The body was cut on purpose.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut by the script")
    }
}

impl std::error::Error for Cut {}

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl ScriptedBody {
    pub(crate) fn new(bytes: Bytes, end: End, reset: Arc<AtomicBool>, entry: Arc<Entry>) -> Self {
        Self {
            bytes,
            end,
            piece: PIECE_BYTES_MAX,
            pause: None,
            sleeping: None,
            ending: false,
            reset,
            entry,
        }
    }

    pub(crate) fn paced(mut self, piece: usize, pause: Duration) -> Self {
        self.piece = piece.max(1);
        self.pause = Some(pause);
        self
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        if let Some(sleeping) = &mut this.sleeping {
            if sleeping.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            this.sleeping = None;
        } else if this.bytes.has_remaining()
            && let Some(pause) = this.pause
        {
            this.sleeping = Some(Box::pin(tokio::time::sleep(pause)));
            return self.poll_frame(context);
        }
        if this.bytes.has_remaining() {
            let piece = this.bytes.split_to(this.piece.min(this.bytes.len()));
            (this.entry.bytes_out).fetch_add(piece.len() as u64, Ordering::SeqCst);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match this.end {
            End::Whole => Poll::Ready(None),
            End::Stalled => Poll::Pending,
            End::Closed | End::Reset if !this.ending => {
                this.ending = true;
                this.sleeping = Some(Box::pin(tokio::time::sleep(FLUSH_PAUSE)));
                self.poll_frame(context)
            }
            End::Closed => Poll::Ready(Some(Err(Cut))),
            End::Reset => {
                this.reset.store(true, Ordering::SeqCst);
                Poll::Ready(Some(Err(Cut)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end == End::Whole && self.bytes.is_empty()
    }
}
