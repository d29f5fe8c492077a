//! Publishing as the program does it: several registries together, tags that never move, and runs
//! that are killed in the middle of any request.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use oci::{Descriptor, Digest, Document, Index, MediaType, Platform, Raw, Reference, Repository};
use registry::{Client, ClientOptions};
use serde_json::Value;
use store::Store;
use tempfile::TempDir;
use testkit::{Action, Endpoint, Image, Layer, Match, Method, Registry, image};

use crate::cli::Environment;
use crate::registry_program::RealRegistry;
use crate::signing::data;

/// Kills of publications to three registries: a hundred in four tests.
const KILLS: usize = 25;

/// Signatures with a key, and with a chain of certificates.
const SIGNERS: &str = "signers:\n  key: { kind: cosign, key: 'file:keys/p256.pem' }\n  chain: { kind: \
     notation, key: 'file:keys/p256.pem', certificates: 'file:chains/p256.pem', envelope: cose }\n";

/// The type of signatures of the Notary Project.
const NOTARY_SIGNATURE: &str = "application/vnd.cncf.notary.signature";

/// How long it is slept between two looks at whether a request has arrived.
const LOOK: Duration = Duration::from_millis(2);

/// How often it is looked before a test gives up.
const LOOKS_MAX: u32 = 30_000;

/// A store with images, and a place to run the program.
struct Desk {
    environment: Environment,
    directory: TempDir,
}

impl Desk {
    fn new() -> Self {
        // What is made durable a hundred times need not wait for a disk.
        let in_memory = tempfile::tempdir_in("/dev/shm");
        Self {
            environment: Environment::new(),
            directory: in_memory
                .or_else(|_| tempfile::tempdir())
                .expect("a directory"),
        }
    }

    fn store_path(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn kiln(&self, arguments: &[&str]) -> Command {
        let mut command = self.environment.kiln(&arguments[..1]);
        command
            .arg("--store")
            .arg(self.store_path())
            .args(&arguments[1..]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.kiln(arguments).output().expect("kiln starts")
    }

    fn describe(&self, output: &Output) -> String {
        self.environment.describe(output)
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", self.describe(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs what ends with this code; what it says.
    #[track_caller]
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = self.describe(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    }

    /// Puts an image into the store.
    fn keep(&self, image: &Image) -> Descriptor {
        let store = Store::open(&self.store_path()).expect("a store");
        keep(&store, image)
    }

    /// Puts an index into the store: two platforms, and what BuildKit says of one of them.
    fn keep_index(&self, content: &str) -> Digest {
        let store = Store::open(&self.store_path()).expect("a store");
        let of = |architecture: &str, text: &str| {
            let layer = Layer::new().file("content", text);
            image().architecture(architecture).layer(layer).build()
        };
        let mut manifests: Vec<Descriptor> = Vec::new();
        for architecture in ["amd64", "arm64"] {
            manifests.push(Descriptor {
                platform: format!("linux/{architecture}").parse().ok(),
                ..keep(&store, &of(architecture, content))
            });
        }
        let about = manifests[0].digest.to_string();
        let unknown = Platform {
            os: "unknown".to_owned(),
            architecture: "unknown".to_owned(),
            ..Platform::host()
        };
        let statement = [
            ("vnd.docker.reference.digest", about.as_str()),
            ("vnd.docker.reference.type", "attestation-manifest"),
        ];
        manifests.push(Descriptor {
            platform: Some(unknown),
            annotations: statement
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..keep(&store, &of("unknown", &format!("about {content}")))
        });
        let index = Raw::write(Index {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        });
        store.blobs().put(index.bytes()).expect("a stored index")
    }
}

fn keep(store: &Store, image: &Image) -> Descriptor {
    for layer in &image.layers {
        store.blobs().put(&layer.bytes).expect("a stored layer");
    }
    store
        .blobs()
        .put(&image.config)
        .expect("a stored configuration");
    let digest = store
        .blobs()
        .put(&image.manifest)
        .expect("a stored manifest");
    let document = Document::read(image.manifest.to_vec(), None).expect("a manifest");
    assert_eq!(document.descriptor().digest, digest);
    document.descriptor()
}

fn small(content: &str) -> Image {
    image().layer(Layer::new().file("content", content)).build()
}

/// Everything that a digest leads to is in a registry of the tests.
#[track_caller]
fn whole(registry: &Registry, path: &str, digest: &Digest) {
    let (_, media_type, bytes) = registry
        .manifest(path, digest.as_str())
        .unwrap_or_else(|| panic!("{path}@{digest} is missing"));
    let media_type = MediaType::from(media_type.as_str());
    match Document::read(bytes.to_vec(), Some(&media_type)).expect("a document") {
        Document::Index(index) => {
            for entry in &index.value().manifests {
                whole(registry, path, &entry.digest);
            }
        }
        Document::Manifest(manifest) => {
            for blob in manifest
                .value()
                .layers
                .iter()
                .chain([&manifest.value().config])
            {
                let bytes = registry.blob(path, &blob.digest).expect("a blob");
                assert!(blob.digest.matches(&bytes));
            }
        }
    }
}

fn tag(registry: &Registry, path: &str, tag: &str) -> Option<Digest> {
    registry.manifest(path, tag).map(|(digest, ..)| digest)
}

#[test]
fn an_immutable_tag_that_is_taken_has_an_exit_code_of_its_own() {
    let (desk, registry) = (Desk::new(), Registry::start());
    let [one, two] = ["one", "two"].map(|content| desk.keep(&small(content)).digest.to_string());
    let name = |tag: &str| format!("{}/team/app:{tag}", registry.host());
    let (v1, latest) = (name("v1"), name("latest"));
    let push = |image: &str, more: &[&str]| -> Vec<String> {
        let fixed = ["push", "--progress", "quiet", image, &v1, &latest];
        fixed
            .iter()
            .chain(more)
            .map(|word| (*word).to_owned())
            .collect()
    };
    let words = |image: &str, more: &[&str]| push(image, more);
    let run = |image: &str, more: &[&str]| {
        let words = words(image, more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        desk.run(&words)
    };
    let first = run(&one, &["--immutable=v1"]);
    assert!(first.status.success(), "{}", desk.describe(&first));
    registry.clear_log();
    let refused = run(&two, &["--immutable=v1"]);
    assert_eq!(
        refused.status.code(),
        Some(3),
        "{}",
        desk.describe(&refused)
    );
    assert_eq!(
        desk.describe(&refused),
        format!(
            "exit 3\nstderr:\nerror: an immutable tag is taken\n  cause: {v1} points at {one}, and this is {two}\n\
             hint: publish under a new tag; `--retag` moves an immutable tag all the same\n"
        )
    );
    assert!(
        registry
            .log()
            .iter()
            .all(|request| request.method == Method::HEAD)
    );
    // The same image is there already.
    assert!(run(&one, &["--immutable"]).status.success());
    assert!(run(&two, &["--immutable=v1", "--retag"]).status.success());
    assert_eq!(
        tag(&registry, "team/app", "v1").map(|digest| digest.to_string()),
        Some(two)
    );
    // A plain tag is moved, as docker does.
    assert!(run(&one, &[]).status.success());
    let unknown = desk.describe(&run(&one, &["--immutable=v2"]));
    assert!(
        unknown.starts_with("exit 2\nstderr:\nerror: --immutable v2: no name has this tag\nhint: the tags are v1, latest\n"),
        "{unknown}"
    );
    let nothing = desk.describe(&run(&one, &["--retag"]));
    assert!(
        nothing.contains("--retag moves immutable tags, and no tag is immutable"),
        "{nothing}"
    );
}

#[test]
fn what_was_published_is_written_down() {
    let desk = Desk::new();
    let registries = [Registry::start(), Registry::start()];
    let digest = desk.keep_index("app");
    let names = registries
        .each_ref()
        .map(|registry| format!("{}/team/app", registry.host()));
    let [one, two] = &names;
    let report = desk.environment.work().join("report.json");
    desk.succeeds(&[
        "push",
        "--progress",
        "quiet",
        digest.as_str(),
        &format!("{one}:v1"),
        &format!("{one}:latest"),
        &format!("{two}:latest"),
        "--immutable=v1",
        "--report",
        "report.json",
    ]);
    let text = fs::read(&report).expect("a report");
    let value: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(value["schema"], 1);
    assert_eq!(value["images"].as_array().map(Vec::len), Some(2));
    let image = &value["images"][0];
    assert_eq!(image["name"], "app");
    assert_eq!(image["repository"], Value::from(one.as_str()));
    assert_eq!(image["digest"], Value::from(digest.as_str()));
    assert_eq!(image["platforms"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        image["tags"][0]["reference"],
        Value::from(format!("{one}:v1"))
    );
    assert_eq!(image["tags"][0]["floating"], false);
    assert_eq!(image["tags"][0]["change"], "created");
    let kept = publish::Report::last(&Store::open(&desk.store_path()).expect("a store"));
    assert_eq!(kept, publish::Report::read(&text));
    for registry in &registries {
        whole(registry, "team/app", &digest);
    }
    // A report that nobody can write is refused before anything is asked.
    let said = desk.fails(
        2,
        &[
            "push",
            digest.as_str(),
            &format!("{one}:v1"),
            "--report",
            "not/there.json",
        ],
    );
    assert!(
        said.contains("--report not/there.json: the directory of this file does not exist"),
        "{said}"
    );
}

#[test]
fn whatever_the_store_holds_is_pushed() {
    let (desk, registry) = (Desk::new(), Registry::start());
    let docker = image()
        .layer(Layer::new().file("content", "docker"))
        .docker()
        .build();
    let docker = desk.keep(&docker);
    assert_eq!(docker.media_type, MediaType::DockerManifest);
    let index = desk.keep_index("app");
    for (path, digest) in [("docker", &docker.digest), ("index", &index)] {
        let name = format!("{}/{path}:1", registry.host());
        assert_eq!(
            desk.succeeds(&["push", "--progress", "quiet", digest.as_str(), &name]),
            digest.as_str()
        );
        whole(&registry, path, digest);
        assert_eq!(tag(&registry, path, "1").as_ref(), Some(digest));
    }
}

#[test]
fn one_registry_that_fails_keeps_the_tags_of_all_where_they_are() {
    let desk = Desk::new();
    let registries = [Registry::start(), Registry::start(), Registry::start()];
    let digest = desk.keep(&small("app")).digest;
    registries[1].fault(
        Match::new(Method::POST, Endpoint::UploadStart),
        Action::status(403),
    );
    let names = registries
        .each_ref()
        .map(|registry| format!("{}/app:1", registry.host()));
    let words: Vec<&str> = ["push", "--progress", "quiet", digest.as_str()]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    let said = desk.fails(1, &words);
    let repository = |number: usize| format!("{}/app@{digest}", registries[number].host());
    for line in [
        "error: could not publish the image\n".to_owned(),
        "  cause: 1 of 3 destinations failed, and no floating tag was moved in any\n".to_owned(),
        format!(
            "{}: the image is there by digest with all that belongs to it, no tag was moved\n",
            repository(0)
        ),
        format!("{}: could not push blob sha256:", repository(1)),
        "hint: ".to_owned(),
    ] {
        assert!(said.contains(&line), "{line}\n{said}");
    }
    for registry in &registries {
        assert!(registry.tags("app").is_empty());
    }
    registries[1].clear_faults();
    desk.succeeds(&words);
    for registry in &registries {
        assert_eq!(tag(registry, "app", "1").as_ref(), Some(&digest));
    }
}

/// A number that is the same in every run of the tests.
fn chance(seed: usize, below: usize) -> usize {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    state ^= state >> 29;
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    usize::try_from((state >> 32) % below as u64).expect("small")
}

/// Three registries: two that tell what they were asked, and a real one where there is one.
struct World {
    desk: Desk,
    told: [Registry; 2],
    real: Option<RealRegistry>,
    client: Client,
    runtime: tokio::runtime::Runtime,
    /// The name of each signer with which everything is signed.
    signers: &'static [&'static str],
}

impl World {
    fn new(signers: &'static [&'static str]) -> Self {
        let without_referrers = testkit::Options {
            referrers: false,
            ..testkit::Options::default()
        };
        let desk = Desk::new();
        for name in ["keys/p256.pem", "chains/p256.pem"] {
            let text = String::from_utf8(data(name)).expect("PEM");
            desk.environment.write(name, &text);
        }
        desk.environment.write("kiln.yaml", SIGNERS);
        Self {
            desk,
            told: [Registry::start(), Registry::with(without_referrers)],
            real: RealRegistry::start(),
            client: Client::new(ClientOptions::default()).expect("a client"),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime"),
            signers,
        }
    }

    fn hosts(&self) -> Vec<String> {
        let real = self.real.iter().map(|real| real.host.clone());
        self.told.iter().map(Registry::host).chain(real).collect()
    }

    fn repositories(&self, path: &str) -> Vec<Repository> {
        let hosts = self.hosts();
        hosts
            .iter()
            .map(|host| format!("{host}/{path}").parse().expect("a name"))
            .collect()
    }

    fn push(&self, path: &str, digest: &Digest, version: &str) -> Command {
        let mut words = vec![
            "push".to_owned(),
            "--progress".to_owned(),
            "quiet".to_owned(),
        ];
        words.push(format!("--immutable={version}"));
        words.extend(self.signers.iter().map(|name| format!("--sign={name}")));
        words.push(digest.to_string());
        for host in self.hosts() {
            for tag in [version, "latest", "edge"] {
                words.push(format!("{host}/{path}:{tag}"));
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.desk.kiln(&words)
    }

    #[track_caller]
    fn pushed(&self, path: &str, digest: &Digest, version: &str) {
        let output = self
            .push(path, digest, version)
            .output()
            .expect("kiln starts");
        assert!(
            output.status.success(),
            "{path}: {}",
            self.desk.describe(&output)
        );
    }

    fn tag(&self, repository: &Repository, tag: &str) -> Option<Digest> {
        let reference: Reference = repository.at_tag(tag.parse().expect("a tag"));
        let looked = self.runtime.block_on(self.client.tag_points_at(&reference));
        looked.expect("an answer")
    }

    /// Everything below a digest is in a repository.
    #[track_caller]
    fn whole(&self, repository: &Repository, digest: &Digest) {
        let reference = repository.at_digest(digest.clone());
        let document = self.client.manifest(&reference);
        match self.runtime.block_on(document).expect("a manifest") {
            Document::Index(index) => {
                for entry in &index.value().manifests {
                    self.whole(repository, &entry.digest);
                }
            }
            Document::Manifest(manifest) => {
                for blob in manifest
                    .value()
                    .layers
                    .iter()
                    .chain([&manifest.value().config])
                {
                    let has = self.client.has_blob(repository, blob);
                    assert!(
                        self.runtime.block_on(has).expect("an answer"),
                        "{repository} {}",
                        blob.digest
                    );
                }
            }
        }
    }

    /// A digest has one signature of each signer.
    #[track_caller]
    fn signed(&self, repository: &Repository, digest: &Digest) {
        let expected = ["key", "chain"].map(|name| usize::from(self.signers.contains(&name)));
        let found = self.signatures(repository, digest);
        assert_eq!([found.0, found.1], expected, "{repository}@{digest}");
    }

    /// How many signatures a digest has: with the key, and with the chain.
    fn signatures(&self, repository: &Repository, digest: &Digest) -> (usize, usize) {
        let tag = format!("sha256-{}.sig", digest.hex());
        let reference = repository.at_tag(tag.parse().expect("a tag"));
        let with_key = match self.runtime.block_on(self.client.manifest(&reference)) {
            Ok(Document::Manifest(manifest)) => manifest.value().layers.len(),
            Ok(Document::Index(_)) => panic!("{reference} is an index"),
            Err(error) => {
                assert_eq!(*error.kind(), registry::ErrorKind::NotFound, "{error}");
                0
            }
        };
        let listed = self
            .client
            .referrers(repository, digest, Some(NOTARY_SIGNATURE));
        let with_chain = self.runtime.block_on(listed).expect("a list").len();
        (with_key, with_chain)
    }

    /// Starts a push, and kills it when a registry has got its `nth` request: before the registry
    /// does what is asked, or after it did and before it says so. Whether the push was still alive.
    fn killed(&self, push: &mut Command, registry: usize, nth: usize, acts: bool) -> bool {
        let told = &self.told[registry];
        told.clear_log();
        let action = match acts {
            true => Action::StallAfter,
            false => Action::Stall { after: None },
        };
        told.fault(Match::any().nth(u32::try_from(nth).expect("small")), action);
        let quiet = push.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child: Child = quiet.spawn().expect("kiln starts");
        let mut looks = 0;
        while !told.log().iter().any(|request| request.faulted) {
            if child.try_wait().expect("our child").is_some() {
                break;
            }
            looks += 1;
            assert!(looks < LOOKS_MAX, "the request does not come");
            std::thread::sleep(LOOK);
        }
        child.kill().expect("our child");
        let ended = child.wait().expect("our child");
        told.clear_faults();
        ended.code().is_none()
    }

    /// What can be seen is complete and signed, and a floating tag moves only when all else is done
    /// everywhere.
    #[track_caller]
    fn consistent(&self, path: &str, new: &Digest, version: &str) {
        let repositories = self.repositories(path);
        let mut visible: HashSet<&str> = HashSet::new();
        for repository in &repositories {
            for tag in [version, "latest", "edge"] {
                if let Some(found) = self.tag(repository, tag) {
                    self.whole(repository, &found);
                    self.signed(repository, &found);
                    if found == *new {
                        visible.insert(tag);
                    }
                }
            }
        }
        for repository in &repositories {
            if !visible.is_empty() {
                self.whole(repository, new);
                self.signed(repository, new);
            }
            if visible.contains("latest") || visible.contains("edge") {
                assert_eq!(
                    self.tag(repository, version).as_ref(),
                    Some(new),
                    "{repository}"
                );
            }
        }
    }
}

/// One of four quarters of a hundred kills. Every other push is to repositories where the tags point
/// at the image before it, the others are to new ones.
#[track_caller]
fn killed_at_any_request(quarter: usize, signers: &'static [&'static str]) {
    let world = World::new(signers);
    let old = world.desk.keep_index("old");
    world.pushed("app", &old, "old");
    for told in &world.told {
        told.clear_log();
    }
    let counted = world.desk.keep_index("counted");
    world.pushed("app", &counted, "counted");
    let requests = world.told.each_ref().map(|told| told.log().len());
    let mut hits = 0;
    for seed in quarter * KILLS..(quarter + 1) * KILLS {
        let path = match seed % 2 {
            0 => "app".to_owned(),
            _ => format!("app{seed}"),
        };
        let version = format!("v{seed}");
        let new = world.desk.keep_index(&version);
        let registry = chance(seed * 2, 2);
        let nth = 1 + chance(seed * 2 + 1, requests[registry]);
        let mut push = world.push(&path, &new, &version);
        hits += usize::from(world.killed(&mut push, registry, nth, seed % 3 != 0));
        world.consistent(&path, &new, &version);
        world.pushed(&path, &new, &version);
        for repository in world.repositories(&path) {
            for tag in [version.as_str(), "latest", "edge"] {
                assert_eq!(
                    world.tag(&repository, tag).as_ref(),
                    Some(&new),
                    "seed {seed}"
                );
            }
            world.whole(&repository, &new);
            world.signed(&repository, &new);
        }
        if seed % 10 == 0 {
            for told in &world.told {
                told.clear_log();
            }
            world.pushed(&path, &new, &version);
            for told in &world.told {
                assert_eq!(told.log().len(), 3, "{:?}", told.lines());
            }
        }
    }
    // A push may need a request less than the one that was counted.
    assert!(hits * 5 >= KILLS * 4, "only {hits} of {KILLS} were killed");
    let journals = fs::read_dir(world.desk.store_path().join("journals")).expect("a directory");
    assert_eq!(journals.count(), 0, "all are finished");
    world.desk.succeeds(&["store", "verify"]);
}

#[test]
fn a_push_may_be_killed_at_any_request_1() {
    killed_at_any_request(0, &["key"]);
}

#[test]
fn a_push_may_be_killed_at_any_request_2() {
    killed_at_any_request(1, &["key"]);
}

#[test]
fn a_push_may_be_killed_at_any_request_3() {
    killed_at_any_request(2, &["chain"]);
}

#[test]
fn a_push_may_be_killed_at_any_request_4() {
    killed_at_any_request(3, &["key", "chain"]);
}
