//! What is said of images: provenance and lists of contents, attached as BuildKit attaches them, as
//! referrers and as files. The images themselves are the same with and without.

mod contents;
mod outputs;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::{Layer, image};

use crate::site::{Caller, REGISTRY, Site};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";
const CYCLONEDX: &str = "https://cyclonedx.org/bom";

/// Both kinds of attestation.
const BOTH: [&str; 2] = ["--provenance=true", "--sbom=format=both"];

const STATUS: &str = "Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2\n\
                      Architecture: amd64\nMaintainer: Somebody <a@debian.example>\n";

/// A site with `debian:1`, which has a database of dpkg.
fn site() -> Option<Site> {
    let site = Site::new(Caller::Ourselves)?;
    let debian = image()
        .layer(
            Layer::new()
                .file("usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\n")
                .symlink("etc/os-release", "../usr/lib/os-release")
                .file("var/lib/dpkg/status", STATUS),
        )
        .build();
    site.registry.seed("debian", "1", &debian);
    Some(site)
}

/// A context whose image has packages of a base and of a lock file.
fn context(site: &Site) -> PathBuf {
    let context = site.context(
        "context",
        "FROM REGISTRY/debian:1 AS release\nARG KIND=none\nCOPY Cargo.lock /app/\nENV KIND=$KIND\n",
    );
    let lock = "[[package]]\nname = \"serde\"\nversion = \"1.0.200\"\n";
    fs::write(context.join("Cargo.lock"), lock).expect("a lock file");
    context
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// A manifest of the registry.
#[track_caller]
fn manifest(site: &Site, repository: &str, reference: &str) -> Value {
    let found = site.registry.manifest(repository, reference);
    parsed(&found.expect("a manifest").2)
}

/// The statements of the attestation manifest that an index lists at a place.
#[track_caller]
fn statements(site: &Site, repository: &str, entry: &Value) -> Vec<Value> {
    let digest = entry["digest"].as_str().expect("a digest");
    let manifest = manifest(site, repository, digest);
    let layers = manifest["layers"].as_array().expect("layers").iter();
    let statement = |layer: &Value| {
        assert_eq!(layer["mediaType"], IN_TOTO);
        let digest = layer["digest"].as_str().expect("a digest");
        let digest = digest.parse().expect("a digest");
        let blob = site.registry.blob(repository, &digest).expect("a blob");
        let statement = parsed(&blob);
        let kind = &layer["annotations"]["in-toto.io/predicate-type"];
        assert_eq!(*kind, statement["predicateType"]);
        statement
    };
    layers.map(statement).collect()
}

#[test]
fn attestations_are_attached_as_buildkit_attaches_them() {
    let Some(site) = site() else {
        return;
    };
    let context = context(&site);
    let plain = site.built("store", "plain", &context, &[]);
    let digest = site.built("store", "app", &context, &BOTH);
    let (found, kind, bytes) = site.registry.manifest("app", "1").expect("a tag");
    assert_eq!((found.to_string(), kind.as_str()), (digest, INDEX));
    let index = parsed(&bytes);
    let entries = index["manifests"].as_array().expect("a list");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["digest"], plain, "the image is the same");
    assert_eq!(entries[0]["platform"]["os"], "linux");
    assert_eq!(
        entries[1]["platform"],
        json!({"architecture": "unknown", "os": "unknown"})
    );
    assert_eq!(
        entries[1]["annotations"],
        json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": plain,
        })
    );
    let attestation = manifest(&site, "app", entries[1]["digest"].as_str().expect("a text"));
    let layers = attestation["layers"].as_array().expect("layers");
    let config = attestation["config"]["digest"].as_str().expect("a text");
    let config = site
        .registry
        .blob("app", &config.parse().expect("a digest"));
    let config = parsed(&config.expect("a configuration"));
    assert_eq!(config["os"], "unknown");
    assert_eq!(config["rootfs"]["diff_ids"][0], layers[0]["digest"]);
    let statements = statements(&site, "app", &entries[1]);
    let kinds: Vec<&Value> = statements.iter().map(|one| &one["predicateType"]).collect();
    assert_eq!(kinds, [SPDX, CYCLONEDX, PROVENANCE]);
    let platform = entries[0]["platform"]["architecture"]
        .as_str()
        .expect("a text");
    for statement in &statements {
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        let host = site.registry.host();
        assert_eq!(
            statement["subject"],
            json!([{
                "name": format!("pkg:docker/{host}/app@1?platform=linux%2F{platform}"),
                "digest": {"sha256": plain.strip_prefix("sha256:")},
            }])
        );
    }
    site.verify("store");
}

#[test]
fn the_same_build_says_the_same() {
    let Some(site) = site() else {
        return;
    };
    let context = context(&site);
    let first = site.built("one", "app", &context, &BOTH);
    assert_eq!(site.built("two", "app", &context, &BOTH), first);
    assert_eq!(
        site.built("one", "app", &context, &BOTH),
        first,
        "from the cache"
    );
    let timed = ["--provenance=times=true"];
    let timed = site.built("one", "app", &context, &timed);
    let index = manifest(&site, "app", &timed);
    let statements = statements(&site, "app", &index["manifests"][1]);
    let metadata = &statements[0]["predicate"]["runDetails"]["metadata"];
    for time in ["startedOn", "finishedOn"] {
        let text = metadata[time].as_str().expect("a time");
        assert!(text.len() == 20 && text.ends_with('Z'), "{text}");
    }
}

#[test]
fn a_provenance_says_what_went_in_and_no_secret() {
    let Some(site) = site() else {
        return;
    };
    let context = site.context(
        "context",
        "FROM REGISTRY/base:1\nARG KIND=none\nADD REGISTRY_FILE /file\n\
         RUN --mount=type=secret,id=token --mount=type=cache,target=/cache \
         echo $KIND $(cat /run/secrets/token) > /dev/null\nCOPY context-file /\n",
    );
    fs::write(context.join("context-file"), "x").expect("a file");
    site.registry.serve_file("/file", "content\n");
    let dockerfile = fs::read_to_string(context.join("Dockerfile")).expect("a Dockerfile");
    let address = format!("{}/file", site.registry.url());
    let with_password = address.replacen("://", "://user:password-of-url@", 1);
    fs::write(
        context.join("Dockerfile"),
        dockerfile.replace("REGISTRY_FILE", &with_password),
    )
    .expect("a Dockerfile");
    let secret = site.path("work").join("token");
    fs::write(&secret, "value-of-the-secret\n").expect("a secret");
    let secret = format!("id=token,src={}", secret.display());
    let given = |more: &[&'static str]| {
        let fixed = [
            "--secret",
            &*secret,
            "--build-arg",
            "KIND=value-of-argument",
            "--build-arg",
            "LEAK=value-of-the-secret",
            "--build-arg",
            "HTTP_PROXY=http://user:password-of-proxy@127.0.0.1:9",
            "--build-arg",
            "NO_PROXY=127.0.0.1",
            "--label",
            "org.opencontainers.image.revision=abc",
        ];
        let digest = site.built("store", "app", &context, &[&fixed, more].concat());
        let index = manifest(&site, "app", &digest);
        statements(&site, "app", &index["manifests"][1]).remove(0)
    };
    let check = |statement: &Value, word: &str, expected: bool| {
        assert_eq!(statement.to_string().contains(word), expected, "{word}");
    };
    let least = given(&["--provenance=mode=min"]);
    let most = given(&["--provenance=mode=max"]);
    for statement in [&least, &most] {
        for secret in [
            "value-of-the-secret",
            "password-of-url",
            "password-of-proxy",
        ] {
            check(statement, secret, false);
        }
        check(statement, &site.path("").to_string_lossy(), false);
        let definition = &statement["predicate"]["buildDefinition"];
        let parameters = &definition["externalParameters"];
        assert_eq!(parameters["configSource"]["path"], "Dockerfile");
        assert_eq!(
            parameters["request"]["locals"],
            json!([{"name": "context"}, {"name": "dockerfile"}])
        );
        let base = site.registry.manifest("base", "1").expect("a base").0;
        let file = oci::Digest::of(b"content\n");
        let found = definition["resolvedDependencies"]
            .as_array()
            .expect("a list");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0]["digest"]["sha256"], file.hex());
        assert_eq!(found[1]["digest"]["sha256"], base.hex());
        let uri = found[1]["uri"].as_str().expect("a text");
        assert!(uri.starts_with(&format!(
            "pkg:docker/{}/base@1?platform=",
            site.registry.host()
        )));
        let metadata = &statement["predicate"]["runDetails"]["metadata"];
        assert_eq!(metadata["kiln_metadata"]["vcs"]["revision"], "abc");
    }
    check(&least, "value-of-argument", false);
    check(&least, "RUN --mount", false);
    check(&least, "\"token\"", false);
    let request = &most["predicate"]["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:KIND"], "value-of-argument");
    assert_eq!(request["args"]["build-arg:LEAK"], "****");
    assert_eq!(
        request["secrets"],
        json!([{"id": "token", "optional": true}])
    );
    let internal = &most["predicate"]["buildDefinition"]["internalParameters"];
    let steps = internal["buildConfig"]["steps"].as_array().expect("steps");
    let run = steps.iter().find(|step| step["op"].get("run").is_some());
    let run = run.expect("a RUN");
    assert_eq!(run["line"], 4);
    assert_eq!(run["inputs"], json!(["step1"]));
}

#[test]
fn each_platform_has_its_own() {
    let Some(site) = site() else {
        return;
    };
    let context = site.context("context", "FROM scratch\nCOPY Cargo.lock /\n");
    let lock = "[[package]]\nname = \"serde\"\nversion = \"1.0.200\"\n";
    fs::write(context.join("Cargo.lock"), lock).expect("a lock file");
    let platforms = ["--platform=linux/amd64,linux/arm64"];
    site.built("store", "plain", &context, &platforms);
    let plain = manifest(&site, "plain", "1");
    let all = [platforms.as_slice(), &["--sbom=true"]].concat();
    site.built("store", "app", &context, &all);
    let index = manifest(&site, "app", "1");
    let entries = index["manifests"].as_array().expect("a list");
    assert_eq!(entries.len(), 4, "images first, then what is said of them");
    for (place, architecture) in ["amd64", "arm64"].iter().enumerate() {
        assert_eq!(entries[place], plain["manifests"][place]);
        let said = &entries[place + 2];
        assert_eq!(
            said["annotations"]["vnd.docker.reference.digest"],
            entries[place]["digest"]
        );
        let statement = statements(&site, "app", said).remove(0);
        let subject = statement["subject"][0]["name"].as_str().expect("a text");
        assert!(
            subject.ends_with(&format!("linux%2F{architecture}")),
            "{subject}"
        );
    }
}

#[test]
fn nothing_is_attached_unless_it_is_asked_for() {
    let Some(site) = site() else {
        return;
    };
    let context = context(&site);
    let plain = site.built("store", "app", &context, &[]);
    let no = [
        "--provenance=false",
        "--sbom=false",
        "--attest=type=sbom,disabled=true",
    ];
    for flag in no {
        assert_eq!(
            site.built("store", "app", &context, &[flag]),
            plain,
            "{flag}"
        );
    }
}

#[test]
fn referrers_are_found_by_the_digest_of_the_image() {
    let Some(site) = site() else {
        return;
    };
    let context = context(&site);
    let digest = site.built("store", "app", &context, &BOTH);
    let index = manifest(&site, "app", &digest);
    let subject = index["manifests"][0]["digest"].as_str().expect("a text");
    let more = ["--provenance=true", "--sbom=format=both,referrers=true"];
    assert_eq!(
        site.built("store", "app", &context, &more),
        digest,
        "what the tag points at is the same, and they come all the same"
    );
    let tag = subject.replace(':', "-");
    let listed = match site.registry.manifest("app", &tag) {
        Some((_, _, bytes)) => parsed(&bytes),
        None => {
            let url = format!("{}/v2/app/referrers/{subject}", site.registry.url());
            let output = std::process::Command::new("curl")
                .args(["-s", &url])
                .output();
            let Ok(output) = output else {
                eprintln!("skipped: curl is not installed");
                return;
            };
            parsed(&output.stdout)
        }
    };
    let listed = listed["manifests"].as_array().expect("a list");
    let mut kinds: Vec<&str> = Vec::new();
    for referrer in listed {
        assert_eq!(referrer["artifactType"], IN_TOTO);
        let kind = &referrer["annotations"]["in-toto.io/predicate-type"];
        kinds.push(kind.as_str().expect("a kind"));
        let digest = referrer["digest"].as_str().expect("a digest");
        let manifest = manifest(&site, "app", digest);
        assert_eq!(manifest["subject"]["digest"], subject);
        assert_eq!(manifest["layers"][0]["mediaType"], IN_TOTO);
    }
    kinds.sort_unstable();
    assert_eq!(kinds, [CYCLONEDX, PROVENANCE, SPDX]);
}

#[test]
fn what_was_built_before_is_pushed_with_what_is_said_of_it() {
    let Some(site) = site() else {
        return;
    };
    let context = context(&site);
    let direct = site.built("one", "app", &context, &BOTH);
    let tag = format!("{REGISTRY}/app:1");
    let fixed = ["--progress", "quiet", "-t", tag.as_str()];
    let place = context.to_str().expect("UTF-8");
    let build = site
        .kiln("build", "two", &[&fixed[..], &BOTH, &[place]].concat())
        .output();
    assert_eq!(site.success(&build.expect("kiln starts")), direct);
    let elsewhere = format!("{REGISTRY}/elsewhere:1");
    let push = site
        .kiln("push", "two", &["--progress", "quiet", &tag, &elsewhere])
        .output();
    site.success(&push.expect("kiln starts"));
    let (found, ..) = site.registry.manifest("elsewhere", "1").expect("a tag");
    assert_eq!(found.to_string(), direct);
    let index = manifest(&site, "elsewhere", "1");
    let said = statements(&site, "elsewhere", &index["manifests"][1]);
    assert_eq!(said.len(), 3);
}
