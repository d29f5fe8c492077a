//! Where attestations go: layouts, files beside files, and where they have no place.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{BOTH, PROVENANCE, SPDX, context, manifest, parsed, site};
use crate::site::Site;

/// Runs another tool; nothing where it is not installed.
fn asked(site: &Site, tool: &str, arguments: &[&str]) -> Option<String> {
    let storage = site.path("storage.conf");
    let place = |name: &str| site.path(name).display().to_string();
    let text = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        place("graph"),
        place("run")
    );
    fs::write(&storage, text).expect("a file");
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .env("CONTAINERS_STORAGE_CONF", &storage);
    let Ok(output) = command.output() else {
        eprintln!("skipped: {tool} is not installed");
        return None;
    };
    assert!(output.status.success(), "{}", site.describe(&output));
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn other_tools_take_the_image_out_of_the_index() {
    let Some(site) = site() else {
        return;
    };
    let context = context(&site);
    let plain = site.built("store", "plain", &context, &[]);
    site.built("store", "app", &context, &BOTH);
    let reference = format!("docker://{}/app:1", site.registry.host());
    let copied = site.path("copied");
    let to = format!("oci:{}:1", copied.display());
    let copy = [
        "--insecure-policy",
        "copy",
        "--src-tls-verify=false",
        &reference,
        &to,
    ];
    if asked(&site, "skopeo", &copy).is_some() {
        let index = parsed(&fs::read(copied.join("index.json")).expect("an index"));
        assert_eq!(index["manifests"][0]["digest"], plain);
    }
    // With everything, by the digests that were pushed.
    let all = site.path("all");
    let to = format!("oci:{}:1", all.display());
    let flags = [
        "--insecure-policy",
        "copy",
        "--all",
        "--src-tls-verify=false",
    ];
    if asked(&site, "skopeo", &[&flags[..], &[&reference, &to]].concat()).is_some() {
        let index = parsed(&fs::read(all.join("index.json")).expect("an index"));
        let pushed = site.registry.manifest("app", "1").expect("a tag").0;
        assert_eq!(index["manifests"][0]["digest"], pushed.to_string());
    }
    let name = format!("{}/app:1", site.registry.host());
    let config = manifest(&site, "plain", "1")["config"]["digest"].take();
    for tool in ["podman", "buildah"] {
        let pull = ["pull", "--quiet", "--tls-verify=false", &name];
        if let Some(id) = asked(&site, tool, &pull) {
            assert_eq!(
                format!("sha256:{id}"),
                config.as_str().expect("a text"),
                "{tool}"
            );
        }
    }
}

#[test]
fn an_image_layout_has_them_too() {
    let Some(site) = site() else {
        return;
    };
    let context = context(&site);
    let digest = site.built("store", "app", &context, &BOTH);
    let layout = site.path("work").join("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let name = format!("{}/app:1", site.registry.host());
    let place = context.to_str().expect("UTF-8");
    let words = ["--progress", "quiet", "-t", &name, "-o", &output];
    let build = site.kiln("build", "store", &[&words[..], &BOTH, &[place]].concat());
    assert_eq!(
        site.success(&{ build }.output().expect("kiln starts")),
        digest
    );
    let read = |digest: &Value| {
        let name = digest.as_str().expect("a digest").replace(':', "/");
        fs::read(layout.join("blobs").join(name)).expect("a blob")
    };
    let top = parsed(&fs::read(layout.join("index.json")).expect("an index"));
    assert_eq!(top["manifests"][0]["digest"], digest);
    let index = parsed(&read(&top["manifests"][0]["digest"]));
    let attestation = parsed(&read(&index["manifests"][1]["digest"]));
    for layer in attestation["layers"].as_array().expect("layers") {
        let bytes = read(&layer["digest"]);
        assert_eq!(oci::Digest::of(&bytes).to_string(), layer["digest"]);
    }
    read(&attestation["config"]["digest"]);
}

/// The statements in files of a directory, by name.
fn files(directory: &Path) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".json") {
            found.push((name, parsed(&fs::read(entry.path()).expect("a file"))));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

#[test]
fn files_get_files_beside_them() {
    let Some(site) = site() else {
        return;
    };
    let context = context(&site);
    let place = context.to_str().expect("UTF-8");
    let build = |output: &str, more: &[&str]| {
        let fixed = ["--progress", "quiet", "-o", output];
        let build = site.kiln("build", "store", &[&fixed[..], more, &[place]].concat());
        site.success(&{ build }.output().expect("kiln starts"));
    };
    let asked = ["--provenance=true", "--sbom=true"];
    build("out", &asked);
    let out = site.path("work").join("out");
    let found = files(&out);
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["provenance.json", "sbom.spdx.json"]);
    assert_eq!(found[0].1["predicateType"], PROVENANCE);
    assert_eq!(found[1].1["predicateType"], SPDX);
    let lock = fs::read(out.join("app/Cargo.lock")).expect("a file");
    for (_, statement) in &found {
        let subjects = statement["subject"].as_array().expect("subjects");
        let names: Vec<&Value> = subjects.iter().map(|subject| &subject["name"]).collect();
        assert_eq!(
            names,
            [
                "app/Cargo.lock",
                "usr/lib/os-release",
                "var/lib/dpkg/status"
            ]
        );
        assert_eq!(
            subjects[0]["digest"]["sha256"],
            oci::Digest::of(&lock).hex()
        );
    }
    // Each platform in a directory of its own, or all in one place under names of their own.
    let split = [
        "--platform=linux/amd64,linux/arm64",
        "--provenance=filename=p.json",
    ];
    build("split", &split);
    assert_eq!(
        files(&site.path("work").join("split/linux_arm64"))[0].0,
        "p.json"
    );
    build("type=local,dest=flat,platform-split=false", &split);
    let names: Vec<String> = files(&site.path("work").join("flat"))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["p.linux_amd64.json", "p.linux_arm64.json"]);
    build(
        "inline",
        &["--provenance=inline-only=true", "--sbom=inline-only=true"],
    );
    assert!(files(&site.path("work").join("inline")).is_empty());
    // The same in an archive.
    build("type=tar,dest=out.tar", &asked);
    let listed = Command::new("tar")
        .arg("-tf")
        .arg(site.path("work").join("out.tar"))
        .output()
        .expect("tar runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for name in ["provenance.json", "sbom.spdx.json"] {
        assert!(listed.lines().any(|line| line == name), "{listed}");
    }
}

#[test]
fn an_archive_for_docker_has_no_place_for_them() {
    let Some(site) = site() else {
        return;
    };
    let context = context(&site);
    let place = context.to_str().expect("UTF-8");
    let build = |more: &[&str]| {
        let fixed = ["--progress", "quiet", "-o", "type=docker,dest=image.tar"];
        let build = site.kiln("build", "store", &[&fixed[..], more, &[place]].concat());
        { build }.output().expect("kiln starts")
    };
    let refused = build(&["--sbom=true"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = site.describe(&refused);
    assert!(
        told.contains("an archive for docker has no place for attestations"),
        "{told}"
    );
    site.success(&build(&[]));
    let plain = fs::read(site.path("work").join("image.tar")).expect("an archive");
    site.success(&build(&["--provenance=inline-only=true"]));
    let other = fs::read(site.path("work").join("image.tar")).expect("an archive");
    assert!(plain == other, "they are left out");
}
