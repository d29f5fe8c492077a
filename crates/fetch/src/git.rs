//! Commits by the `git` program: which one a name means, and its files.
//!
//! The program gets nothing of the user's settings but what it is given here: no configuration of
//! the system or the user, no hooks, no templates, no prompts, no filters, and only the transports
//! that are allowed (CVE-2017-1000117, CVE-2018-17456, CVE-2024-32002 are what happens otherwise).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::git_directory;
use crate::process::{self, ProcessError};

/// The most of what git says that an error repeats, in characters.
const SAID_CHARS_MAX: usize = 600;

/// The last lines of what git says that an error repeats.
const SAID_LINES_MAX: usize = 3;

/// Runs git.
#[derive(Clone, Debug)]
pub struct Git {
    program: PathBuf,
    options: GitOptions,
}

/// What git works with.
#[derive(Clone, Debug, Default)]
pub struct GitOptions {
    /// Where programs are looked for, as in `PATH`. Places that are not absolute are left out.
    pub search_path: OsString,
    /// `SSH_AUTH_SOCK`: the agent that has the keys for ssh.
    pub ssh_agent: Option<OsString>,
    /// The user's `.ssh`: known hosts, settings and keys. ssh itself would look for it where the
    /// accounts of the machine say, which in a user namespace is the home of root.
    pub ssh_directory: Option<PathBuf>,
    /// The proxy for plain http.
    pub http_proxy: Option<String>,
    /// The proxy for https.
    pub https_proxy: Option<String>,
    /// Hosts that are asked directly.
    pub no_proxy: Option<String>,
    /// PEM bundles of trusted certificates: the first that exists is used.
    pub bundles: Vec<PathBuf>,
    /// Deadlines.
    pub timing: GitTiming,
}

/// How long git may take.
#[derive(Clone, Copy, Debug)]
pub struct GitTiming {
    /// To ask a server for its names.
    pub list: Duration,
    /// To fetch, or to write files.
    pub transfer: Duration,
}

impl Default for GitTiming {
    fn default() -> Self {
        Self {
            list: Duration::from_secs(120),
            transfer: Duration::from_secs(60 * 60),
        }
    }
}

/// A repository somewhere.
#[derive(Clone, Debug)]
pub struct GitRepository {
    /// As git takes it: with a scheme, or `user@host:path`. Never begins with `-`.
    pub url: String,
    /// How messages call it: without a password.
    pub shown: String,
    /// Whether it is of this machine, which nothing but the user's own word can ask for.
    pub local: bool,
    /// Who we are there.
    pub authorization: Option<Authorization>,
}

/// The header `Authorization` for one origin. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    origin: String,
    value: String,
}

impl Authorization {
    /// `origin` is `scheme://host[:port]/`, `value` what stands behind `Authorization:`, on one
    /// line.
    pub fn new(origin: String, value: String) -> Self {
        Self { origin, value }
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Authorization(**** for {})", self.origin)
    }
}

/// A commit that a name was found to mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id: 40 or 64 hexadecimal digits.
    pub id: String,
    /// The ref under which it was found, such as `refs/heads/main`; `None` when it was asked for
    /// by its id.
    pub found_as: Option<String>,
}

/// What of a commit is wanted.
#[derive(Clone, Copy, Debug)]
pub struct CheckOut {
    /// Submodules too, and theirs.
    pub submodules: bool,
    /// `.git` stays, without what would give away when and by whom it was made.
    pub keep_git_dir: bool,
}

/// Why git did not help.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It is not installed.
    #[error(
        "the program `git` is needed and was not found: install it, on Debian with `apt-get install git`"
    )]
    Missing,
    /// It failed.
    #[error("git could not {action} {repository}: {said}")]
    Failed {
        /// What it was to do, up to the name of the repository.
        action: &'static str,
        /// Without a password.
        repository: String,
        /// The end of what it said.
        said: String,
    },
    /// It did not end as programs do.
    #[error("git could not {action} {repository}: {reason}")]
    Stopped {
        /// What it was to do, up to the name of the repository.
        action: &'static str,
        /// Without a password.
        repository: String,
        /// Why.
        reason: String,
    },
    /// The name means nothing there.
    #[error("{repository} has no branch, tag or commit `{reference}`")]
    Unknown {
        /// Without a password.
        repository: String,
        /// As asked for.
        reference: String,
    },
    /// A repository without a commit.
    #[error("{0} has no default branch: it is empty, or says nothing of it")]
    Empty(String),
    /// The disk.
    #[error("could not tidy up the files of {repository}")]
    Tidy {
        /// Without a password.
        repository: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Git {
    /// Finds the program.
    ///
    /// # Errors
    ///
    /// [`GitError::Missing`].
    pub fn find(options: GitOptions) -> Result<Self, GitError> {
        use std::os::unix::fs::PermissionsExt as _;

        let is_program = |path: &PathBuf| {
            std::fs::metadata(path)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        let program = std::env::split_paths(&options.search_path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join("git"))
            .find(is_program)
            .ok_or(GitError::Missing)?;
        Ok(Self { program, options })
    }

    /// The program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// What it works with.
    pub(crate) fn options(&self) -> &GitOptions {
        &self.options
    }

    /// Finds the commit that a name means: a branch before a tag, as `git checkout` does; without a
    /// name the default branch. A whole id means itself, and nobody is asked. `scratch` is an empty
    /// directory.
    ///
    /// # Errors
    ///
    /// [`GitError`].
    pub async fn resolve(
        &self,
        repository: &GitRepository,
        reference: Option<&str>,
        scratch: &Path,
    ) -> Result<Commit, GitError> {
        if let Some(id) = reference.filter(|text| is_id(text)) {
            return Ok(Commit {
                id: id.to_ascii_lowercase(),
                found_as: None,
            });
        }
        let candidates = candidates(reference);
        let peeled = candidates.iter().map(|name| format!("{name}^{{}}"));
        let mut arguments: Vec<&OsStr> = vec![OsStr::new("ls-remote"), OsStr::new("--")];
        arguments.push(OsStr::new(&repository.url));
        let patterns: Vec<String> = candidates.iter().cloned().chain(peeled).collect();
        arguments.extend(patterns.iter().map(OsStr::new));
        let limit = self.options.timing.list;
        let listed = self
            .run("ask", repository, scratch, &arguments, limit)
            .await?;
        let listed = String::from_utf8_lossy(&listed);
        let find = |name: &str| {
            let lines = listed.lines().filter_map(|line| line.split_once('\t'));
            let mut ids = lines.filter(|(_, listed)| *listed == name);
            ids.next().map(|(id, _)| id.to_owned())
        };
        for name in candidates {
            // An annotated tag is an object of its own; what it tags is meant.
            let id = find(&format!("{name}^{{}}")).or_else(|| find(&name));
            if let Some(id) = id.filter(|id| is_id(id)) {
                return Ok(Commit {
                    id,
                    found_as: Some(name),
                });
            }
        }
        Err(match reference {
            None => GitError::Empty(repository.shown.clone()),
            Some(reference) => GitError::Unknown {
                repository: repository.shown.clone(),
                reference: reference.to_owned(),
            },
        })
    }

    /// Writes the files of a commit into an empty directory: 0644 and 0755 as far as the caller's
    /// umask lets them.
    ///
    /// # Errors
    ///
    /// [`GitError`]; what is in the directory by then is worth nothing.
    pub async fn check_out(
        &self,
        repository: &GitRepository,
        commit: &Commit,
        directory: &Path,
        wanted: CheckOut,
    ) -> Result<(), GitError> {
        let limit = self.options.timing.transfer;
        let git = async |action, arguments: &[&str]| {
            let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
            self.run(action, repository, directory, &arguments, limit)
                .await
        };
        let format = if commit.id.len() == 64 {
            "sha256"
        } else {
            "sha1"
        };
        let format = format!("--object-format={format}");
        let branch = "--initial-branch=main";
        let init = ["init", "--quiet", "--template=", branch, &format];
        git("make a place for", &init).await?;
        // Submodules may be named relative to it.
        let origin = git_directory::without_user(&repository.url);
        git("prepare", &["config", "--", "remote.origin.url", &origin]).await?;
        self.fetch(repository, commit, directory).await?;
        let checkout = ["checkout", "--quiet", "--detach", "--force", &commit.id];
        git("check out a commit of", &checkout).await?;
        if wanted.submodules {
            let update = [
                "submodule",
                "--quiet",
                "update",
                "--init",
                "--recursive",
                "--depth=1",
            ];
            git("fetch the submodules of", &update).await?;
        }
        if wanted.keep_git_dir {
            // An index without the times and numbers of this disk.
            git("tidy up after", &["read-tree", "HEAD"]).await?;
        }
        let (directory, origin) = (directory.to_owned(), repository.shown.clone());
        let tidied = tokio::task::spawn_blocking(move || {
            if wanted.keep_git_dir {
                git_directory::clean(&directory)
            } else {
                git_directory::remove(&directory)
            }
        });
        let tidied = tidied
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        tidied.map_err(|source| GitError::Tidy {
            repository: origin,
            source,
        })
    }

    /// Brings a commit: alone where the server gives it out by its id, else with its branch, and
    /// at last with everything that the server names.
    async fn fetch(
        &self,
        repository: &GitRepository,
        commit: &Commit,
        directory: &Path,
    ) -> Result<(), GitError> {
        let fetch = async |more: &[&str]| {
            let common = [
                "fetch",
                "--quiet",
                "--no-recurse-submodules",
                "--update-head-ok",
            ];
            let arguments: Vec<&OsStr> = common.iter().chain(more).map(OsStr::new).collect();
            let limit = self.options.timing.transfer;
            self.run("fetch from", repository, directory, &arguments, limit)
                .await
        };
        let url = repository.url.as_str();
        let first = fetch(&["--no-tags", "--depth=1", "--", url, &commit.id]).await;
        let Err(first) = first else { return Ok(()) };
        let has_it = async || {
            let object = format!("{}^{{commit}}", commit.id);
            let arguments = ["cat-file", "-e", &object].map(OsStr::new);
            let limit = self.options.timing.list;
            self.run("read", repository, directory, &arguments, limit)
                .await
                .is_ok()
        };
        if let Some(name) = &commit.found_as {
            let branch = format!("+{name}:refs/kiln/fetched");
            let brought = fetch(&["--no-tags", "--", url, &branch]).await;
            if brought.is_ok() && has_it().await {
                return Ok(());
            }
        }
        let all = ["--tags", "--", url, "+refs/heads/*:refs/kiln/heads/*"];
        match fetch(&all).await {
            Ok(_) if has_it().await => Ok(()),
            Ok(_) => Err(GitError::Unknown {
                repository: repository.shown.clone(),
                reference: commit.id.clone(),
            }),
            // Why the server cannot be talked to at all is what the first attempt said.
            Err(_) => Err(first),
        }
    }

    async fn run(
        &self,
        action: &'static str,
        repository: &GitRepository,
        directory: &Path,
        arguments: &[&OsStr],
        limit: Duration,
    ) -> Result<Vec<u8>, GitError> {
        let settings = [
            "protocol.ext.allow=never",
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.symlinks=true",
            "core.autocrlf=false",
            "credential.helper=",
            "gc.auto=0",
            "maintenance.auto=false",
            "advice.detachedHead=false",
            "http.lowSpeedLimit=1000",
            "http.lowSpeedTime=60",
        ];
        let mut all: Vec<OsString> = Vec::new();
        for setting in settings {
            all.extend(["-c".into(), setting.into()]);
        }
        all.extend(arguments.iter().map(OsString::from));
        let environment = self.environment(repository, directory);
        let ended = process::run(&self.program, &all, &environment, directory, limit).await;
        let ended = ended.map_err(|error| GitError::Stopped {
            action,
            repository: repository.shown.clone(),
            reason: match &error {
                ProcessError::Start(source) | ProcessError::Read(source) => {
                    format!("{error}: {source}")
                }
                ProcessError::Time(_) | ProcessError::Output => error.to_string(),
            },
        })?;
        if ended.status.success() {
            return Ok(ended.stdout);
        }
        Err(GitError::Failed {
            action,
            repository: repository.shown.clone(),
            said: said(&ended.stderr, repository),
        })
    }

    fn environment(
        &self,
        repository: &GitRepository,
        directory: &Path,
    ) -> Vec<(OsString, OsString)> {
        let options = &self.options;
        let transports = if repository.local {
            "http:https:ssh:git:file"
        } else {
            "http:https:ssh:git"
        };
        let mut environment: Vec<(OsString, OsString)> = [
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ALLOW_PROTOCOL", transports),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            ("GIT_ADVICE", "0"),
            ("LC_ALL", "C"),
            ("TZ", "UTC"),
            ("HOME", "/nonexistent"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec();
        let mut set = |name: &str, value: Option<OsString>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                environment.push((name.into(), value));
            }
        };
        set("PATH", Some(options.search_path.clone()));
        // No repository above the directory is anybody's business.
        let above = directory.parent().map(|above| above.as_os_str().to_owned());
        set("GIT_CEILING_DIRECTORIES", above);
        let ssh = ssh_command(options.ssh_directory.as_deref());
        set("GIT_SSH_COMMAND", Some(ssh.into()));
        set("SSH_AUTH_SOCK", options.ssh_agent.clone());
        set("http_proxy", options.http_proxy.clone().map(Into::into));
        set("https_proxy", options.https_proxy.clone().map(Into::into));
        set("no_proxy", options.no_proxy.clone().map(Into::into));
        if let Some(Authorization { origin, value }) = &repository.authorization {
            // In the environment, which other users cannot read, and for one origin only.
            set("GIT_CONFIG_COUNT", Some("1".into()));
            let key = format!("http.{origin}.extraHeader");
            set("GIT_CONFIG_KEY_0", Some(key.into()));
            let header = format!("Authorization: {value}");
            set("GIT_CONFIG_VALUE_0", Some(header.into()));
        }
        let bundle = options.bundles.iter().find(|path| path.exists());
        set("GIT_SSL_CAINFO", bundle.map(|path| path.clone().into()));
        environment
    }
}

/// How ssh is called: it asks nothing, and refuses hosts that nobody has vouched for. git gives the
/// text to a shell, so a directory whose name would mean something there is left out.
fn ssh_command(directory: Option<&Path>) -> String {
    /// The keys that ssh tries by itself, from its usual directory.
    const KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];
    let mut command = "ssh -o BatchMode=yes".to_owned();
    let is_plain = |text: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.,+@".contains(&byte);
        text.starts_with('/') && text.bytes().all(plain)
    };
    let Some(text) = directory.and_then(Path::to_str).filter(is_plain) else {
        return command;
    };
    let there = |name: &str| Path::new(text).join(name).is_file();
    if there("config") {
        command.push_str(&format!(" -F {text}/config"));
    }
    if there("known_hosts") {
        command.push_str(&format!(" -o UserKnownHostsFile={text}/known_hosts"));
    }
    for key in KEYS.into_iter().filter(|key| there(key)) {
        command.push_str(&format!(" -o IdentityFile={text}/{key}"));
    }
    command
}

/// The names under which a ref may be listed, the best first.
fn candidates(reference: Option<&str>) -> Vec<String> {
    match reference {
        None | Some("HEAD") => vec!["HEAD".to_owned()],
        Some(full) if full.starts_with("refs/") => vec![full.to_owned()],
        Some(name) => vec![
            format!("refs/heads/{name}"),
            format!("refs/tags/{name}"),
            format!("refs/{name}"),
        ],
    }
}

pub(crate) fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The end of what git said, without its own decoration and without a password.
fn said(stderr: &[u8], repository: &GitRepository) -> String {
    let text = String::from_utf8_lossy(stderr).replace(&repository.url, &repository.shown);
    said_of(text.as_bytes())
}

/// The end of what git said, without its own decoration.
pub(crate) fn said_of(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    // What every failure of a connection ends with says nothing about this one.
    let usual = "Could not read from remote repository.";
    let mut marked: Vec<&str> = Vec::new();
    for line in &lines {
        let said = ["fatal: ", "error: ", "remote: ", "ssh: "];
        let mut said = said.iter().filter_map(|mark| line.strip_prefix(mark));
        marked.extend(said.next().filter(|said| *said != usual));
    }
    let shown = if marked.is_empty() { lines } else { marked };
    let start = shown.len().saturating_sub(SAID_LINES_MAX);
    let clean: String = shown[start..]
        .join("; ")
        .chars()
        .filter(|character| !character.is_control())
        .take(SAID_CHARS_MAX)
        .collect();
    match clean.as_str() {
        "" => "it failed without a word".to_owned(),
        _ => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_finds_what_the_user_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(ssh_command(None), "ssh -o BatchMode=yes");
        assert_eq!(ssh_command(Some(path)), "ssh -o BatchMode=yes");
        std::fs::write(path.join("known_hosts"), "").unwrap();
        std::fs::write(path.join("id_rsa"), "").unwrap();
        let shown = path.display();
        assert_eq!(
            ssh_command(Some(path)),
            format!(
                "ssh -o BatchMode=yes -o UserKnownHostsFile={shown}/known_hosts -o \
                 IdentityFile={shown}/id_rsa"
            )
        );
        let odd = path.join("a;b");
        std::fs::create_dir(&odd).unwrap();
        std::fs::write(odd.join("config"), "").unwrap();
        assert_eq!(ssh_command(Some(&odd)), "ssh -o BatchMode=yes");
    }

    #[test]
    fn a_branch_comes_before_a_tag() {
        assert_eq!(candidates(None), ["HEAD"]);
        assert_eq!(candidates(Some("refs/pull/1/head")), ["refs/pull/1/head"]);
        assert_eq!(
            candidates(Some("v1")),
            ["refs/heads/v1", "refs/tags/v1", "refs/v1"]
        );
    }
}
