//! Cases: Dockerfiles, several in a file.
//!
//! ```text
//! === name
//! # args: --build-arg A=1
//! FROM REGISTRY/base:1
//! --- .dockerignore
//! *.log
//! ```
//!
//! `=== name` begins a case and `--- path` a further file of its context. In the Dockerfile, a
//! comment `# args:` has arguments for both builders, `# format: docker` makes the other builder write
//! the format that has health checks, triggers and shells, and `# fails` says that both refuse it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::fixture;
use crate::site::Site;

/// A Dockerfile and what its context has beside the fixture.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) fails: bool,
    /// What the other builder writes.
    pub(super) format: &'static str,
    dockerfile: String,
    arguments: Vec<String>,
    files: Vec<(String, String)>,
}

impl Case {
    /// Its context on disk.
    pub(super) fn make(&self, site: &Site) -> PathBuf {
        let path = site.context(&self.name, &self.dockerfile);
        fixture::make(&path);
        for (name, content) in &self.files {
            let file = path.join(name);
            fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
            fs::write(file, content).expect("a file");
        }
        path
    }

    /// In arguments, `CONTEXT` stands for the context's directory.
    pub(super) fn arguments(&self, context: &Path) -> Vec<String> {
        let context = context.to_string_lossy();
        let words = self.arguments.iter();
        words
            .map(|word| word.replace("CONTEXT", &context))
            .collect()
    }
}

/// All cases, in the order of their files.
pub(super) fn all() -> Vec<Case> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory())
        .expect("tests/twins")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "cases")
        })
        .collect();
    files.sort();
    let mut names = BTreeSet::new();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("UTF-8");
        let topic = file
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        for section in text.split("\n=== ").skip(1) {
            let case = read(&topic, section);
            assert!(
                names.insert(case.name.clone()),
                "{} is there twice",
                case.name
            );
            cases.push(case);
        }
    }
    cases
}

pub(super) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/twins")
}

fn read(topic: &str, section: &str) -> Case {
    let (name, text) = section.split_once('\n').expect("a case has lines");
    let mut parts = text.split("\n--- ");
    let dockerfile = format!("{}\n", parts.next().expect("a Dockerfile").trim_end());
    let files = parts.map(|part| {
        let (path, content) = part.split_once('\n').unwrap_or((part, ""));
        (path.to_owned(), format!("{}\n", content.trim_end()))
    });
    let arguments = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("# args: "))
        .flat_map(str::split_whitespace);
    Case {
        name: format!("{topic}-{}", name.trim()),
        format: if dockerfile.lines().any(|line| line == "# format: docker") {
            "docker"
        } else {
            "oci"
        },
        fails: dockerfile.lines().any(|line| line == "# fails"),
        arguments: arguments.map(str::to_owned).collect(),
        files: files.collect(),
        dockerfile,
    }
}
