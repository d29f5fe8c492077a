//! Dockerfile and context in, image out: what COPY, ADD and WORKDIR put into
//! layers, read back from a registry by code that shares nothing with ours.
//!
//! RUN is not here: it needs the program. See the tests of the whole.

#![expect(clippy::print_stdout, reason = "skipped tests say why")]

mod archives;
mod cache;
mod corners;
mod documents;
mod flags;
mod large;
mod lost;
mod parts;
mod several;
mod shared;
mod unchanged;

use std::error::Error;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use engine::{
    Annotations, BuildError, BuildReport, BuildRequest, ContextSource, DockerfileSource, Event,
    Interrupt, Output, Ports, PushReport, PushRequest, Reporter, SandboxChoice, Shape, StepOutcome,
};
use oci::{Compression, Platform};
use testkit::{Layer, Registry, ValidImage, image, validate_image};

struct Quiet;

impl Reporter for Quiet {
    fn report(&self, _: Event) {}
}

/// A registry with a base image, a context, a store.
struct Bench {
    registry: Registry,
    context: tempfile::TempDir,
    store: tempfile::TempDir,
    threads: usize,
    epoch: i64,
}

impl Bench {
    fn new() -> Self {
        let registry = Registry::start();
        let base = image()
            .env("PATH=/bin")
            .layer(
                Layer::new()
                    .compressed(Compression::Gzip)
                    .directory("bin", 0o755)
                    .file_with("bin/sh", 0o755, "#!shell")
                    .directory("etc", 0o755)
                    .file(
                        "etc/passwd",
                        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
                    )
                    .file("etc/group", "root:x:0:\napp:x:1001:\nstaff:x:50:\n")
                    .directory("tmp", 0o1777)
                    .directory("srv", 0o750)
                    .symlink("link-to-srv", "/srv")
                    .symlink("link-to-nowhere", "/new/place"),
            )
            .build();
        registry.seed("base", "1", &base);
        Self {
            registry,
            context: tempfile::tempdir().unwrap(),
            store: tempfile::tempdir().unwrap(),
            threads: 2,
            epoch: 0,
        }
    }

    /// `path`, `path/`, `path -> target` or `path: content`, with an octal mode
    /// in front where it matters.
    fn file(&self, line: &str) -> &Self {
        let (mode, line) = match line.split_once(' ') {
            Some((mode, rest)) if mode.bytes().all(|b| b.is_ascii_digit()) => {
                (u32::from_str_radix(mode, 8).unwrap(), rest)
            }
            _ => (0, line),
        };
        let root = self.context.path();
        let make_parent = |path: &Path| fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (path, mode) = if let Some((path, target)) = line.split_once(" -> ") {
            make_parent(&root.join(path));
            symlink(target, root.join(path)).unwrap();
            return self;
        } else if let Some(path) = line.strip_suffix('/') {
            fs::create_dir_all(root.join(path)).unwrap();
            (path, if mode == 0 { 0o755 } else { mode })
        } else {
            let (path, content) = line.split_once(": ").unwrap_or((line, "content"));
            make_parent(&root.join(path));
            fs::write(root.join(path), content).unwrap();
            (path, if mode == 0 { 0o644 } else { mode })
        };
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn request(&self, dockerfile: &str) -> BuildRequest {
        let dockerfile = dockerfile.replace("BASE", &format!("{}/base:1", self.registry.host()));
        BuildRequest {
            dockerfile: DockerfileSource::Text {
                name: "Dockerfile".into(),
                text: dockerfile.into(),
            },
            named_contexts: Default::default(),
            context: ContextSource::Directory(self.context.path().to_owned()),
            graph: graph::Request::new(Platform::host(), Platform::host()),
            shape: Shape::Image,
            tags: vec![format!("{}/out:1", self.registry.host()).parse().unwrap()],
            immutable_tags: Default::default(),
            publishing: Default::default(),
            annotations: Annotations::default(),
            attestations: engine::AttestationRequest::default(),
            outputs: vec![Output::Registry],
            pull: false,
            no_cache: false,
            cache: Default::default(),
            epoch_seconds: self.epoch,
            compression: Compression::Gzip,
            compression_level: None,
            sandbox: SandboxChoice::Auto,
            emulator_directory: None,
            secrets: Default::default(),
            ssh: Default::default(),
            laziness: engine::Laziness::Auto,
            disk_budget_bytes: None,
            base_mounts: Vec::new(),
            cache_mounts: Default::default(),
            threads: self.threads,
        }
    }

    fn run(&self, request: &BuildRequest) -> Result<BuildReport, BuildError> {
        self.run_with(request, self.store.path())
    }

    fn run_with(&self, request: &BuildRequest, store: &Path) -> Result<BuildReport, BuildError> {
        self.run_under(request, store, Arc::new(Quiet))
    }

    fn run_under(
        &self,
        request: &BuildRequest,
        store: &Path,
        reporter: Arc<dyn Reporter>,
    ) -> Result<BuildReport, BuildError> {
        let ports = self.ports(store, reporter);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(engine::build(request, &ports))
    }

    fn ports(&self, store: &Path, reporter: Arc<dyn Reporter>) -> Ports {
        Ports {
            post: post(),
            store: store::Store::open(store).unwrap(),
            client: registry::Client::new(registry::ClientOptions::default()).unwrap(),
            network: shelf::Network {
                client: registry::Client::new(registry::ClientOptions::default()).unwrap(),
                trust: Default::default(),
                proxies: Default::default(),
                google: Default::default(),
            },
            reporter,
            interrupt: Interrupt::default(),
            resolv_conf: Vec::new(),
            program_path: "".into(),
        }
    }

    fn push(&self, request: &PushRequest, store: &Path) -> Result<PushReport, BuildError> {
        let ports = self.ports(store, Arc::new(Quiet));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(engine::push(request, &ports))
    }

    fn build(&self, dockerfile: &str) -> Result<BuildReport, String> {
        self.run(&self.request(dockerfile))
            .map_err(|error| explain(&error))
    }

    fn image(&self, dockerfile: &str) -> ValidImage {
        self.build(dockerfile).unwrap();
        validate_image(&self.registry, "out", "1").unwrap()
    }

    /// The entries of the last layer, directories of the base left out.
    fn check(&self, instruction: &str, expected: &[&str]) {
        let image = self.image(&format!("FROM BASE\n{instruction}\n"));
        assert_eq!(
            image.layers.last().unwrap().listing(),
            expected,
            "{instruction}"
        );
    }

    fn check_error(&self, instruction: &str, part: &str) {
        let error = self
            .build(&format!("FROM BASE\n{instruction}\n"))
            .unwrap_err();
        assert!(error.contains(part), "{instruction}: {error}");
    }
}

fn explain(error: &BuildError) -> String {
    match error {
        BuildError::Step(step) => {
            let mut text = step.message.clone();
            let mut source = step.source.as_deref().map(|cause| cause as &dyn Error);
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            let hint = step.hint.as_deref().unwrap_or_default();
            format!("{text} ({hint})")
        }
        BuildError::Dockerfile { diagnostics, .. } => diagnostics
            .iter()
            .map(|found| found.message.clone())
            .collect::<Vec<_>>()
            .join("; "),
        other => {
            let mut text = other.to_string();
            let mut source = other.source();
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            text
        }
    }
}

/// Rows: C6, C7, C10, C11, C12, C13, C15, C16, C4
#[test]
fn files_and_directories_go_where_docker_puts_them() {
    let bench = Bench::new();
    bench
        .file("a.txt: A")
        .file("b.txt: BB")
        .file("dir/x: X")
        .file("0700 dir/sub/")
        .file("dir/sub/y: Y");
    bench.file("dir/l -> x");
    let new = "d0755 0:0 0 new";
    bench.check("COPY a.txt /new/", &[new, "-0644 0:0 1 new/a.txt"]);
    bench.check("COPY a.txt /new", &["-0644 0:0 1 new"]);
    bench.check(
        "COPY a.txt /srv",
        &["d0750 0:0 0 srv", "-0644 0:0 1 srv/a.txt"],
    );
    bench.check(
        "COPY a.txt b.txt /new/",
        &[new, "-0644 0:0 1 new/a.txt", "-0644 0:0 2 new/b.txt"],
    );
    bench.check(
        "COPY *.txt /new/",
        &[new, "-0644 0:0 1 new/a.txt", "-0644 0:0 2 new/b.txt"],
    );
    bench.check(
        "COPY [ab].txt /new/",
        &[new, "-0644 0:0 1 new/a.txt", "-0644 0:0 2 new/b.txt"],
    );
    bench.check("COPY a*.txt /new", &["-0644 0:0 1 new"]);
    bench.check("COPY none* /new/", &[]);
    let tree = [
        new,
        "l0777 0:0 -> x new/l",
        "d0700 0:0 0 new/sub",
        "-0644 0:0 1 new/sub/y",
        "-0644 0:0 1 new/x",
    ];
    bench.check("COPY dir /new", &tree);
    bench.check("COPY dir/ /new/", &tree);
    bench.check("COPY /../dir/ /new/", &tree);
    bench.check("COPY d*r /new/", &tree);
    bench.check("COPY dir/l /new/", &[new, "-0644 0:0 1 new/l"]);
    bench.check(
        "WORKDIR /w\nCOPY a.txt .",
        &["d0755 0:0 0 w", "-0644 0:0 1 w/a.txt"],
    );
    bench.check("COPY a.txt /", &["-0644 0:0 1 a.txt"]);
}

/// Rows: C12, C14
#[test]
fn destinations_are_followed_inside_the_image() {
    let bench = Bench::new();
    bench.file("a.txt: A");
    bench.check(
        "COPY a.txt /link-to-srv/",
        &["d0750 0:0 0 srv", "-0644 0:0 1 srv/a.txt"],
    );
    bench.check(
        "COPY a.txt /link-to-nowhere/",
        &[
            "d0755 0:0 0 new",
            "d0755 0:0 0 new/place",
            "-0644 0:0 1 new/place/a.txt",
        ],
    );
    bench.check(
        "COPY a.txt /../../tmp/",
        &["d1777 0:0 0 tmp", "-0644 0:0 1 tmp/a.txt"],
    );
}

/// Rows: C1, C2, C4, C5
#[test]
fn owners_and_modes() {
    let bench = Bench::new();
    bench.file("0755 a: A").file("dir/x: X");
    bench.check(
        "COPY --chown=app a /n/",
        &["d0755 1000:1001 0 n", "-0755 1000:1001 1 n/a"],
    );
    bench.check(
        "COPY --chown=app:staff a /n/",
        &["d0755 1000:50 0 n", "-0755 1000:50 1 n/a"],
    );
    bench.check("COPY --chown=55 a /n", &["-0755 55:55 1 n"]);
    bench.check("COPY --chmod=600 a /n", &["-0600 0:0 1 n"]);
    bench.check(
        "COPY --chmod=u=rwX,go= dir /n/",
        &["d0700 0:0 0 n", "-0600 0:0 1 n/x"],
    );
    bench.check("USER app\nCOPY a /n", &["-0755 0:0 1 n"]);
    bench.check(
        "USER app\nWORKDIR /home/app/w",
        &[
            "d0755 1000:1001 0 home",
            "d0755 1000:1001 0 home/app",
            "d0755 1000:1001 0 home/app/w",
        ],
    );
    bench.check("WORKDIR /srv", &[]);
    bench.check_error(
        "COPY --chown=nobody a /n",
        "user `nobody` is not in the image's /etc/passwd",
    );
}

/// Rows: H8, H9, H10
#[test]
fn heredocs_are_files() {
    let bench = Bench::new();
    bench.check(
        "ARG V=1\nCOPY <<one <<\"two\" /n/\na $V\none\nb $V\ntwo\n",
        &["d0755 0:0 0 n", "-0644 0:0 4 n/one", "-0644 0:0 5 n/two"],
    );
}

/// Rows: C8, C9, C11, C30
#[test]
fn mistakes_say_what_to_do() {
    let bench = Bench::new();
    bench
        .file("main.rs")
        .file("a")
        .file("b")
        .file("dir/x")
        .file("secret.txt");
    bench.file(".dockerignore: # none\n*.txt\n");
    bench.check_error("COPY mian.rs /n", "did you mean `main.rs`?");
    bench.check_error(
        "COPY secret.txt /n",
        "line 2 of .dockerignore excludes it: `*.txt`",
    );
    bench.check_error("COPY a b /n", "must be a directory and end with `/`");
    bench.check_error(
        "COPY dir /etc/passwd",
        "cannot replace the file /etc/passwd with a directory",
    );
    bench.check_error(
        "COPY a /n\nCOPY dir /n",
        "cannot replace the file /n with a directory",
    );
}

/// Rows: D3, D4, D10
#[test]
fn ignored_files_are_not_there() {
    let bench = Bench::new();
    bench
        .file(".dockerignore: *\n!keep\n!deep/in/file\n")
        .file("keep: K")
        .file("drop")
        .file("deep/in/file: F");
    bench.file("deep/in/other").file("deep/no");
    bench.check(
        "COPY . /n/",
        &[
            "d0755 0:0 0 n",
            "d0755 0:0 0 n/deep",
            "d0755 0:0 0 n/deep/in",
            "-0644 0:0 1 n/deep/in/file",
            "-0644 0:0 1 n/keep",
        ],
    );
}

/// Rows: C17
#[test]
fn hard_links_stay_links() {
    let bench = Bench::new();
    bench.file("dir/a: A");
    fs::hard_link(
        bench.context.path().join("dir/a"),
        bench.context.path().join("dir/b"),
    )
    .unwrap();
    bench.check(
        "COPY dir /n/",
        &["d0755 0:0 0 n", "-0644 0:0 1 n/a", "h0644 0:0 -> n/a n/b"],
    );
}

/// Rows: C1, F13, D9
#[test]
fn stages_and_images_are_sources() {
    let bench = Bench::new();
    bench.file("0755 a: A");
    let image = bench.image("FROM BASE AS one\nCOPY --chown=app a /opt/a\nFROM scratch\nCOPY --from=one /opt /x/\nCOPY --from=BASE /etc/gro* /\n");
    assert_eq!(
        image.layers[0].listing(),
        ["d0755 0:0 0 x", "-0755 1000:1001 1 x/a"]
    );
    assert_eq!(image.layers[1].listing(), ["-0644 0:0 34 group"]);
    assert_eq!(image.layers.len(), 2);
}

/// Rows: C17, C22
#[test]
fn archives_are_unpacked_by_add_alone() {
    let bench = Bench::new();
    let tar = testkit::tar::write(&[
        entry("./", b'5', "", ""),
        entry("z", b'0', "Z", ""),
        entry("d/", b'5', "", ""),
        entry("d/a", b'1', "", "z"),
    ]);
    fs::write(bench.context.path().join("t.tar"), &tar).unwrap();
    bench.check(
        "ADD t.tar /n",
        &[
            "d0755 0:0 0 n",
            "d0755 7:8 0 n/d",
            "-0755 7:8 1 n/d/a",
            "h0755 7:8 -> n/d/a n/z",
        ],
    );
    bench.check("COPY t.tar /n", &[&format!("-0644 0:0 {} n", tar.len())]);
    bench.file("not.tar: this is no archive");
    bench.check("ADD not.tar /n", &["-0644 0:0 18 n"]);
}

fn entry(path: &str, kind: u8, content: &str, link: &str) -> testkit::tar::Entry {
    testkit::tar::Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o755,
        uid: 7,
        gid: 8,
        content: content.as_bytes().to_vec(),
        link: link.as_bytes().to_vec(),
        ..testkit::tar::Entry::default()
    }
}

/// Rows: C21, L13
#[test]
fn the_same_input_gives_the_same_digest_anywhere() {
    let dockerfile = "FROM BASE\nWORKDIR /w\nCOPY . .\nENV A=b\nCMD [\"x\"]\n";
    let digest = |threads, order: &[&str]| {
        let mut bench = Bench::new();
        bench.threads = threads;
        for line in order {
            bench.file(line);
        }
        bench.build(dockerfile).unwrap().manifest.digest
    };
    let big = format!("big: {}", "0123456789abcdef".repeat(200_000));
    let one = digest(1, &["a: A", "b/c: C", &big]);
    let two = digest(2, &[&big, "b/c: C", "a: A"]);
    assert_eq!(one, two);
}

/// Rows: I17
#[test]
fn nothing_is_done_twice() {
    let bench = Bench::new();
    bench.file("a: A");
    let dockerfile = "FROM BASE\nWORKDIR /w\nCOPY a .\n";
    let first = bench.build(dockerfile).unwrap();
    assert!(
        first
            .steps
            .iter()
            .all(|step| step.outcome == StepOutcome::Ran)
    );
    assert_eq!(
        (first.traffic.blobs_mounted, first.traffic.blobs_sent),
        (1, 3)
    );
    bench.registry.clear_log();
    let second = bench.build(dockerfile).unwrap();
    assert!(
        second
            .steps
            .iter()
            .all(|step| step.outcome == StepOutcome::Cached)
    );
    assert_eq!(second.manifest, first.manifest);
    let lines = bench.registry.lines();
    assert_eq!(
        lines.len(),
        2,
        "one look at the base, one at the tag: {lines:?}"
    );
    assert_eq!(second.traffic.up_bytes, 0);
}

#[test]
fn a_base_is_never_read_for_what_its_index_answers() {
    let bench = Bench::new();
    bench.file("a: A");
    bench.build("FROM BASE\nCOPY a /x\n").unwrap();
    bench.registry.clear_log();
    bench.file("a: B");
    let report = bench
        .build("FROM BASE\nCOPY --chown=app a /tmp/\nENV B=c\n")
        .unwrap();
    assert!(report.traffic.down_bytes < 100, "{:?}", report.traffic);
    let read: Vec<_> = bench
        .registry
        .lines()
        .into_iter()
        .filter(|line| line.contains("GET") && line.contains("blobs"))
        .collect();
    assert!(read.is_empty(), "{read:?}");
}

#[test]
fn a_rebuilt_stage_with_the_same_output_stops_the_ripple() {
    let bench = Bench::new();
    bench.file("a: A").file("b: 1");
    let dockerfile =
        "FROM BASE AS one\nCOPY b /b\nCOPY a /a\nFROM scratch\nCOPY --from=one /a /a\n";
    bench.build(dockerfile).unwrap();
    bench.file("b: 2");
    let second = bench.build(dockerfile).unwrap();
    let outcomes: Vec<_> = second.steps.iter().map(|step| step.outcome).collect();
    assert_eq!(
        outcomes,
        [StepOutcome::Ran, StepOutcome::Ran, StepOutcome::Cached],
        "{:?}",
        second.steps
    );
}

/// Nothing in these tests comes from elsewhere.
fn post() -> engine::Post {
    engine::Post {
        http: fetch::HttpClient::new(&fetch::HttpOptions::default()).unwrap(),
        git: fetch::GitOptions::default(),
    }
}
