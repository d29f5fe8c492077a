//! The benchmarks work: every scenario at a two-thousandth of its size, and the pages made of it.
//!
//! What the numbers are is nobody's business here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::site::{Caller, Site};

const SCALE: &str = "0.0005";
const AXES: &[&str] = &["growth-files-known", "growth-layers"];

/// Runs a program of `bench/`; what it printed.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("bench")
        .join(program);
    let output = Command::new(path)
        .args(arguments)
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Why it cannot be done here.
fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("bench/run is for root");
    }
    let python = Command::new("python3").arg("--version").output();
    python.is_err().then_some("python3 is not installed")
}

#[test]
fn every_scenario_is_measured_and_shown() {
    if let Some(reason) = missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let (work, page) = (site.path("bench"), site.path("pages/performance.md"));
    let text = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
    let keys = keys();
    let printed = run(
        "run",
        &[
            "--kiln",
            env!("CARGO_BIN_EXE_kiln"),
            "--tools",
            "kiln",
            "--registry",
            &site.registry.host(),
            "--base",
            "busybox:1",
            "--plain",
            "--scale",
            SCALE,
            "--work",
            &text(&work),
            "--report",
            &text(&page),
            "--only",
            &keys.iter().cloned().collect::<Vec<_>>().join(","),
        ],
    );
    let results: Value =
        serde_json::from_slice(&fs::read(work.join("results.json")).expect("results"))
            .expect("JSON");
    let shown = fs::read_to_string(&page).expect("a page");
    for key in &keys {
        let found = match key.strip_prefix("growth-") {
            Some(axis) => (results["growth"][axis].as_object())
                .and_then(|amounts| amounts.values().next())
                .expect(axis),
            None if key == "start" => &results["start"]["kiln"]["nothing"],
            None => &results["scenarios"][key]["kiln"],
        };
        let first = found.get(0).unwrap_or(found);
        let cpu = first["cpu"].as_f64().unwrap_or_default();
        assert!(cpu > 0.0, "{key}: {found}");
        if results["scenarios"].get(key).is_some() {
            let title = format!("| **{key}** ");
            assert!(
                shown.contains(&title) && printed.contains(&title),
                "{key} is not shown"
            );
        }
    }
    let pages = site.path("pages");
    for name in ["performance.md", "scale.md"] {
        let page = fs::read_to_string(pages.join(name)).expect("a page");
        assert!(!page.contains("{{"), "{name} has an empty place");
        for picture in page.split("](performance/").skip(1) {
            let file = picture.split(')').next().expect("a name");
            let drawing = fs::read_to_string(pages.join("performance").join(file)).expect(file);
            assert!(drawing.trim_end().ends_with("</svg>"), "{file}");
            assert!(
                !drawing.contains("nan") && !drawing.contains("inf"),
                "{file}"
            );
        }
    }
    // A company's bill, from the same results.
    let shares = ["--unchanged", "0", "--source", "1"];
    let bill = run(
        "company.py",
        &[&["--work", &text(&work)], &shares[..]].concat(),
    );
    assert!(
        bill.contains("tags in the catalogue") && bill.contains("kiln"),
        "{bill}"
    );
    site.nothing_is_left();
}

/// What `bench/run` can measure.
fn keys() -> BTreeSet<String> {
    (run("run", &["--only", "list"]).lines())
        .filter_map(|line| line.split_whitespace().next())
        // All axes are one mechanism: one with rebuilds and one with bases of its own show it.
        .filter(|key| !key.starts_with("growth") || AXES.contains(key))
        .map(str::to_owned)
        .collect()
}

/// The causes that are written down belong to scenarios that are not what they should be.
#[test]
fn causes_name_scenarios() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/causes.json");
    let causes: Value = serde_json::from_slice(&fs::read(path).expect("causes")).expect("JSON");
    if missing().is_some() {
        eprintln!("skipped: python3 is not installed");
        return;
    }
    let keys = keys();
    for key in causes.as_object().expect("an object").keys() {
        let scenario = key.split('.').next().expect("a word");
        assert!(
            keys.contains(scenario) || ["_", "any"].contains(&scenario),
            "{key} is no scenario"
        );
    }
}
