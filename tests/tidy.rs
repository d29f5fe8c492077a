//! House rules that a machine can check; STYLE.md has the others.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines that a source file may have, in-file tests included. A file that
/// needs more holds more than one idea.
const LINES_MAX: usize = 700;

/// Files that are longer, with the length they must not pass. Lower the
/// numbers when a file shrinks; do not raise them.
const LONGER: &[(&str, usize)] = &[
    ("crates/dockerfile/src/expand.rs", 850),
    ("crates/registry/src/exchange.rs", 900),
    ("crates/store/src/dir.rs", 900),
    ("crates/store/src/gc.rs", 800),
];

/// Where printing is the job.
const PRINTERS: &[&str] = &["src/render/", "src/error.rs"];

/// The one reader of the environment.
const ENVIRONMENT: &[&str] = &["src/settings.rs"];

/// Where `unsafe` may be written.
const UNSAFE: &[&str] = &["crates/sandbox/", "crates/store/src/raw"];

#[test]
fn every_module_says_what_it_is() {
    let silent = |file: &PathBuf| !fs::read_to_string(file).unwrap().starts_with("//!");
    let mut files = sources();
    files.extend(rust_files(&root().join("tests")));
    let wrong: Vec<String> = (files.iter().filter(|file| silent(file)))
        .map(|file| format!("{} does not open with `//!`", name(file)))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_short() {
    let mut wrong = Vec::new();
    for file in sources() {
        let (name, lines) = (
            name(&file),
            fs::read_to_string(&file).unwrap().lines().count(),
        );
        let known = LONGER.iter().find(|(longer, _)| *longer == name);
        let max = known.map_or(LINES_MAX, |(_, lines)| *lines);
        if lines > max {
            wrong.push(format!("{name} has {lines} lines, more than {max}"));
        }
        if known.is_some() && lines <= LINES_MAX {
            wrong.push(format!("{name} is short now: remove it from LONGER"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn only_the_renderers_print() {
    check(
        PRINTERS,
        &["println!", "eprintln!", "print!(", "eprint!(", "dbg!("],
    );
}

#[test]
fn only_the_settings_read_the_environment() {
    check(
        ENVIRONMENT,
        &["env::var(", "env::var_os(", "env::vars(", "env::vars_os("],
    );
}

#[test]
fn only_the_sandbox_is_unsafe() {
    check(
        UNSAFE,
        &[
            "unsafe {",
            "unsafe fn",
            "unsafe impl",
            "unsafe extern",
            "#[unsafe(",
        ],
    );
}

#[test]
fn nothing_is_left_for_later() {
    check(&[], &["todo!(", "unimplemented!("]);
}

#[test]
fn every_test_file_is_declared() {
    let suite = fs::read_to_string(root().join("tests/suite.rs")).unwrap();
    for file in rust_files(&root().join("tests")) {
        let name = name(&file);
        let within = name.strip_prefix("tests/").unwrap();
        let Some(module) = within
            .strip_suffix(".rs")
            .filter(|stem| !stem.contains('/'))
        else {
            continue;
        };
        let declared = module == "suite" || suite.contains(&format!("\nmod {module};"));
        assert!(
            declared,
            "{name} is in no test binary: declare it in tests/suite.rs"
        );
    }
}

/// No code outside of `allowed` may say one of `words`.
fn check(allowed: &[&str], words: &[&str]) {
    let mut wrong = Vec::new();
    for file in sources() {
        let shown = name(&file);
        if allowed.iter().any(|prefix| shown.starts_with(prefix)) {
            continue;
        }
        for (number, line) in code_lines(&file) {
            // `eprintln!` contains `println!`: the first word found is enough.
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                wrong.push(format!("{shown}:{number}: `{word}` belongs in {allowed:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Numbered lines of a file that are code: no comments, and nothing from the
/// in-file tests on.
pub(crate) fn code_lines(file: &Path) -> Vec<(usize, String)> {
    let is_test_file = file.file_stem().is_some_and(|stem| stem == "tests")
        || file.components().any(|part| part.as_os_str() == "tests");
    if is_test_file {
        return Vec::new();
    }
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let tests_begin = (0..lines.len())
        .find(|at| {
            let next = lines.get(at + 1).unwrap_or(&"");
            lines[*at] == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{')
        })
        .unwrap_or(lines.len());
    (lines[..tests_begin].iter().enumerate())
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, (*line).to_owned()))
        .collect()
}

/// The Rust files of the program and of all crates; not their tests.
fn sources() -> Vec<PathBuf> {
    let mut files = rust_files(&root().join("src"));
    for folder in fs::read_dir(root().join("crates")).unwrap() {
        files.extend(rust_files(&folder.unwrap().path().join("src")));
    }
    files
}

/// All Rust files below a directory, in order.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file's name within the repository.
fn name(file: &Path) -> String {
    let within = file.strip_prefix(root()).unwrap();
    within.to_string_lossy().into_owned()
}
