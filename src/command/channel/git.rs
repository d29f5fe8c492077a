//! What git knows that rules of channels ask for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use policy::{Ancestry, SourceFacts};

use crate::settings::Settings;

/// The most that is read of what git says, in bytes: branches of a very large repository.
const OUTPUT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A directory that may be in a git repository.
#[derive(Clone, Debug)]
pub(super) struct Git {
    directory: PathBuf,
    search_path: OsString,
}

impl Git {
    /// Nothing is run yet.
    pub(super) fn new(directory: &Path, settings: &Settings) -> Self {
        let directory = match directory.as_os_str().is_empty() {
            true => Path::new("."),
            false => directory,
        };
        Self {
            directory: directory.to_owned(),
            search_path: settings.program_path.clone(),
        }
    }

    /// `user.email`; what is in no repository has the user's own.
    pub(super) fn email(&self) -> Option<String> {
        self.ask(&["config", "--get", "user.email"])
            .filter(|email| !email.is_empty())
    }

    /// The branch that the remote `origin` has checked out.
    pub(super) fn default_branch(&self) -> Option<String> {
        let name = self.ask(&[
            "symbolic-ref",
            "--quiet",
            "--short",
            "refs/remotes/origin/HEAD",
        ])?;
        name.strip_prefix("origin/").map(str::to_owned)
    }

    /// `OWNER/NAME` of where the sources come from, as forges call it.
    pub(super) fn source_path(&self) -> Option<String> {
        let url = self.ask(&["config", "--get", "remote.origin.url"])?;
        let behind_host = match url.split_once("://") {
            Some((_, rest)) => rest.split_once('/')?.1,
            None => url.split_once(':')?.1,
        };
        let path = behind_host.trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        path.contains('/').then(|| path.to_owned())
    }

    /// What is known of a commit that need not be checked out.
    pub(super) fn facts_of(&self, commit: &str, dirty: bool) -> SourceFacts {
        SourceFacts {
            commit: commit.to_owned(),
            dirty,
            branch: None,
            remote_branches: match is_hash(commit) {
                true => self.remote_branches(commit),
                false => Vec::new(),
            },
        }
    }

    /// How a commit is related to the one that a channel has.
    pub(super) fn ancestry(&self, commit: &str, current: &str) -> Ancestry {
        if commit == current {
            return Ancestry::Descendant;
        }
        let unknown = |reason: String| Ancestry::Unknown { reason };
        for hash in [current, commit] {
            let object = format!("{hash}^{{commit}}");
            if !is_hash(hash) || self.ask(&["cat-file", "-e", &object]).is_none() {
                return unknown(format!("the commit {hash} is not in this repository"));
            }
        }
        match self.run(&["merge-base", "--is-ancestor", current, commit]) {
            Some((0, _)) => Ancestry::Descendant,
            // In a shallow clone the way between two commits may have been cut.
            Some((1, _))
                if self
                    .ask(&["rev-parse", "--is-shallow-repository"])
                    .as_deref()
                    == Some("true") =>
            {
                unknown("the history was cut off when the repository was cloned".to_owned())
            }
            Some((1, _)) => Ancestry::NotDescendant {
                current: current.to_owned(),
            },
            _ => unknown("git could not compare the commits".to_owned()),
        }
    }

    /// Branches of remotes that have a commit, without the remote's name.
    fn remote_branches(&self, commit: &str) -> Vec<String> {
        let found = self.ask(&[
            "for-each-ref",
            "--contains",
            commit,
            "--format=%(refname:lstrip=3)",
            "refs/remotes",
        ]);
        let text = found.unwrap_or_default();
        let names = text.lines().filter(|name| *name != "HEAD");
        names.map(str::to_owned).collect()
    }

    /// What git says, if it succeeds.
    fn ask(&self, arguments: &[&str]) -> Option<String> {
        let (code, text) = self.run(arguments)?;
        (code == 0).then_some(text)
    }

    fn run(&self, arguments: &[&str]) -> Option<(i32, String)> {
        let mut command = Command::new("git");
        command
            // A repository may be somebody else's: nothing that it configures is run.
            .args([
                "-c",
                "core.fsmonitor=false",
                "-c",
                "core.hooksPath=/dev/null",
            ])
            .arg("--no-optional-locks")
            .args(arguments)
            .current_dir(&self.directory)
            .env("PATH", &self.search_path)
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            // What a partial clone lacks is not fetched behind the user's back.
            .env("GIT_NO_LAZY_FETCH", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let output = command.output().ok()?;
        if output.stdout.len() > OUTPUT_BYTES_MAX {
            return None;
        }
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Some((output.status.code()?, text))
    }
}

/// Whether a text is a commit and cannot be read as a flag, nor as another revision.
fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
