//! Every rule has a page in `docs/lint/`, and the examples there are true: the bad one breaks that
//! rule and no other, the good one breaks none.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dockerfile::ignore::IgnoreFile;
use dockerfile::lint::{self, Settings};
use dockerfile::{Diagnostic, Rule};
use graph::{ImageName, ImageNumber, Pinned, all_stages, check, copies_of_ignored, lower};
use oci::{ImageConfig, Platform};

use crate::support;

/// The one image of the pages that is for another platform than linux/amd64.
const FOREIGN: &str = "arm64v8/";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lint")
}

fn page(rule: Rule) -> String {
    let path = folder().join(format!("{rule}.md"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_rule_has_a_page_and_every_page_a_rule() {
    let pages: BTreeSet<String> = fs::read_dir(folder())
        .expect("the folder of pages")
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let mut expected: BTreeSet<String> =
        Rule::ALL.iter().map(|rule| format!("{rule}.md")).collect();
    expected.insert("README.md".to_owned());
    assert_eq!(pages, expected);
    let list = fs::read_to_string(folder().join("README.md")).expect("the list");
    for rule in Rule::ALL {
        assert!(
            list.contains(&format!("| [{rule}]({rule}.md) |")),
            "{rule} is not in the list"
        );
        assert!(
            page(rule).starts_with(&format!("# {rule}\n")),
            "{rule} has another title"
        );
        assert!(rule.summary().ends_with('.'), "{rule}");
        let skip = match rule.is_experimental() {
            true => format!("# check=experimental={rule}"),
            false => format!("# check=skip={rule}"),
        };
        assert!(
            page(rule).contains(&skip),
            "{rule} does not say how to choose it"
        );
    }
}

/// Rows: V3, F5, F9, F11, C30, I5, P8
#[test]
fn the_examples_are_true() {
    for rule in Rule::ALL {
        let page = page(rule);
        let bad = Example::read(&page, "## Bad");
        let broken: BTreeSet<Rule> = bad.findings().iter().filter_map(|one| one.rule).collect();
        assert_eq!(
            broken,
            BTreeSet::from([rule]),
            "the bad example of {rule}: {:?}",
            bad.findings()
        );
        let good = Example::read(&page, "## Good");
        assert_eq!(good.findings(), [], "the good example of {rule}");

        // Skipped at the top, or where it is.
        if !rule.is_experimental() {
            let skipped = Example {
                text: format!("# check=skip={rule}\n{}", bad.text),
                ..bad
            };
            assert_eq!(skipped.findings(), [], "{rule}");
        }
    }
}

/// Without a registry, what depends on an image is not found, and everything else is.
#[test]
fn without_a_registry_the_examples_are_as_true() {
    for rule in Rule::ALL {
        let bad = Example::read(&page(rule), "## Bad");
        let request = support::request();
        let checked = check(&bad.text, &request, Some(&bad.ignore), None);
        let broken: BTreeSet<Rule> = checked.findings.iter().filter_map(|one| one.rule).collect();
        let expected = match rule {
            Rule::InvalidBaseImagePlatform => BTreeSet::new(),
            rule => BTreeSet::from([rule]),
        };
        assert_eq!(broken, expected, "{rule}");
    }
}

/// What stands in the code blocks below a heading.
#[derive(Debug)]
struct Example {
    text: String,
    ignore: IgnoreFile,
}

impl Example {
    fn read(page: &str, heading: &str) -> Self {
        let (_, rest) = page.split_once(heading).expect("the heading");
        let section = rest.split("\n## ").next().expect("a section");
        let block = |language: &str| {
            let (_, rest) = section.split_once(&format!("```{language}\n"))?;
            Some(rest.split("```").next().expect("an end").to_owned())
        };
        let ignore = block("text .dockerignore").unwrap_or_default();
        Self {
            text: block("dockerfile").expect("a Dockerfile"),
            ignore: IgnoreFile::parse(&ignore).expect("an ignore file"),
        }
    }

    /// Everything that a build would find before its first step.
    fn findings(&self) -> Vec<Diagnostic> {
        let parse = dockerfile::parse(&self.text);
        let mut findings = parse.diagnostics.clone();
        findings.extend(lint::file(&parse.tree, &self.text));
        let (settings, wrong) = Settings::of_file(&parse.tree);
        findings.extend(wrong);
        // RUN --mount needs what the command line gives.
        let mut request = support::request();
        request.secrets.insert("api-token".to_owned());
        // What a file asks for must be given when it is built.
        if self.text.contains("ARG VERSION\n") {
            let arguments = &mut request.build_args;
            arguments.insert("VERSION".to_owned(), "3".to_owned());
        }
        let set = all_stages(&parse.tree, &request).expect("stages");
        let look_up = |reference: &ImageName, platform: &Platform| {
            let foreign = reference.familiar().starts_with(FOREIGN);
            let config = ImageConfig {
                os: "linux".to_owned(),
                architecture: match foreign {
                    true => "arm64".to_owned(),
                    false => platform.architecture.clone(),
                },
                ..ImageConfig::default()
            };
            support::image(reference, config, "layer")
        };
        let Ok(Pinned::All(set)) = set.pin(look_up) else {
            panic!("the images have no triggers");
        };
        let lowered = lower(&set, &request).expect("a graph");
        findings.extend(lowered.warnings);
        findings.extend(copies_of_ignored(
            &lowered.graph,
            ImageNumber::default(),
            &self.ignore,
        ));
        settings.select(&parse.tree, &self.text, &mut findings);
        findings
    }
}
