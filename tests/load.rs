//! What is loaded into a container engine is what was built or pulled, and an engine that has
//! something else afterwards is not believed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Output;

use serde_json::json;
use testkit::{Image, Layer, Registry, image};

use crate::cli::Environment;
use crate::copy::rich::seed_rich;
use crate::copy::{bad, good, other};

fn sample() -> Image {
    image()
        .layer(Layer::new().file("/etc/x", "x"))
        .config("Cmd", json!(["/etc/x"]))
        .build()
}

/// Programs that note how they are called and what they are given.
struct Machine {
    environment: Environment,
    registry: Registry,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            environment: Environment::new(),
            registry: Registry::start(),
        };
        fs::create_dir(machine.path("bin")).expect("a directory");
        machine.registry.seed("app", "1", &sample());
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.environment.work().join(name)
    }

    fn name(&self) -> String {
        format!("{}/app:1", self.registry.host())
    }

    /// A program that writes its arguments to `calls`, and then does `script`.
    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        let work = self.environment.work().display().to_string();
        let text = format!("#!/bin/sh\ncd {work}\necho \"{name} $*\" >> calls\n{script}\n");
        fs::write(&path, text).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
    }

    fn kiln(&self, arguments: &[&str]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let mut command = self.environment.kiln(arguments);
        command.env("PATH", path).output().expect("kiln starts")
    }

    fn loads(&self, arguments: &[&str]) -> String {
        let output = self.kiln(&[&["load", &self.name()], arguments].concat());
        let said = self.environment.describe(&output);
        assert!(output.status.success(), "{said}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{}\n", sample().digest)
        );
        self.calls()
    }

    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.kiln(&[&["load", &self.name()], arguments].concat());
        let said = self.environment.describe(&output);
        assert!(!output.status.success(), "{said}");
        assert!(output.stdout.is_empty(), "{said}");
        said
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

/// What an engine of docker's kind does: takes the archive, and calls the image by `id`.
fn docker_like(id: &str) -> String {
    format!(
        "case \"$1 $2\" in\n\
         version*) echo 27 ;;\n\
         load*) cat > given.tar ;;\n\
         'image inspect') echo {id} ;;\n\
         esac"
    )
}

#[test]
fn docker_and_podman_get_the_archive_that_a_file_gets() {
    let config = oci::Digest::of(&sample().config);
    for (engine, id) in [("docker", config.as_str()), ("podman", config.hex())] {
        let machine = Machine::new();
        machine.program(engine, &docker_like(id));
        let calls = machine.loads(&["--to", engine]);
        assert!(calls.contains(&format!("{engine} load\n")), "{calls}");
        let name = machine.name();
        assert!(calls.contains(&format!("{{{{.Id}}}} {name}\n")), "{calls}");
        machine.loads(&["--to", "archive=file.tar"]);
        let read = |name: &str| fs::read(machine.path(name)).expect(name);
        assert!(read("given.tar") == read("file.tar"));
    }
}

#[test]
fn containerd_gets_a_layout_with_the_name() {
    let machine = Machine::new();
    let digest = sample().digest;
    machine.program(
        "ctr",
        &format!(
            "case \"$3\" in\nimport) cat > given.tar ;;\nls) echo \"x application/x {digest} 1 MiB\" ;;\nesac"
        ),
    );
    let calls = machine.loads(&["--to", "containerd=k8s.io"]);
    assert!(
        calls.contains("ctr --namespace=k8s.io images import --all-platforms -\n"),
        "{calls}"
    );
    let given = fs::read(machine.path("given.tar")).expect("an archive");
    let entries = testkit::tar::read(&given).expect("a tar");
    let names: Vec<String> = entries.iter().map(testkit::tar::Entry::name).collect();
    assert!(names.iter().any(|name| name == "index.json"), "{names:?}");
    let text = String::from_utf8_lossy(&given).into_owned();
    assert!(text.contains(&format!(
        "\"io.containerd.image.name\":\"{}\"",
        machine.name()
    )));
}

#[test]
fn every_node_of_a_cluster_is_loaded() {
    let machine = Machine::new();
    let digest = sample().digest;
    machine.program(
        "kind",
        "[ \"$4\" = dev ] && echo dev-control-plane && echo dev-worker || echo 'No kind nodes found for cluster' >&2",
    );
    machine.program(
        "docker",
        &format!(
            "case \"$*\" in\n*import*) cat > given-$4.tar ;;\n*'images ls'*) echo \"x {digest}\" ;;\nesac"
        ),
    );
    let calls = machine.loads(&["--to", "kind=dev"]);
    for node in ["dev-control-plane", "dev-worker"] {
        let call = format!(
            "docker exec --privileged -i {node} ctr --namespace=k8s.io images import --all-platforms -\n"
        );
        assert!(calls.contains(&call), "{calls}");
        assert!(machine.path(&format!("given-{node}.tar")).exists());
    }
    let said = machine.refuses(&["--to", "kind"]);
    assert!(said.contains("there is no cluster kind of kind"), "{said}");
}

#[test]
fn programs_that_are_missing_or_fail_are_named() {
    let machine = Machine::new();
    for (target, program) in [("containerd", "ctr"), ("kind", "kind")] {
        let said = machine.refuses(&["--to", target]);
        assert!(
            said.contains(&format!("the program {program} is not installed")),
            "{said}"
        );
    }
    machine.program("docker", "[ \"$1\" = version ] && exit 1");
    let said = machine.refuses(&["--to", "docker"]);
    assert!(said.contains("daemon does not answer"), "{said}");
    machine.program("podman", "echo no room >&2; exit 125");
    let said = machine.refuses(&["--to", "podman"]);
    assert!(said.contains("no room"), "{said}");
    machine.program("podman", &docker_like("sha256:0123"));
    let said = machine.refuses(&["--to", "podman"]);
    assert!(said.contains("something else under"), "{said}");
    machine.program(
        "podman",
        "[ \"$1\" = load ] && cat > /dev/null && exit 0; exit 1",
    );
    let said = machine.refuses(&["--to", "podman"]);
    assert!(said.contains("does not know"), "{said}");
    for (target, words) in [
        ("minikube", "minikube image load"),
        ("rkt", "there are docker, podman"),
        ("archive", "archive=FILE"),
    ] {
        let said = machine.refuses(&["--to", target]);
        assert!(said.starts_with("exit 2") && said.contains(words), "{said}");
    }
}

#[test]
fn of_an_index_one_image_is_loaded() {
    let registry = Registry::start();
    let rich = seed_rich(&registry, "app");
    let environment = Environment::new();
    let name = format!("{}/app:1", registry.host());
    let arm = good(
        &environment,
        &[
            "load",
            &name,
            "--platform",
            "linux/arm64",
            "--to",
            "archive=arm.tar",
        ],
    );
    assert_eq!(arm, format!("{}\n", rich.images[1]));
    let (code, said) = bad(
        &environment,
        &[
            "load",
            &name,
            "--platform",
            "linux/s390x",
            "--to",
            "archive=x.tar",
        ],
    );
    assert_eq!(code, 2);
    assert!(said.contains("there is no image for linux/s390x"), "{said}");
    // Without the registry, from the store.
    good(&environment, &["pull", &name]);
    drop(registry);
    good(
        &environment,
        &[
            "load",
            &name,
            "--to",
            "archive=again.tar",
            "--platform",
            "linux/arm64",
        ],
    );
    let read = |name: &str| fs::read(environment.work().join(name)).expect(name);
    assert!(read("arm.tar") == read("again.tar"));
    // What has no name needs one.
    let digest = format!("store:{}", rich.images[1]);
    let (code, said) = bad(&environment, &["load", &digest, "--to", "containerd"]);
    assert_eq!(code, 2);
    assert!(said.contains("--tag"), "{said}");
}

#[test]
fn podman_has_what_was_given() {
    let registry = Registry::start();
    registry.seed("app", "1", &sample());
    let environment = Environment::new();
    let name = format!("{}/app:1", registry.host());
    good(
        &environment,
        &[
            "load",
            &name,
            "--to",
            "archive=app.tar",
            "--tag",
            "example.org/app:1",
        ],
    );
    let storage = tempfile::tempdir().expect("a directory");
    let root = storage.path().join("root").display().to_string();
    let run = storage.path().join("run").display().to_string();
    let podman = |arguments: &[&str]| {
        let options = [
            "--root",
            &root,
            "--runroot",
            &run,
            "--storage-driver",
            "vfs",
        ];
        other("podman", &[&options[..], arguments].concat())
    };
    let archive = environment.work().join("app.tar").display().to_string();
    let Some(loaded) = podman(&["load", "-i", &archive]) else {
        return;
    };
    let said = String::from_utf8_lossy(&loaded.stderr).into_owned();
    if !loaded.status.success() {
        // In some containers podman cannot start at all.
        assert!(
            podman(&["images"]).is_some_and(|output| !output.status.success()),
            "{said}"
        );
        eprintln!("skipped: podman does not work here: {said}");
        return;
    }
    let found = podman(&[
        "image",
        "inspect",
        "--format",
        "{{.Id}}",
        "example.org/app:1",
    ]);
    let found = String::from_utf8(found.expect("it is installed").stdout).expect("text");
    assert_eq!(found.trim(), oci::Digest::of(&sample().config).hex());
    podman(&["rmi", "-f", "-a"]);
}
