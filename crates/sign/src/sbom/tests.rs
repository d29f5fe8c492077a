//! Lists have what their forms ask for, and the same bytes for the same contents.

use std::collections::HashSet;

use oci::Digest;
use serde_json::Value;

use super::*;
use crate::packages::PackageKind;

fn package(kind: PackageKind, name: &str, version: &str) -> Package {
    Package {
        license: Some("GPL-2+ and something odd".to_owned()),
        supplier: Some("Somebody <a@b.example>".to_owned()),
        source: Some("source 1".to_owned()),
        ..Package::new(kind, name, version, format!("pkg:generic/{name}@{version}"))
    }
}

fn subject() -> SbomSubject {
    SbomSubject {
        name: Some("registry.example/app:1".to_owned()),
        digest: Digest::of(b"image"),
        platform: "linux/amd64".parse().expect("a platform"),
        created: "1970-01-01T00:00:00Z".to_owned(),
        kiln_version: "1.2.3".to_owned(),
    }
}

fn contents(order: &[usize]) -> Contents {
    let all = [
        ("a/Cargo.lock", package(PackageKind::Cargo, "serde", "1.0")),
        ("b/Cargo.lock", package(PackageKind::Cargo, "serde", "1.0")),
        (
            "var/lib/dpkg/status",
            package(PackageKind::Deb, "bash", "5.2"),
        ),
        ("usr/bin/tool", package(PackageKind::GoProgram, "tool", "")),
    ];
    let mut contents = Contents::default();
    for number in order {
        let (path, package) = all[*number].clone();
        contents.add(path, [package]);
    }
    contents.note("something was not read".to_owned());
    contents.distribution = Some(Distribution {
        id: "debian".to_owned(),
        version: "12".to_owned(),
    });
    contents
}

#[test]
fn the_order_of_finding_does_not_matter_and_twice_is_once() {
    for format in [SbomFormat::Spdx, SbomFormat::CycloneDx] {
        let one = document(format, &subject(), &contents(&[0, 1, 2, 3]));
        let other = document(format, &subject(), &contents(&[3, 2, 1, 0, 2]));
        assert_eq!(one.to_string(), other.to_string());
        let fewer = document(format, &subject(), &contents(&[3, 2]));
        let identity = |document: &Value| {
            let keys = ["documentNamespace", "serialNumber"];
            let found = keys.iter().find_map(|key| document.get(*key));
            found.cloned().expect("an identity")
        };
        assert_ne!(
            identity(&one),
            identity(&fewer),
            "another list is another document"
        );
    }
}

#[test]
fn spdx_has_what_it_must_have() {
    let document = document(SbomFormat::Spdx, &subject(), &contents(&[0, 1, 2, 3]));
    for key in [
        "spdxVersion",
        "dataLicense",
        "SPDXID",
        "name",
        "documentNamespace",
        "creationInfo",
    ] {
        assert!(document.get(key).is_some(), "{key}");
    }
    let packages = document["packages"].as_array().expect("packages");
    // The image, its system, and three packages.
    assert_eq!(packages.len(), 5);
    let mut ids = HashSet::new();
    for package in packages {
        for key in [
            "name",
            "downloadLocation",
            "licenseConcluded",
            "copyrightText",
        ] {
            assert!(package[key].is_string(), "{key} of {package}");
        }
        assert_eq!(package["filesAnalyzed"], false);
        let id = package["SPDXID"].as_str().expect("an id");
        assert!(id.starts_with("SPDXRef-"));
        assert!(
            id.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
        );
        assert!(ids.insert(id), "{id} twice");
    }
    for relation in document["relationships"].as_array().expect("relations") {
        let to = relation["relatedSpdxElement"].as_str().expect("an id");
        assert!(ids.contains(to), "{to} is a package");
    }
    let serde = packages.iter().find(|one| one["name"] == "serde");
    let info = serde.expect("serde")["sourceInfo"].to_string();
    assert!(info.contains("a/Cargo.lock, b/Cargo.lock"), "{info}");
    assert_eq!(
        document["annotations"][0]["comment"],
        "something was not read"
    );
}

#[test]
fn cyclonedx_has_what_it_must_have() {
    let document = document(SbomFormat::CycloneDx, &subject(), &contents(&[0, 1, 2, 3]));
    assert_eq!(document["bomFormat"], "CycloneDX");
    assert_eq!(document["specVersion"], "1.6");
    assert_eq!(document["version"], 1);
    let components = document["components"].as_array().expect("components");
    assert_eq!(components.len(), 4);
    let mut references = HashSet::new();
    for component in components {
        for key in ["type", "name", "bom-ref"] {
            assert!(component[key].is_string(), "{key} of {component}");
        }
        assert!(
            references.insert(component["bom-ref"].to_string()),
            "a reference twice"
        );
    }
    let depends = document["dependencies"][0]["dependsOn"].as_array();
    assert_eq!(depends.expect("a list").len(), 4);
    assert_eq!(
        document["metadata"]["properties"][0]["value"],
        "something was not read"
    );
}
