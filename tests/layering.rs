//! Who may know whom: the arrows of ARCHITECTURE.md, checked against the
//! manifests and against what the pure crates' sources mention.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Crate → what it may name of ours. `testkit` may name anything, and is named
/// by tests alone.
const ARROWS: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("dockerfile", &[]),
    ("policy", &["oci"]),
    ("sandbox", &[]),
    ("fetch", &[]),
    ("graph", &["oci", "dockerfile"]),
    ("store", &["oci"]),
    ("registry", &["oci"]),
    ("shelf", &["oci", "registry", "google"]),
    ("view", &["oci", "store"]),
    ("sign", &["oci"]),
    ("google", &[]),
    ("handoff", &["oci", "dockerfile"]),
    ("artifact_registry", &["oci", "google"]),
    ("project", &["oci", "policy"]),
    ("publish", &["oci", "registry", "store"]),
    (
        "engine",
        &[
            "oci",
            "dockerfile",
            "sandbox",
            "fetch",
            "graph",
            "store",
            "registry",
            "shelf",
            "view",
            "sign",
            "publish",
        ],
    ),
    ("remote", &["oci", "policy"]),
    (
        "testkit",
        &[
            "oci",
            "dockerfile",
            "sandbox",
            "fetch",
            "graph",
            "store",
            "registry",
            "shelf",
            "view",
            "sign",
            "google",
            "policy",
            "project",
            "publish",
            "engine",
        ],
    ),
    (
        "kiln",
        &[
            "oci",
            "dockerfile",
            "policy",
            "sandbox",
            "fetch",
            "graph",
            "store",
            "registry",
            "shelf",
            "view",
            "sign",
            "google",
            "artifact_registry",
            "handoff",
            "project",
            "publish",
            "engine",
            "remote",
        ],
    ),
];

/// Crates that touch no file, socket, clock, thread or runtime, and what
/// would give them away.
const PURE: &[&str] = &["oci", "dockerfile", "policy", "project", "handoff", "graph"];
const IMPURE_CRATES: &[&str] = &[
    "tokio",
    "rustix",
    "libc",
    "reqwest",
    "hyper",
    "tempfile",
    "jiff",
    "rand",
    "getrandom",
];
const IMPURE_WORDS: &[&str] = &[
    "std::fs",
    "std::thread",
    "std::process",
    "env::var",
    "env::args",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "SystemTime",
    "Instant",
    "tokio::",
    "rustix::",
];

#[test]
fn crates_name_only_what_is_below_them() {
    let mut wrong = Vec::new();
    for package in packages() {
        let from = short(&package["name"]);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == from) else {
            wrong.push(format!(
                "`{from}` is not in the table of arrows; add it and say why"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            // Only what lies in this workspace has a path.
            if dependency["path"].is_null() {
                continue;
            }
            let to = short(&dependency["name"]);
            let in_tests = dependency["kind"] == "dev";
            if allowed.contains(&&*to) || (in_tests && to == "testkit") {
                continue;
            }
            wrong.push(match &*to {
                "testkit" => format!("`{from}` may name `testkit` only as a dev-dependency"),
                _ => format!("`{from}` may not depend on `{to}`: its arrows go to {allowed:?}"),
            });
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pure_crates_do_nothing() {
    let mut wrong = Vec::new();
    for package in packages() {
        let name = short(&package["name"]);
        if !PURE.contains(&&*name) {
            continue;
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if dependency["kind"].is_null() && IMPURE_CRATES.contains(&to) {
                wrong.push(format!("`{name}` is pure and may not depend on `{to}`"));
            }
        }
        let sources = Path::new(package["manifest_path"].as_str().unwrap()).with_file_name("src");
        for file in super::tidy::rust_files(&sources) {
            for (number, line) in super::tidy::code_lines(&file) {
                let word = IMPURE_WORDS.iter().find(|word| line.contains(**word));
                if let Some(word) = word {
                    let shown = file.display();
                    wrong.push(format!(
                        "{shown}:{number}: `{name}` is pure, yet says `{word}`"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The workspace's packages as `cargo metadata` describes them.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {said}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// `kiln-oci` is called `oci` in this house.
fn short(name: &Value) -> String {
    let name = name.as_str().unwrap();
    let name = name.strip_prefix("kiln-").unwrap_or(name);
    // As it is written in code.
    name.replace('-', "_")
}
