//! What the user reads when something is wrong, character for character. One folder for each case:
//!
//! ```text
//! tests/errors/unknown-instruction/
//!   context/     Dockerfile and whatever else is there; the context and the working directory
//!   args         arguments of `kiln build`, one on a line; `.` alone when the file is missing
//!   stderr.txt   what is said
//!   exit         the exit code
//! ```
//!
//! `KILN_BLESS=1` writes `stderr.txt` and `exit` anew; the diff is then read by a person.

use std::fs;
use std::path::Path;

use crate::cli::Environment;

#[test]
fn every_case_says_what_it_should() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
    let bless = std::env::var_os("KILN_BLESS").is_some();
    let mut cases: Vec<_> = fs::read_dir(&root)
        .expect("a directory of cases")
        .map(|case| case.expect("a case").path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "there are no cases");
    let mut wrong = Vec::new();
    for case in cases {
        let (stderr, exit) = run(&case);
        if bless {
            fs::write(case.join("stderr.txt"), &stderr).expect("stderr.txt");
            fs::write(case.join("exit"), format!("{exit}\n")).expect("exit");
            continue;
        }
        let read = |name: &str| fs::read_to_string(case.join(name)).unwrap_or_default();
        if read("stderr.txt") != stderr || read("exit").trim() != exit.to_string() {
            wrong.push(format!(
                "{}: exit {exit}, stderr:\n{stderr}",
                case.file_name().expect("a name").to_string_lossy()
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nKILN_BLESS=1 writes these down",
        wrong.join("\n")
    );
}

fn run(case: &Path) -> (String, i32) {
    let environment = Environment::new();
    copy(&case.join("context"), &environment.work());
    let arguments = fs::read_to_string(case.join("args")).unwrap_or_else(|_| ".".to_owned());
    let arguments: Vec<&str> = arguments.lines().collect();
    let output = environment
        .kiln(&[&["build", "--progress", "quiet"], arguments.as_slice()].concat())
        .output()
        .expect("kiln starts");
    assert!(
        output.stdout.is_empty(),
        "a build that fails has no product"
    );
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().expect("an exit code");
    (environment.normalise(&stderr), code)
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
