//! Threads for the work on layers that needs a processor and nothing else:
//! hashing and compressing. A store has one pool, however many layers are
//! written at once, so that neither threads nor memory grow with the layers.
//!
//! Work in a pool never waits for other work in it. That is what makes it safe
//! to bound the memory of all of it together: whoever waits for a buffer waits
//! for threads that go on.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::codec::Engines;
use super::compress::BLOCK_BYTES;

/// Buffers in use at once by all who share a pool. Each comes with another of
/// what it is compressed to: together they are less than half of the 256 MiB
/// that a build may have, whatever the number of processors.
const BUFFERS_MAX: usize = 48;

/// Threads that carry out what they are given, started when there is something
/// to do. Clones share them; they end with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Owner>);

/// Ends the threads when it goes.
#[derive(Debug)]
struct Owner(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to do, or there never will be again.
    work: Condvar,
    /// A buffer came back.
    room: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    threads_max: usize,
    idle: usize,
    closed: bool,
    buffers_out: usize,
    buffers_free: Vec<Vec<u8>>,
}

/// Something to be done once, with the compressors of the thread that does it.
pub(crate) type Job = Box<dyn FnOnce(&mut Engines) + Send>;

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pool {
    /// A pool without threads so far.
    fn default() -> Self {
        Self(Arc::new(Owner(Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
        }))))
    }
}

impl Pool {
    /// Lets the pool grow to this many threads.
    pub(crate) fn allow(&self, threads: NonZeroUsize) {
        let mut state = self.shared().lock();
        state.threads_max = state.threads_max.max(threads.get());
    }

    /// Whether it is worth it to hand work over.
    pub(crate) fn is_parallel(&self) -> bool {
        self.shared().lock().threads_max > 1
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// Has something done, in the order in which it is asked for.
    pub(crate) fn run(&self, job: Job) {
        let shared = self.shared();
        let mut state = shared.lock();
        state.queue.push_back(job);
        if state.idle == 0 && state.threads < state.threads_max.max(1) {
            let own = Arc::clone(shared);
            let name = format!("pack-{}", state.threads);
            let started = std::thread::Builder::new()
                .name(name)
                .spawn(move || serve(&own));
            state.threads += usize::from(started.is_ok());
            if state.threads == 0 {
                // No thread can be had: the one that asks does it.
                let job = state.queue.pop_back();
                drop(state);
                if let Some(job) = job {
                    job(&mut Engines::default());
                }
                return;
            }
        }
        drop(state);
        shared.work.notify_one();
    }

    /// An empty buffer of [`BLOCK_BYTES`]. Waits while too many are in use.
    pub(crate) fn buffer(&self) -> Buffer {
        let shared = self.shared();
        let mut state = shared.lock();
        let buffers_max = (2 * state.threads_max + 2).min(BUFFERS_MAX);
        while state.buffers_out >= buffers_max {
            state = shared
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.buffers_out += 1;
        let bytes = state.buffers_free.pop();
        drop(state);
        Buffer {
            bytes: bytes.unwrap_or_else(|| vec![0; BLOCK_BYTES]),
            filled: 0,
            home: Arc::clone(shared),
        }
    }
}

/// What a thread does until no more will come.
fn serve(shared: &Shared) {
    let mut engines = Engines::default();
    let mut state = shared.lock();
    loop {
        if let Some(job) = state.queue.pop_front() {
            drop(state);
            job(&mut engines);
            state = shared.lock();
            continue;
        }
        if state.closed {
            return;
        }
        state.idle += 1;
        state = shared
            .work
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // The threads see it and end; they hold nothing that anybody waits for.
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }
}

/// A block of input that goes back to its pool when the last who reads it is
/// done.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
    home: Arc<Shared>,
}

impl Buffer {
    /// Takes the bytes of `block`, of which the first `filled` count, and gives
    /// its own for them.
    pub(crate) fn exchange(&mut self, block: &mut Vec<u8>, filled: usize) {
        std::mem::swap(&mut self.bytes, block);
        self.filled = filled;
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut state = self.home.lock();
        state.buffers_free.push(bytes);
        state.buffers_out -= 1;
        drop(state);
        self.home.room.notify_one();
    }
}
