//! Several platforms in one build: an index of images, what they share, and RUN for a processor
//! that this machine does not have.
//!
//! The programs of the test images are a few instructions each (`testkit::program`), so nothing but
//! an emulator is needed. Emulation needs `qemu-user-static`; what the kernel itself knows of
//! emulators is not used where a test says so.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use testkit::{Layer, Processor, ValidImage, image, launcher, program, validate_image};

use crate::site::{Caller, Site};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BOTH: &str = "linux/amd64,linux/arm64";
/// Where the kernel keeps what everybody on the machine has registered.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// The processor that this machine does not have, and the name of its emulator.
fn foreign() -> (Processor, &'static str) {
    match std::env::consts::ARCH {
        "aarch64" => (Processor::Amd64, "qemu-x86_64-static"),
        _ => (Processor::Arm64, "qemu-aarch64-static"),
    }
}

/// A directory that has the emulator and nothing else.
fn emulators(site: &Site) -> Option<PathBuf> {
    let (_, name) = foreign();
    let installed = Path::new("/usr/bin").join(name);
    if !installed.exists() {
        eprintln!("skipped: {name} is not installed (qemu-user-static)");
        return None;
    }
    let directory = site.path("emulators");
    if !directory.exists() {
        fs::create_dir(&directory).expect("a directory");
        std::os::unix::fs::symlink(installed, directory.join(name)).expect("a link");
    }
    Some(directory)
}

/// Pushes `both:1`, an index of an image for each processor, with `/tool`, which makes `/made` and
/// writes into it what it is for, and `/start`, which starts that. As registries have them, there are attestations in the index, and
/// they come first.
fn push_base(site: &Site) {
    let manifests: Vec<Value> = [Processor::Amd64, Processor::Arm64]
        .into_iter()
        .map(|processor| {
            let name = processor.architecture();
            let tool = program(processor, "/made", &format!("{name}\n"));
            // One of them as docker wrote them.
            let builder = match processor {
                Processor::Amd64 => image().docker(),
                Processor::Arm64 => image(),
            };
            let image = builder
                .architecture(name)
                .layer(
                    Layer::new()
                        .file_with("start", 0o755, launcher(processor, "/tool"))
                        .file_with("tool", 0o755, tool),
                )
                .env(&format!("FOR={name}"))
                .build();
            let digest = site.registry.seed("both", name, &image);
            json!({
                "mediaType": image.media_type.as_str(),
                "digest": digest,
                "size": image.manifest.len(),
                "platform": {"os": "linux", "architecture": name},
            })
        })
        .collect();
    let attestation = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": manifests[0]["digest"],
        "size": manifests[0]["size"],
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        "platform": {"os": "unknown", "architecture": "unknown"},
    });
    let entries = [&[attestation], manifests.as_slice()].concat();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": entries,
    });
    site.registry.put_manifest(
        "both",
        "1",
        INDEX,
        serde_json::to_vec(&index).expect("JSON"),
    );
}

fn site(caller: Caller) -> Option<Site> {
    let site = Site::new(caller)?;
    push_base(&site);
    Some(site)
}

/// The index that was pushed as `repository:1`, and its images by platform.
#[track_caller]
fn pushed(site: &Site, repository: &str) -> (Value, Vec<(String, ValidImage)>) {
    let (_, kind, bytes) = site.registry.manifest(repository, "1").expect("a tag");
    assert_eq!(kind, INDEX);
    let index: Value = serde_json::from_slice(&bytes).expect("JSON");
    let images = index["manifests"].as_array().expect("a list").iter();
    let images = images.map(|entry| {
        let platform = &entry["platform"];
        let digest = entry["digest"].as_str().expect("a digest");
        let image = validate_image(&site.registry, repository, digest).expect("a valid image");
        assert_eq!(image.config["architecture"], platform["architecture"]);
        assert_eq!(image.config["os"], platform["os"]);
        let name = format!(
            "{}/{}",
            platform["os"].as_str().expect("a text"),
            platform["architecture"].as_str().expect("a text")
        );
        (name, image)
    });
    let images = images.collect();
    (index, images)
}

/// What the last layer has, with contents.
fn last_layer(image: &ValidImage) -> Vec<(String, String)> {
    let layer = image.layers.last().expect("a layer");
    let entry = |entry: &testkit::tar::Entry| {
        (
            String::from_utf8_lossy(&entry.path).into_owned(),
            String::from_utf8_lossy(&entry.content).into_owned(),
        )
    };
    layer.entries.iter().map(entry).collect()
}

/// A build that says what it does and stays in the store, not started yet.
fn plainly(site: &Site, context: &Path, arguments: &[&str]) -> Command {
    let context = context.to_str().expect("UTF-8");
    let fixed = ["--progress", "plain"];
    site.kiln("build", "store", &[&fixed, arguments, &[context]].concat())
}

fn names(directory: &str) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// Rows: F11, F13, I15, I16
#[test]
fn a_foreign_run_is_emulated_and_nothing_of_that_is_in_the_image() {
    for caller in [Caller::Ourselves, Caller::Ordinary] {
        let Some(site) = site(caller) else { continue };
        let Some(emulators) = emulators(&site) else {
            return;
        };
        let before = names(REGISTERED);
        let context = site.context("app", "FROM REGISTRY/both:1\nRUN [\"/start\"]\n");
        let directory = emulators.to_str().expect("UTF-8");
        let arguments = ["--platform", BOTH, "--emulator-dir", directory];
        let digest = site.built("store", "app", &context, &arguments);
        let (index, images) = pushed(&site, "app");
        let (stored, _, _) = site.registry.manifest("app", "1").expect("a tag");
        assert_eq!(
            stored.to_string(),
            digest,
            "stdout has the digest of the index"
        );
        assert_eq!(index["schemaVersion"], 2);
        let platforms: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
        for (platform, image) in &images {
            let architecture = platform.rsplit('/').next().expect("a part");
            let made = ("made".to_owned(), format!("{architecture}\n"));
            assert_eq!(last_layer(image), [made], "{platform}");
            let documents = image.manifest.to_string() + &index.to_string();
            assert!(!documents.contains("vnd.docker"), "{documents}");
            assert_eq!(
                image.config["config"]["Env"][0],
                format!("FOR={architecture}")
            );
        }
        assert_eq!(names(REGISTERED), before, "the machine knows what it knew");

        // The same again moves nothing, and needs no emulator.
        let numbers = ["--platform", BOTH, "--metadata-file", "numbers"];
        let again = site.built("store", "app", &context, &numbers);
        assert_eq!(again, digest);
        let numbers = site.numbers("numbers");
        assert_eq!(numbers["kiln.steps.ran"], 0);
        assert_eq!(numbers["kiln.blobs.sent"], 0);
        assert_eq!(numbers["kiln.outputs"][0]["unchanged"], true);
        assert_eq!(numbers["containerimage.digest"], digest.as_str());
        assert_eq!(numbers["containerimage.descriptor"]["mediaType"], INDEX);
        assert!(numbers.get("containerimage.config.digest").is_none());
        assert_eq!(numbers["kiln.images"][1]["platform"], "linux/arm64");
        site.verify("store");
        site.nothing_is_left();
    }
}

#[test]
fn a_missing_emulator_is_an_error_before_anything_runs() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let (processor, emulator) = foreign();
    let registered = names(REGISTERED)
        .iter()
        .any(|name| name.to_string_lossy().starts_with("qemu-"));
    if registered {
        eprintln!("skipped: emulators are registered on this machine ({REGISTERED})");
        return;
    }
    let architecture = processor.architecture();
    let context = site.context(
        "app",
        "FROM --platform=$BUILDPLATFORM REGISTRY/base:1 AS first\nRUN echo early > /early\n\
         FROM REGISTRY/both:1\nCOPY --from=first /early /\nRUN [\"/tool\"]\n",
    );
    let platform = format!("linux/{architecture}");
    let output = plainly(&site, &context, &["--platform", &platform])
        .env("PATH", "/nowhere")
        .output()
        .expect("kiln starts");
    let said = site.describe(&output);
    assert!(said.starts_with("exit 1"), "{said}");
    for expected in [
        format!("{platform} cannot run on this machine"),
        format!("install {emulator} (Debian: `apt-get install qemu-user-static`)"),
        " --> Dockerfile:5:1".to_owned(),
        "RUN [\"/tool\"]".to_owned(),
    ] {
        assert!(said.contains(&expected), "{expected} is not in\n{said}");
    }
    assert!(!said.contains("RUN echo early"), "{said}");
    assert_eq!(site.registry.tags("app"), [] as [&str; 0]);
}

/// Rows: A9, F11
#[test]
fn a_stage_on_the_build_platform_runs_once_for_all() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let context = site.context(
        "app",
        "FROM --platform=$BUILDPLATFORM REGISTRY/base:1 AS tools\n\
         RUN head -c 8 /dev/urandom | od -An -tx1 > /unique\n\
         FROM --platform=$BUILDPLATFORM tools AS build\n\
         ARG TARGETARCH\n\
         RUN echo $TARGETARCH $(uname -m) > /for\n\
         FROM REGISTRY/both:1\n\
         COPY --from=tools /unique /unique\n\
         COPY --from=build /for /for\n",
    );
    let arguments = ["--platform", BOTH, "--metadata-file", "numbers"];
    site.built("store", "app", &context, &arguments);
    let (_, images) = pushed(&site, "app");
    let file = |image: &ValidImage, layer: usize| -> Vec<u8> {
        image.layers[layer].entries[0].content.clone()
    };
    let [(_, one), (_, other)] = images.as_slice() else {
        panic!("{} images", images.len());
    };
    assert_eq!(file(one, 1), file(other, 1), "it ran once");
    let machine = std::env::consts::ARCH;
    for (image, architecture) in [(one, "amd64"), (other, "arm64")] {
        let expected = format!("{architecture} {machine}\n");
        assert_eq!(String::from_utf8_lossy(&file(image, 2)), expected);
    }
    let numbers = site.numbers("numbers");
    let titles: Vec<&str> = numbers["kiln.steps"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|step| step["title"].as_str().expect("a title"))
        .collect();
    let shared = titles.iter().filter(|title| title.contains("urandom"));
    assert_eq!(shared.count(), 1, "{titles:#?}");
    assert_eq!(titles.len(), 7, "{titles:#?}");
    for expected in ["[linux/arm64 stage-2 ", "->"] {
        assert!(
            titles.iter().any(|title| title.contains(expected)),
            "{titles:#?}"
        );
    }
}

#[test]
fn a_program_for_another_processor_is_named() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let (processor, _) = foreign();
    let host = testkit::image().build();
    let host: Value = serde_json::from_slice(&host.config).expect("JSON");
    let host = host["architecture"].as_str().expect("a text").to_owned();
    let context = site.context(
        "app",
        "FROM scratch\nCOPY tool script /bin/\nENTRYPOINT [\"/bin/tool\"]\n",
    );
    fs::write(context.join("tool"), program(processor, "/made", "")).expect("a file");
    fs::write(context.join("script"), "#!/bin/sh\n").expect("a file");
    for name in ["tool", "script"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(context.join(name), mode).expect("our file");
    }
    let build = |arguments: &[&str]| -> Output {
        plainly(&site, &context, arguments)
            .output()
            .expect("kiln starts")
    };
    let warning = format!(
        "Dockerfile:2:1: /bin/tool is a program for {}, and the image is for linux/{host}",
        processor.architecture()
    );
    let output = build(&["--platform", BOTH]);
    let said = site.describe(&output);
    assert!(said.starts_with("exit 0"), "{said}");
    assert_eq!(said.matches("is a program for").count(), 1, "{said}");
    assert!(said.contains(&warning), "{warning} is not in\n{said}");
    // For its own processor it is right.
    let platform = format!("linux/{}", processor.architecture());
    let output = build(&["--platform", &platform, "--no-cache"]);
    let said = site.describe(&output);
    assert!(!said.contains("is a program for"), "{said}");
}

#[test]
fn a_run_of_a_program_for_another_processor_says_so() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let (processor, _) = foreign();
    // As the kernel says it to kiln, and as shells say it to people.
    for (run, named) in [
        ("RUN [\"/tool\"]", true),
        (
            "RUN echo 'sh: 1: /tool: Exec format error' >&2; exit 126",
            false,
        ),
    ] {
        let context = site.context(
            "app",
            &format!("FROM REGISTRY/base:1\nCOPY --chmod=755 tool /\n{run}\n"),
        );
        fs::write(context.join("tool"), program(processor, "/made", "")).expect("a file");
        let output = plainly(&site, &context, &[]).output().expect("kiln starts");
        let said = site.describe(&output);
        if said.starts_with("exit 0") {
            eprintln!("skipped: the kernel emulates {processor:?} everywhere ({REGISTERED})");
            return;
        }
        let name = processor.architecture();
        let warning = format!("warning: Dockerfile:2:1: /tool is a program for {name}");
        // The second time COPY is in the cache, and nobody looks at what it copied.
        assert_eq!(said.contains(&warning), named, "{said}");
        assert!(said.to_lowercase().contains("exec format error"), "{said}");
        assert!(said.contains(" --> Dockerfile:3:1"), "{said}");
        let hint = "a program that was built for another processor does not run in it";
        assert!(said.contains(hint), "{said}");
    }
}

/// Rows: I13
#[test]
fn one_platform_is_a_manifest_unless_an_index_is_asked_for() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let context = site.context("app", "FROM REGISTRY/both:1\nLABEL a=b\n");
    let one = ["--platform", "linux/arm64"];
    site.built("store", "app", &context, &one);
    assert_eq!(site.image("app").config["architecture"], "arm64");
    let index = ["--build-arg", "BUILDKIT_MULTI_PLATFORM=1"];
    site.built("store", "app", &context, &[one.as_slice(), &index].concat());
    let (_, images) = pushed(&site, "app");
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].0, "linux/arm64");
}

#[test]
fn annotations_are_where_they_were_asked_for() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let context = site.context("app", "FROM REGISTRY/both:1\n");
    let arguments = [
        "--platform",
        BOTH,
        "--annotation",
        "all=1",
        "--annotation",
        "manifest[linux/arm64],index:some=2",
        "--annotation",
        "manifest-descriptor:pointer=3",
    ];
    site.built("store", "app", &context, &arguments);
    let (index, images) = pushed(&site, "app");
    assert_eq!(index["annotations"], json!({"some": "2"}));
    assert_eq!(images[0].1.manifest["annotations"], json!({"all": "1"}));
    let arm = &images[1].1.manifest["annotations"];
    assert_eq!(*arm, json!({"all": "1", "some": "2"}));
    for entry in index["manifests"].as_array().expect("a list") {
        assert_eq!(entry["annotations"], json!({"pointer": "3"}));
    }
}

#[test]
fn a_second_build_for_all_platforms_asks_for_two_tags_and_sends_nothing() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let context = site.context("app", "FROM REGISTRY/both:1\nCOPY Dockerfile /\n");
    let arguments = ["--platform", BOTH, "--metadata-file", "numbers"];
    let digest = site.built("store", "app", &context, &arguments);
    site.registry.clear_log();
    assert_eq!(site.built("store", "app", &context, &arguments), digest);
    let numbers = site.numbers("numbers");
    for key in ["steps.ran", "blobs.sent", "blobs.mounted", "bytes.pushed"] {
        assert_eq!(numbers[format!("kiln.{key}")], 0, "{key}: {numbers}");
    }
    let mut lines = site.registry.lines();
    lines.dedup();
    assert_eq!(
        lines,
        ["HEAD /v2/both/manifests/1", "HEAD /v2/app/manifests/1"]
    );
}

/// What is wrong with one platform is said, with its name, and the others are not published alone.
#[test]
fn one_platform_that_fails_publishes_none() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let check = |dockerfile: &str, platforms: &str, expected: &[&str]| {
        let context = site.context("app", dockerfile);
        fs::write(context.join("for-amd64"), "here").expect("a file");
        let output = site
            .build("store", "app", &context, &["--platform", platforms])
            .output();
        let said = site.describe(&output.expect("kiln starts"));
        assert!(!said.starts_with("exit 0"), "{said}");
        for expected in expected {
            assert!(said.contains(expected), "{said}");
        }
        assert_eq!(site.registry.tags("app"), [""; 0]);
        let lines = site.registry.lines().into_iter();
        let sent = lines.filter(|line| line.starts_with("PUT /v2/app/manifests"));
        assert_eq!(sent.collect::<Vec<_>>(), [""; 0]);
    };
    check(
        "FROM REGISTRY/both:1\n",
        "linux/amd64,linux/arm64,linux/s390x",
        &[
            "both:1 is not available for linux/s390x",
            "linux/amd64, linux/arm64",
        ],
    );
    check(
        "FROM REGISTRY/both:1\nARG TARGETARCH\nCOPY for-$TARGETARCH /\n",
        BOTH,
        &["`for-arm64` was not found", "linux/arm64", "Dockerfile:3:6"],
    );
}

#[test]
fn an_index_that_stays_in_the_store_is_pushed_later() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let context = site.context("app", "FROM REGISTRY/both:1\nCOPY Dockerfile /\n");
    let context = context.to_str().expect("UTF-8");
    let name = "kiln.test/app:1";
    let fixed = ["-t", name, "--platform", BOTH, context];
    let output = site.kiln("build", "store", &fixed).output();
    let digest = site.success(&output.expect("kiln starts"));
    let output = site
        .kiln("push", "store", &[name, "REGISTRY/later:1"])
        .output();
    assert_eq!(site.success(&output.expect("kiln starts")), digest);
    let (_, images) = pushed(&site, "later");
    assert_eq!(images.len(), 2);
    let output = site.kiln("store", "store", &["prune", "--all"]).output();
    site.success(&output.expect("kiln starts"));
}

#[test]
fn files_of_platforms_are_kept_apart() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let context = site.context(
        "app",
        "FROM scratch AS apart\nARG TARGETARCH\nCOPY Dockerfile /app-$TARGETARCH\n\
         FROM REGISTRY/both:1 AS same\n",
    );
    let context = context.to_str().expect("UTF-8");
    let build = |target: &str, output: &str| -> Output {
        let arguments = [
            "--platform",
            BOTH,
            "--target",
            target,
            "-o",
            output,
            context,
        ];
        site.kiln("build", "store", &arguments)
            .output()
            .expect("kiln starts")
    };
    let work = |name: &str| site.path("work").join(name);
    site.success(&build("same", "type=local,dest=split"));
    let read = |name: &str| fs::read(work(name)).expect("a file");
    for processor in [Processor::Amd64, Processor::Arm64] {
        let name = processor.architecture();
        let tool = program(processor, "/made", &format!("{name}\n"));
        assert_eq!(read(&format!("split/linux_{name}/tool")), tool);
    }
    site.success(&build(
        "apart",
        "type=local,dest=merged,platform-split=false",
    ));
    let mut found = names(work("merged").to_str().expect("UTF-8"));
    found.sort();
    assert_eq!(found, ["app-amd64", "app-arm64"]);
    let said = site.describe(&build("same", "type=local,dest=wrong,platform-split=false"));
    assert!(said.starts_with("exit 2"), "{said}");
    let expected = "start is one thing in the image for linux/amd64 and another in the one for \
                    linux/arm64";
    assert!(said.contains(expected), "{said}");

    site.success(&build("same", "type=tar,dest=split.tar"));
    let entries = testkit::tar::read(&read("split.tar")).expect("a tar");
    let paths: Vec<String> = entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .collect();
    let expected = [
        "linux_amd64",
        "linux_amd64/start",
        "linux_amd64/tool",
        "linux_arm64",
        "linux_arm64/start",
        "linux_arm64/tool",
    ];
    let paths: Vec<&str> = paths
        .iter()
        .map(|path| path.trim_end_matches('/'))
        .collect();
    assert_eq!(paths, expected);

    let said = site.describe(&build("same", "type=docker,dest=docker.tar"));
    assert!(said.starts_with("exit 2"), "{said}");
    assert!(
        said.contains("an archive for docker is one image"),
        "{said}"
    );
}

/// Debian's registry on loopback; ends with this.
struct RealRegistry {
    child: Child,
    host: String,
    _directory: tempfile::TempDir,
}

impl RealRegistry {
    /// Starts one; none where the program is not installed.
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let host = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .to_string();
        let config = directory.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  \
             filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            directory.path().join("data").display()
        );
        fs::write(&config, text).expect("a file");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(Self {
                child,
                host,
                _directory: directory,
            }),
            Err(error) => {
                eprintln!("skipped: docker-registry cannot be run: {error}");
                None
            }
        }
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What another tool printed; nothing, with the reason on stderr, where it is not installed.
#[track_caller]
fn asked(program: &str, arguments: &[&str], storage: &Path) -> Option<String> {
    let asked = Command::new(program)
        .args(arguments)
        .env("CONTAINERS_STORAGE_CONF", storage)
        .output();
    match asked {
        Ok(output) => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{program} {arguments:?}: {complaint}"
            );
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Err(error) => {
            eprintln!("skipped: {program} cannot be run: {error}");
            None
        }
    }
}

/// The files of the examples' kind: compiled on the build's platform, tested on the target's.
#[test]
fn other_tools_take_the_index_from_a_real_registry() {
    let Some(site) = site(Caller::Ourselves) else {
        return;
    };
    let Some(emulators) = emulators(&site) else {
        return;
    };
    let Some(registry) = RealRegistry::start() else {
        return;
    };
    site.until("the registry listens", || {
        TcpStream::connect(&registry.host).is_ok()
    });
    let context = site.context(
        "app",
        "FROM --platform=$BUILDPLATFORM REGISTRY/base:1 AS build\nARG TARGETARCH\n\
         COPY programs /programs\nRUN cp /programs/$TARGETARCH /program\n\
         FROM REGISTRY/both:1\nCOPY --from=build /program /program\nRUN [\"/program\"]\n",
    );
    fs::create_dir(context.join("programs")).expect("a directory");
    for processor in [Processor::Amd64, Processor::Arm64] {
        use std::os::unix::fs::PermissionsExt as _;
        let name = processor.architecture();
        let path = context.join("programs").join(name);
        let made = format!("compiled for {name}\n");
        fs::write(&path, program(processor, "/tested", &made)).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our file");
    }
    let name = format!("{}/app:1", registry.host);
    let directory = emulators.to_str().expect("UTF-8");
    let context = context.to_str().expect("UTF-8");
    let fixed = [
        "--progress",
        "quiet",
        "--push",
        "-t",
        &name,
        "--platform",
        BOTH,
    ];
    let more = ["--emulator-dir", directory, context];
    let output = site.kiln("build", "store", &[fixed.as_slice(), &more].concat());
    let digest = site.success(&{ output }.output().expect("kiln starts"));

    // Images that podman pulls stay in here.
    let storage = site.path("storage.conf");
    let place = |name: &str| site.path(name).display().to_string();
    let text = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        place("graph"),
        place("run")
    );
    fs::write(&storage, text).expect("a file");

    let reference = format!("docker://{name}");
    let raw = ["inspect", "--raw", "--tls-verify=false", &reference];
    if let Some(text) = asked("skopeo", &raw, &storage) {
        assert_eq!(oci::Digest::of(text.as_bytes()).to_string(), digest);
        let index: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(index["mediaType"], INDEX);
        let platforms: Vec<&Value> = index["manifests"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|entry| &entry["platform"])
            .collect();
        let expected = ["amd64", "arm64"].map(|name| json!({"architecture": name, "os": "linux"}));
        assert_eq!(platforms, expected.iter().collect::<Vec<_>>());
    }
    for architecture in ["amd64", "arm64"] {
        let pull = [
            "pull",
            "--quiet",
            "--tls-verify=false",
            "--arch",
            architecture,
            &name,
        ];
        let runtime = ["--cgroup-manager", "cgroupfs", "--runtime", "runc"];
        let arguments = [runtime.as_slice(), &pull].concat();
        if asked("podman", &arguments, &storage).is_some() {
            let format = ["image", "inspect", "--format", "{{.Architecture}}", &name];
            let arguments = [runtime.as_slice(), &format].concat();
            let found = asked("podman", &arguments, &storage);
            assert_eq!(found.as_deref(), Some(architecture));
        }
    }
}
