//! A view that a command runs on, and what went wrong in it: the command gets EIO, and who ran it
//! gets the reason.

use std::fmt::Debug;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sandbox::IdMapping;
use store::layer::{Node, NodeId, Tree};
use view::{Contents, Ids, View, ViewError};

use crate::lazy::LazyError;

/// Why the contents of a file of a base could not be had.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not read {path} of the base image")]
pub(crate) struct GroundError {
    /// The file, from the root.
    path: String,
    #[source]
    source: Arc<dyn std::error::Error + Send + Sync>,
}

impl GroundError {
    /// Whether the file can perhaps be had by unpacking its layer.
    pub(crate) fn wants_whole(&self) -> bool {
        let of_layer = self.source.downcast_ref::<LazyError>();
        of_layer.is_some_and(LazyError::wants_whole)
    }
}

/// Where contents of the files of a tree are.
pub(crate) trait Source: Send + Sync + Debug {
    /// Fills `buffer` with the content of a regular file from `offset` on, all of it in the file.
    /// Blocks.
    fn read(
        &self,
        file: Node<'_>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Nobody reads any more: what still waits may fail.
    fn stop(&self) {}
}

/// A tree that the kernel shows.
#[derive(Debug)]
pub(crate) struct Ground {
    view: View,
    watch: Arc<Watch>,
}

/// A mount of it, for one run.
#[derive(Debug)]
pub(crate) struct GroundMount(OwnedFd);

impl GroundMount {
    /// What names the mount, in this process.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

impl Ground {
    pub(crate) fn new(
        tree: Arc<Tree>,
        ids: IdMapping,
        source: Box<dyn Source>,
    ) -> Result<Self, ViewError> {
        let ids = match ids {
            IdMapping::Reserved { base, count } => Ids::Shifted { base, count },
            IdMapping::Inherited => Ids::Same,
        };
        let watch = Arc::new(Watch {
            tree: Arc::clone(&tree),
            source,
            failed: Mutex::default(),
        });
        let contents: Arc<dyn Contents> = Arc::clone(&watch) as _;
        Ok(Self {
            view: View::new(tree, ids, &contents)?,
            watch,
        })
    }

    pub(crate) fn mount(&self) -> Result<GroundMount, ViewError> {
        self.view.mount().map(GroundMount)
    }

    /// The first thing that went wrong.
    pub(crate) fn failure(&self) -> Option<GroundError> {
        let failed = self.watch.failed.lock();
        failed.expect("no panics under this lock").clone()
    }

    /// Whoever waits for contents waits no longer, and nobody gets any more.
    pub(crate) fn abort(&self) {
        self.view.abort();
        self.watch.source.stop();
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.watch.source.stop();
    }
}

/// Reads for the view, and keeps the first error.
#[derive(Debug)]
struct Watch {
    tree: Arc<Tree>,
    source: Box<dyn Source>,
    failed: Mutex<Option<GroundError>>,
}

impl Contents for Watch {
    fn read(&self, file: NodeId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let node = self.tree.node(file);
        self.source.read(node, offset, buffer).map_err(|source| {
            let mut failed = self.failed.lock().expect("no panics under this lock");
            failed.get_or_insert_with(|| GroundError {
                path: node.path().to_string(),
                source: source.into(),
            });
            io::ErrorKind::Other.into()
        })
    }
}
