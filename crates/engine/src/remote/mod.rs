//! What comes from elsewhere, in one build: each address is asked once, what came is kept by its
//! digest, and what has not changed is not fetched again.
//!
//! `fetch` brings the bytes; what is known of an address is a record in the store, and its content
//! a blob. Commits are not kept: the layer that is made of one is, and its key needs no more than
//! the commit's id.

mod authorization;
mod commit;
mod file;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use fetch::{Commit, GitError, HttpError};
use oci::Digest;
use store::Store;
use store::scratch::Scratch;
use tokio::sync::{OnceCell, watch};

use crate::event::Reporter;
use crate::ports::Post;
use crate::secret::Secrets;

pub(crate) use commit::context_source;
pub(crate) use file::{File, WantedFile};

/// What was asked for once, by what was asked: who asks while the answer is on its way waits for it.
type Answers<Question, Answer> = Mutex<HashMap<Question, Arc<OnceCell<Answer>>>>;

/// Everything from elsewhere.
pub(crate) struct Remotes {
    store: Store,
    scratch: Arc<Scratch>,
    post: Post,
    reporter: Arc<dyn Reporter>,
    secrets: Secrets,
    /// Nothing more is to come: the build has failed, or was interrupted.
    stopped: watch::Sender<bool>,
    /// By the address and what its content must be.
    files: Answers<(String, Option<Digest>), File>,
    /// By the repository and the name.
    commits: Answers<(String, Option<String>), Commit>,
}

/// Why something from elsewhere cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("could not fetch {shown}")]
    Http { shown: String, source: HttpError },
    #[error("{shown} is not what it should be: it has the digest {found}")]
    Checksum {
        shown: String,
        expected: Digest,
        found: String,
    },
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("the commit of {shown} is {commit}, which does not begin with `{expected}`")]
    Commit {
        shown: String,
        commit: String,
        expected: String,
    },
    #[error("{shown} has no directory `{directory}`")]
    Subdirectory { shown: String, directory: String },
    /// The server says that it has not, and sends something else.
    #[error("{shown} is no longer what the server said that it was")]
    Changed { shown: String },
    #[error("the build has ended")]
    Stopped,
    #[error("the secret `{id}` is not a line of text")]
    Secret { id: String },
    #[error("could not open what was fetched from {shown}")]
    Open {
        shown: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Disk(#[from] store::DiskError),
    #[error(transparent)]
    Blob(#[from] store::blob::BlobError),
}

impl RemoteError {
    /// Whether what was asked for is wrong, rather than that it could not be had just now.
    pub(crate) fn is_input(&self) -> bool {
        match self {
            Self::Http { source, .. } => {
                matches!(source, HttpError::Status { status, .. } if status.is_client_error())
            }
            Self::Checksum { .. }
            | Self::Commit { .. }
            | Self::Subdirectory { .. }
            | Self::Secret { .. } => true,
            Self::Git(error) => {
                matches!(error, GitError::Unknown { .. } | GitError::Empty(_))
            }
            Self::Changed { .. }
            | Self::Open { .. }
            | Self::Stopped
            | Self::Disk(_)
            | Self::Blob(_) => false,
        }
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Checksum { expected, .. } => Some(format!(
                "{expected} was asked for: either the file has changed, or this is not it"
            )),
            Self::Git(GitError::Unknown { reference, .. })
                if reference.len() >= 7
                    && reference.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
            {
                Some("a commit must be given with all of its digits".to_owned())
            }
            Self::Http { source, .. } => match source {
                HttpError::Downgrade { .. } => Some(
                    "give the http address itself if that is what you want, or say with \
                     --checksum what the content must be"
                        .to_owned(),
                ),
                HttpError::Setup { .. }
                | HttpError::Address(_)
                | HttpError::Unreachable { .. }
                | HttpError::Tls { .. }
                | HttpError::Stalled { .. }
                | HttpError::Cut { .. }
                | HttpError::Status { .. }
                | HttpError::Redirects { .. }
                | HttpError::Redirect { .. }
                | HttpError::Large { .. }
                | HttpError::Sink { .. } => None,
            },
            Self::Changed { .. } => Some("build again when it is at rest".to_owned()),
            Self::Git(_)
            | Self::Commit { .. }
            | Self::Subdirectory { .. }
            | Self::Secret { .. }
            | Self::Stopped
            | Self::Open { .. }
            | Self::Disk(_)
            | Self::Blob(_) => None,
        }
    }
}

impl Remotes {
    pub(crate) fn new(
        store: Store,
        scratch: Arc<Scratch>,
        post: Post,
        reporter: Arc<dyn Reporter>,
        secrets: Secrets,
    ) -> Self {
        Self {
            store,
            scratch,
            post,
            reporter,
            secrets,
            stopped: watch::Sender::new(false),
            files: Mutex::default(),
            commits: Mutex::default(),
        }
    }

    /// Lets everybody who waits for something wait no longer.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Waits for something from elsewhere, but not longer than the build lasts.
    pub(crate) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            done = work => done,
            _ = stopped.wait_for(|stopped| *stopped) => Err(RemoteError::Stopped),
        }
    }
}
