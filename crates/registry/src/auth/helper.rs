//! Credential helpers: programs that are asked for one account over a pipe
//! (docker's credential helper protocol).

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{Credential, Secret};

/// The most that a helper may print, in bytes.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;
/// How much of what a helper complains about is kept, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 4 * 1024;
/// The longest name of a helper.
const NAME_BYTES_MAX: usize = 64;
/// What every helper prints when it has no account for a server.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user's name that marks the secret as an identity token.
const TOKEN_USER: &str = "<token>";

/// The part of a helper's name behind `docker-credential-`. It becomes part of
/// a program's name, so its letters are limited (F07).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HelperName(Box<str>);

/// How helpers are run.
#[derive(Clone, Debug)]
pub(crate) struct HelperSettings {
    pub(crate) search_path: Option<OsString>,
    pub(crate) environment: Option<Vec<(OsString, OsString)>>,
    pub(crate) time_max: Duration,
}

/// Why a credential helper gave no account. Never holds what it printed on
/// stdout, except for the message of a failure.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// There is no such program.
    #[error("`{program}` is not in PATH")]
    Missing {
        /// The program's name.
        program: String,
    },
    /// It could not be started or talked to.
    #[error("could not run {program}")]
    Run {
        /// The program's path.
        program: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It took too long and was killed.
    #[error("{program} did not answer within {seconds} s")]
    TimedOut {
        /// The program's path.
        program: PathBuf,
        /// The limit.
        seconds: u64,
    },
    /// It printed more than an account can be.
    #[error("{program} printed more than {OUTPUT_BYTES_MAX} bytes")]
    TooMuch {
        /// The program's path.
        program: PathBuf,
    },
    /// It failed.
    #[error("{program} failed: {message}")]
    Failed {
        /// The program's path.
        program: PathBuf,
        /// What it said.
        message: String,
    },
    /// It succeeded and printed something else than an account.
    #[error("{program} did not print an account: {reason}")]
    Junk {
        /// The program's path.
        program: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The server's name would be read as two lines.
    #[error("the server `{0}` holds control characters")]
    Server(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: Option<String>,
    #[serde(rename = "Secret")]
    secret: Option<String>,
}

impl HelperName {
    /// Checks a name; an empty one means that no helper is to be used.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let plain = text.len() <= NAME_BYTES_MAX
            && !text.starts_with('.')
            && text
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        if plain {
            Ok(Some(Self(text.into())))
        } else {
            Err(format!(
                "the name of a helper has 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_` and `-`"
            ))
        }
    }

    pub(crate) fn program(&self) -> String {
        format!("docker-credential-{}", self.0)
    }
}

impl HelperSettings {
    /// The account that `helper` has for `server`; `None` when it has none.
    pub(crate) async fn get(
        &self,
        helper: &HelperName,
        server: &str,
    ) -> Result<Option<Credential>, HelperError> {
        check_server(server)?;
        let program = self.find(&helper.program())?;
        let ended = self.run(&program, "get", &format!("{server}\n")).await?;
        read_account(&program, ended)
    }

    /// Has `helper` keep an account.
    pub(crate) async fn store(
        &self,
        helper: &HelperName,
        server: &str,
        user: &str,
        secret: &str,
    ) -> Result<(), HelperError> {
        check_server(server)?;
        let program = self.find(&helper.program())?;
        let account = serde_json::json!({
            "ServerURL": server,
            "Username": user,
            "Secret": secret,
        });
        let ended = self.run(&program, "store", &account.to_string()).await?;
        ended.successful(&program, &[secret])
    }

    /// Has `helper` forget an account.
    pub(crate) async fn erase(&self, helper: &HelperName, server: &str) -> Result<(), HelperError> {
        check_server(server)?;
        let program = self.find(&helper.program())?;
        let ended = self.run(&program, "erase", &format!("{server}\n")).await?;
        ended.successful(&program, &[])
    }

    /// The first executable of that name in an absolute directory of the search
    /// path. `.` and empty entries are skipped: the working directory is often
    /// a build context, which is not trusted.
    /// Whether there is such a program.
    pub(crate) fn has(&self, program: &str) -> bool {
        self.find(program).is_ok()
    }

    fn find(&self, program: &str) -> Result<PathBuf, HelperError> {
        let path = self.search_path.as_deref().unwrap_or(OsStr::new(""));
        std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(program))
            .find(|candidate| {
                candidate
                    .metadata()
                    .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
            })
            .ok_or_else(|| HelperError::Missing {
                program: program.to_owned(),
            })
    }

    async fn run(&self, program: &Path, verb: &str, input: &str) -> Result<Ended, HelperError> {
        let fail = |source| HelperError::Run {
            program: program.to_owned(),
            source,
        };
        let mut command = tokio::process::Command::new(program);
        command
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that Ctrl-C reaches kiln first.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().cloned());
        }
        let mut child = command.spawn().map_err(fail)?;
        let group = child.id();
        match tokio::time::timeout(self.time_max, talk(program, &mut child, input)).await {
            Ok(result) => result,
            Err(_) => {
                // What the helper started goes with it.
                let group = group
                    .and_then(|id| i32::try_from(id).ok())
                    .and_then(rustix::process::Pid::from_raw);
                if let Some(group) = group {
                    let _ =
                        rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                }
                Err(HelperError::TimedOut {
                    program: program.to_owned(),
                    seconds: self.time_max.as_secs(),
                })
            }
        }
    }
}

/// A helper that has ended, with what it printed.
struct Ended {
    status: std::process::ExitStatus,
    output: Vec<u8>,
    complaint: Vec<u8>,
}

impl Ended {
    /// Why it failed, in its words; by the protocol they are on stdout.
    fn failure(&self, program: &Path, secrets: &[&str]) -> HelperError {
        let (said, complaint) = (reason(&self.output), reason(&self.complaint));
        let mut message = match (said.is_empty(), complaint.is_empty()) {
            (false, _) => said,
            (true, false) => complaint,
            (true, true) => self.status.to_string(),
        };
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            message = message.replace(secret, "…");
        }
        HelperError::Failed {
            program: program.to_owned(),
            message,
        }
    }

    fn successful(&self, program: &Path, secrets: &[&str]) -> Result<(), HelperError> {
        match self.status.success() {
            true => Ok(()),
            false => Err(self.failure(program, secrets)),
        }
    }
}

/// A name of two lines would be another server's (CVE-2020-5260 is the class).
fn check_server(server: &str) -> Result<(), HelperError> {
    const SHOWN_CHARS_MAX: usize = 100;
    if !server.chars().any(char::is_control) {
        return Ok(());
    }
    let shown = server.chars().filter(|c| !c.is_control());
    Err(HelperError::Server(shown.take(SHOWN_CHARS_MAX).collect()))
}

/// Says something to a running helper, and hears it out.
async fn talk(
    program: &Path,
    child: &mut tokio::process::Child,
    input: &str,
) -> Result<Ended, HelperError> {
    let fail = |source| HelperError::Run {
        program: program.to_owned(),
        source,
    };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let send = async {
        if let Some(mut stdin) = stdin {
            // A helper that knows without asking may close its input early.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    // Output that is not wanted any more ends the helper by a broken pipe.
    let (_, output, complaint) = tokio::join!(
        send,
        read_bounded(stdout, OUTPUT_BYTES_MAX + 1),
        read_bounded(stderr, COMPLAINT_BYTES_MAX)
    );
    let (output, complaint) = (output.map_err(fail)?, complaint.map_err(fail)?);
    if output.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(HelperError::TooMuch {
            program: program.to_owned(),
        });
    }
    let status = child.wait().await.map_err(fail)?;
    Ok(Ended {
        status,
        output,
        complaint,
    })
}

/// What a helper answered to `get`.
fn read_account(program: &Path, ended: Ended) -> Result<Option<Credential>, HelperError> {
    if !ended.status.success() {
        if message(&ended.output).contains(NOT_FOUND) {
            return Ok(None);
        }
        return Err(ended.failure(program, &[]));
    }
    let junk = |reason| HelperError::Junk {
        program: program.to_owned(),
        reason,
    };
    let answer: Answer = serde_json::from_slice(&ended.output)
        .map_err(|_| junk("it is not the JSON of an account"))?;
    match (answer.username, answer.secret) {
        (_, None) => Err(junk("`Secret` is missing")),
        // Some helpers answer so when they have nothing.
        (None, Some(secret)) if secret.is_empty() => Ok(None),
        (Some(user), Some(secret)) if user.is_empty() && secret.is_empty() => Ok(None),
        (None, Some(_)) => Err(junk("`Username` is missing")),
        (Some(user), Some(secret)) if user == TOKEN_USER => {
            Ok(Some(Credential::IdentityToken(Secret::new(secret))))
        }
        (Some(username), Some(secret)) => {
            if username.contains(':') || username.chars().any(char::is_control) {
                return Err(junk("`Username` holds a colon or control characters"));
            }
            Ok(Some(Credential::Password {
                username,
                password: Secret::new(secret),
            }))
        }
    }
}

async fn read_bounded(
    pipe: Option<impl AsyncRead + Unpin>,
    bytes_max: u64,
) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(bytes_max).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// One line of what a program said, without control characters.
fn message(bytes: &[u8]) -> String {
    const SHOWN_CHARS_MAX: usize = 300;
    String::from_utf8_lossy(bytes)
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN_CHARS_MAX)
        .collect()
}

/// Why a helper failed, as it says. What looks like an answer is none of that, and may be a secret:
/// nothing of it is repeated (F08).
fn reason(bytes: &[u8]) -> String {
    let said = message(bytes);
    if said.contains(['{', '}']) || said.to_ascii_lowercase().contains("secret\"") {
        return String::new();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_helpers() {
        for good in ["gcloud", "ecr-login", "a.b_C", &"x".repeat(NAME_BYTES_MAX)] {
            assert!(matches!(HelperName::parse(good), Ok(Some(_))), "{good}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for bad in ["../../tmp/x", "a b", "x;id", "a/b", ".x", "ä", "a\n", &long] {
            assert!(HelperName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(HelperName::parse(""), Ok(None));
    }

    #[tokio::test]
    async fn a_helper_that_hangs_is_ended_with_all_it_started() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("docker-credential-slow");
        let mark = directory.path().join("child");
        let text = format!(
            "#!/bin/sh\nsleep 600 & echo $! > {}\nwait\n",
            mark.display()
        );
        std::fs::write(&path, text).expect("a script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let settings = HelperSettings {
            search_path: Some(directory.path().into()),
            environment: None,
            time_max: Duration::from_secs(2),
        };
        let helper = HelperName::parse("slow")
            .expect("a name")
            .expect("a helper");
        let error = settings.get(&helper, "a.io").await.expect_err("it hangs");
        assert!(matches!(error, HelperError::TimedOut { .. }), "{error}");
        let child = std::fs::read_to_string(&mark).expect("the child's id");
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        // Killed processes linger until somebody reaps them.
        for _ in 0..200 {
            match state() {
                Ok(text) if !text.contains(") Z ") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                _ => return,
            }
        }
        panic!("the helper's child lives on");
    }

    #[tokio::test]
    async fn a_server_of_two_lines_is_not_asked_for() {
        let settings = HelperSettings {
            search_path: None,
            environment: None,
            time_max: Duration::from_secs(2),
        };
        let helper = HelperName::parse("x").expect("a name").expect("a helper");
        let error = settings
            .get(&helper, "a.io\nb.io")
            .await
            .expect_err("two lines");
        assert!(matches!(error, HelperError::Server(_)), "{error}");
    }
}
