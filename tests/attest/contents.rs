//! What lists of contents list.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::{Layer, image};

use super::{CYCLONEDX, SPDX, manifest, statements};
use crate::site::{Caller, Site};

const RPM_DATABASE: &[u8] = include_bytes!("../../crates/sign/src/packages/rpm/fixture.sqlite");

/// Builds `FROM` a base with these files, with others of the context, and gives its lists by kind.
#[track_caller]
fn lists(site: &Site, base: &[(&str, &[u8])], files: &[(&str, &str)]) -> BTreeMap<String, Value> {
    let mut layer = Layer::new();
    for (path, content) in base {
        layer = layer.file(path, content);
    }
    site.registry.seed("os", "1", &image().layer(layer).build());
    let context = site.context("context", "FROM REGISTRY/os:1\nCOPY files /app/\n");
    for (path, content) in files {
        let path = context.join("files").join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
    fs::create_dir_all(context.join("files")).expect("a directory");
    site.built("store", "app", &context, &["--sbom=format=both"]);
    let index = manifest(site, "app", "1");
    let said = statements(site, "app", &index["manifests"][1]).into_iter();
    said.map(|mut one| {
        let kind = one["predicateType"].as_str().expect("a kind").to_owned();
        (kind, one["predicate"].take())
    })
    .collect()
}

/// The package URLs of both lists, which are the same.
#[track_caller]
fn purls(lists: &BTreeMap<String, Value>) -> Vec<String> {
    let packages = lists[SPDX]["packages"].as_array().expect("a list").iter();
    let locator = |package: &Value| {
        let locator = package["externalRefs"][0]["referenceLocator"].as_str();
        locator.map(str::to_owned)
    };
    let found: Vec<String> = packages.filter_map(locator).collect();
    let components = lists[CYCLONEDX]["components"]
        .as_array()
        .expect("a list")
        .iter();
    let other: Vec<String> = components
        .filter_map(|component| component["purl"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(found, other);
    found
}

#[test]
fn packages_of_systems_and_of_languages_are_found() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let check = |base: &[(&str, &[u8])], files: &[(&str, &str)], expected: &[&str]| {
        assert_eq!(purls(&lists(&site, base, files)), expected);
    };
    let installed: &[u8] = b"P:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n\n";
    check(
        &[
            ("etc/os-release", b"ID=alpine\nVERSION_ID=3.20.1\n"),
            ("lib/apk/db/installed", installed),
        ],
        &[
            (
                "package-lock.json",
                r#"{"packages": {"node_modules/a": {"version": "1.0.0"}}}"#,
            ),
            ("py/requirements.txt", "flask==3.0.0\n"),
            ("go/go.mod", "require a.example/b v1.0.0\n"),
            ("go/go.sum", "a.example/b v0.9.0 h1:x=\n"),
            (
                "sub/Cargo.lock",
                "[[package]]\nname = \"serde\"\nversion = \"1.0.200\"\n",
            ),
            (
                "other/Cargo.lock",
                "[[package]]\nname = \"serde\"\nversion = \"1.0.200\"\n",
            ),
        ],
        &[
            "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.20.1",
            "pkg:cargo/serde@1.0.200",
            "pkg:npm/a@1.0.0",
            "pkg:pypi/flask@3.0.0",
            "pkg:golang/a.example/b@v1.0.0",
        ],
    );
}

#[test]
fn a_database_of_rpm_is_read_where_the_layer_lies() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let lists = lists(
        &site,
        &[
            ("usr/lib/os-release", b"ID=\"fedora\"\nVERSION_ID=40\n"),
            ("usr/lib/sysimage/rpm/rpmdb.sqlite", RPM_DATABASE),
        ],
        &[],
    );
    let purls = purls(&lists);
    assert_eq!(purls.len(), 60);
    assert_eq!(
        purls[0],
        "pkg:rpm/fedora/package-000@1.0-1?arch=noarch&distro=fedora-40"
    );
}

#[test]
fn what_could_not_be_read_is_said() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let lists = lists(
        &site,
        &[("var/lib/rpm/Packages", b"berkeley")],
        &[("Cargo.lock", "[[package"), ("package-lock.json", "{")],
    );
    let notes = lists[SPDX]["annotations"].as_array().expect("notes").iter();
    let notes: Vec<&str> = notes.filter_map(|note| note["comment"].as_str()).collect();
    assert_eq!(
        notes,
        [
            "/app/Cargo.lock was not read: it is not TOML",
            "/app/package-lock.json was not read: it is not JSON",
            "/var/lib/rpm/Packages was not read: a database of rpm in the form Berkeley DB is not read",
        ]
    );
    let context = site.path("context");
    let context = context.to_str().expect("UTF-8");
    let words = [
        "--progress",
        "plain",
        "--sbom=true",
        "-t",
        "kept:1",
        context,
    ];
    let output = site
        .kiln("build", "store", &words)
        .output()
        .expect("kiln starts");
    site.success(&output);
    let told = site.describe(&output);
    assert!(
        told.contains("is not complete: /app/Cargo.lock was not read"),
        "{told}"
    );
}

#[test]
fn lists_of_a_file_that_was_removed_or_replaced_are_not_there() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let base = image()
        .layer(
            Layer::new()
                .file(
                    "a/Cargo.lock",
                    "[[package]]\nname = \"gone\"\nversion = \"1\"\n",
                )
                .file(
                    "b/Cargo.lock",
                    "[[package]]\nname = \"old\"\nversion = \"1\"\n",
                )
                .file(
                    "c/Cargo.lock",
                    "[[package]]\nname = \"kept\"\nversion = \"1\"\n",
                ),
        )
        .layer(Layer::new().whiteout("a/Cargo.lock"))
        .build();
    site.registry.seed("os", "1", &base);
    let context = site.context("context", "FROM REGISTRY/os:1\nCOPY Cargo.lock /b/\n");
    let lock = "[[package]]\nname = \"new\"\nversion = \"1\"\n";
    fs::write(context.join("Cargo.lock"), lock).expect("a file");
    site.built("store", "app", &context, &["--sbom=true"]);
    let index = manifest(&site, "app", "1");
    let list = statements(&site, "app", &index["manifests"][1]).remove(0);
    let text = list.to_string();
    for (name, expected) in [
        ("gone", false),
        ("old", false),
        ("kept", true),
        ("new", true),
    ] {
        assert_eq!(
            text.contains(&format!("pkg:cargo/{name}@1")),
            expected,
            "{name}"
        );
    }
}

/// What dpkg itself says of its database, against what is listed of it.
#[test]
fn a_real_database_of_dpkg_is_listed_as_dpkg_lists_it() {
    let status = Path::new("/var/lib/dpkg/status");
    let query = Command::new("dpkg-query")
        .args([
            "-W",
            "-f",
            "${db:Status-Status} ${Package} ${Version} ${Architecture}\n",
        ])
        .output();
    let (Ok(database), Ok(query)) = (fs::read(status), query) else {
        eprintln!("skipped: this machine has no dpkg");
        return;
    };
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let text = String::from_utf8_lossy(&query.stdout).into_owned();
    let mut expected: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .map(str::to_owned)
        .collect();
    expected.sort();
    let lists = lists(
        &site,
        &[
            ("etc/os-release", b"ID=debian\n"),
            ("var/lib/dpkg/status", &database),
        ],
        &[],
    );
    let decoded = |text: &str| {
        text.replace("%2B", "+")
            .replace("%7E", "~")
            .replace("%3A", ":")
    };
    let mut found: Vec<String> = purls(&lists)
        .iter()
        .map(|purl| {
            let rest = purl
                .strip_prefix("pkg:deb/debian/")
                .expect("a package of Debian");
            let (name, rest) = rest.split_once('@').expect("a version");
            let (version, rest) = rest.split_once("?arch=").expect("an architecture");
            let (architecture, _) = rest.split_once('&').expect("a system");
            format!("{} {} {architecture}", decoded(name), decoded(version))
        })
        .collect();
    found.sort();
    assert_eq!(found, expected);
    assert!(!found.is_empty());
}

/// Python with the libraries that `scripts/test-deps` installed beside what is compiled.
fn python(arguments: &[&str]) -> Command {
    let compiled = Path::new(env!("CARGO_BIN_EXE_kiln")).ancestors().nth(2);
    let libraries = compiled.expect("a directory").join("python");
    let mut command = Command::new("python3");
    command.args(arguments).env("PYTHONPATH", libraries);
    command
}

/// Reads a list with a library of its makers, which complains about everything that its form does
/// not allow. What is printed is nothing, or the complaints.
fn complaints(site: &Site, library: &str, program: &str, document: &Value) -> Option<String> {
    let import = format!("import {library}");
    let found = python(&["-c", &import]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 has no {library}");
        return None;
    }
    let path = site.path(&format!("{library}.json"));
    fs::write(&path, document.to_string()).expect("a file");
    let output = python(&["-c", program]).arg(&path).output();
    let output = output.expect("python3 runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Some(text(&output.stdout)),
        false => Some(text(&output.stderr)),
    }
}

#[test]
fn libraries_of_their_makers_read_the_lists() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let lists = lists(
        &site,
        &[
            ("usr/lib/os-release", b"ID=\"fedora\"\nVERSION_ID=40\n"),
            ("usr/lib/sysimage/rpm/rpmdb.sqlite", RPM_DATABASE),
            (
                "lib/apk/db/installed",
                b"P:musl\nV:1.2\nA:x86_64\nL:MIT\nm:A <a@b.example>\n\n",
            ),
        ],
        &[
            (
                "Cargo.lock",
                "[[package]]\nname = \"serde\"\nversion = \"1.0.200\"\n",
            ),
            ("go/go.mod", "require a.example/b v1.0.0+incompatible\n"),
            ("package-lock.json", "{"),
        ],
    );
    let spdx = "import sys\n\
                from spdx_tools.spdx.parser.parse_anything import parse_file\n\
                from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document\n\
                for found in validate_full_spdx_document(parse_file(sys.argv[1])):\n    print(found.validation_message)\n";
    let cyclonedx = "import sys\n\
                     from cyclonedx.schema import SchemaVersion\n\
                     from cyclonedx.validation.json import JsonStrictValidator\n\
                     found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\n\
                     print(found or '')\n";
    let check = |library: &str, program: &str, kind: &str| {
        if let Some(found) = complaints(&site, library, program, &lists[kind]) {
            assert_eq!(found, "", "{library}");
        }
    };
    check("spdx_tools", spdx, SPDX);
    check("cyclonedx", cyclonedx, CYCLONEDX);
}
