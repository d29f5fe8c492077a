//! What docker's files say of accounts, and whether the programs that they name are there.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use registry::{CredentialStore, NamedHelper};

use super::finding::Finding;
use crate::settings::Settings;

const CONFIG: &str = "docker config";
const HELPERS: &str = "credential helpers";
const DOCKER: &str = "docker";

/// From here on `docker build`, which asks the helper of every entry before it begins, is noticeably
/// slow (about half a second each with gcloud's).
const HELPERS_FEW: usize = 10;

/// Reads the files. Without accounts registries are asked as anybody.
pub(super) fn check(settings: &Settings, findings: &mut Vec<Finding>) -> Option<CredentialStore> {
    findings.extend(snap(settings));
    let mut store = match CredentialStore::load(settings.credentials.clone()) {
        Ok(store) => store,
        Err(error) => {
            let mut said = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                let text = error.to_string();
                if !said.contains(&text) {
                    said = format!("{said}: {text}");
                }
                cause = error.source();
            }
            findings.push(
                Finding::problem(CONFIG, said).fix("repair the file, or move it out of the way"),
            );
            return None;
        }
    };
    let notes = store.take_notes();
    let is_quiet = notes.is_empty();
    findings.extend(notes.into_iter().map(|note| Finding::warning(CONFIG, note)));
    let files: Vec<&str> = store.files().collect();
    let helpers = store.helpers();
    if is_quiet {
        findings.push(Finding::ok(
            CONFIG,
            match files.is_empty() {
                true => "there is none, and none is needed".to_owned(),
                false => files.join(", "),
            },
        ));
    }
    findings.extend(programs(&helpers));
    Some(store)
}

fn programs(helpers: &[NamedHelper]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut by_program: BTreeMap<&str, Vec<&NamedHelper>> = BTreeMap::new();
    for helper in helpers {
        by_program.entry(&helper.program).or_default().push(helper);
    }
    for (program, uses) in by_program {
        let Some(first) = uses.first() else { continue };
        let key = match &first.registry {
            Some(registry) => format!("credHelpers[\"{registry}\"]"),
            None => "credsStore".to_owned(),
        };
        let file = &first.file;
        findings.push(match first.is_there {
            true => Finding::ok(HELPERS, format!("{program} is there ({file}: {key})")),
            false => Finding::problem(
                HELPERS,
                format!("{program} is not on PATH, and {key} in {file} wants it"),
            )
            .fix(match first.registry.as_deref() {
                Some(registry) if google::is_registry_host(registry) => format!(
                    "install {program}, or remove {key}: kiln has Google's accounts built in"
                ),
                Some(_) | None => format!("install {program}, or remove {key}"),
            }),
        });
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for helper in helpers.iter().filter(|helper| helper.registry.is_some()) {
        *counts.entry(&helper.file).or_default() += 1;
    }
    for (file, count) in counts.into_iter().filter(|(_, count)| *count > HELPERS_FEW) {
        findings.push(
            Finding::warning(
                HELPERS,
                format!("{file} has {count} entries in credHelpers, which slows `docker build`"),
            )
            .fix("keep those of registries that you use"),
        );
    }
    findings
}

/// A docker in a snap sees neither helpers nor files outside of its home.
fn snap(settings: &Settings) -> Option<Finding> {
    let path = program("docker", settings)?;
    let real = path.canonicalize().unwrap_or_else(|_| path.clone());
    let is_snap = |path: &Path| {
        path.starts_with("/snap")
            || path.starts_with("/var/lib/snapd")
            || path.file_name().is_some_and(|name| name == "snap")
    };
    (is_snap(&path) || is_snap(&real)).then(|| {
        Finding::warning(
            DOCKER,
            format!(
                "{} is from snap: it cannot start credential helpers and has a configuration of \
                 its own",
                path.display()
            ),
        )
        .fix("install docker's own packages; kiln needs no docker")
    })
}

/// A program on PATH.
fn program(name: &str, settings: &Settings) -> Option<PathBuf> {
    std::env::split_paths(&settings.program_path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
