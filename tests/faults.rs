//! What the user reads when something around the build is wrong: a registry that refuses, lies or
//! loses, credentials that do not fit, a store that cannot be used, files that cannot be copied.
//! `tests/faults/NAME.txt` has the exit code and what is said; `KILN_BLESS=1` writes it anew, and
//! the diff is then read by a person.
//!
//! After each case no tag has moved, the store verifies, no secret was said, and where the fault
//! passes the same command succeeds.

use std::fs;
use std::path::Path;

use oci::{Digest, MediaType};
use serde_json::{Value, json};
use testkit::{Action, Auth, Endpoint, Image, Layer, Match, Method, Options, Registry, image};

use crate::cli::Environment;
use crate::site::{Caller, REGISTRY, Site};

/// Part of every password here.
const CANARY: &str = "canary";

/// A registry with a base image, and a context that copies a file on top of it.
struct Bench {
    registry: Registry,
    environment: Environment,
    base: Image,
}

impl Bench {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let bench = Self {
            registry: Registry::with(options),
            environment: Environment::new(),
            base: base(),
        };
        bench.registry.seed("base", "1", &bench.base);
        bench.write("file.txt", "content\n");
        bench.write("Dockerfile", "FROM REGISTRY/base:1\nCOPY file.txt /d/\n");
        bench
    }

    fn write(&self, path: &str, content: &str) {
        let content = content.replace("REGISTRY", &self.registry.host());
        self.environment.write(path, &content);
    }

    /// Credentials, as `docker login` writes them down.
    fn log_in(&self, config: &Value) {
        let directory = self.environment.work().join("../home/.docker");
        fs::create_dir_all(&directory).expect("a directory");
        let config = config
            .to_string()
            .replace("REGISTRY", &self.registry.host());
        fs::write(directory.join("config.json"), config).expect("a file");
    }

    /// A build that cannot succeed. What it says is in the file.
    #[track_caller]
    fn check(&self, name: &str, arguments: &[&str]) {
        let host = self.registry.host();
        let arguments: Vec<String> = [&["build", "--progress", "quiet"], arguments, &["."]]
            .concat()
            .iter()
            .map(|word| word.replace("REGISTRY", &host))
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = self.environment.run(&arguments).replace(&host, "REGISTRY");
        let said = without_digests(&said);
        assert!(!said.contains("stdout:"), "{name}: a product\n{said}");
        assert!(!said.contains(CANARY), "{name}: a secret\n{said}");
        let tags = self.registry.tags("target");
        assert!(tags.is_empty(), "{name}: published {tags:?}");
        self.verify();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/faults/{name}.txt"));
        if std::env::var_os("KILN_BLESS").is_some() {
            fs::write(&file, &said).expect("a file");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            said, expected,
            "{name} says:\n{said}\nKILN_BLESS=1 writes it down"
        );
    }

    #[track_caller]
    fn check_push(&self, name: &str) {
        self.check(name, &["--push", "-t", "REGISTRY/target:1"]);
    }

    #[track_caller]
    fn verify(&self) {
        let said = self.environment.run(&["store", "verify"]);
        assert!(said.starts_with("exit 0\n"), "{said}");
    }

    /// The fault has passed: the same command succeeds with the same store.
    #[track_caller]
    fn recovers(&self) {
        self.registry.clear_faults();
        let tag = format!("{}/target:1", self.registry.host());
        let said =
            self.environment
                .run(&["build", "--progress", "quiet", "--push", "-t", &tag, "."]);
        assert!(said.starts_with("exit 0\nstdout:\nsha256:"), "{said}");
        testkit::validate_image(&self.registry, "target", "1").expect("a valid image");
        self.verify();
    }
}

fn base() -> Image {
    let layer = Layer::new().directory("d", 0o755).file(
        "d/one",
        "a file of the base, long enough to be cut in two\n".repeat(200),
    );
    image().layer(layer).build()
}

/// Digests depend on the machine's architecture.
fn without_digests(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("sha256:") {
        let (before, after) = rest.split_at(at + "sha256:".len());
        out.push_str(before);
        let digits = after.len()
            - after
                .trim_start_matches(|c: char| c.is_ascii_hexdigit())
                .len();
        if digits == 64 {
            out.push('…');
            rest = &after[digits..];
        } else {
            rest = after;
        }
    }
    out + rest
}

fn get(endpoint: Endpoint) -> Match {
    Match::new(Method::GET, endpoint).repository("base")
}

#[test]
fn credentials() {
    let secured = || {
        Bench::with(Options {
            auth: Auth::basic("user", "right"),
            ..Options::default()
        })
    };
    let bench = secured();
    bench.check("credentials-none", &[]);
    // user:canary-wrong
    bench.log_in(&json!({"auths": {"REGISTRY": {"auth": "dXNlcjpjYW5hcnktd3Jvbmc="}}}));
    bench.check("credentials-wrong", &[]);
    bench.log_in(&json!({"auths": {"REGISTRY": {"auth": "canary, no base64"}}}));
    bench.check("credentials-not-base64", &[]);
    bench.log_in(&json!({"credHelpers": {"REGISTRY": "not-there"}}));
    bench.check("credentials-helper-missing", &[]);
    bench.log_in(&json!(["canary"]));
    bench.check("credentials-config-is-a-list", &[]);
    bench.log_in(&json!({"auths": {"REGISTRY": {"auth": "dXNlcjpyaWdodA=="}}}));
    bench.recovers();

    let bench = Bench::with(Options {
        auth: Auth::token("user", "right"),
        ..Options::default()
    });
    bench.log_in(&json!({"auths": {"REGISTRY": {"auth": "dXNlcjpjYW5hcnktd3Jvbmc="}}}));
    bench.check("credentials-wrong-for-token", &[]);
}

#[test]
fn registries_that_refuse() {
    let bench = Bench::new();
    let pause = Action::status_with(429, "Retry-After", "100000");
    bench
        .registry
        .fault(Match::any().endpoint(Endpoint::Manifest), pause);
    bench.check("pause-too-long", &[]);
    bench.recovers();

    let denied = Action::Status {
        code: 403,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: json!({"errors": [{"code": "DENIED", "message": "requested access is denied"}]})
            .to_string(),
    };
    let bench = Bench::new();
    let uploads = Match::any()
        .endpoint(Endpoint::UploadStart)
        .repository("target");
    bench.registry.fault(uploads, denied.clone());
    bench.check_push("push-denied");
    bench.recovers();

    let bench = Bench::new();
    let manifests = Match::new(Method::PUT, Endpoint::Manifest).repository("target");
    bench.registry.fault(manifests, denied);
    bench.check_push("push-of-manifest-denied");
    bench.recovers();
}

#[test]
fn registries_that_lose() {
    let bench = Bench::new();
    let put = |endpoint| Match::new(Method::PUT, endpoint).repository("target");
    bench
        .registry
        .fault(put(Endpoint::Manifest), Action::Forget);
    bench.check_push("push-of-manifest-forgotten");
    bench.recovers();

    let bench = Bench::new();
    bench
        .registry
        .fault(put(Endpoint::UploadSession), Action::Forget);
    bench.check_push("push-of-blob-forgotten");
    bench.recovers();
}

#[test]
fn registries_that_lie() {
    let cases = [
        (
            "manifest-of-other-bytes",
            Endpoint::Manifest,
            Action::FlipBit { at: 20 },
        ),
        (
            "manifest-is-no-json",
            Endpoint::Manifest,
            Action::ReplaceBody(b"<html>".to_vec()),
        ),
        (
            "blob-of-other-bytes",
            Endpoint::Blob,
            Action::FlipBit { at: 20 },
        ),
        (
            "blob-longer",
            Endpoint::Blob,
            Action::ReplaceBody(vec![b'x'; 20_000]),
        ),
        (
            "blob-shorter",
            Endpoint::Blob,
            Action::ReplaceBody(b"x".to_vec()),
        ),
    ];
    for (name, endpoint, action) in cases {
        let bench = Bench::new();
        bench.registry.fault(get(endpoint), action);
        bench.check(name, &[]);
        bench.recovers();
    }
}

/// The configuration arrives, the layer does not.
#[test]
fn layers_that_are_not_what_they_should_be() {
    let cases = [
        ("layer-of-other-bytes", Action::FlipBit { at: 20 }),
        ("layer-longer", Action::ReplaceBody(vec![b'x'; 20_000])),
        ("layer-shorter", Action::ReplaceBody(b"x".to_vec())),
        ("layer-not-found", Action::status(404)),
    ];
    for (name, action) in cases {
        let bench = Bench::new();
        let layer = bench.base.layers[0].digest.to_string();
        bench
            .registry
            .fault(get(Endpoint::Blob).reference(&layer), action);
        bench.check(name, &[]);
        bench.recovers();
    }
}

#[test]
fn documents_that_cannot_be_used() {
    let manifest = MediaType::OciManifest;
    let index = MediaType::OciIndex;
    let descriptor = |bytes: &[u8], kind: &MediaType| json!({"mediaType": kind.as_str(), "digest": Digest::of(bytes).as_str(), "size": bytes.len()});
    let bench = Bench::new();
    let put = |kind: &MediaType, document: &Value| {
        let bytes = document.to_string().into_bytes();
        bench
            .registry
            .put_manifest("base", "1", kind.as_str(), bytes);
    };

    let mut entry = descriptor(b"for another machine", &manifest);
    entry["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let mut other = entry.clone();
    other["platform"] = json!({"os": "linux", "architecture": "arm", "variant": "v5"});
    let list =
        json!({"schemaVersion": 2, "mediaType": index.as_str(), "manifests": [entry, other]});
    put(&index, &list);
    bench.check("index-without-our-platform", &["--platform", "linux/amd64"]);

    put(
        &index,
        &json!({"schemaVersion": 2, "mediaType": index.as_str(), "manifests": []}),
    );
    bench.check("index-of-nothing", &[]);

    let mut document: Value = serde_json::from_slice(&bench.base.manifest).expect("JSON");
    let layer = document["layers"][0].clone();
    document["layers"] = json!([layer, layer]);
    put(&manifest, &document);
    bench.check("more-layers-than-diff-ids", &[]);

    document["layers"] = json!([layer]);
    document["layers"][0]["size"] = json!(1_u64 << 40);
    put(&manifest, &document);
    bench.check("layer-size-too-large", &[]);

    document["layers"][0]["size"] = json!(-1);
    put(&manifest, &document);
    bench.check("layer-size-negative", &[]);

    document["layers"][0] = layer.clone();
    document["layers"][0]["mediaType"] = json!("application/x-squashfs");
    put(&manifest, &document);
    bench.check("layer-of-unknown-type", &[]);

    document["layers"][0] = layer;
    document["manifests"] = json!([]);
    put(&manifest, &document);
    bench.check("manifest-and-index-in-one", &[]);

    (document.as_object_mut().expect("an object")).remove("manifests");
    document["layers"][0]["digest"] = json!("sha256:../../../etc/passwd");
    put(&manifest, &document);
    bench.check("digest-is-a-path", &[]);

    bench.registry.seed("base", "1", &bench.base);
    bench.recovers();
}

#[test]
fn stores_that_cannot_be_used() {
    let bench = Bench::new();
    bench.write("a-file", "");
    bench.check("store-is-a-file", &["--store", "a-file"]);
    bench.check("store-below-a-file", &["--store", "a-file/store"]);
    bench.write("other/precious.txt", "");
    bench.check("store-is-something-else", &["--store", "other"]);
    bench.check("store-in-proc", &["--store", "/proc/store"]);
    if rustix::process::geteuid().is_root() {
        let foreign = bench.environment.work().join("foreign");
        fs::create_dir(&foreign).expect("a directory");
        std::os::unix::fs::chown(&foreign, Some(12345), None).expect("we are root");
        bench.check("store-of-somebody-else", &["--store", "foreign"]);
    } else {
        #[expect(clippy::print_stderr, reason = "a skipped test says why")]
        {
            eprintln!("skipped in part: only root can make a directory of somebody else");
        }
    }
    bench.recovers();
}

#[test]
fn files_that_cannot_be_copied() {
    let bench = Bench::new();
    let _socket = std::os::unix::net::UnixListener::bind(bench.environment.work().join("socket"))
        .expect("a socket");
    bench.write("Dockerfile", "FROM REGISTRY/base:1\nCOPY socket /d/\n");
    bench.check("socket", &[]);
    fs::remove_file(bench.environment.work().join("socket")).expect("our socket");

    std::os::unix::fs::symlink("/etc/passwd", bench.environment.work().join("link"))
        .expect("a link");
    bench.write("Dockerfile", "FROM REGISTRY/base:1\nCOPY link /d/\n");
    bench.check("link-out-of-the-context", &[]);
    std::os::unix::fs::symlink("round", bench.environment.work().join("round")).expect("a link");
    bench.write("Dockerfile", "FROM REGISTRY/base:1\nCOPY round /d/\n");
    bench.check("link-to-itself", &[]);
}

#[test]
fn dockerfiles_without_end() {
    let bench = Bench::new();
    bench.write("Dockerfile", &"# a comment\n".repeat(1_500_000));
    bench.check("dockerfile-too-large", &[]);
    bench.write(
        "Dockerfile",
        &format!("FROM scratch\nENV a={}b\n", "${a:-".repeat(50_000)),
    );
    bench.check("expansion-too-deep", &[]);
}

/// As an ordinary user: root may read everything.
///
/// Rows: C27
#[test]
fn what_may_not_be_read() {
    let Some(site) = Site::new(Caller::Ordinary) else {
        return;
    };
    let closed = || std::os::unix::fs::PermissionsExt::from_mode(0o000);
    let check = |name: &str, store: &str, context: &Path| {
        let output = (site.build(store, "target", context, &[]).output()).expect("kiln starts");
        let said = without_digests(&site.describe(&output));
        assert!(site.registry.tags("target").is_empty(), "{name}: published");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/faults/{name}.txt"));
        if std::env::var_os("KILN_BLESS").is_some() {
            fs::write(&file, &said).expect("a file");
        }
        assert_eq!(
            said,
            fs::read_to_string(&file).unwrap_or_default(),
            "{name}"
        );
    };
    let text = format!("FROM {REGISTRY}/base:1\nCOPY . /d/\n");
    let context = site.context("closed-file", &text);
    fs::write(context.join("file"), "").expect("a file");
    fs::set_permissions(context.join("file"), closed()).expect("our file");
    check("file-closed", "store", &context);
    site.verify("store");

    // What is left out is not opened: no file, no program for its attributes, no directory.
    let excluding =
        format!("FROM {REGISTRY}/base:1\nCOPY --exclude=closed* --exclude=file . /d/\n");
    let context = site.context("closed-and-excluded", &excluding);
    for name in ["file", "closed-program"] {
        fs::write(context.join(name), "").expect("a file");
    }
    fs::create_dir(context.join("closed")).expect("a directory");
    let only_executable = std::os::unix::fs::PermissionsExt::from_mode(0o111);
    fs::set_permissions(context.join("file"), closed()).expect("our file");
    fs::set_permissions(context.join("closed-program"), only_executable).expect("our file");
    fs::set_permissions(context.join("closed"), closed()).expect("our directory");
    let output = site.build("store", "excluded", &context, &[]).output();
    let output = output.expect("kiln starts");
    assert!(output.status.success(), "{}", site.describe(&output));

    let context = site.context("closed-dockerfile", &text);
    fs::set_permissions(context.join("Dockerfile"), closed()).expect("our file");
    check("dockerfile-closed", "store", &context);

    let context = site.context("closed-context", &text);
    fs::set_permissions(&context, closed()).expect("our directory");
    check("context-closed", "store", &context);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&context, open).expect("our directory");

    let context = site.context("good", &text);
    if rustix::process::geteuid().is_root() {
        let home = site.path("home");
        let owner =
            std::os::unix::fs::MetadataExt::uid(&fs::metadata(&home).expect("our directory"));
        std::os::unix::fs::chown(&home, Some(0), None).expect("we are root");
        check("store-not-writable", "other", &context);
        std::os::unix::fs::chown(&home, Some(owner), None).expect("we are root");
    }
    site.built("store", "target", &context, &[]);
}
