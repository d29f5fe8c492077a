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
//! `REGISTRY` in files and arguments stands for the address of a registry that has one small image,
//! `REGISTRY/base:1`, and `WEBSERVER` for that of a web server with `/file.txt`, `/loop`, which
//! redirects to itself, and the names of a repository, `/repository.git`. After every case no tag has moved and the store verifies.
//!
//! `KILN_BLESS=1` writes `stderr.txt` and `exit` anew; the diff is then read by a person.

use std::fs;
use std::path::Path;

use testkit::{Layer, Page, PageFault, Registry, Web, image};

use crate::cli::Environment;

/// Stands for the web server's address.
const WEB: &str = "WEBSERVER";

/// Stands for the registry's address.
const REGISTRY: &str = "REGISTRY";

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
        let name = case.file_name().expect("a name").to_string_lossy();
        let (stderr, exit, broken) = run(&case);
        wrong.extend(broken.iter().map(|broken| format!("{name}: {broken}")));
        if bless {
            fs::write(case.join("stderr.txt"), &stderr).expect("stderr.txt");
            fs::write(case.join("exit"), format!("{exit}\n")).expect("exit");
            continue;
        }
        let read = |name: &str| fs::read_to_string(case.join(name)).unwrap_or_default();
        if read("stderr.txt") != stderr || read("exit").trim() != exit.to_string() {
            wrong.push(format!("{name}: exit {exit}, stderr:\n{stderr}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nKILN_BLESS=1 writes these down",
        wrong.join("\n")
    );
}

/// What is said, the exit code, and the promises that were broken.
fn run(case: &Path) -> (String, i32, Vec<String>) {
    let registry = Registry::start();
    let layer = Layer::new()
        .directory("etc", 0o755)
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        .directory("data", 0o755)
        .file("data/file.txt", "a file of the base\n");
    registry.seed("base", "1", &image().layer(layer).build());
    let environment = Environment::new();
    let web = web();
    let addresses = [(REGISTRY, registry.host()), (WEB, web.host())];
    copy(&case.join("context"), &environment.work(), &addresses);
    let arguments = fs::read_to_string(case.join("args")).unwrap_or_else(|_| ".".to_owned());
    let arguments = filled(&arguments, &addresses);
    let arguments: Vec<&str> = arguments.lines().collect();
    let output = environment
        .kiln(&[&["build", "--progress", "quiet"], arguments.as_slice()].concat())
        .output()
        .expect("kiln starts");
    let mut broken = Vec::new();
    if !output.stdout.is_empty() {
        broken.push("a build that fails has no product".to_owned());
    }
    let published = |line: &String| line.starts_with("PUT") && line.contains("/manifests/");
    broken.extend(registry.lines().into_iter().filter(published));
    let verified = environment.run(&["store", "verify"]);
    if !verified.starts_with("exit 0\n") {
        broken.push(verified);
    }
    let stderr = environment.normalise(&String::from_utf8_lossy(&output.stderr));
    let code = output.status.code().unwrap_or(-1);
    let stderr = stderr.replace(&registry.host(), REGISTRY);
    (stderr.replace(&web.host(), WEB), code, broken)
}

fn web() -> Web {
    let web = Web::start();
    web.text("/file.txt", "content\n");
    let page = Page {
        fault: PageFault::Redirect("/loop".to_owned()),
        ..Page::default()
    };
    web.put("/loop", page);
    let commit = "0123456789abcdef0123456789abcdef01234567";
    web.text("/repository.git/HEAD", "ref: refs/heads/main\n");
    let names = format!("{commit}\trefs/heads/main\n");
    web.text("/repository.git/info/refs", names);
    web
}

fn filled(text: &str, addresses: &[(&str, String)]) -> String {
    let mut text = text.to_owned();
    for (name, address) in addresses {
        text = text.replace(name, address);
    }
    text
}

/// Copies a context, with addresses filled into what is text.
fn copy(from: &Path, to: &Path, addresses: &[(&str, String)]) {
    for item in fs::read_dir(from).expect("a context") {
        let item = item.expect("an entry");
        let target = to.join(item.file_name());
        if item.path().is_symlink() {
            let link = fs::read_link(item.path()).expect("a link");
            std::os::unix::fs::symlink(link, &target).expect("a link");
            continue;
        }
        if item.path().is_dir() {
            fs::create_dir(&target).expect("a directory");
            copy(&item.path(), &target, addresses);
            continue;
        }
        let content = fs::read(item.path()).expect("a file");
        let content = match String::from_utf8(content) {
            Ok(text) => filled(&text, addresses).into_bytes(),
            Err(binary) => binary.into_bytes(),
        };
        fs::write(&target, content).expect("a copy");
    }
}
