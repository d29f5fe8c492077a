//! Images: what they are called, need and run on.

use std::collections::BTreeMap;

use oci::Platform;

use super::Findings;
use crate::form::cut;
use crate::{ImageDeclaration, PLAIN};

pub(super) fn check(findings: &mut Findings<'_>) {
    let project = findings.project();
    let names: Vec<&str> = project.images.keys().map(String::as_str).collect();
    let mut variants: Vec<&str> = project.variants.keys().map(String::as_str).collect();
    variants.push(PLAIN);
    let mut places: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, image) in &project.images {
        let has_path = image.path.is_some();
        let path = image.path.as_deref().unwrap_or(name);
        let key = match has_path {
            true => vec!["images", name, "path"],
            false => vec!["images", name],
        };
        if let Some((message, help)) = path_fault(path, has_path) {
            findings.report(&key, &message, "not a path", help);
        } else if let Some(other) = places.insert(path, name) {
            let message = format!("this is the repository of `{other}` too: `{path}`");
            findings.report(&key, &message, "the second", None);
        }
        names_of(findings, name, "needs", "image", &image.needs, &names);
        names_of(
            findings,
            name,
            "variants",
            "variant",
            &image.variants,
            &variants,
        );
        for (index, platform) in image.platforms.iter().enumerate() {
            if let Err(error) = platform.parse::<Platform>() {
                let index = index.to_string();
                let path = ["images", name, "platforms", &index];
                findings.report(&path, &error.to_string(), "not a platform", None);
            }
        }
        if let Some(file) = &image.file
            && file.is_empty()
        {
            findings.report(&["images", name, "file"], "this is empty", "empty", None);
        }
    }
    cycles(findings, &project.images);
}

/// What is wrong with a path below registry and prefix.
fn path_fault(path: &str, given: bool) -> Option<(String, Option<String>)> {
    let fault = super::destinations::prefix_fault(path)?;
    match given {
        true => Some(fault),
        // It is a name that is wrong here, not a path that somebody wrote.
        false => Some((
            format!(
                "`{}` cannot be a path in a registry: {}",
                cut(path),
                fault.0
            ),
            Some("give it a `path` of lower-case letters, digits, `.`, `_`, `-` and `/`".into()),
        )),
    }
}

/// A list of names: each is known, none is there twice.
fn names_of(
    findings: &mut Findings<'_>,
    image: &str,
    key: &str,
    what: &str,
    list: &[String],
    known: &[&str],
) {
    for (index, name) in list.iter().enumerate() {
        let place = index.to_string();
        let path = ["images", image, key, &place];
        if !known.contains(&name.as_str()) {
            findings.unknown(&path, what, name, known);
        } else if list[..index].contains(name) {
            let message = format!("`{name}` is there twice");
            findings.report(&path, &message, "the second time", None);
        }
    }
}

/// Images that need themselves, by way of others. Each circle is said once, at one of its `needs`.
fn cycles(findings: &mut Findings<'_>, images: &BTreeMap<String, ImageDeclaration>) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Open,
        Done,
    }
    let mut states: BTreeMap<&str, State> = BTreeMap::new();
    for start in images.keys() {
        if states.contains_key(start.as_str()) {
            continue;
        }
        // Not by recursion: a file may have a long chain.
        let mut stack: Vec<(&str, usize)> = vec![(start, 0)];
        states.insert(start, State::Open);
        while let Some((name, next)) = stack.last_mut() {
            let Some(need) = images.get(*name).and_then(|image| image.needs.get(*next)) else {
                states.insert(name, State::Done);
                stack.pop();
                continue;
            };
            let (name, index) = (*name, *next);
            *next += 1;
            match states.get(need.as_str()) {
                Some(State::Done) => {}
                Some(State::Open) => {
                    let from = stack.iter().position(|(open, _)| open == need);
                    let circle = stack[from.unwrap_or(0)..].iter().map(|(open, _)| *open);
                    let circle: Vec<&str> = circle.chain([need.as_str()]).collect();
                    let message = match circle.as_slice() {
                        [_, _] => "an image cannot need itself".to_owned(),
                        _ => format!("these images need each other: {}", circle.join(" → ")),
                    };
                    let index = index.to_string();
                    let path = ["images", name, "needs", &index];
                    findings.report(&path, &message, "closes the circle", None);
                }
                None if images.contains_key(need) => {
                    states.insert(need, State::Open);
                    stack.push((need, 0));
                }
                // Reported as unknown.
                None => {}
            }
        }
    }
}
