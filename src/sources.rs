//! What is known of the sources that images are made of: the commit, what was changed since, and
//! what images are told of both.

use std::collections::BTreeSet;
use std::path::Path;

use fetch::{Git, GitOptions, WorkingTreeError, WorkingTreeRequest};
use graph::Identity;
use oci::{Reference, Repository, Tag};
use policy::{
    DirtyPolicy, TagError, TagPlan, TagWishes, WorkingTree, identity_labels, offered_arguments,
    plan_tags,
};

use crate::error::ProgramError;
use crate::settings::Settings;

/// A commit and what was changed since.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// What git knows.
    pub(crate) tree: WorkingTree,
    /// When the commit was made, RFC 3339.
    created: String,
    /// The day, `20261121`.
    day: String,
}

impl Sources {
    /// Asks git about a directory. `describe_match`: which tags versions count from.
    ///
    /// # Errors
    ///
    /// When there is no git, no repository, no commit, or none that can be trusted; with what to do
    /// about it. It is for the caller to decide whether sources are needed.
    pub(crate) fn find(
        settings: &Settings,
        directory: &Path,
        describe_match: Option<&str>,
    ) -> Result<Self, ProgramError> {
        let options = GitOptions {
            search_path: settings.program_path.clone(),
            ..GitOptions::default()
        };
        let git = Git::find(options)
            .map_err(|error| ProgramError::input("no commit is known").because(&error))?;
        let wanted = WorkingTreeRequest {
            describe: Some(describe_match.map(str::to_owned)),
        };
        // One thread: the program may still have to become the root of a user namespace.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ProgramError::failed("could not start git").because(&error))?;
        let user = settings.user_git();
        let found = git.working_tree(directory, &user, &wanted);
        let found = runtime.block_on(found).map_err(|error| unknown(&error))?;
        let wrong_time = |error: jiff::Error| {
            ProgramError::input("the time of the commit cannot be").because(&error)
        };
        let time = jiff::Timestamp::from_second(found.commit_seconds).map_err(wrong_time)?;
        Ok(Self {
            created: time.to_string(),
            day: time.strftime("%Y%m%d").to_string(),
            tree: tree(found),
        })
    }

    /// What images are to say of themselves.
    pub(crate) fn identity(&self, dirty: DirtyPolicy) -> Identity {
        Identity {
            labels: identity_labels(&self.tree, dirty, &self.created),
        }
    }

    /// Has a build tell its images of the sources, and offers values to Dockerfiles that declare
    /// them. `extra` is the first floating tag that was asked for by name.
    pub(crate) fn tell(
        &self,
        request: &mut graph::Request,
        dirty: DirtyPolicy,
        with_labels: bool,
        extra: Option<&Tag>,
    ) {
        let extra = extra.map(Tag::as_str);
        request.offered_args = offered_arguments(&self.tree, dirty, &self.created, extra);
        if with_labels {
            request.identity = Some(self.identity(dirty));
        }
    }
}

/// The tags of images whose sources may be known. Where tags need sources and there are none, the
/// error is why there are none.
pub(crate) fn tags(
    wishes: &TagWishes,
    sources: &Result<Sources, ProgramError>,
) -> Result<TagPlan, ProgramError> {
    let known = sources.as_ref().ok();
    let tree = known.map(|sources| &sources.tree);
    let day = known.map(|sources| sources.day.as_str());
    plan_tags(wishes, tree, day).map_err(|error| {
        let said = ProgramError::input(error.to_string());
        match (&error, sources) {
            (TagError::NoRepository, Err(why)) => said.joined(why),
            (TagError::NoRepository | TagError::Nothing, _) => {
                said.hint("give the image a tag with --tag")
            }
            (TagError::Dirty, _) => {
                said.hint("commit them, or say with --dirty=suffix that the tag is to tell of them")
            }
            (TagError::NoDescription { shallow: true }, _) => {
                said.hint("fetch the whole history: `git fetch --unshallow --tags`")
            }
            (TagError::NoDescription { shallow: false }, _) => {
                said.hint("use --tag-policy git-sha, or set a tag with `git tag`")
            }
            (TagError::Latest, _) => {
                said.hint("allow it with --allow-latest, or `allow-latest` in kiln.yaml")
            }
        }
    })
}

/// The names of an image in one repository, those that never move first, and which those are.
pub(crate) fn names(
    repository: &Repository,
    plan: &TagPlan,
) -> (Vec<Reference>, BTreeSet<Reference>) {
    let at = |tag: &Tag| repository.at_tag(tag.clone());
    let immutable: Vec<Reference> = plan.immutable.iter().map(at).collect();
    let floating = plan.floating.iter().map(at);
    let never_moved = immutable.iter().cloned().collect();
    (
        immutable.iter().cloned().chain(floating).collect(),
        never_moved,
    )
}

fn tree(found: fetch::WorkingTree) -> WorkingTree {
    let fetch::WorkingTree {
        root: _,
        commit,
        commit_seconds,
        dirty,
        changes,
        branch,
        describe,
        tags,
        source,
        shallow,
    } = found;
    WorkingTree {
        commit,
        commit_seconds,
        dirty,
        changes,
        branch,
        describe,
        tags,
        source,
        shallow,
    }
}

fn unknown(error: &WorkingTreeError) -> ProgramError {
    let said = ProgramError::input("no commit is known").because(error);
    match error {
        WorkingTreeError::Ownership(directory) => said.hint(format!(
            "if it is meant, say so: git config --global --add safe.directory {}",
            directory.display()
        )),
        WorkingTreeError::NoRepository(_) => said.hint("give the image a tag with --tag"),
        WorkingTreeError::NoCommit(_) => said.hint("commit, or give the image a tag with --tag"),
        WorkingTreeError::Failed { .. } | WorkingTreeError::Read { .. } => said,
    }
}
