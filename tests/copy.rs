//! What is copied arrives whole, byte for byte, wherever it goes; and where it cannot, nothing of it
//! is to be seen.

mod archives;
mod real;
mod refused;
pub(crate) mod rich;

use std::process::{Command, Output};

use oci::{Digest, MediaType};
use serde_json::{Value, json};
use testkit::{
    Action, Endpoint, ImmutableTags, Layer, Match, Method, Options, Registry, image, validate_image,
};

use self::rich::{OCI_MANIFEST, Rich, seed_rich};
use crate::cli::Environment;

/// Stdout of a run that must succeed.
pub(crate) fn good(environment: &Environment, arguments: &[&str]) -> String {
    let output = environment.kiln(arguments).output().expect("kiln starts");
    assert!(
        output.status.success(),
        "kiln {}: {}",
        arguments.join(" "),
        environment.describe(&output)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Exit code and stderr of a run that must fail, with nothing on stdout.
pub(crate) fn bad(environment: &Environment, arguments: &[&str]) -> (i32, String) {
    let output = environment.kiln(arguments).output().expect("kiln starts");
    let said = environment.describe(&output);
    assert!(
        !output.status.success(),
        "kiln {}: {said}",
        arguments.join(" ")
    );
    assert!(output.stdout.is_empty(), "{said}");
    (output.status.code().unwrap_or(-1), said)
}

/// Runs another program; nothing, with a note, where it is not installed.
pub(crate) fn other(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: {program} cannot be run: {error}");
            None
        }
    }
}

/// A manifest as cosign keeps signatures, under a tag made from a digest; the digest of its layer.
fn seed_signatures(registry: &Registry, repository: &str, tag: &str, by: &str) -> String {
    let config = registry.put_blob(repository, "{}");
    let layer = registry.put_blob(repository, by.to_owned()).to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": MediaType::OciConfig.as_str(), "digest": config.to_string(), "size": 2,
        },
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": layer, "size": by.len(),
        }],
    });
    registry.put_manifest(repository, tag, OCI_MANIFEST, manifest.to_string());
    layer
}

#[test]
fn signatures_of_others_stay_where_an_image_is_copied_to() {
    let (from, to) = (Registry::start(), Registry::start());
    let rich = seed_rich(&from, "app");
    let ours = seed_signatures(&from, "app", &rich.cosign_tag, "we");
    let theirs = seed_signatures(&to, "app", &rich.cosign_tag, "release");
    let environment = Environment::new();
    let source = format!("{}/app:1", from.host());
    let target = format!("{}/app:1", to.host());
    for _ in 0..2 {
        good(&environment, &["copy", &source, &target]);
        let (_, _, bytes) = to.manifest("app", &rich.cosign_tag).expect("signatures");
        let manifest: Value = serde_json::from_slice(&bytes).expect("JSON");
        let layers = manifest["layers"].as_array().expect("layers").iter();
        let layers: Vec<_> = layers
            .filter_map(|layer| layer["digest"].as_str())
            .collect();
        assert_eq!(layers, [&theirs, &ours]);
    }
}

/// Whether a registry has every byte of it under the tag, and all that belongs to it.
fn assert_rich(from: &Registry, to: &Registry, repository: &str, tag: &str, rich: &Rich) {
    let (digest, content_type, bytes) = to.manifest(repository, tag).expect("the tag");
    assert_eq!(digest, rich.index);
    assert_eq!(content_type, MediaType::OciIndex.as_str());
    assert_eq!(bytes, from.manifest("app", "1").expect("the source").2);
    for image in &rich.images {
        validate_image(to, repository, image.as_str()).expect("a valid image");
    }
    let documents = [
        &rich.attestation,
        &rich.signature,
        &rich.note,
        &rich.contents,
        &rich.cosign,
    ];
    for digest in documents {
        let (_, _, bytes) = to
            .manifest(repository, digest.as_str())
            .unwrap_or_else(|| panic!("{digest} is missing"));
        let manifest: Value = serde_json::from_slice(&bytes).expect("a manifest");
        for layer in manifest["layers"].as_array().expect("layers") {
            let digest = layer["digest"].as_str().expect("a digest").parse();
            let blob = to.blob(repository, &digest.expect("a digest"));
            assert!(blob.is_some(), "{layer} is missing");
        }
    }
    let (cosign, _, _) = to.manifest(repository, &rich.cosign_tag).expect("a tag");
    assert_eq!(cosign, rich.cosign);
}

#[test]
fn an_index_goes_to_another_registry_with_all_that_belongs_to_it() {
    for referrers in [true, false] {
        let from = Registry::start();
        let rich = seed_rich(&from, "app");
        let to = Registry::with(Options {
            referrers,
            ..Options::default()
        });
        let environment = Environment::new();
        let source = format!("{}/app:1", from.host());
        let target = format!("{}/team/app:1.0", to.host());
        let product = good(&environment, &["copy", &source, &target]);
        assert_eq!(product, format!("{target}@{}\n", rich.index));
        assert_rich(&from, &to, "team/app", "1.0", &rich);
        // The tag that people use was the last.
        let puts: Vec<String> = (to.lines().into_iter())
            .filter(|line| line.starts_with("PUT") && line.contains("/manifests/"))
            .collect();
        assert_eq!(
            puts.last().map(String::as_str),
            Some("PUT /v2/team/app/manifests/1.0"),
            "{puts:#?}"
        );
        let tag = format!("sha256-{}", rich.index.hex());
        assert_eq!(to.manifest("team/app", &tag).is_some(), !referrers);

        // Back again, from a registry that may have no list: to a third one.
        let third = Registry::start();
        let again = format!("{}/app:1", third.host());
        good(&environment, &["copy", &target, &again]);
        assert_rich(&from, &third, "app", "1", &rich);

        // Once more: nothing is sent.
        to.clear_log();
        let product = good(
            &environment,
            &["copy", "--format", "json", &source, &target],
        );
        let product: Value = serde_json::from_str(&product).expect("JSON");
        assert_eq!(product["schema"], 1);
        assert_eq!(
            product["images"][0]["destinations"][0]["change"],
            "unchanged"
        );
        assert_eq!(product["traffic"]["sent"], 0);
        assert!(!to.lines().iter().any(|line| line.starts_with("POST")));
    }
}

#[test]
fn in_one_registry_blobs_are_mounted() {
    let registry = Registry::start();
    let rich = seed_rich(&registry, "app");
    let environment = Environment::new();
    let source = format!("{}/app:1", registry.host());
    let target = format!("{}/prod/app:1", registry.host());
    good(&environment, &["copy", &source, &target]);
    assert_rich(&registry, &registry, "prod/app", "1", &rich);
    let sent = registry
        .log()
        .iter()
        .filter(|request| request.line().starts_with("PUT") && request.line().contains("/blobs/"))
        .count();
    assert_eq!(sent, 0, "{:#?}", registry.lines());
}

#[test]
fn one_platform_is_its_manifest() {
    let from = Registry::start();
    let rich = seed_rich(&from, "app");
    let to = Registry::start();
    let environment = Environment::new();
    let source = format!("{}/app:1", from.host());
    let target = format!("{}/app:arm", to.host());
    let product = good(
        &environment,
        &["copy", "--platform", "linux/amd64", &source, &target],
    );
    assert_eq!(product, format!("{target}@{}\n", rich.images[0]));
    let (digest, _, _) = to.manifest("app", "arm").expect("a tag");
    assert_eq!(digest, rich.images[0]);
    // What is about this image came along, and what is about others did not.
    assert!(to.manifest("app", rich.contents.as_str()).is_some());
    assert!(to.manifest("app", rich.signature.as_str()).is_none());
    let (code, said) = bad(
        &environment,
        &["copy", "--platform", "linux/s390x", &source, &target],
    );
    assert_eq!(code, 2);
    assert!(said.contains("there is no image for linux/s390x"), "{said}");
    assert!(said.contains("linux/amd64, linux/arm64"), "{said}");
}

#[test]
fn referrers_stay_where_they_are_when_asked() {
    let from = Registry::start();
    let rich = seed_rich(&from, "app");
    let to = Registry::start();
    let environment = Environment::new();
    let source = format!("{}/app:1", from.host());
    let target = format!("{}/app:1", to.host());
    good(&environment, &["copy", "--no-referrers", &source, &target]);
    assert!(to.manifest("app", rich.signature.as_str()).is_none());
    assert_eq!(to.tags("app"), ["1"]);
    // What the index lists is a part of it.
    assert!(to.manifest("app", rich.attestation.as_str()).is_some());
}

#[test]
fn through_a_layout_and_an_archive_and_back() {
    let from = Registry::start();
    let rich = seed_rich(&from, "app");
    let environment = Environment::new();
    let source = format!("{}/app:1", from.host());
    let to = Registry::start();
    for (number, place) in ["oci:layout:one", "oci-archive:file.tar:one", "oci:bare"]
        .into_iter()
        .enumerate()
    {
        good(&environment, &["copy", &source, place]);
        let target = format!("{}/from{number}/app:1", to.host());
        good(&environment, &["copy", place, &target]);
        assert_rich(&from, &to, &format!("from{number}/app"), "1", &rich);
    }
    // Equal images make equal archives.
    good(
        &environment,
        &["copy", &source, "oci-archive:again.tar:one"],
    );
    let read = |name: &str| std::fs::read(environment.work().join(name)).expect(name);
    assert!(read("file.tar") == read("again.tar"));
    // A layout is added to, and then has to be asked by name.
    good(
        &environment,
        &["copy", "--no-referrers", &source, "oci:layout:two"],
    );
    let target = format!("{}/x:1", to.host());
    let digest = format!("oci:layout@{}", rich.images[1]);
    assert_eq!(
        good(&environment, &["copy", &digest, &target]),
        format!("{target}@{}\n", rich.images[1])
    );
    let (code, said) = bad(&environment, &["copy", "oci:layout:three", &target]);
    assert_eq!(code, 2);
    assert!(
        said.contains("layout has one, two") || said.contains("two"),
        "{said}"
    );
}

#[test]
fn all_tags_of_a_repository() {
    let from = Registry::start();
    let rich = seed_rich(&from, "app");
    let single = image().layer(Layer::new().file("/x", "x")).build();
    for tag in ["a", "b", "c"] {
        from.seed("app", tag, &single);
    }
    let to = Registry::start();
    let environment = Environment::new();
    let source = format!("{}/app", from.host());
    let target = format!("{}/mirror/app", to.host());
    let layout = "oci:all";
    let product = good(
        &environment,
        &["copy", "--all-tags", &source, &target, layout],
    );
    assert_rich(&from, &to, "mirror/app", "1", &rich);
    assert_eq!(
        to.tags("mirror/app"),
        ["1", "a", "b", "c", &rich.cosign_tag]
    );
    assert!(
        product.contains(&format!("{target}:b@{}\n", single.digest)),
        "{product}"
    );
    let inside = good(&environment, &["copy", "oci:all:b", "store:fromlayout"]);
    assert!(
        inside.ends_with(&format!("@{}\n", single.digest)),
        "{inside}"
    );
    for wrong in [
        ["copy", "--all-tags", &format!("{source}:1"), &target],
        ["copy", "--all-tags", &source, &format!("{target}:1")],
        ["copy", "--all-tags", "oci:all", &target],
        ["copy", "--all-tags", &source, "docker-archive:x.tar"],
    ] {
        assert_eq!(bad(&environment, &wrong).0, 2, "{wrong:?}");
    }
}

#[test]
fn a_dry_run_touches_nothing() {
    let from = Registry::start();
    let rich = seed_rich(&from, "app");
    let to = Registry::start();
    to.seed("app", "old", &image().build());
    let environment = Environment::new();
    let source = format!("{}/app:1", from.host());
    let [new, old] = ["new", "old"].map(|tag| format!("{}/app:{tag}", to.host()));
    let product = good(
        &environment,
        &["copy", "--dry-run", &source, &new, &old, "oci:nothing"],
    );
    assert!(
        product.contains(&format!("{new}@{} (new)\n", rich.index)),
        "{product}"
    );
    assert!(
        product.contains(&format!("{old}@{} (moved from ", rich.index)),
        "{product}"
    );
    assert!(
        product.contains("(application/vnd.cncf.notary.signature)"),
        "{product}"
    );
    assert!(!environment.work().join("nothing").exists());
    assert!(
        to.lines()
            .iter()
            .all(|line| line.starts_with("HEAD") || line.starts_with("GET")),
        "{:#?}",
        to.lines()
    );
}

#[test]
fn tags_that_must_not_move_do_not() {
    let from = Registry::start();
    let rich = seed_rich(&from, "app");
    let environment = Environment::new();
    let source = format!("{}/app:1", from.host());
    for words in [
        None,
        Some(ImmutableTags::ArtifactRegistry),
        Some(ImmutableTags::Ecr),
    ] {
        let to = Registry::start();
        let old = to.seed("app", "1", &image().build());
        if let Some(words) = words {
            to.set_immutable_tags("app", words);
        }
        let target = format!("{}/app:1", to.host());
        let flags: &[&str] = if words.is_none() {
            &["--immutable"]
        } else {
            &[]
        };
        let arguments = [&["copy", &source, &target], flags].concat();
        let (code, said) = bad(&environment, &arguments);
        assert_ne!(code, 2, "{said}");
        assert!(said.contains("points at"), "{said}");
        if words.is_none() {
            let dry = [&arguments[..], &["--dry-run"]].concat();
            let (dry, said) = bad(&environment, &dry);
            assert_eq!((code, dry), (3, 3), "{said}");
        }
        assert_eq!(to.manifest("app", "1").expect("a tag").0, old);
        // The same digest is success.
        let (other, fresh) = (format!("{}/app:2", to.host()), rich.index.to_string());
        for _ in 0..2 {
            let arguments = [&["copy", &source, &other], flags].concat();
            assert!(good(&environment, &arguments).contains(&fresh));
        }
    }
}

#[test]
fn faults_on_the_way_are_got_over() {
    let from = Registry::start();
    let rich = seed_rich(&from, "app");
    let to = Registry::start();
    let at = |method: Method, endpoint: Endpoint| Match::new(method, endpoint);
    let slow = || Action::status_with(429, "retry-after", "0");
    from.fault(at(Method::GET, Endpoint::Manifest).nth(2), slow());
    from.fault(
        at(Method::GET, Endpoint::Referrers).nth(1),
        Action::status(503),
    );
    from.fault(
        at(Method::GET, Endpoint::Blob).nth(1),
        Action::Truncate { after: 20 },
    );
    from.fault(
        at(Method::GET, Endpoint::Blob).nth(3),
        Action::Reset { after: 10 },
    );
    to.fault(
        at(Method::POST, Endpoint::UploadStart).times(2),
        Action::status(500),
    );
    to.fault(
        at(Method::PUT, Endpoint::UploadSession).nth(1),
        Action::ResetRequest { after: 5 },
    );
    to.fault(
        at(Method::PUT, Endpoint::Manifest).nth(2),
        Action::StatusAfter(502),
    );
    to.fault(at(Method::PUT, Endpoint::Manifest).nth(3), Action::Forget);
    let environment = Environment::new();
    let source = format!("{}/app:1", from.host());
    let target = format!("{}/app:1", to.host());
    good(&environment, &["copy", &source, &target]);
    assert_rich(&from, &to, "app", "1", &rich);
}

#[test]
fn what_is_listed_and_not_there_is_left_out_and_said() {
    let from = Registry::with(Options {
        referrers: false,
        ..Options::default()
    });
    let rich = seed_rich(&from, "app");
    let gone = Digest::of(b"gone");
    let entry = |digest: &Digest| json!({"mediaType": OCI_MANIFEST, "digest": digest.as_str(), "size": 10, "artifactType": "x/y"});
    // One is gone, one is about something else.
    let list = json!({"schemaVersion": 2, "mediaType": MediaType::OciIndex.as_str(),
        "manifests": [entry(&gone), entry(&rich.contents)]});
    let tag = format!("sha256-{}", rich.index.hex());
    from.put_manifest("app", &tag, MediaType::OciIndex.as_str(), list.to_string());
    let to = Registry::start();
    let environment = Environment::new();
    let source = format!("{}/app:1", from.host());
    let target = format!("{}/app:1", to.host());
    let output = environment.kiln(&["copy", &source, &target]).output();
    let said = environment.describe(&output.expect("kiln starts"));
    assert!(said.starts_with("exit 0"), "{said}");
    assert!(
        said.contains(&format!("{gone} is listed as a referrer")),
        "{said}"
    );
    assert!(said.contains("does not say so itself"), "{said}");
}

/// E17.
#[test]
fn names_in_archives_name_nothing() {
    let from = Registry::start();
    from.seed(
        "evil",
        "1",
        &image().layer(Layer::new().file("/x", "x")).build(),
    );
    let environment = Environment::new();
    let source = format!("{}/evil:1", from.host());
    let archive = "docker-archive:evil.tar:docker.io/library/alpine:latest";
    good(&environment, &["copy", &source, archive]);
    good(
        &environment,
        &["copy", "docker-archive:evil.tar", "store:mine"],
    );
    let names = good(&environment, &["store", "ls"]);
    assert!(names.contains("library/mine"), "{names}");
    assert!(!names.contains("alpine"), "{names}");
}

#[test]
fn an_image_is_pulled_and_sent_on_without_its_registry() {
    let environment = Environment::new();
    let to = Registry::start();
    let (name, index) = {
        let from = Registry::start();
        let rich = seed_rich(&from, "app");
        let name = format!("{}/app:1", from.host());
        assert_eq!(
            good(&environment, &["pull", &name]),
            format!("{}\n", rich.index)
        );
        (name, rich.index)
    };
    let target = format!("{}/app:1", to.host());
    good(&environment, &["copy", &format!("store:{name}"), &target]);
    assert_eq!(to.manifest("app", "1").expect("a tag").0, index);
    good(
        &environment,
        &["tag", &format!("store:{name}"), "store:other"],
    );
    let (code, said) = bad(&environment, &["copy", "store:another", &target]);
    assert_eq!(code, 2);
    assert!(said.contains("library/other"), "{said}");
}

#[test]
fn tags_are_set_without_moving_blobs() {
    let registry = Registry::start();
    let rich = seed_rich(&registry, "app");
    let environment = Environment::new();
    let [one, two, three] = ["1", "2", "3"].map(|tag| format!("{}/app:{tag}", registry.host()));
    let product = good(&environment, &["tag", &one, &two, &three]);
    assert_eq!(product, format!("{two}@{0}\n{three}@{0}\n", rich.index));
    assert_eq!(registry.manifest("app", "3").expect("a tag").0, rich.index);
    assert!(!registry.lines().iter().any(|line| line.starts_with("POST")));
    let old = registry.seed("app", "old", &image().build());
    let moved = format!("{}/app:old", registry.host());
    bad(&environment, &["tag", "--immutable", &one, &moved]);
    assert_eq!(registry.manifest("app", "old").expect("a tag").0, old);
    good(&environment, &["tag", "--immutable", &one, &two]);
    let (code, said) = bad(
        &environment,
        &["tag", &one, &format!("{}/b:1", registry.host())],
    );
    assert_eq!(code, 2);
    assert!(said.contains("kiln copy"), "{said}");
}

#[test]
fn other_programs_read_what_is_written() {
    let from = Registry::start();
    let single = image()
        .layer(Layer::new().file("/etc/x", "x"))
        .config("Cmd", json!(["/etc/x"]))
        .build();
    from.seed("app", "1", &single);
    let rich = seed_rich(&from, "rich");
    let environment = Environment::new();
    let source = format!("{}/app:1", from.host());
    let path = |name: &str| environment.work().join(name).display().to_string();
    let places = [
        format!("oci:{}:v1", path("layout")),
        format!("oci-archive:{}:v1", path("oci.tar")),
        format!("docker-archive:{}:example.org/app:v1", path("docker.tar")),
    ];
    for place in &places {
        good(&environment, &["copy", &source, place]);
        let Some(output) = other("skopeo", &["inspect", "--raw", place]) else {
            return;
        };
        assert!(output.status.success(), "{place}: {output:?}");
        if !place.starts_with("docker") {
            assert_eq!(output.stdout, single.manifest, "{place}");
        }
        let copied = format!("dir:{}", path("skopeo"));
        let output = other("skopeo", &["copy", place, &copied]).expect("it is installed");
        assert!(output.status.success(), "{place}: {output:?}");
    }
    let rich_source = format!("{}/rich:1", from.host());
    let place = format!("oci:{}:all", path("richlayout"));
    good(&environment, &["copy", &rich_source, &place]);
    let output = other("skopeo", &["inspect", "--raw", &place]).expect("it is installed");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(Digest::of(&output.stdout), rich.index);
    // And the other way round: what skopeo writes is read.
    let theirs = format!("docker-archive:{}:example.org/app:v1", path("theirs.tar"));
    let output = other("skopeo", &["copy", &places[0], &theirs]).expect("it is installed");
    assert!(output.status.success(), "{output:?}");
    good(&environment, &["copy", &theirs, "store:theirs"]);
    let back = Registry::start();
    let target = format!("{}/theirs:1", back.host());
    good(
        &environment,
        &["copy", "docker-archive:theirs.tar", &target],
    );
    let valid = validate_image(&back, "theirs", "1").expect("a valid image");
    assert_eq!(valid.config["config"]["Cmd"], json!(["/etc/x"]));
}
