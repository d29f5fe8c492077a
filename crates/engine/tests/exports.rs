//! Images as files: archives and directories that other programs read, the same
//! bytes every time, nothing half done and nothing outside the destination.

#![expect(clippy::print_stdout, reason = "skipped tests say why")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use engine::{
    Annotations, BuildError, BuildReport, BuildRequest, ContextSource, Destination,
    DockerfileSource, Event, ImageName, Interrupt, Output, OutputReport, Ports, PushReport,
    PushRequest, Reporter, SandboxChoice, Shape, Split,
};
use oci::{Compression, Digest, Platform, Reference};
use testkit::tar::Entry;
use testkit::{Action, Endpoint, Layer, Match, Registry, image, validate_image};

/// Hears warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Reporter for Warnings {
    fn report(&self, event: Event) {
        if let Event::Warning { message } = event {
            self.0.lock().unwrap().push(message);
        }
    }
}

/// A registry with a base image, a store, a place for outputs.
struct Bench {
    registry: Registry,
    context: tempfile::TempDir,
    store: tempfile::TempDir,
    outputs: tempfile::TempDir,
    warnings: Arc<Warnings>,
    interrupt: Interrupt,
    program_path: std::ffi::OsString,
    tags: Vec<Reference>,
}

const DOCKERFILE: &str = "FROM BASE\nCOPY hello /srv/hello\nENV A=b\nCMD [\"/bin/sh\"]\n";

impl Bench {
    fn new() -> Self {
        Self::on(base())
    }

    fn on(base: Layer) -> Self {
        let registry = Registry::start();
        registry.seed("base", "1", &image().env("PATH=/bin").layer(base).build());
        let context = tempfile::tempdir().unwrap();
        fs::write(context.path().join("hello"), "hello").unwrap();
        Self {
            registry,
            context,
            store: tempfile::tempdir().unwrap(),
            outputs: tempfile::tempdir().unwrap(),
            warnings: Arc::default(),
            interrupt: Interrupt::default(),
            program_path: "".into(),
            tags: vec!["kiln.test/app:1".parse().unwrap()],
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.outputs.path().join(name)
    }

    fn file(&self, name: &str) -> Destination {
        Destination::File(self.path(name))
    }

    fn request(&self, dockerfile: &str, outputs: Vec<Output>) -> BuildRequest {
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
            tags: self.tags.clone(),
            immutable_tags: Default::default(),
            publishing: Default::default(),
            annotations: Annotations::default(),
            attestations: engine::AttestationRequest::default(),
            outputs,
            pull: false,
            no_cache: false,
            cache: Default::default(),
            epoch_seconds: 0,
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
            threads: 2,
        }
    }

    fn ports(&self) -> Ports {
        Ports {
            post: post(),
            store: store::Store::open(self.store.path()).unwrap(),
            client: registry::Client::new(registry::ClientOptions::default()).unwrap(),
            network: shelf::Network {
                client: registry::Client::new(registry::ClientOptions::default()).unwrap(),
                trust: Default::default(),
                proxies: Default::default(),
                google: Default::default(),
            },
            reporter: Arc::clone(&self.warnings) as _,
            interrupt: self.interrupt.clone(),
            resolv_conf: Vec::new(),
            program_path: self.program_path.clone(),
        }
    }

    fn run(&self, request: &BuildRequest) -> Result<BuildReport, BuildError> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(engine::build(request, &self.ports()))
    }

    fn export(&self, output: Output) -> BuildReport {
        self.run(&self.request(DOCKERFILE, vec![output])).unwrap()
    }

    fn push(&self, image: ImageName, destination: &str) -> Result<PushReport, BuildError> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let request = PushRequest {
            image,
            destinations: vec![destination.parse().unwrap()],
            immutable_tags: Default::default(),
            publishing: Default::default(),
        };
        runtime.block_on(engine::push(&request, &self.ports()))
    }

    fn oci(&self, name: &str, tar: bool) -> Output {
        Output::Oci {
            destination: self.file(name),
            tar,
        }
    }

    fn docker(&self, name: &str) -> Output {
        Output::Docker {
            destination: self.file(name),
        }
    }

    fn tar(&self, name: &str) -> Vec<Entry> {
        testkit::tar::read(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// The names in the place for outputs: nothing unfinished stays there.
    fn names(&self) -> Vec<String> {
        names(self.outputs.path())
    }
}

fn base() -> Layer {
    let mut owned = Entry {
        path: b"srv/owned".to_vec(),
        kind: b'0',
        mode: 0o4640,
        uid: 1000,
        gid: 1001,
        content: b"owned".to_vec(),
        mtime: 1_000_000_000,
        ..Entry::default()
    };
    owned.xattrs.insert(b"user.note".to_vec(), b"1".to_vec());
    Layer::new()
        .compressed(Compression::Gzip)
        .directory("bin", 0o755)
        .file_with("bin/sh", 0o755, "#!shell")
        .hardlink("bin/bash", "bin/sh")
        .directory("closed", 0o500)
        .file("closed/file", "closed")
        .symlink("out", "/etc")
        .directory("srv", 0o750)
        .entry(owned)
        .entry(Entry {
            path: b"srv/pipe".to_vec(),
            kind: b'6',
            mode: 0o644,
            ..Entry::default()
        })
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The output of a program, or `None` when this machine does not have it.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let ran = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let Ok(ran) = ran else {
        println!("skipped: {program} is not installed");
        return None;
    };
    assert!(
        ran.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    Some(String::from_utf8(ran.stdout).unwrap())
}

/// Unpacked layers keep their owners, which only root can give; the program makes
/// itself root of a user namespace for that.
fn can_unpack() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: files cannot be given to other users without root");
    }
    root
}

/// The digest that skopeo gives to an image at a place.
fn check_skopeo(place: &str, expected: &Digest) {
    let format = ["inspect", "--format", "{{.Digest}}", place];
    if let Some(digest) = output("skopeo", &format) {
        assert_eq!(digest.trim(), expected.as_str(), "{place}");
    }
}

fn explain(error: &BuildError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[test]
fn an_oci_archive_is_read_by_others() {
    let bench = Bench::new();
    let report = bench.export(bench.oci("a.tar", true));
    let entries = bench.tar("a.tar");
    let listing: Vec<_> = entries.iter().map(Entry::name).collect();
    let mut sorted = listing.clone();
    sorted.sort();
    assert_eq!(listing, sorted);
    for entry in &entries {
        let mode = if entry.kind == b'5' { 0o755 } else { 0o644 };
        let found = (entry.mode, entry.uid, entry.gid, entry.mtime);
        assert_eq!(found, (mode, 0, 0, 0), "{}", entry.name());
        if let Some(hex) = entry.name().strip_prefix("blobs/sha256/") {
            assert_eq!(Digest::of(&entry.content).hex(), hex);
        }
    }
    // Two layers, configuration, manifest.
    assert_eq!(listing.iter().filter(|name| name.len() == 77).count(), 4);
    let index = entries.iter().find(|entry| entry.name() == "index.json");
    let index: serde_json::Value = serde_json::from_slice(&index.unwrap().content).unwrap();
    let listed = &index["manifests"][0];
    assert_eq!(listed["digest"], report.manifest.digest.as_str());
    let annotations = serde_json::json!({
        "io.containerd.image.name": "kiln.test/app:1",
        "org.opencontainers.image.ref.name": "1",
    });
    assert_eq!(listed["annotations"], annotations);
    assert_eq!(bench.names(), ["a.tar"]);
    let place = format!("oci-archive:{}:1", bench.path("a.tar").display());
    check_skopeo(&place, &report.manifest.digest);
}

#[test]
fn a_docker_archive_is_read_by_others() {
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        check_docker_archive(compression);
    }
}

fn check_docker_archive(compression: Compression) {
    let bench = Bench::new();
    let mut request = bench.request(DOCKERFILE, vec![bench.docker("d.tar")]);
    request.compression = compression;
    let report = bench.run(&request).unwrap();
    let archive = bench.path("d.tar").display().to_string();
    let place = format!("docker-archive:{archive}:kiln.test/app:1");
    if let Some(json) = output("skopeo", &["inspect", "--config", "--raw", &place]) {
        assert_eq!(Digest::of(json.as_bytes()), report.images[0].config);
        // A copy reads every layer and compares it with its diff id.
        let copy = format!("oci:{}:x", bench.path("copy").display());
        output("skopeo", &["copy", "--insecure-policy", &place, &copy]).unwrap();
        let copied = output("skopeo", &["inspect", "--config", "--raw", &copy]).unwrap();
        let diff_ids = |json: &str| {
            serde_json::from_str::<serde_json::Value>(json).unwrap()["rootfs"]["diff_ids"].clone()
        };
        assert_eq!(diff_ids(&copied), diff_ids(&json));
    }
    // New readers take it for a layout.
    let place = format!("oci-archive:{archive}:1");
    check_skopeo(&place, &report.manifest.digest);
}

#[test]
fn equal_images_give_equal_archives() {
    if !can_unpack() {
        return;
    }
    let (one, two) = (Bench::new(), Bench::new());
    type Make = fn(&Bench) -> Output;
    let all: [(&str, Make); 3] = [
        ("o.tar", |bench| bench.oci("o.tar", true)),
        ("d.tar", |bench| bench.docker("d.tar")),
        ("r.tar", |bench| Output::Tar {
            destination: bench.file("r.tar"),
            split: Split::Automatic,
        }),
    ];
    for (name, make) in all {
        one.export(make(&one));
        // The base is fetched in one and known in the other.
        two.export(Output::Image);
        two.export(make(&two));
        let [a, b] = [&one, &two].map(|bench| fs::read(bench.path(name)).unwrap());
        assert!(a == b, "{name} differs");
    }
}

#[test]
fn a_layout_in_a_directory_gathers_images() {
    let bench = Bench::new();
    let report = bench.export(bench.oci("layout", false));
    let directory = bench.path("layout").display().to_string();
    check_skopeo(&format!("oci:{directory}:1"), &report.manifest.digest);
    assert_eq!(
        names(&bench.path("layout")),
        ["blobs", "index.json", "oci-layout"]
    );

    // A damaged blob is written again, a second image comes beside the first.
    let layer = names(&bench.path("layout/blobs/sha256"));
    for name in &layer {
        let path = bench.path("layout/blobs/sha256").join(name);
        let size = fs::metadata(&path).unwrap().len();
        fs::write(&path, vec![b'x'; usize::try_from(size).unwrap()]).unwrap();
    }
    let mut request = bench.request(DOCKERFILE, vec![bench.oci("layout", false)]);
    request.tags = vec!["kiln.test/app:2".parse().unwrap()];
    let second = bench.run(&request).unwrap();
    check_skopeo(&format!("oci:{directory}:1"), &report.manifest.digest);
    check_skopeo(&format!("oci:{directory}:2"), &second.manifest.digest);
    for name in names(&bench.path("layout/blobs/sha256")) {
        let bytes = fs::read(bench.path("layout/blobs/sha256").join(&name)).unwrap();
        assert_eq!(Digest::of(&bytes).hex(), name);
    }

    // A name moves.
    let mut request = bench.request("FROM BASE\nENV C=d\n", vec![bench.oci("layout", false)]);
    request.tags = vec!["kiln.test/app:2".parse().unwrap()];
    let third = bench.run(&request).unwrap();
    assert_ne!(third.manifest.digest, second.manifest.digest);
    check_skopeo(&format!("oci:{directory}:2"), &third.manifest.digest);
    let index = fs::read_to_string(bench.path("layout/index.json")).unwrap();
    assert_eq!(
        index.matches("org.opencontainers.image.ref.name").count(),
        2
    );

    fs::write(bench.path("layout/index.json"), "{}").unwrap();
    let request = bench.request(DOCKERFILE, vec![bench.oci("layout", false)]);
    let error = bench.run(&request).unwrap_err();
    assert_eq!(
        error.kind(),
        engine::ErrorKind::Input,
        "{}",
        explain(&error)
    );
    assert_eq!(fs::read(bench.path("layout/index.json")).unwrap(), b"{}");
}

#[test]
fn a_root_file_system_as_a_tar() {
    if !can_unpack() {
        return;
    }
    let bench = Bench::new();
    bench.export(Output::Tar {
        destination: bench.file("r.tar"),
        split: Split::Automatic,
    });
    let entries = bench.tar("r.tar");
    let lines: Vec<_> = entries.iter().map(Entry::line).collect();
    let expected = [
        "d0755 0:0 0 bin",
        "-0755 0:0 7 bin/bash",
        "h0755 0:0 -> bin/bash bin/sh",
        "d0500 0:0 0 closed",
        "-0644 0:0 6 closed/file",
        "l0777 0:0 -> /etc out",
        "d0750 0:0 0 srv",
        "-0644 0:0 5 srv/hello",
        "-4640 1000:1001 5 srv/owned",
        "p0644 0:0 0 srv/pipe",
    ];
    assert_eq!(lines, expected);
    let owned = &entries[8];
    assert_eq!(owned.mtime, 1_000_000_000);
    assert_eq!(owned.xattrs[b"user.note".as_slice()], b"1");
    if let Some(listing) = output("tar", &["-tf", &bench.path("r.tar").display().to_string()]) {
        assert_eq!(listing.lines().count(), expected.len());
    }
}

#[test]
fn a_root_file_system_as_files() {
    if !can_unpack() {
        return;
    }
    let bench = Bench::new();
    let directory = bench.path("root");
    let outside = bench.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(&directory).unwrap();
    // A link where the image has a directory, a directory where it has a file, a
    // file where it has a directory, and something of our own.
    symlink(&outside, directory.join("srv")).unwrap();
    fs::create_dir_all(directory.join("bin/sh/old")).unwrap();
    fs::write(directory.join("closed"), "in the way").unwrap();
    fs::write(directory.join("mine"), "mine").unwrap();
    for _ in 0..2 {
        bench.export(Output::Local {
            directory: directory.clone(),
            split: Split::Automatic,
        });
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
        assert_eq!(read("srv/hello"), "hello");
        assert_eq!(read("srv/owned"), "owned");
        assert_eq!(read("bin/sh"), "#!shell");
        assert_eq!(read("mine"), "mine");
        let about = |name: &str| fs::symlink_metadata(directory.join(name)).unwrap();
        assert_eq!(about("bin/sh").ino(), about("bin/bash").ino());
        assert_eq!(about("closed").permissions().mode() & 0o7777, 0o500);
        let owned = about("srv/owned");
        assert_eq!(owned.mode() & 0o7777, 0o640, "without set-user-id");
        assert_eq!(owned.mtime(), 1_000_000_000);
        assert_eq!(
            owned.uid(),
            fs::metadata(bench.outputs.path()).unwrap().uid()
        );
        assert_eq!(
            fs::read_link(directory.join("out")).unwrap(),
            Path::new("/etc")
        );
        assert_eq!(names(&outside), [""; 0]);
        assert_eq!(names(&directory), ["bin", "closed", "mine", "out", "srv"]);
        assert_eq!(names(&directory.join("srv")), ["hello", "owned", "pipe"]);
    }
    let warnings = bench.warnings.0.lock().unwrap().join("\n");
    assert!(warnings.contains("set-user-id"), "{warnings}");
    assert!(warnings.contains("/srv/owned"), "{warnings}");
}

#[test]
fn devices_are_left_out_of_a_directory_and_said() {
    if !can_unpack() {
        return;
    }
    let device = Entry {
        path: b"null".to_vec(),
        kind: b'3',
        mode: 0o666,
        device: (1, 3),
        ..Entry::default()
    };
    let bench = Bench::on(Layer::new().compressed(Compression::Gzip).entry(device));
    bench.export(Output::Local {
        directory: bench.path("root"),
        split: Split::Automatic,
    });
    assert_eq!(names(&bench.path("root")), ["srv"]);
    let warnings = bench.warnings.0.lock().unwrap().clone();
    assert_eq!(warnings, ["devices are not exported to a directory: /null"]);
    bench.export(Output::Tar {
        destination: bench.file("r.tar"),
        split: Split::Automatic,
    });
    assert_eq!(bench.tar("r.tar")[0].line(), "c0666 0:0 1,3 null");
}

fn check_error(bench: &Bench, output: Output, kind: engine::ErrorKind, part: &str) {
    let error = bench
        .run(&bench.request(DOCKERFILE, vec![output]))
        .unwrap_err();
    let text = explain(&error);
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(part), "{text}");
}

#[test]
fn wrong_places_are_named() {
    let bench = Bench::new();
    let input = engine::ErrorKind::Input;
    fs::create_dir(bench.path("d")).unwrap();
    fs::write(bench.path("f"), "").unwrap();
    check_error(&bench, bench.oci("d", true), input, "is a directory");
    check_error(&bench, bench.docker("no/a.tar"), input, "no directory");
    let load = engine::ErrorKind::Failed;
    check_error(&bench, Output::Load, load, "neither docker nor podman");
    assert_eq!(bench.names(), ["d", "f"]);
    // Said before anything is fetched for the build.
    assert_eq!(bench.registry.lines(), [""; 0]);
}

#[test]
fn a_directory_does_not_take_the_place_of_a_file() {
    let bench = Bench::new();
    fs::write(bench.path("f"), "before").unwrap();
    let input = engine::ErrorKind::Input;
    check_error(&bench, bench.oci("f", false), input, "could not use");
    let directory = bench.path("f");
    check_error(
        &bench,
        Output::Local {
            directory,
            split: Split::Automatic,
        },
        input,
        "could not use",
    );
    assert_eq!(fs::read(bench.path("f")).unwrap(), b"before");
}

#[test]
fn what_fails_leaves_what_was_there() {
    let bench = Bench::new();
    fs::write(bench.path("a.tar"), "before").unwrap();
    bench.export(bench.oci("b.tar", true));
    // The base's layer is known by now, and its registry gives other bytes.
    let blobs = Match::any().endpoint(Endpoint::Blob);
    bench.registry.fault(blobs, Action::FlipBit { at: 20 });
    let request = bench.request(DOCKERFILE, vec![bench.oci("a.tar", true)]);
    let error = explain(&bench.run(&request).unwrap_err());
    assert!(error.contains("could not fetch layer"), "{error}");
    assert_eq!(fs::read(bench.path("a.tar")).unwrap(), b"before");
    assert_eq!(bench.names(), ["a.tar", "b.tar"]);
}

/// Damages the copies of a file in a store's unpacked layers, and says how many there were.
fn damage(bench: &Bench, name: &str, act: impl Fn(&Path)) -> usize {
    let suffix = format!("*/{name}");
    let find = [bench.store.path().to_str().unwrap(), "-path", &suffix];
    let found = self::output("find", &find).unwrap_or_default();
    found.lines().for_each(|path| act(Path::new(path)));
    found.lines().count()
}

#[test]
fn a_damaged_copy_in_the_store_is_made_anew() {
    if !can_unpack() {
        return;
    }
    let flip = |path: &Path| fs::write(path, "owneD").unwrap();
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    for act in [&flip as &dyn Fn(&Path), &remove] {
        let bench = Bench::new();
        let output = || Output::Tar {
            destination: bench.file("r.tar"),
            split: Split::Automatic,
        };
        bench.export(output());
        let before = fs::read(bench.path("r.tar")).unwrap();
        assert_eq!(damage(&bench, "srv/owned", act), 1);
        bench.export(output());
        assert!(fs::read(bench.path("r.tar")).unwrap() == before);

        assert!(damage(&bench, "srv/owned", act) > 0);
        let directory = bench.path("root");
        bench.export(Output::Local {
            directory: directory.clone(),
            split: Split::Automatic,
        });
        let owned = fs::read(directory.join("srv/owned")).unwrap();
        assert_eq!(owned, b"owned");

        damage(&bench, "srv/owned", |path| {
            let _ = fs::write(path, "owneD");
        });
        let copy = "FROM scratch\nCOPY --from=BASE /srv/owned /a\n";
        let directory = bench.path("copied");
        let output = Output::Local {
            directory: directory.clone(),
            split: Split::Automatic,
        };
        bench.run(&bench.request(copy, vec![output])).unwrap();
        assert_eq!(fs::read(directory.join("a")).unwrap(), b"owned");
        assert_eq!(bench.names(), ["copied", "r.tar", "root"]);
    }
}

/// Programs that stand in for container engines.
fn program(directory: &Path, name: &str, script: &str) {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_image_is_loaded_into_the_engine_that_answers() {
    let mut bench = Bench::new();
    let programs = tempfile::tempdir().unwrap();
    bench.program_path = programs.path().into();
    let taken = bench.path("taken.tar").display().to_string();
    let takes = format!("[ \"$1\" = load ] || exit 0; cat >{taken}; echo loaded");
    let refuses = "[ \"$1\" = load ] || exit 0; echo no room >&2; exit 3";

    let cases = [
        ("exit 1", takes.as_str(), Ok("podman")),
        (takes.as_str(), "exit 1", Ok("docker")),
        (refuses, "exit 1", Err("no room")),
    ];
    bench.export(bench.docker("expected.tar"));
    for (docker, podman, expected) in cases {
        program(programs.path(), "docker", docker);
        program(programs.path(), "podman", podman);
        let _ = fs::remove_file(bench.path("taken.tar"));
        let result = bench.run(&bench.request(DOCKERFILE, vec![Output::Load]));
        match expected {
            Ok(name) => {
                let outputs = result.unwrap().outputs;
                let [OutputReport::Loaded { engine }] = &outputs[..] else {
                    panic!("{outputs:?}");
                };
                assert_eq!(engine, name);
                let read = |name: &str| fs::read(bench.path(name)).unwrap();
                assert!(read("taken.tar") == read("expected.tar"));
            }
            Err(part) => {
                let error = explain(&result.unwrap_err());
                assert!(error.contains(part), "{error}");
            }
        }
    }
    fs::remove_file(programs.path().join("podman")).unwrap();
    program(programs.path(), "docker", "exit 1");
    let failed = engine::ErrorKind::Failed;
    check_error(&bench, Output::Load, failed, "daemon does not answer");
}

#[test]
fn podman_takes_an_image() {
    let mut bench = Bench::new();
    let programs = tempfile::tempdir().unwrap();
    bench.program_path = programs.path().into();
    // With a storage of its own, and under the name that kiln looks for.
    let storage = tempfile::tempdir().unwrap();
    let at = storage.path().display();
    let podman = format!("podman --root {at}/root --runroot {at}/run --storage-driver vfs");
    program(programs.path(), "podman", &format!("exec {podman} \"$@\""));
    let own = programs.path().join("podman").display().to_string();
    let works = Command::new(&own)
        .arg("images")
        .output()
        .is_ok_and(|ran| ran.status.success());
    if !works {
        println!("skipped: podman cannot be used here");
        return;
    }
    bench.export(Output::Load);
    let format = [
        "images",
        "--no-trunc",
        "--format",
        "{{.Repository}}:{{.Tag}}",
    ];
    let listed = output(&own, &format).unwrap();
    assert_eq!(listed.trim(), "kiln.test/app:1");
    let format = ["inspect", "--format", "{{.Config.Cmd}}", "kiln.test/app:1"];
    assert_eq!(output(&own, &format).unwrap().trim(), "[/bin/sh]");
    output(&own, &["rmi", "--all", "--force"]);
}

#[test]
fn an_interrupt_ends_an_export() {
    let mut bench = Bench::new();
    let programs = tempfile::tempdir().unwrap();
    bench.program_path = programs.path().into();
    let started = bench.path("started").display().to_string();
    program(
        programs.path(),
        "podman",
        &format!("echo >{started}; exec sleep 600"),
    );
    let request = bench.request(DOCKERFILE, vec![Output::Load]);
    let error = std::thread::scope(|scope| {
        let building = scope.spawn(|| bench.run(&request).unwrap_err());
        while !Path::new(&started).exists() {
            std::thread::yield_now();
        }
        bench.interrupt.trigger();
        building.join().unwrap()
    });
    assert_eq!(error.kind(), engine::ErrorKind::Interrupted, "{error}");
}

/// The bytes of a layer change in the store, as on a disk that forgets.
#[test]
fn a_damaged_blob_is_named_when_it_is_refused_and_made_anew() {
    let mut bench = Bench::new();
    let destination: Reference = format!("{}/out:1", bench.registry.host()).parse().unwrap();
    bench.tags = vec![destination];
    bench.export(Output::Image);
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let blobs = bench.store.path().join("blobs/sha256");
    let find = [blobs.to_str().unwrap(), "-type", "f"];
    let Some(found) = self::output("find", &find) else {
        return;
    };
    let is_layer = |path: &&Path| fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]);
    let layers: Vec<&Path> = found.lines().map(Path::new).filter(is_layer).collect();
    let [layer] = layers.as_slice() else {
        panic!("one layer is ours: {layers:?}");
    };
    let mut bytes = fs::read(layer).unwrap();
    bytes[20] ^= 1;
    fs::write(layer, &bytes).unwrap();
    assert_eq!(size(layer), bytes.len() as u64);

    let request = |bench: &Bench| bench.request(DOCKERFILE, vec![Output::Registry]);
    let error = bench.run(&request(&bench)).unwrap_err();
    let BuildError::Failed { hint, .. } = &error else {
        panic!("{error}");
    };
    assert!(hint.as_ref().unwrap().contains("build the image again"));
    let error = explain(&error);
    assert!(error.contains("was damaged"), "{error}");
    bench.run(&request(&bench)).unwrap();
    validate_image(&bench.registry, "out", "1").unwrap();
}

#[test]
fn an_image_of_the_store_is_pushed_later() {
    let bench = Bench::new();
    let report = bench.export(Output::Image);
    let host = bench.registry.host();
    let by_name = ImageName::Reference("kiln.test/app:1".parse().unwrap());
    let pushed = bench.push(by_name, &format!("{host}/out:1")).unwrap();
    assert_eq!(pushed.manifest, report.manifest);
    // The base's layer is mounted from its repository, ours is sent.
    let counted = (pushed.traffic.blobs_mounted, pushed.traffic.blobs_sent);
    assert_eq!(counted, (1, 2));
    validate_image(&bench.registry, "out", "1").unwrap();

    let by_digest = ImageName::Digest(report.manifest.digest.clone());
    let other = Registry::start();
    let destination = format!("{}/out:2", other.host());
    bench.push(by_digest, &destination).unwrap();
    validate_image(&other, "out", "2").unwrap();

    let unknown = ImageName::Reference("kiln.test/unknown:1".parse().unwrap());
    let error = bench.push(unknown, &destination).unwrap_err();
    assert_eq!(error.kind(), engine::ErrorKind::Input);
    let BuildError::Input { hint, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(hint.unwrap(), "the store has kiln.test/app:1");
    let config = ImageName::Digest(report.images[0].config.clone());
    let error = bench.push(config, &destination).unwrap_err();
    assert!(
        error.to_string().contains("cannot be pushed"),
        "{error}: a configuration is no image"
    );
}

/// Nothing in these tests comes from elsewhere.
fn post() -> engine::Post {
    engine::Post {
        http: fetch::HttpClient::new(&fetch::HttpOptions::default()).unwrap(),
        git: fetch::GitOptions::default(),
    }
}
