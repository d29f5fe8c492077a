//! Every row of the dialect has a test that names it, and `docs/conformance.md` is the list of them.
//!
//! What each row says is in `tests/conformance/rows`. A test names its rows
//!
//! - in Rust, with `/// Rows: C4, C5` on the function, or `// Rows: C4` on a case in it;
//! - in a folder with a Dockerfile, with a comment `# rows: C4 C5`, with a file `rows`, or with a name
//!   that begins with the row (`p13-env`);
//! - in `tests/twins/*.cases`, with a comment `# rows:` in the case.
//!
//! `KILN_BLESS=1` writes the page anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the page is.
const PAGE: &str = "docs/conformance.md";
/// Tests that the page names for one row; of more it gives the number.
const NAMES_MAX: usize = 8;

/// Rows whose features are still being built. Only ever shorter.
const MISSING: &[&str] = &[];

/// A row, in the order of the list.
struct Row {
    id: String,
    heading: String,
    statement: String,
    /// On purpose not what BuildKit does.
    differs: bool,
}

/// What tests say: for each row the names of the tests, for each place.
type Found = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

#[test]
fn every_row_has_a_test_and_the_page_says_which() {
    let rows = rows();
    let mut found = Found::new();
    in_rust(&mut found);
    in_folders(&mut found);
    in_twins(&mut found);
    let known: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let mut wrong = String::new();
    for (id, places) in &found {
        if !known.contains(id.as_str()) {
            writeln!(wrong, "{places:?} name {id}, which is no row").expect("a string grows");
        }
    }
    for row in &rows {
        let (tested, missing) = (
            found.contains_key(&row.id),
            MISSING.contains(&row.id.as_str()),
        );
        if !tested && !missing {
            writeln!(wrong, "no test names {}: {}", row.id, row.statement).expect("a string grows");
        }
        if tested && missing {
            writeln!(wrong, "{} has a test: take it from MISSING", row.id).expect("a string grows");
        }
    }
    let page = page(&rows, &found);
    let file = root().join(PAGE);
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(&file, &page).expect("the page");
    } else if fs::read_to_string(&file).unwrap_or_default() != page {
        writeln!(
            wrong,
            "{PAGE} is not what the tests say: KILN_BLESS=1 writes it"
        )
        .expect("a string grows");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("tests/conformance/rows")).expect("the rows");
    let mut rows = Vec::new();
    let mut heading = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            name.clone_into(&mut heading);
            continue;
        }
        let (id, statement) = line.split_once(' ').expect("an ID and a statement");
        rows.push(Row {
            id: id.trim_end_matches('!').to_owned(),
            heading: heading.clone(),
            statement: statement.to_owned(),
            differs: id.ends_with('!'),
        });
    }
    rows
}

fn page(rows: &[Row], found: &Found) -> String {
    let mut page = "# Conformance\n\n\
        What kiln does with each part of the dialect, and the tests that show it. Written by\n\
        `tests/conformance.rs`; the statements are in `tests/conformance/rows`. A ≠ marks what is\n\
        [on purpose not what BuildKit does](differences.md).\n"
        .to_owned();
    let mut heading = "";
    for row in rows {
        if row.heading != heading {
            heading = &row.heading;
            page.push_str(&format!(
                "\n## {heading}\n\n| row | what kiln does | tests |\n|---|---|---|\n"
            ));
        }
        let nothing = BTreeMap::new();
        let places = found.get(&row.id).unwrap_or(&nothing);
        let names: Vec<String> = places
            .iter()
            .flat_map(|(place, names)| names.iter().map(move |name| format!("`{place}` {name}")))
            .collect();
        // One of each place is more telling than many of one.
        let mut tests = String::new();
        let mut left = NAMES_MAX;
        for (place, names) in places {
            let shown: Vec<&str> = names.iter().map(String::as_str).take(left.max(1)).collect();
            left = left.saturating_sub(shown.len());
            let more = match names.len() - shown.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let gap = if tests.is_empty() { "" } else { "; " };
            tests.push_str(&format!("{gap}`{place}`: {}{more}", shown.join(", ")));
        }
        if names.is_empty() {
            tests.push_str("none yet");
        }
        let mark = if row.differs { " ≠" } else { "" };
        let statement = row.statement.replace('|', "\\|");
        page.push_str(&format!("| {}{mark} | {statement} | {tests} |\n", row.id));
    }
    page
}

/// Comments on test functions, and on cases inside of them.
fn in_rust(found: &mut Found) {
    let mut files = Vec::new();
    for directory in ["crates", "tests", "src"] {
        walk(&root().join(directory), &mut files);
    }
    for file in files.iter().filter(|file| extension(file) == "rs") {
        let text = fs::read_to_string(file).expect("UTF-8");
        let place = name(file);
        let mut waiting = Vec::new();
        let mut function = "";
        for line in text.lines().map(str::trim_start) {
            if let Some(ids) = line.strip_prefix("/// Rows: ") {
                waiting.extend(split(ids));
            } else if let Some(ids) = line.strip_prefix("// Rows: ") {
                for id in split(ids) {
                    add(found, id, &place, function);
                }
            } else if let Some(named) = function_name(line) {
                function = named;
                for id in waiting.drain(..) {
                    add(found, id, &place, function);
                }
            }
        }
        assert!(waiting.is_empty(), "{place}: rows of nothing");
    }
}

/// The name in `fn name(`, `async fn name(` and their like.
fn function_name(line: &str) -> Option<&str> {
    let words = line.strip_prefix("pub(crate) ").unwrap_or(line);
    let words = words.strip_prefix("async ").unwrap_or(words);
    let (name, _) = words.strip_prefix("fn ")?.split_once(['(', '<'])?;
    Some(name)
}

/// Folders with a Dockerfile, or with a file `rows`.
fn in_folders(found: &mut Found) {
    let mut files = Vec::new();
    walk(&root().join("tests"), &mut files);
    for file in files {
        let case = file.parent().expect("a folder");
        // What a case has in its context is its own.
        let is_case = case.parent().and_then(Path::parent) == Some(&root().join("tests"));
        if !is_case {
            continue;
        }
        let text = || fs::read_to_string(&file).unwrap_or_default();
        let ids: Vec<String> = match file.file_name().and_then(|name| name.to_str()) {
            Some("Dockerfile") => row_comments(&text()),
            Some("rows") => text().lines().flat_map(split).collect(),
            Some(_) | None => continue,
        };
        let (place, folder) = (name(case.parent().expect("tests")), short(case));
        let prefix = folder.split('-').next().unwrap_or_default().to_uppercase();
        let of_name = looks_like_a_row(&prefix).then_some(prefix);
        for id in ids.into_iter().chain(of_name) {
            add(found, id, &place, &folder);
        }
    }
}

fn in_twins(found: &mut Found) {
    let mut files = Vec::new();
    walk(&root().join("tests/twins"), &mut files);
    for file in files.iter().filter(|file| extension(file) == "cases") {
        let text = fs::read_to_string(file).expect("UTF-8");
        for section in text.split("\n=== ").skip(1) {
            let (case, body) = section.split_once('\n').expect("a case has lines");
            for id in row_comments(body) {
                add(found, id, &name(file), case.trim());
            }
        }
    }
}

/// IDs in the `# rows:` comments of a Dockerfile.
fn row_comments(text: &str) -> Vec<String> {
    (text.lines())
        .filter_map(|line| line.trim().strip_prefix("# rows:"))
        .flat_map(split)
        .collect()
}

fn split(ids: &str) -> Vec<String> {
    let words = ids.split([' ', ',']).filter(|word| !word.is_empty());
    words
        .map(|word| word.trim_end_matches('.').to_owned())
        .collect()
}

fn looks_like_a_row(word: &str) -> bool {
    let mut characters = word.chars();
    let letter = characters.next().is_some_and(|c| "PHVAFCDRIL".contains(c));
    let digits = characters.as_str();
    letter && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn add(found: &mut Found, id: String, place: &str, test: &str) {
    let places = found.entry(id).or_default();
    places
        .entry(place.to_owned())
        .or_default()
        .insert(test.to_owned());
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
    files.sort();
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn name(path: &Path) -> String {
    let within = path.strip_prefix(root()).expect("a path of ours");
    within.to_string_lossy().into_owned()
}

fn short(path: &Path) -> String {
    let name = path.file_name().expect("a name");
    name.to_string_lossy().into_owned()
}

fn extension(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().into_owned()
}
