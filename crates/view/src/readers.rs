//! Requests that have to wait for contents, and the threads that wait. Those that answer the
//! kernel never wait here: a file system that stands still for one file still answers for others,
//! and can always be ended.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use store::layer::NodeId;

use crate::answer::Wanted;
use crate::protocol::Reply;

/// What is in the files of a tree.
pub trait Contents: Send + Sync + Debug {
    /// Fills `buffer` with what is in `file` (a regular file of the tree, of several names the one
    /// with the content) from `offset` on; all of it lies in the file. May wait. Called from
    /// several threads at once.
    ///
    /// # Errors
    ///
    /// Whoever reads gets EIO. Why is for the implementor to keep.
    fn read(&self, file: NodeId, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// Threads that wait for contents: more gain nothing on the wire, and each has room for one reply.
const THREADS: usize = 8;

/// One request of one connection.
#[derive(Debug)]
struct Job {
    device: Arc<OwnedFd>,
    wanted: Wanted,
}

/// The requests, and who takes them.
#[derive(Debug)]
pub(crate) struct Readers {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    /// What threads are at, by connection and request.
    under_way: Vec<Job>,
    /// No more contents: every request fails.
    aborted: bool,
    /// The threads are to end.
    closed: bool,
}

impl Readers {
    /// Starts the threads. They end after [`Readers::close`], each when it has what it waits for.
    pub(crate) fn start(contents: &Arc<dyn Contents>) -> io::Result<Arc<Self>> {
        let readers = Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        for _ in 0..THREADS {
            let (of_thread, contents) = (Arc::clone(&readers), Arc::clone(contents));
            let started = std::thread::Builder::new()
                .name("view-reader".into())
                .spawn(move || of_thread.work(&*contents));
            if let Err(error) = started {
                readers.close();
                return Err(error);
            }
        }
        Ok(readers)
    }

    /// Has a part of a file read and sent.
    pub(crate) fn push(&self, device: &Arc<OwnedFd>, wanted: Wanted) {
        let mut state = self.state();
        if state.aborted {
            drop(state);
            send(device, &Reply::error(wanted.unique, libc::EIO));
            return;
        }
        state.waiting.push_back(Job {
            device: Arc::clone(device),
            wanted,
        });
        self.changed.notify_one();
    }

    /// Answers everything that waits, and all that will be asked, with EIO. Nobody who reads waits
    /// any longer.
    pub(crate) fn abort(&self) {
        let mut state = self.state();
        state.aborted = true;
        let waiting = std::mem::take(&mut state.waiting);
        let under_way = std::mem::take(&mut state.under_way);
        drop(state);
        for Job { device, wanted } in waiting.into_iter().chain(under_way) {
            send(&device, &Reply::error(wanted.unique, libc::EIO));
        }
    }

    /// Lets the threads end.
    pub(crate) fn close(&self) {
        self.abort();
        self.state().closed = true;
        self.changed.notify_all();
    }

    fn work(&self, contents: &dyn Contents) {
        while let Some((device, wanted)) = self.next() {
            let mut reply = Reply::new();
            let room = reply.room(wanted.bytes);
            // The connection can end meanwhile.
            let device = {
                let held = device;
                Arc::downgrade(&held)
            };
            let read = contents.read(wanted.file, wanted.offset, room);
            let Some(device) = device.upgrade() else {
                continue;
            };
            if !self.finished(&device, wanted) {
                // Answered by an abort.
                continue;
            }
            let reply = match read {
                Ok(()) => reply.finish(wanted.unique),
                Err(_kept_by_contents) => Reply::error(wanted.unique, libc::EIO),
            };
            send(&device, &reply);
        }
    }

    /// Waits for something to do; `None` is the end.
    fn next(&self) -> Option<(Arc<OwnedFd>, Wanted)> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(Job { device, wanted }) = state.waiting.pop_front() {
                state.under_way.push(Job {
                    device: Arc::clone(&device),
                    wanted,
                });
                return Some((device, wanted));
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the request still wants its answer.
    fn finished(&self, device: &Arc<OwnedFd>, wanted: Wanted) -> bool {
        let mut state = self.state();
        let is_it = |job: &Job| Arc::ptr_eq(&job.device, device) && job.wanted == wanted;
        let found = state.under_way.iter().position(is_it);
        found.map(|at| state.under_way.swap_remove(at)).is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a reply. It fails when nobody waits for it any more.
pub(crate) fn send(device: &OwnedFd, reply: &[u8]) {
    while rustix::io::write(device, reply) == Err(rustix::io::Errno::INTR) {}
}
