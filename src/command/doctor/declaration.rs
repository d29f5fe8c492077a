//! `kiln.yaml`, and the repositories that it sends images to.

use std::collections::BTreeSet;

use oci::{Reference, Repository};
use project::Project;

use super::finding::{Finding, Level};
use crate::project::{self as loading, LoadedProject, ProjectFlags};
use crate::settings::Settings;

const CHECK: &str = "kiln.yaml";

/// Reads the declaration, where there is one.
pub(super) fn check(
    settings: &Settings,
    flags: ProjectFlags<'_>,
    findings: &mut Vec<Finding>,
) -> Option<LoadedProject> {
    match loading::find(settings, flags) {
        Ok(None) => {
            findings.push(Finding::ok(CHECK, "there is none, and none is needed"));
            None
        }
        Ok(Some(project)) => {
            let count = project.values().images.len();
            let plural = if count == 1 { "" } else { "s" };
            let name = &project.declared.name;
            findings.push(Finding::ok(CHECK, format!("{name}: {count} image{plural}")));
            Some(project)
        }
        Err(error) => {
            findings.push(Finding::of_error(Level::Problem, CHECK, &error));
            None
        }
    }
}

/// Where images of a project go, each repository once.
pub(super) fn repositories(project: &Project, findings: &mut Vec<Finding>) -> Vec<Reference> {
    let mut places: Vec<(&str, Option<&str>, &str)> = Vec::new();
    let own = project.registry.as_deref();
    let prefix = project.prefix.as_deref();
    if project.destinations.is_empty() {
        places.extend(own.map(|registry| (registry, prefix, "registry")));
    }
    for (name, destination) in &project.destinations {
        // What a destination does not say, the project does.
        let registry = destination.registry.as_deref().or(own);
        let prefix = destination.prefix.as_deref().or(prefix);
        places.extend(registry.map(|registry| (registry, prefix, name.as_str())));
    }
    let mut names = BTreeSet::new();
    for (registry, prefix, origin) in places {
        let above: Vec<&str> = [Some(registry), prefix].into_iter().flatten().collect();
        for (name, image) in &project.images {
            let path = image.path.as_deref().unwrap_or(name);
            let parts = above.iter().copied().chain([path]);
            let parts = parts.map(|part| part.trim_matches('/'));
            let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
            names.insert((parts.join("/"), origin));
        }
    }
    let mut references: Vec<Reference> = Vec::new();
    for (name, origin) in names {
        match name
            .parse::<Repository>()
            .map(|_| name.parse::<Reference>())
        {
            Ok(Ok(reference)) if !references.contains(&reference) => references.push(reference),
            Ok(Ok(_)) => {}
            Ok(Err(error)) | Err(error) => {
                findings.push(Finding::problem(
                    CHECK,
                    format!("{origin}: {name}: {error}"),
                ));
            }
        }
    }
    references
}
