//! What RUN does and leaves, read back from the registry. One folder for each case:
//!
//! ```text
//! tests/run/users/
//!   Dockerfile   in which REGISTRY stands for the registry
//!   context/     what else is in the context; may be missing
//!   args         more arguments of `kiln build`, one on a line; may be missing
//!   image.txt    the new layers, the configuration and the history, or what was said
//! ```
//!
//! Each case is built by whoever runs the tests, and by an ordinary user: the digests are the same.
//! `KILN_BLESS=1` writes `image.txt` anew; the diff is then read by a person.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::site::{Caller, Site, line};

/// What an ordinary user cannot do on this kernel, and why.
const ONLY_ROOT: &[(&str, &str)] = &[];

#[test]
fn every_case_makes_the_image_that_it_should() {
    let Some(site) = Site::new(Caller::Ourselves) else {
        return;
    };
    let bless = std::env::var_os("KILN_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let found = result(&site, &case);
        let file = case.join("image.txt");
        if bless {
            fs::write(file, &found).expect("image.txt");
        } else if fs::read_to_string(file).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", name(&case)));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nKILN_BLESS=1 writes these down",
        wrong.join("\n")
    );
    site.verify("store");
}

#[test]
fn an_ordinary_user_gets_the_same() {
    let Some(site) = Site::new(Caller::Ordinary) else {
        return;
    };
    let mut wrong = Vec::new();
    for case in cases() {
        if let Some((_, why)) = ONLY_ROOT.iter().find(|(only, _)| *only == name(&case)) {
            eprintln!("skipped: {}: {why}", name(&case));
            continue;
        }
        let found = result(&site, &case);
        if fs::read_to_string(case.join("image.txt")).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", name(&case)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    site.verify("store");
}

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run");
    let only = std::env::var("KILN_CASE").unwrap_or_default();
    let mut cases: Vec<_> = fs::read_dir(&root)
        .expect("a directory of cases")
        .map(|case| case.expect("a case").path())
        .filter(|case| only.is_empty() || name(case) == only)
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "there are no cases");
    cases
}

fn name(case: &Path) -> String {
    case.file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

/// Builds a case and writes down what came of it.
fn result(site: &Site, case: &Path) -> String {
    let read = |file: &str| fs::read_to_string(case.join(file)).unwrap_or_default();
    let repository = name(case);
    let context = site.context(&repository, &read("Dockerfile"));
    if case.join("context").exists() {
        copy(&case.join("context"), &context);
    }
    let arguments = read("args");
    let arguments: Vec<&str> = arguments.lines().collect();
    let output = site
        .build("store", &repository, &context, &arguments)
        .env("HTTPS_PROXY", "http://canary:1")
        .env("REGISTRY_PASSWORD", "canary")
        .output()
        .expect("kiln starts");
    if !output.status.success() {
        assert!(output.stdout.is_empty(), "a failed build has no product");
        assert!(site.registry.tags(&repository).is_empty(), "it was pushed");
        return site.describe(&output);
    }
    let image = site.image(&repository);
    assert_eq!(
        site.success(&output),
        image.digest.as_str(),
        "{repository}: stdout is the digest"
    );
    let history = image.config["history"].as_array().expect("a list");
    let of_base = |entry: &&Value| entry["created_by"] == "testkit";
    let inherited = history.iter().filter(of_base).count();
    let mut text = String::new();
    for layer in &image.layers[inherited..] {
        text.push_str("layer\n");
        for entry in &layer.entries {
            text.push_str(&format!("  {}\n", line(entry)));
        }
    }
    let config = serde_json::to_string_pretty(&image.config["config"]).expect("JSON");
    text.push_str(&format!("config {config}\nhistory\n"));
    for entry in &history[inherited..] {
        let layer = if entry["empty_layer"] == Value::Bool(true) {
            "-"
        } else {
            "+"
        };
        let words = entry["created_by"].as_str().expect("a text");
        text.push_str(&format!("  {layer} {words:?}\n"));
    }
    text.push_str(&format!(
        "diff ids {}\n",
        diff_ids(&image.config, inherited)
    ));
    text
}

/// The diff id of each new layer, short.
fn diff_ids(config: &Value, inherited: usize) -> String {
    let ids = config["rootfs"]["diff_ids"].as_array().expect("a list");
    let short = ids[inherited..].iter().map(|id| {
        let id = id.as_str().expect("a digest");
        id["sha256:".len()..][..12].to_owned()
    });
    short.collect::<Vec<_>>().join(" ")
}

fn copy(from: &Path, to: &Path) {
    for item in fs::read_dir(from).expect("a context") {
        let item = item.expect("an entry");
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            fs::create_dir(&target).expect("a directory");
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), &target).expect("a copy");
        }
    }
}
