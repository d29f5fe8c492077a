//! A small root file system and the helper that runs processes in it.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::yield_now;

use sandbox::{IdMapping, Limits, Mount, MountSource, Network, Process, Root, Security, UserIds};
use serde::Deserialize;
use tempfile::TempDir;

const BUSYBOX: &str = "/bin/busybox";

const APPLETS: [&str; 32] = [
    "awk", "cat", "chmod", "chown", "cut", "echo", "env", "false", "grep", "head", "hostname",
    "id", "ip", "kill", "ln", "ls", "mkdir", "mv", "ps", "readlink", "rm", "rmdir", "seq", "sh",
    "sleep", "stat", "touch", "tr", "true", "umount", "wc", "yes",
];

/// Who calls the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Root,
    User,
}

/// How a run went, as the helper prints it.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) outcome: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// One root, one process to run in it.
pub(crate) struct Cage {
    pub(crate) caller: Caller,
    pub(crate) process: Process,
    /// Host ids of the caller.
    pub(crate) ids: (u32, u32),
    /// Host id of the inside's 1, the first subordinate one.
    pub(crate) first_subordinate: u32,
    directory: TempDir,
}

/// Does something for every caller that this machine can provide.
pub(crate) fn for_each_caller(act: impl Fn(Cage)) {
    for caller in [Caller::Root, Caller::User] {
        match Cage::new(caller) {
            Ok(cage) => act(cage),
            #[allow(clippy::print_stdout)] // A skipped test says so.
            Err(reason) => println!("skipped for {caller:?}: {reason}"),
        }
    }
}

impl Cage {
    pub(crate) fn new(caller: Caller) -> Result<Self, String> {
        if !Path::new(BUSYBOX).exists() {
            return Err(format!("{BUSYBOX} is not installed (busybox-static)"));
        }
        let am_root = rustix::process::geteuid().is_root();
        let (ids, first_subordinate) = match caller {
            Caller::Root if am_root => ((0, 0), 1),
            Caller::Root => return Err("the tests do not run as root".to_owned()),
            Caller::User => ordinary_user()?,
        };
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().canonicalize().expect("it exists");
        let cage = Self {
            caller,
            process: process(&path, caller),
            ids,
            first_subordinate,
            directory,
        };
        for directory in ["lower/bin", "lower/tmp", "disk/upper", "disk/work"] {
            fs::create_dir_all(path.join(directory)).expect("an empty directory");
        }
        fs::copy(BUSYBOX, cage.lower("bin/busybox")).expect("a copy");
        for applet in APPLETS {
            symlink("busybox", cage.lower("bin").join(applet)).expect("a link");
        }
        fs::copy(env!("CARGO_BIN_EXE_sandbox-test-helper"), cage.helper()).expect("a copy");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our directory");
        if am_root && caller == Caller::User {
            for directory in ["", "lower", "lower/bin", "lower/tmp", "disk", "disk/upper"] {
                cage.give(&path.join(directory));
            }
            cage.give(&path.join("disk/work"));
        }
        Ok(cage)
    }

    /// A path in the read-only directory.
    pub(crate) fn lower(&self, name: &str) -> PathBuf {
        self.directory.path().join("lower").join(name)
    }

    /// A path in the directory that changes land in.
    pub(crate) fn upper(&self, name: &str) -> PathBuf {
        self.directory.path().join("disk/upper").join(name)
    }

    /// A path outside the root, of the caller.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn helper(&self) -> PathBuf {
        self.directory.path().join("helper")
    }

    /// Makes an empty directory of the caller.
    pub(crate) fn make(&self, path: &Path) {
        fs::create_dir(path).expect("an empty directory");
        self.give(path);
    }

    /// Makes a file or directory the caller's.
    pub(crate) fn give(&self, path: &Path) {
        chown(path, Some(self.ids.0), Some(self.ids.1)).expect("our own file");
    }

    pub(crate) fn mount(&mut self, target: &str, source: MountSource, read_only: bool) {
        let target = target.into();
        self.process.mounts.push(Mount {
            target,
            source,
            read_only,
            executable: true,
        });
    }

    /// Runs a shell script.
    pub(crate) fn sh(&mut self, script: &str) -> Outcome {
        self.run(&["sh", "-c", script])
    }

    /// Runs a program.
    pub(crate) fn run(&mut self, argv: &[&str]) -> Outcome {
        self.process.argv = argv.iter().map(Into::into).collect();
        self.helped(&["run"])
    }

    /// Runs the process as it stands, with these words for the helper.
    pub(crate) fn helped(&self, words: &[&str]) -> Outcome {
        let output = self
            .start(words)
            .wait_with_output()
            .expect("the helper ends");
        parse(&output)
    }

    /// Starts the helper as the caller, with a canary in its environment.
    pub(crate) fn start(&self, words: &[&str]) -> Child {
        let mut command = Command::new(self.helper());
        if self.caller == Caller::User {
            command.arg("in-user-namespace");
            if rustix::process::geteuid().is_root() {
                command.uid(self.ids.0).gid(self.ids.1);
            }
        }
        command
            .args(words)
            .env("REGISTRY_PASSWORD", "canary")
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = loop {
            match command.spawn() {
                // Another test forked while the copy was being written, and has not got to exec.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => yield_now(),
                started => break started.expect("the helper starts"),
            }
        };
        let description = serde_json::to_vec(&self.process).expect("plain data");
        let mut stdin = child.stdin.take().expect("piped");
        // A helper that reads nothing closes it early.
        let _ = stdin.write_all(&description);
        child
    }
}

impl Outcome {
    /// The process ended with success; what it wrote.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(
            self.outcome, "code 0",
            "stdout {:?} stderr {:?}",
            self.stdout, self.stderr
        );
        self.stdout
    }
}

pub(crate) fn parse(output: &Output) -> Outcome {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("the helper said {text:?}"))
}

fn process(directory: &Path, caller: Caller) -> Process {
    Process {
        argv: vec!["true".into()],
        env: vec![("PATH".into(), "/nowhere:/bin".into())],
        cwd: "/".into(),
        user: UserIds::default(),
        root: Root {
            base: None,
            lowers: vec![directory.join("lower")],
            upper: directory.join("disk/upper"),
            work: directory.join("disk/work"),
        },
        mounts: Vec::new(),
        network: Network::None,
        hostname: "cage".to_owned(),
        hosts: b"127.0.0.1 localhost cage\n".to_vec(),
        resolv_conf: b"nameserver 192.0.2.1\n".to_vec(),
        limits: Limits::default(),
        security: Security::default(),
        ids: match caller {
            Caller::Root => IdMapping::RESERVED,
            Caller::User => IdMapping::Inherited,
        },
        emulator: None,
    }
}

/// Ourselves if we are one, else the first user of `/etc/subuid` that has an account.
fn ordinary_user() -> Result<((u32, u32), u32), String> {
    if !Path::new("/usr/bin/newuidmap").exists() {
        return Err("newuidmap is not installed (uidmap)".to_owned());
    }
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (passwd, subordinate) = (read("/etc/passwd"), read("/etc/subuid"));
    let own = rustix::process::geteuid().as_raw();
    for line in subordinate.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let account = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<&str>>());
        let account = account.into_iter().find(|account| account[0] == fields[0]);
        let (Some(account), Some(Ok(first))) = (account, fields.get(1).map(|id| id.parse())) else {
            continue;
        };
        let uid = account[2].parse().expect("a number");
        let gid = account[3].parse().expect("a number");
        if uid != 0 && (own == 0 || own == uid) {
            return Ok(((uid, gid), first));
        }
    }
    Err("no user has a line in /etc/subuid".to_owned())
}
