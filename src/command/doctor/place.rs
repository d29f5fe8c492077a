//! Repositories of Artifact Registry: there, for images, and with tags that move or do not move as
//! the project wants it.

use artifact_registry::{Client, Place, PlaceError};
use oci::Repository;
use project::Project;

use super::bounded;
use super::finding::Finding;
use crate::command::repo::tags_that_move;

const CHECK: &str = "repository";

/// The place of a repository; nothing for other registries.
pub(super) fn of(repository: &Repository) -> Option<Result<Place, Finding>> {
    match Place::of(repository.registry(), repository.path()) {
        Ok(place) => Some(Ok(place)),
        Err(PlaceError::Foreign(_)) => None,
        Err(
            error @ (PlaceError::NoProject(_) | PlaceError::NoRepository(_) | PlaceError::Name(_)),
        ) => Some(Err(Finding::problem(CHECK, error.to_string()))),
    }
}

/// Looks at a place.
pub(super) async fn check(
    client: &Client,
    place: &Place,
    project: Option<&Project>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let served = match place.host == place.repository {
        true => format!(
            "{place} (served by repository {} in {})",
            place.repository, place.location
        ),
        false => place.to_string(),
    };
    let repository = match bounded(client.get(place)).await {
        None => {
            let said = format!("{served}: Artifact Registry gave no answer in time");
            return vec![Finding::warning(CHECK, said)];
        }
        Some(Err(error)) => {
            let said = format!("{served} could not be looked at: {error}");
            return vec![Finding::warning(CHECK, said).perhaps(error.advice())];
        }
        Some(Ok(None)) => {
            let said = format!("{served} does not exist");
            return vec![Finding::problem(CHECK, said).fix(format!("kiln repo ensure {place}"))];
        }
        Some(Ok(Some(repository))) => repository,
    };
    if repository.format != "DOCKER" {
        findings.push(
            Finding::problem(
                CHECK,
                format!(
                    "{served} has the format {}, and images need DOCKER",
                    repository.format
                ),
            )
            .fix("a format never changes: make another repository with `kiln repo ensure`"),
        );
    }
    let is_pushed_to = matches!(repository.mode.as_str(), "" | "STANDARD_REPOSITORY");
    if !is_pushed_to {
        let said = format!("{served} is a {}: nothing can be pushed", repository.mode);
        findings.push(Finding::warning(CHECK, said));
    }
    let immutable = repository.docker_config.immutable_tags;
    let moves = project.and_then(|project| tags_that_move(project, place));
    if let (true, Some(moves)) = (immutable, moves) {
        findings.push(
            Finding::problem(
                CHECK,
                format!("{served} has immutable tags, and kiln.yaml has {moves}"),
            )
            .fix(format!(
                "give what moves another repository, or `kiln repo ensure {place} \
                 --immutable-tags=false --fix`"
            )),
        );
    }
    if findings.is_empty() {
        let tags = if immutable { ", immutable tags" } else { "" };
        findings.push(Finding::ok(CHECK, format!("{served} is there{tags}")));
    }
    findings
}
