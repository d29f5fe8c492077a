//! Sources of ADD from elsewhere, as a step sees them: a fingerprint before it is decided whether
//! the step runs, and files in a directory when it does.

use std::path::Path;

use dockerfile::Span;
use graph::{CopySource, CopyStep, GitSource, UrlSource};
use oci::Digest;
use store::layer::EntryPath;

use crate::copy::context::{Context, Modes};
use crate::copy::files::Files;
use crate::copy::select::{Match, Selection, Selector};
use crate::copy::write::WriteError;
use crate::remote::{RemoteError, WantedFile};
use crate::steps::{StepError, Workshop};

impl Workshop {
    /// A digest for each source from elsewhere: of the content of a file, of the id of a commit. A
    /// repository is only asked for its names, and a file that has not changed is not sent.
    pub(crate) async fn fingerprints(
        &self,
        copy: &CopyStep,
    ) -> Result<Vec<Option<Digest>>, StepError> {
        let mut fingerprints = Vec::new();
        for source in &copy.sources {
            fingerprints.push(match source {
                CopySource::Files { .. } | CopySource::Inline(_) => None,
                CopySource::Url(url) => {
                    let file = self.remotes.file(wanted(url));
                    let file = self.remotes.unless_stopped(file).await;
                    Some(file.map_err(|error| failed(error, url.span))?.digest)
                }
                CopySource::Git(git) => {
                    let commit = self.remotes.commit(git);
                    let commit = self.remotes.unless_stopped(commit).await;
                    let commit = commit.map_err(|error| failed(error, git.span))?;
                    Some(Digest::of(commit.id.as_bytes()))
                }
            });
        }
        Ok(fingerprints)
    }

    /// The file behind an address, in a directory of its own, and what to copy of it.
    pub(crate) async fn fetch_file(
        &self,
        url: &UrlSource,
    ) -> Result<(Context, Selection), StepError> {
        let content = self.remotes.content(wanted(url), &url.file_name);
        let content = self.remotes.unless_stopped(content).await;
        let (file, directory) = content.map_err(|error| failed(error, url.span))?;
        // What was known of it may have been fetched anew. The key of the step says what it was,
        // and under that key nothing else may be found later.
        let keyed = self.remotes.file(wanted(url)).await;
        if keyed.map_err(|error| failed(error, url.span))?.digest != file.digest {
            let shown = dockerfile::remote::without_credentials(&url.url);
            return Err(failed(RemoteError::Changed { shown }, url.span));
        }
        // Without a date it is as old as can be, as in BuildKit.
        let modified = file.modified.unwrap_or(0);
        let context = self.open_fetched(&directory, Modes::AsTheyAre, modified)?;
        let path = EntryPath::parse(url.file_name.as_bytes())
            .map_err(|error| StepError::Write(WriteError::Path(error)))?;
        let node = context.lookup(&path).map_err(WriteError::from)?;
        let node = node.ok_or_else(|| {
            StepError::Directory(std::io::Error::from(std::io::ErrorKind::NotFound))
        })?;
        let found = Match {
            name: url.file_name.as_bytes().into(),
            path,
            node,
            below: Vec::new(),
        };
        let selection = Selection {
            matches: vec![found],
        };
        Ok((context, selection))
    }

    /// The files of a commit, and all of them to copy.
    pub(crate) async fn fetch_commit(
        &self,
        git: &GitSource,
        copy: &CopyStep,
    ) -> Result<(Context, Selection), StepError> {
        let directory = self.remotes.check_out(git);
        let directory = self.remotes.unless_stopped(directory).await;
        let directory = directory.map_err(|error| failed(error, git.span))?;
        let context = self.open_fetched(&directory, Modes::ProgramOrNot, i64::MAX)?;
        let selector = Selector::of(copy);
        let selected = tokio::task::spawn_blocking(move || {
            let selected = selector.and_then(|selector| selector.select(&context, "", 0));
            (context, selected)
        });
        let (context, selected) = selected.await.expect("selecting does not panic");
        let matches =
            selected.map_err(|error| crate::steps::unselected(&context, error, git.span, ""))?;
        Ok((context, Selection { matches }))
    }

    fn open_fetched(
        &self,
        directory: &Path,
        modes: Modes,
        modified: i64,
    ) -> Result<Context, StepError> {
        // Never saved: the directory is gone when the build is.
        let hashes = self.store.stat_cache(directory);
        Context::fetched(directory, modes, modified, hashes).map_err(StepError::Directory)
    }
}

pub(crate) fn wanted(url: &UrlSource) -> WantedFile<'_> {
    WantedFile {
        url: &url.url,
        checksum: url.checksum.as_ref(),
    }
}

fn failed(source: RemoteError, span: Span) -> StepError {
    StepError::Remote {
        source: Box::new(source),
        span,
    }
}
