//! SSH agents for RUN. A command never reaches the user's agent itself: it talks to a socket of
//! ours, through which it can list keys and have things signed, and nothing else. So it cannot
//! remove or add keys or lock the agent, and the agent, which asks who its callers are, sees us.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use graph::MountOwner;
use rustix::process::{Pid, Signal, kill_process};
use store::dir::Dir;
use store::scratch::Scratch;

use super::tree;

/// Where the keys of `--ssh` are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshSource {
    /// An agent listens there.
    Socket(PathBuf),
    /// Files of private keys, for an agent of the build's own.
    Keys(Vec<PathBuf>),
}

/// The longest message of the protocol, in bytes: what OpenSSH's agent takes (`AGENT_MAX_LEN`).
const MESSAGE_BYTES_MAX: u32 = 256 * 1024;

/// `SSH_AGENTC_REQUEST_IDENTITIES` and `SSH_AGENTC_SIGN_REQUEST` (draft-miller-ssh-agent, section
/// 5.1): the requests that are passed on.
const REQUESTS: [u8; 2] = [11, 13];

/// The whole answer to any other: `SSH_AGENT_FAILURE`.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// What an agent of our own is started for: says which process the agent is, which listens by
/// then, and stays until its input ends.
const HOLD: &str = "echo $SSH_AGENT_PID; exec cat";

/// The longest line in which a process is named, in bytes.
const LINE_BYTES_MAX: u64 = 32;

/// Connections at once. A build has a handful.
const CONNECTIONS_MAX: usize = 256;

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshError {
    #[error("{program} is needed to use a key file, and is not installed (openssh-client)")]
    Missing { program: &'static str },
    #[error("{program} could not be started")]
    Start {
        program: &'static str,
        source: io::Error,
    },
    #[error("ssh-agent ended before it was ready: {message}")]
    Agent { message: String },
    #[error("the key {} cannot be used: {message}", path.display())]
    Key { path: PathBuf, message: String },
    #[error(
        "the key {} has a passphrase, and nobody can be asked for it: add it to an agent with \
         ssh-add, and give that agent",
        path.display()
    )]
    Passphrase { path: PathBuf },
    #[error("could not prepare a socket for the SSH agent")]
    Socket(#[source] io::Error),
    #[error("could not prepare a place for an SSH agent")]
    Disk(#[from] store::DiskError),
}

/// The agents of a build. Those of its own are started when they are needed first, and end with
/// it, however it ends.
pub(crate) struct Agents {
    sources: BTreeMap<String, SshSource>,
    scratch: Arc<Scratch>,
    program_path: OsString,
    own: Mutex<BTreeMap<String, OwnAgent>>,
}

/// An agent of our own. It was started for a program that reads what we hold the other end of, and
/// ends when that program does: also when we are killed.
struct OwnAgent {
    socket: PathBuf,
    program: Child,
    agent: Option<Pid>,
}

impl Drop for OwnAgent {
    fn drop(&mut self) {
        // Before the program, by whose end the agent would notice, but only after a while.
        if let Some(agent) = self.agent {
            let _ = kill_process(agent, Signal::TERM);
        }
        drop(self.program.stdin.take());
        let _ = self.program.wait();
    }
}

impl Agents {
    pub(crate) fn new(
        sources: BTreeMap<String, SshSource>,
        scratch: Arc<Scratch>,
        program_path: OsString,
    ) -> Self {
        Self {
            sources,
            scratch,
            program_path,
            own: Mutex::default(),
        }
    }

    /// The socket of the agent of an id, if there is such an agent.
    pub(crate) fn socket(&self, id: &str) -> Result<Option<PathBuf>, SshError> {
        let keys = match self.sources.get(id) {
            None => return Ok(None),
            Some(SshSource::Socket(socket)) => return Ok(Some(socket.clone())),
            Some(SshSource::Keys(keys)) => keys,
        };
        let mut own = self.own.lock().expect("no panics under this lock");
        if let Some(agent) = own.get(id) {
            return Ok(Some(agent.socket.clone()));
        }
        let agent = self.start(keys)?;
        let socket = agent.socket.clone();
        own.insert(id.to_owned(), agent);
        Ok(Some(socket))
    }

    fn start(&self, keys: &[PathBuf]) -> Result<OwnAgent, SshError> {
        let directory = self.scratch.directory()?;
        let socket = directory.join("agent");
        // Relative, since the name of a socket has at most 107 bytes (unix(7)).
        let program = self
            .command("ssh-agent")?
            .args(["-a", "agent", "sh", "-c", HOLD])
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(started("ssh-agent"))?;
        let mut agent = OwnAgent {
            socket,
            program,
            agent: None,
        };
        agent.agent = Some(announced(&mut agent.program)?);
        for key in keys {
            let added = self
                .command("ssh-add")?
                .arg("-q")
                .arg("--")
                .arg(fs::canonicalize(key).unwrap_or_else(|_| key.clone()))
                .env("SSH_AUTH_SOCK", "agent")
                // Nobody is asked for the passphrase of a key, on a terminal or elsewhere.
                .env("SSH_ASKPASS", "false")
                .env("SSH_ASKPASS_REQUIRE", "force")
                .current_dir(&directory)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .output()
                .map_err(started("ssh-add"))?;
            if !added.status.success() {
                // It is silent when its question for the passphrase is not answered.
                if added.stderr.trim_ascii().is_empty() {
                    return Err(SshError::Passphrase { path: key.clone() });
                }
                return Err(SshError::Key {
                    path: key.clone(),
                    message: last_line(&added.stderr),
                });
            }
        }
        Ok(agent)
    }

    fn command(&self, program: &'static str) -> Result<Command, SshError> {
        let found = std::env::split_paths(&self.program_path)
            .map(|directory| directory.join(program))
            .find(|path| path.is_file())
            .ok_or(SshError::Missing { program })?;
        let mut command = Command::new(found);
        command.env_clear().env("PATH", &self.program_path);
        Ok(command)
    }
}

/// Which process the agent is.
fn announced(program: &mut Child) -> Result<Pid, SshError> {
    let mut line = String::new();
    if let Some(stdout) = program.stdout.take() {
        let _ = BufReader::new(stdout.take(LINE_BYTES_MAX)).read_line(&mut line);
    }
    if let Some(agent) = line.trim().parse().ok().and_then(Pid::from_raw) {
        return Ok(agent);
    }
    drop(program.stdin.take());
    let mut message = Vec::new();
    if let Some(mut stderr) = program.stderr.take() {
        let _ = stderr.read_to_end(&mut message);
    }
    Err(SshError::Agent {
        message: last_line(&message),
    })
}

fn started(program: &'static str) -> impl Fn(io::Error) -> SshError {
    move |source| SshError::Start { program, source }
}

/// The line that says why: of what ssh-add prints about a file that others can read, it is not the
/// last.
fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    if let Some(line) = text.lines().find(|line| line.starts_with("Permissions ")) {
        return line.trim().to_owned();
    }
    let last = text.trim().lines().last();
    last.unwrap_or("no reason given").to_owned()
}

/// Connects to a socket whose path may be longer than the name of a socket.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (Some(parent), Some(name)) = (socket.parent(), socket.file_name()) else {
        return UnixStream::connect(socket);
    };
    let directory = Dir::open(parent)?;
    UnixStream::connect(short(&directory, Path::new(name)))
}

fn short(directory: &Dir, name: &Path) -> PathBuf {
    use std::os::fd::AsFd as _;
    let number = directory.as_fd().as_raw_fd();
    PathBuf::from(format!("/proc/self/fd/{number}")).join(name)
}

/// A socket for one RUN, as long as it lives.
pub(crate) struct Forward {
    path: PathBuf,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    agent: PathBuf,
    ended: AtomicBool,
    /// Both ends of those that last, by number.
    connections: Mutex<HashMap<u64, [UnixStream; 2]>>,
}

impl Forward {
    /// Makes a socket in a directory of ours that passes on to `agent`.
    pub(crate) fn to(
        agent: PathBuf,
        directory: &Path,
        owner: MountOwner,
    ) -> Result<Self, SshError> {
        let path = directory.join("ssh");
        let opened = Dir::open(directory).map_err(SshError::Socket)?;
        let listener =
            UnixListener::bind(short(&opened, Path::new("ssh"))).map_err(SshError::Socket)?;
        tree::give(&path, owner).map_err(SshError::Socket)?;
        let shared = Arc::new(Shared {
            agent,
            ended: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        let listener = std::thread::Builder::new()
            .name("ssh-forward".to_owned())
            .spawn(move || listen(&listener, &theirs))
            .map_err(SshError::Socket)?;
        Ok(Self {
            path,
            shared,
            listener: Some(listener),
        })
    }

    /// The socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let woken = connect(&self.path).is_ok();
        let connections = self.shared.connections.lock();
        for connection in connections.iter().flat_map(|all| all.values().flatten()) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
        drop(connections);
        if woken && let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn listen(listener: &UnixListener, shared: &Arc<Shared>) {
    for (number, connection) in (0..).zip(listener.incoming()) {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        // Closed at once where it cannot be passed on: ssh says that the agent does not answer.
        let Ok(connection) = connection else {
            continue;
        };
        let Ok(agent) = connect(&shared.agent) else {
            continue;
        };
        let (Ok(one), Ok(other)) = (connection.try_clone(), agent.try_clone()) else {
            continue;
        };
        {
            let mut connections = shared
                .connections
                .lock()
                .expect("no panics under this lock");
            if connections.len() >= CONNECTIONS_MAX {
                continue;
            }
            connections.insert(number, [one, other]);
        }
        let theirs = Arc::clone(shared);
        let started = std::thread::Builder::new()
            .name("ssh-forward".to_owned())
            .spawn(move || {
                // Either end may go away at any time.
                let _ = forward(connection, agent);
                theirs.forget(number);
            });
        if started.is_err() {
            shared.forget(number);
        }
    }
}

impl Shared {
    /// Closes what is still held of a connection.
    fn forget(&self, number: u64) {
        let connections = self.connections.lock();
        connections
            .expect("no panics under this lock")
            .remove(&number);
    }
}

/// Passes on what may be passed on, request by request.
fn forward(mut command: UnixStream, mut agent: UnixStream) -> io::Result<()> {
    let mut message = Vec::new();
    while receive(&mut command, &mut message)? {
        let is_allowed = message.get(4).is_some_and(|kind| REQUESTS.contains(kind));
        if !is_allowed {
            command.write_all(&FAILURE)?;
            continue;
        }
        agent.write_all(&message)?;
        if !receive(&mut agent, &mut message)? {
            break;
        }
        command.write_all(&message)?;
    }
    Ok(())
}

/// Reads one message with its length in front; `false` at the end of the stream.
fn receive(from: &mut UnixStream, message: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let bytes = u32::from_be_bytes(length);
    if bytes == 0 || bytes > MESSAGE_BYTES_MAX {
        return Err(io::Error::other("a message of an impossible length"));
    }
    message.clear();
    message.extend_from_slice(&length);
    message.resize(4 + bytes as usize, 0);
    from.read_exact(&mut message[4..])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Rows: R10
    #[test]
    fn only_listing_and_signing_are_passed_on() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let agent = directory.path().join("agent");
        let listener = UnixListener::bind(&agent).expect("a socket");
        // Answers every request with its own type.
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut message = Vec::new();
            while receive(&mut stream, &mut message).unwrap_or(false) {
                let answer = [0, 0, 0, 1, message[4]];
                stream.write_all(&answer).expect("it listens");
            }
        });
        let place = directory
            .path()
            .join("a-name-that-is-longer-than-that-of-a-socket".repeat(3));
        fs::create_dir(&place).expect("a directory");
        let me = rustix::process::geteuid().as_raw();
        let owner = MountOwner {
            mode: 0o600,
            uid: me,
            gid: rustix::process::getegid().as_raw(),
        };
        let forward = Forward::to(agent, &place, owner).expect("a socket");
        let mode = fs::metadata(forward.path())
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
        let mut command = connect(forward.path()).expect("it listens");
        let mut ask = |kind: u8| {
            command
                .write_all(&[0, 0, 0, 2, kind, 0])
                .expect("it listens");
            let mut answer = [0; 5];
            command.read_exact(&mut answer).expect("an answer");
            answer
        };
        for (kind, answer) in [
            (11, 11),
            (13, 13),
            (17, 5),
            (18, 5),
            (19, 5),
            (22, 5),
            (27, 5),
        ] {
            assert_eq!(ask(kind), [0, 0, 0, 1, answer], "request {kind}");
        }
        drop(forward);
        served.join().expect("the agent ends with its caller");
    }

    /// A build that fetches many repositories connects many times, though not at once.
    #[test]
    fn connections_that_have_ended_do_not_count() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let agent = directory.path().join("agent");
        let listener = UnixListener::bind(&agent).expect("a socket");
        let times = 2 * CONNECTIONS_MAX;
        // Ends each connection when its caller does, which it has to learn.
        let served = std::thread::spawn(move || {
            for _ in 0..times {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut message = Vec::new();
                while receive(&mut stream, &mut message).unwrap_or(false) {
                    stream.write_all(&[0, 0, 0, 1, 12]).expect("it listens");
                }
            }
        });
        let owner = MountOwner {
            mode: 0o600,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let forward = Forward::to(agent, directory.path(), owner).expect("a socket");
        for time in 0..times {
            let mut command = connect(forward.path()).expect("it listens");
            let sent = command.write_all(&[0, 0, 0, 1, 11]);
            sent.unwrap_or_else(|error| panic!("connection {time}: {error}"));
            let mut answer = [0; 5];
            let answered = command.read_exact(&mut answer);
            answered.unwrap_or_else(|error| panic!("connection {time}: {error}"));
        }
        served.join().expect("it was told of every end");
        drop(forward);
    }
}
