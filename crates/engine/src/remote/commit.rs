//! Commits of git repositories.

use std::path::PathBuf;
use std::sync::Arc;

use dockerfile::remote::{GitAddress, GitTransport, without_credentials};
use fetch::{CheckOut, Commit, Git, GitRepository};
use graph::GitSource;
use store::dir::Dir;

use super::authorization::authorization;
use super::{RemoteError, Remotes};

impl Remotes {
    /// The commit that a source means, once in a build: what a branch is does not change while it
    /// is used (C25).
    pub(crate) async fn commit(&self, source: &GitSource) -> Result<Commit, RemoteError> {
        let key = (source.repository.clone(), source.reference.clone());
        let cell = {
            let mut commits = self.commits.lock().expect("no panics under this lock");
            Arc::clone(commits.entry(key).or_default())
        };
        let found = cell.get_or_try_init(async || {
            // The whole id is the answer already, where git is not even needed.
            if let Some(id) = source
                .reference
                .as_deref()
                .filter(|id| GitAddress::is_commit(id))
            {
                return Ok(Commit {
                    id: id.to_ascii_lowercase(),
                    found_as: None,
                });
            }
            let scratch = self.scratch.directory()?;
            let repository = self.repository(source)?;
            let reference = source.reference.as_deref();
            let found = self
                .git()?
                .resolve(&repository, reference, &scratch)
                .await?;
            Ok::<Commit, RemoteError>(found)
        });
        let commit = found.await?.clone();
        match &source.checksum {
            Some(expected) if !commit.id.starts_with(expected.as_str()) => {
                Err(RemoteError::Commit {
                    shown: without_credentials(&source.repository),
                    commit: commit.id,
                    expected: expected.clone(),
                })
            }
            Some(_) | None => Ok(commit),
        }
    }

    /// Writes the files of the commit into a new directory.
    pub(crate) async fn check_out(&self, source: &GitSource) -> Result<PathBuf, RemoteError> {
        let commit = self.commit(source).await?;
        let top = self.scratch.directory()?;
        let wanted = CheckOut {
            submodules: source.submodules,
            // A directory of a repository has no `.git` in it.
            keep_git_dir: source.keep_git_dir && source.subdirectory.is_empty(),
        };
        let repository = self.repository(source)?;
        self.git()?
            .check_out(&repository, &commit, &top, wanted)
            .await?;
        if source.subdirectory.is_empty() {
            return Ok(top);
        }
        // No component may be a link: it could lead anywhere (CVE-2026-33748).
        let opened = Dir::open(&top).and_then(|top| top.open_dir(source.subdirectory.as_bytes()));
        match opened {
            Ok(_) => Ok(top.join(&source.subdirectory)),
            Err(_) => Err(RemoteError::Subdirectory {
                shown: repository.shown,
                directory: source.subdirectory.clone(),
            }),
        }
    }

    fn repository(&self, source: &GitSource) -> Result<GitRepository, RemoteError> {
        Ok(GitRepository {
            url: source.repository.clone(),
            shown: without_credentials(&source.repository),
            // The text is an address of this kind only where the user wrote it.
            local: source.repository.starts_with("file://"),
            authorization: authorization(&self.secrets, &source.repository)?,
        })
    }

    fn git(&self) -> Result<Git, RemoteError> {
        Ok(Git::find(self.post.git.clone())?)
    }
}

/// What a context that is a repository asks for.
pub(crate) fn context_source(address: &GitAddress, keep_git_dir: bool) -> GitSource {
    let GitAddress {
        repository,
        transport,
        reference,
        subdirectory,
        checksum,
        submodules,
        keep_git_dir: by_query,
    } = address;
    debug_assert_eq!(
        *transport == GitTransport::File,
        repository.starts_with("file://")
    );
    GitSource {
        repository: repository.clone(),
        reference: reference.clone(),
        subdirectory: subdirectory.clone(),
        submodules: submodules.unwrap_or(true),
        keep_git_dir: by_query.unwrap_or(keep_git_dir),
        checksum: checksum.clone(),
        span: dockerfile::Span::default(),
    }
}
