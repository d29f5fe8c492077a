//! What is given out: mounts of a tree, and the end of them all.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use store::layer::Tree;

use crate::nodes::{Ids, Nodes};
use crate::readers::{Contents, Readers};
use crate::session::Session;

/// Why a tree cannot be shown here.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The device of the kernel is not there, or not for this user.
    #[error("/dev/fuse cannot be opened")]
    Device(#[source] io::Error),
    /// No such file system, or not for this user.
    #[error("the kernel makes no FUSE mount for this process")]
    Mount(#[source] io::Error),
    /// No thread to answer it.
    #[error("could not start the threads of a file system")]
    Threads(#[source] io::Error),
}

/// A tree that is shown. When it is dropped, so are its mounts: who still uses one gets ENOTCONN.
#[derive(Debug)]
pub struct View {
    nodes: Arc<Nodes>,
    readers: Arc<Readers>,
    sessions: Mutex<Vec<Session>>,
}

impl View {
    /// Begins to show a tree. The current user namespace is the one whose ids are served.
    ///
    /// # Errors
    ///
    /// [`ViewError`]: this machine shows none.
    pub fn new(tree: Arc<Tree>, ids: Ids, contents: &Arc<dyn Contents>) -> Result<Self, ViewError> {
        let nodes = Arc::new(Nodes::new(tree, ids));
        let readers = Readers::start(contents).map_err(ViewError::Threads)?;
        match Session::start(&nodes, &readers) {
            Ok(session) => Ok(Self {
                nodes,
                readers,
                sessions: Mutex::new(vec![session]),
            }),
            Err(error) => {
                readers.close();
                Err(error)
            }
        }
    }

    /// A mount of the tree, read-only, attached nowhere. It goes when its last descriptor is
    /// closed, or with the last mount namespace that it was moved to.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub fn mount(&self) -> Result<OwnedFd, ViewError> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = sessions.first()
            && let Ok(mount) = first.another_mount()
        {
            return Ok(mount);
        }
        let session = Session::start(&self.nodes, &self.readers)?;
        let mount = session.only_mount().map_err(ViewError::Mount)?;
        sessions.push(session);
        Ok(mount)
    }

    /// Fails every read that waits for contents and every one to come, with EIO.
    pub fn abort(&self) {
        self.readers.abort();
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.readers.close();
    }
}
