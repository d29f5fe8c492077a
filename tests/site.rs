//! Where whole builds happen: the real program, a registry in memory, and base images made of this
//! machine's busybox. As the user that the tests run as, or as an ordinary one.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::tar::Entry;
use testkit::{Image, Layer, Registry, ValidImage, image, validate_image};

const BUSYBOX: &str = "/bin/busybox";

/// How long, and how often, something is waited for that may take its time on a busy machine.
const ROUND: Duration = Duration::from_millis(25);
const ROUNDS_MAX: u32 = 2_400;

/// `cap_net_raw=ep` as a `struct vfs_cap_data` of version 2 (capabilities(7)).
const CAP_NET_RAW: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Stands for the registry's address in Dockerfiles, arguments and what the program says.
pub(crate) const REGISTRY: &str = "REGISTRY";

/// Who runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Whoever runs the tests.
    Ourselves,
    /// A user with subordinate ids.
    Ordinary,
}

/// A registry with base images, a directory for everything else, and a caller.
pub(crate) struct Site {
    pub(crate) registry: Registry,
    directory: TempDir,
    account: Option<(u32, u32)>,
    program: PathBuf,
}

impl Site {
    /// A new site; or none, with the reason on stderr, where RUN cannot be tested.
    pub(crate) fn new(caller: Caller) -> Option<Self> {
        match Self::prepare(caller) {
            Ok(site) => Some(site),
            Err(reason) => {
                eprintln!("skipped: {reason}");
                None
            }
        }
    }

    fn prepare(caller: Caller) -> Result<Self, String> {
        if !Path::new(BUSYBOX).exists() {
            return Err(format!("{BUSYBOX} is not installed (busybox-static)"));
        }
        let am_root = rustix::process::geteuid().is_root();
        let account = match caller {
            Caller::Ordinary => Some(ordinary_user()?),
            Caller::Ourselves if am_root => None,
            Caller::Ourselves => Some(ordinary_user()?),
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our directory");
        let program = path.join("kiln");
        let built = env!("CARGO_BIN_EXE_kiln");
        if fs::hard_link(built, &program).is_err() {
            fs::copy(built, &program).expect("a copy of the program");
        }
        let registry = Registry::start();
        for (name, base) in bases(&fs::read(BUSYBOX).expect("busybox")) {
            registry.seed(name, "1", &base);
        }
        let site = Self {
            registry,
            directory,
            account: account.filter(|_| am_root),
            program,
        };
        for name in ["home", "work"] {
            site.make(name);
        }
        Ok(site)
    }

    /// Makes a directory of the caller.
    fn make(&self, name: &str) {
        let path = self.path(name);
        fs::create_dir(&path).expect("a new directory");
        if let Some((uid, gid)) = self.account {
            chown(&path, Some(uid), Some(gid)).expect("our own directory");
        }
    }

    /// Makes a file the caller's.
    pub(crate) fn give(&self, path: &Path) {
        if let Some((uid, gid)) = self.account {
            chown(path, Some(uid), Some(gid)).expect("our own file");
        }
    }

    /// A path of this site.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a context from a Dockerfile, in which `REGISTRY` is replaced.
    pub(crate) fn context(&self, name: &str, dockerfile: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a directory");
        let text = dockerfile.replace("REGISTRY/", &format!("{}/", self.registry.host()));
        fs::write(path.join("Dockerfile"), text).expect("a Dockerfile");
        path
    }

    /// `kiln VERB --store STORE ARGUMENTS...`, not started yet.
    pub(crate) fn kiln(&self, verb: &str, store: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args([verb, "--store"])
            .arg(self.path("home").join(store))
            .args(
                arguments
                    .iter()
                    .map(|word| word.replace(REGISTRY, &self.registry.host())),
            )
            .current_dir(self.path("work"))
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null());
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// A build that pushes to `REPOSITORY:1`, not started yet.
    pub(crate) fn build(
        &self,
        store: &str,
        repository: &str,
        context: &Path,
        more: &[&str],
    ) -> Command {
        let tag = format!("{REGISTRY}/{repository}:1");
        let fixed = ["--progress", "quiet", "--push", "-t", tag.as_str()];
        let context = context.to_str().expect("UTF-8");
        self.kiln("build", store, &[&fixed, more, &[context]].concat())
    }

    /// Runs such a build, which must succeed; what it printed.
    #[track_caller]
    pub(crate) fn built(
        &self,
        store: &str,
        repository: &str,
        context: &Path,
        more: &[&str],
    ) -> String {
        let output = self.build(store, repository, context, more).output();
        self.success(&output.expect("kiln starts"))
    }

    /// What a command that must have succeeded printed.
    #[track_caller]
    pub(crate) fn success(&self, output: &Output) -> String {
        assert!(output.status.success(), "{}", self.describe(output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The image that was pushed, checked from top to bottom.
    #[track_caller]
    pub(crate) fn image(&self, repository: &str) -> ValidImage {
        validate_image(&self.registry, repository, "1").expect("a valid image")
    }

    /// The store is whole.
    #[track_caller]
    pub(crate) fn verify(&self, store: &str) {
        let output = self.kiln("store", store, &["verify"]).output();
        self.success(&output.expect("kiln starts"));
    }

    /// Exit code and both streams, with this site's names replaced.
    pub(crate) fn describe(&self, output: &Output) -> String {
        let mut text = match output.status.code() {
            Some(code) => format!("exit {code}\n"),
            None => format!("{}\n", output.status),
        };
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                let stream = String::from_utf8_lossy(bytes);
                text.push_str(&format!("{name}:\n{stream}"));
            }
        }
        text.replace(&*self.directory.path().to_string_lossy(), "[DIR]")
            .replace(&self.registry.host(), REGISTRY)
    }

    /// Digits behind a number of seconds, by which `sleep` gives away which site it belongs to.
    pub(crate) fn mark(&self) -> String {
        self.registry.host().replace("127.0.0.1:", "0271828")
    }

    /// The document of `--metadata-file`.
    pub(crate) fn numbers(&self, file: &str) -> Value {
        let text = fs::read(self.path("work").join(file)).expect("a metadata file");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Counts the processes with this word in their arguments.
    pub(crate) fn running(&self, word: &str) -> usize {
        processes(|line| line.contains(word)).len()
    }

    /// Waits for what comes sooner or later.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, happened: impl Fn() -> bool) {
        for _ in 0..ROUNDS_MAX {
            if happened() {
                return;
            }
            std::thread::sleep(ROUND);
        }
        panic!("it does not happen: {what}");
    }

    /// Processes of this site's builds, and mounts below it.
    fn left_over(&self) -> Vec<String> {
        let directory = self.directory.path().to_string_lossy().into_owned();
        let mark = self.mark();
        let mut found = processes(|line| line.contains(&mark) || line.contains(&directory));
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let ours = mounts.lines().filter(|line| line.contains(&directory));
        found.extend(ours.map(str::to_owned));
        found
    }

    /// Nothing is left over; the kernel takes a moment to end what it was told to end.
    #[track_caller]
    pub(crate) fn nothing_is_left(&self) {
        for _ in 0..ROUNDS_MAX {
            if self.left_over().is_empty() {
                return;
            }
            std::thread::sleep(ROUND);
        }
        panic!("left over: {:#?}", self.left_over());
    }
}

/// The arguments of the processes that `wanted` chooses by them.
fn processes(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        // Others end while we look.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if wanted(&line) {
            found.push(format!("{}: {line}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

/// One line for an entry: what it is, its time unless that is 0, its attributes, and what is in it
/// when that is short.
pub(crate) fn line(entry: &Entry) -> String {
    let mut line = entry.line().replace('\n', "\\n");
    if entry.mtime != 0 {
        line.push_str(&format!(" @{}", entry.mtime));
    }
    for (name, value) in &entry.xattrs {
        let value: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        line.push_str(&format!(" {}={value}", String::from_utf8_lossy(name)));
    }
    if entry.kind == b'0' && (1..=2000).contains(&entry.content.len()) {
        line.push_str(&format!(" {:?}", String::from_utf8_lossy(&entry.content)));
    }
    line
}

/// The first user of `/etc/subuid` that has an account; ourselves, unless we are root.
fn ordinary_user() -> Result<(u32, u32), String> {
    if !Path::new("/usr/bin/newuidmap").exists() {
        return Err("newuidmap is not installed (uidmap)".to_owned());
    }
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (passwd, subordinate) = (read("/etc/passwd"), read("/etc/subuid"));
    let own = rustix::process::geteuid().as_raw();
    for account in passwd.lines() {
        let fields: Vec<&str> = account.split(':').collect();
        let (uid, gid) = (fields[2].parse().unwrap_or(0), fields[3].parse());
        let listed = |line: &str| line.split(':').next() == Some(fields[0]);
        if uid != 0 && (own == 0 || own == uid) && subordinate.lines().any(listed) {
            return Ok((uid, gid.expect("a number")));
        }
    }
    Err("no user has a line in /etc/subuid".to_owned())
}

/// The images that cases start from; the tag of all is `1`.
fn bases(busybox: &[u8]) -> Vec<(&'static str, Image)> {
    let applets = Command::new(BUSYBOX).arg("--list").output();
    let applets = String::from_utf8(applets.expect("busybox runs").stdout).expect("UTF-8");
    let bare = || {
        let mut layer =
            Layer::new()
                .directory("bin", 0o755)
                .file_with("bin/busybox", 0o755, busybox);
        for applet in applets.lines().filter(|applet| *applet != "busybox") {
            layer = layer.symlink(&format!("bin/{applet}"), "busybox");
        }
        layer
    };
    let full = bare()
        .directory("etc", 0o755)
        .file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\n\
             app:x:1000:1001:an application:/home/app:/bin/sh\n\
             homeless:x:1002:1002::/nowhere:/bin/sh\n",
        )
        .file(
            "etc/group",
            "root:x:0:\nwheel:x:10:root,app\napp:x:1001:\nextra:x:2000:app\n",
        )
        .file("etc/resolv.conf", "of the image\n")
        .directory("root", 0o700)
        .directory("tmp", 0o1777)
        .directory("data", 0o755)
        .file("data/one", "1\n")
        .file("data/two", "2\n")
        .directory("data/deep", 0o750)
        .file("data/deep/three", "3\n");
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let base = || image().layer(full.clone()).env(path);
    let capable = Layer::new().entry(Entry {
        path: b"tool".to_vec(),
        kind: b'0',
        mode: 0o755,
        content: b"tool\n".to_vec(),
        xattrs: [(b"security.capability".to_vec(), CAP_NET_RAW.to_vec())].into(),
        ..Entry::default()
    });
    let trigger = |lines: &[&str]| -> Value { json!(lines) };
    vec![
        ("base", base().env("FROM_BASE=base").build()),
        ("bare", image().layer(bare()).build()),
        ("capable", base().layer(capable).build()),
        (
            "onbuild",
            base()
                .config(
                    "OnBuild",
                    trigger(&[
                        "ARG WHAT=trigger",
                        "RUN echo $WHAT > /first",
                        "COPY file /src/",
                    ]),
                )
                .build(),
        ),
        (
            "lost",
            base()
                .config("WorkingDir", json!("/not/there"))
                .config("User", json!("app"))
                .build(),
        ),
    ]
}
