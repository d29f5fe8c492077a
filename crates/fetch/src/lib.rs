//! The post: brings files from elsewhere, by http and by git.
//!
//! It is told an address and a place, and knows nothing of images, stores, Dockerfiles or caches:
//! whoever asks says what was there last time, and decides what to do with what came. Nothing is
//! read from the environment; what servers say is bounded in size and in time.

mod changes;
mod client;
mod git;
mod git_directory;
mod http;
mod process;
mod working_tree;

pub use client::{HttpOptions, HttpTiming};
pub use git::{
    Authorization, CheckOut, Commit, Git, GitError, GitOptions, GitRepository, GitTiming,
};
pub use http::{FILE_BYTES_MAX, Fetched, HttpClient, HttpError, HttpRequest, Sink, Validators};
pub use working_tree::{UserGit, WorkingTree, WorkingTreeError, WorkingTreeRequest};
