//! What git knows of the directory that the user works in: the commit, and what was changed since.
//!
//! The repository may be anybody's, so nothing that its own settings name is run: no hooks, no
//! file system monitor, no filters, no signing program, no transports. The user's own settings
//! count, because what is ignored and what is a safe directory is for the user to say.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::changes::Changes;
use crate::git::{Git, is_id, said_of};
use crate::git_directory::public_url;
use crate::process::{self, Ended, ProcessError};

/// How deep submodules may lie in each other.
const SUBMODULE_DEPTH_MAX: usize = 8;

/// The most submodules that are looked at.
const SUBMODULES_MAX: usize = 256;

/// The most tags of one commit that are kept.
const TAGS_MAX: usize = 1_000;

/// Where the user's own settings of git are.
#[derive(Clone, Debug, Default)]
pub struct UserGit {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
}

/// What is wanted to be known.
#[derive(Clone, Debug, Default)]
pub struct WorkingTreeRequest {
    /// Whether [`WorkingTree::describe`] is needed, and which tags count: a pattern such as
    /// `v[0-9]*`.
    pub describe: Option<Option<String>>,
}

/// What git knows of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkingTree {
    /// The directory that the files of the repository are in.
    pub root: PathBuf,
    /// The commit, in hex: 40 digits, or 64 in a repository of SHA-256.
    pub commit: String,
    /// When it was made, in seconds since 1970.
    pub commit_seconds: i64,
    /// Whether there are changes that are not committed: of files that git knows, new files that it
    /// does not ignore, and the same in submodules.
    pub dirty: bool,
    /// A digest of these changes, in hex: the same for the same names, kinds and contents.
    pub changes: Option<String>,
    /// The branch; `None` when HEAD is detached.
    pub branch: Option<String>,
    /// `git describe --tags`, if it was asked for and there is a tag to count from.
    pub describe: Option<String>,
    /// Tags that point at the commit, in order.
    pub tags: Vec<String>,
    /// Where it was cloned from, without user, password and query; `None` for a place on this
    /// machine.
    pub source: Option<String>,
    /// Whether its history was cut off when it was cloned.
    pub shallow: bool,
}

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum WorkingTreeError {
    /// The directory is in no repository, or in one without files.
    #[error("{} is not in the working tree of a git repository", .0.display())]
    NoRepository(PathBuf),
    /// Nothing was committed yet.
    #[error("the git repository of {} has no commit yet", .0.display())]
    NoCommit(PathBuf),
    /// It belongs to somebody else (CVE-2022-24765 is what that can mean).
    #[error("the git repository of {} belongs to another user, and git does not trust it", .0.display())]
    Ownership(PathBuf),
    /// git failed.
    #[error("git could not {action} in {}: {reason}", directory.display())]
    Failed {
        /// What it was to do.
        action: &'static str,
        /// Where.
        directory: PathBuf,
        /// What it said.
        reason: String,
    },
    /// A changed file could not be read.
    #[error("{} has changed and cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Git {
    /// What is known of the repository that a directory is in.
    ///
    /// # Errors
    ///
    /// [`WorkingTreeError`].
    pub async fn working_tree(
        &self,
        directory: &Path,
        user: &UserGit,
        wanted: &WorkingTreeRequest,
    ) -> Result<WorkingTree, WorkingTreeError> {
        let mut asked = Asked {
            git: self,
            directory: directory.to_owned(),
            environment: environment(self, user),
        };
        let root = asked.root().await?;
        asked.directory.clone_from(&root);
        asked.disarm().await?;
        let commit = asked.commit().await?;
        let commit_seconds = asked.commit_seconds(&commit).await?;
        let branch = asked
            .optional(&["symbolic-ref", "--quiet", "--short", "HEAD"])
            .await?;
        let describe = match &wanted.describe {
            None => None,
            Some(pattern) => asked.describe(pattern.as_deref()).await?,
        };
        let tags = asked.optional(&["tag", "--points-at", "HEAD"]).await?;
        let tags = tags.unwrap_or_default();
        let remote = match &branch {
            Some(branch) => {
                let key = format!("branch.{branch}.remote");
                asked.optional(&["config", "--get", &key]).await?
            }
            None => None,
        };
        let remote = remote.unwrap_or_else(|| "origin".to_owned());
        let url = asked
            .optional(&["config", "--get", &format!("remote.{remote}.url")])
            .await?;
        let shallow = asked
            .optional(&["rev-parse", "--is-shallow-repository"])
            .await?;
        let mut changes = Changes::default();
        asked.changes(&mut changes).await?;
        let changes = changes
            .digest(&root)
            .map_err(|(path, source)| WorkingTreeError::Read { path, source })?;
        Ok(WorkingTree {
            root,
            commit,
            commit_seconds,
            dirty: changes.is_some(),
            changes,
            branch,
            describe,
            tags: tags.lines().take(TAGS_MAX).map(str::to_owned).collect(),
            source: url.and_then(|url| public_url(&url)),
            shallow: shallow.as_deref() == Some("true"),
        })
    }
}

/// git in a directory, with nothing of it trusted.
struct Asked<'g> {
    git: &'g Git,
    directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

/// What no setting of a repository may change.
const SETTINGS: [(&str, &str); 8] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("safe.bareRepository", "explicit"),
    ("log.showSignature", "false"),
    ("protocol.allow", "never"),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
];

fn environment(git: &Git, user: &UserGit) -> Vec<(OsString, OsString)> {
    let mut environment: Vec<(OsString, OsString)> = [
        ("GIT_TERMINAL_PROMPT", "0"),
        // No transport has this name: nothing is fetched that a partial clone left out.
        ("GIT_ALLOW_PROTOCOL", "none"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_SSH_COMMAND", "false"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_ADVICE", "0"),
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .to_vec();
    let mut set = |name: &str, value: Option<OsString>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            environment.push((name.into(), value));
        }
    };
    set("PATH", Some(git.options().search_path.clone()));
    let home = user.home.clone().map(PathBuf::into_os_string);
    set("HOME", home.or_else(|| Some("/nonexistent".into())));
    set(
        "XDG_CONFIG_HOME",
        user.config_home.clone().map(PathBuf::into_os_string),
    );
    set_settings(
        &mut environment,
        SETTINGS.map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    environment
}

/// Settings that stand above those of every file.
fn set_settings(
    environment: &mut Vec<(OsString, OsString)>,
    settings: impl IntoIterator<Item = (String, String)>,
) {
    let is_count = |(name, _): &(OsString, OsString)| name == "GIT_CONFIG_COUNT";
    let place = environment.iter().position(is_count);
    let mut count = 0;
    if let Some(place) = place {
        let (_, value) = environment.remove(place);
        count = value
            .to_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
    }
    for (key, value) in settings {
        environment.push((format!("GIT_CONFIG_KEY_{count}").into(), key.into()));
        environment.push((format!("GIT_CONFIG_VALUE_{count}").into(), value.into()));
        count += 1;
    }
    environment.push(("GIT_CONFIG_COUNT".into(), count.to_string().into()));
}

impl Asked<'_> {
    async fn root(&self) -> Result<PathBuf, WorkingTreeError> {
        let here = || self.directory.clone();
        let ended = self.run("look", &["rev-parse", "--show-toplevel"]).await?;
        if !ended.status.success() {
            let text = String::from_utf8_lossy(&ended.stderr);
            return Err(match &*text {
                text if text.contains("dubious ownership") => WorkingTreeError::Ownership(here()),
                text if text.contains("not a git repository")
                    || text.contains("must be run in a work tree")
                    || text.contains("cannot use bare repository") =>
                {
                    WorkingTreeError::NoRepository(here())
                }
                _ => self.failed("find the repository", &ended),
            });
        }
        let path = ended.stdout.strip_suffix(b"\n").unwrap_or(&ended.stdout);
        match path {
            [] => Err(WorkingTreeError::NoRepository(here())),
            path => Ok(PathBuf::from(OsStr::from_bytes(path))),
        }
    }

    /// Takes the filters away that the repository itself brings: git would run them on changed
    /// files. Those of the user stay.
    async fn disarm(&mut self) -> Result<(), WorkingTreeError> {
        let arguments = [
            "config",
            "--null",
            "--show-scope",
            "--name-only",
            "--get-regexp",
            r"^filter\..*\.(clean|smudge|process|required)$",
        ];
        let listed = self.run("read its settings", &arguments).await?;
        let mut words = listed.stdout.split(|byte| *byte == 0);
        let mut settings = Vec::new();
        while let (Some(scope), Some(name)) = (words.next(), words.next()) {
            if !matches!(scope, b"global" | b"system" | b"command") {
                let name = String::from_utf8_lossy(name).into_owned();
                let value = if name.ends_with(".required") {
                    "false"
                } else {
                    ""
                };
                settings.push((name, value.to_owned()));
            }
        }
        set_settings(&mut self.environment, settings);
        Ok(())
    }

    async fn commit(&self) -> Result<String, WorkingTreeError> {
        let head = ["rev-parse", "--quiet", "--verify", "HEAD^{commit}"];
        match self.optional(&head).await? {
            Some(id) if is_id(&id) => Ok(id),
            Some(_) | None => Err(WorkingTreeError::NoCommit(self.directory.clone())),
        }
    }

    /// From the object itself: showing a commit would verify its signature with a program that the
    /// repository names.
    async fn commit_seconds(&self, commit: &str) -> Result<i64, WorkingTreeError> {
        let action = "read the commit";
        let ended = self.run(action, &["cat-file", "commit", commit]).await?;
        if !ended.status.success() {
            return Err(self.failed(action, &ended));
        }
        let text = String::from_utf8_lossy(&ended.stdout);
        let mut headers = text.lines().take_while(|line| !line.is_empty());
        let line = headers.find_map(|line| line.strip_prefix("committer "));
        let seconds = line.and_then(|line| line.rsplit(' ').nth(1)?.parse().ok());
        seconds.ok_or_else(|| WorkingTreeError::Failed {
            action,
            directory: self.directory.clone(),
            reason: "the commit does not say when it was made".to_owned(),
        })
    }

    async fn describe(&self, pattern: Option<&str>) -> Result<Option<String>, WorkingTreeError> {
        let pattern = pattern.map(|pattern| format!("--match={pattern}"));
        let mut arguments = vec!["describe", "--tags"];
        arguments.extend(pattern.as_deref());
        self.optional(&arguments).await
    }

    /// Everything that `git status` would show, of submodules too. They are asked one by one: git
    /// would go into them with their own settings.
    async fn changes(&self, changes: &mut Changes) -> Result<(), WorkingTreeError> {
        let mut pending = vec![(PathBuf::new(), 0)];
        let mut looked_at = 0;
        while let Some((within, depth)) = pending.pop() {
            let mut there = Asked {
                git: self.git,
                directory: self.directory.join(&within),
                environment: self.environment.clone(),
            };
            if depth > 0 {
                // A submodule that is not checked out is a directory of the repository around it.
                if there.root().await.is_ok_and(|root| root == self.directory) {
                    continue;
                }
                there.disarm().await?;
            }
            there.changes_here(&within, changes).await?;
            looked_at += 1;
            if depth < SUBMODULE_DEPTH_MAX && looked_at < SUBMODULES_MAX {
                for path in there.submodules().await? {
                    pending.push((within.join(path), depth + 1));
                }
            }
        }
        Ok(())
    }

    async fn changes_here(
        &self,
        within: &Path,
        changes: &mut Changes,
    ) -> Result<(), WorkingTreeError> {
        let action = "say what has changed";
        let arguments = [
            "status",
            "--porcelain=v2",
            "-z",
            "--untracked-files=all",
            "--no-renames",
            "--ignore-submodules=dirty",
        ];
        let ended = self.run(action, &arguments).await?;
        if !ended.status.success() {
            return Err(self.failed(action, &ended));
        }
        for line in ended.stdout.split(|byte| *byte == 0) {
            // `1 XY sub mH mI mW hH hI path`, `u XY sub m1 m2 m3 mW h1 h2 h3 path`, `? path`
            let fields = match line.first() {
                Some(b'1') => 9,
                Some(b'u') => 11,
                Some(b'?') => 2,
                Some(_) | None => continue,
            };
            let words: Vec<&[u8]> = line.splitn(fields, |byte| *byte == b' ').collect();
            let Some(path) = words.get(fields - 1) else {
                continue;
            };
            // The third field of a file that git knows says whether it is a submodule.
            let is_submodule = fields != 2 && words[2].starts_with(b"S");
            let path = PathBuf::from(OsString::from_vec(path.to_vec()));
            let commit = match is_submodule {
                true => self.submodule_commit(&path).await?,
                false => None,
            };
            changes.add(within.join(path), commit);
        }
        Ok(())
    }

    async fn submodule_commit(&self, path: &Path) -> Result<Option<String>, WorkingTreeError> {
        let there = Asked {
            git: self.git,
            directory: self.directory.join(path),
            environment: self.environment.clone(),
        };
        match there.directory.is_dir() {
            true => {
                there
                    .optional(&["rev-parse", "--quiet", "--verify", "HEAD"])
                    .await
            }
            false => Ok(None),
        }
    }

    /// The paths of submodules that are checked out.
    async fn submodules(&self) -> Result<Vec<PathBuf>, WorkingTreeError> {
        if !self.directory.join(".gitmodules").is_file() {
            return Ok(Vec::new());
        }
        let arguments = [
            "config",
            "--null",
            "--file",
            ".gitmodules",
            "--get-regexp",
            r"^submodule\..*\.path$",
        ];
        let listed = self.run("read its submodules", &arguments).await?;
        let mut paths = Vec::new();
        for entry in listed.stdout.split(|byte| *byte == 0) {
            let Some(newline) = entry.iter().position(|byte| *byte == b'\n') else {
                continue;
            };
            let path = PathBuf::from(OsStr::from_bytes(&entry[newline + 1..]));
            let inside = path
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(name) if name != ".git"));
            let is_plain = |path: &Path| {
                let found = std::fs::symlink_metadata(self.directory.join(path));
                found.is_ok_and(|found| found.is_dir())
            };
            if inside && is_plain(&path) && self.directory.join(&path).join(".git").exists() {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// The line that git prints; nothing where it fails without a word of trouble.
    async fn optional(&self, arguments: &[&str]) -> Result<Option<String>, WorkingTreeError> {
        let ended = self.run("look", arguments).await?;
        let text = String::from_utf8_lossy(&ended.stdout).trim_end().to_owned();
        Ok((ended.status.success() && !text.is_empty()).then_some(text))
    }

    async fn run(
        &self,
        action: &'static str,
        arguments: &[&str],
    ) -> Result<Ended, WorkingTreeError> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let limit = self.git.options().timing.list;
        let (program, environment) = (self.git.program(), &self.environment);
        let ended = process::run(program, &arguments, environment, &self.directory, limit).await;
        ended.map_err(|error| WorkingTreeError::Failed {
            action,
            directory: self.directory.clone(),
            reason: match &error {
                ProcessError::Start(source) | ProcessError::Read(source) => {
                    format!("{error}: {source}")
                }
                ProcessError::Time(_) | ProcessError::Output => error.to_string(),
            },
        })
    }

    fn failed(&self, action: &'static str, ended: &Ended) -> WorkingTreeError {
        WorkingTreeError::Failed {
            action,
            directory: self.directory.clone(),
            reason: said_of(&ended.stderr),
        }
    }
}
