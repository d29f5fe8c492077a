//! How declared images are called where they go: below the registry and prefix of the project, or of
//! each of its destinations, with the tags that the project's rules make. A variant has the tags of
//! its image with its name behind them.

use std::collections::BTreeSet;

use oci::{Reference, Repository, Tag};
use policy::TagPlan;
use project::{DestinationDeclaration, Project};

use super::Member;
use crate::error::ProgramError;
use crate::project::LoadedProject;

/// The names of one image, and which of them never move.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    /// Those that never move first.
    pub(crate) tags: Vec<Reference>,
    /// Those that never move.
    pub(crate) immutable_tags: BTreeSet<Reference>,
}

/// Gives images their names.
pub(crate) struct Names<'p> {
    project: &'p Project,
    /// What repositories are below.
    places: Vec<String>,
    plan: TagPlan,
}

impl<'p> Names<'p> {
    /// Names in all destinations of a project; nothing where no registry is known.
    pub(crate) fn new(
        loaded: &'p LoadedProject,
        plan: TagPlan,
    ) -> Result<Option<Self>, ProgramError> {
        let project = loaded.values();
        let default = DestinationDeclaration::default();
        let destinations: Vec<&DestinationDeclaration> = match project.destinations.is_empty() {
            true => vec![&default],
            false => project.destinations.values().collect(),
        };
        let mut places = Vec::new();
        for destination in destinations {
            let Some(place) = place(project, destination) else {
                return Ok(None);
            };
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Ok(Some(Self {
            project,
            places,
            plan,
        }))
    }

    /// The names of one image in one variant.
    pub(crate) fn of(&self, member: &Member) -> Result<Named, ProgramError> {
        let declared = self.project.images.get(&member.image);
        let path = declared.and_then(|image| image.path.as_deref());
        let path = path.unwrap_or(&member.image);
        let mut repositories: Vec<Repository> = Vec::new();
        for place in &self.places {
            let repository = format!("{place}/{path}").parse();
            let wrong = |error| ProgramError::input(format!("{member}: {error}"));
            repositories.push(repository.map_err(|error: oci::ReferenceError| wrong(error))?);
        }
        let mut named = Named::default();
        for repository in &repositories {
            for tag in &self.plan.immutable {
                let reference = repository.at_tag(of_variant(tag, member)?);
                named.immutable_tags.insert(reference.clone());
                named.tags.push(reference);
            }
        }
        for repository in &repositories {
            for tag in &self.plan.floating {
                named.tags.push(repository.at_tag(of_variant(tag, member)?));
            }
        }
        Ok(named)
    }
}

/// What the repositories of a destination are below; nothing where no registry is known.
fn place(project: &Project, destination: &DestinationDeclaration) -> Option<String> {
    let registry = destination
        .registry
        .as_ref()
        .or(project.registry.as_ref())?;
    let prefix = destination.prefix.as_ref().or(project.prefix.as_ref());
    Some(match prefix {
        Some(prefix) => format!("{registry}/{prefix}"),
        None => registry.clone(),
    })
}

/// The repositories of all images in those destinations that want this signer.
pub(crate) fn signed_by(project: &Project, signer: &str) -> BTreeSet<Repository> {
    let destinations = project.destinations.values();
    let places: Vec<String> = destinations
        .filter(|destination| destination.sign.iter().any(|name| name == signer))
        .filter_map(|destination| place(project, destination))
        .collect();
    let paths = || {
        let images = project.images.iter();
        images.map(|(name, image)| image.path.as_ref().unwrap_or(name))
    };
    places
        .iter()
        .flat_map(|place| paths().map(move |path| format!("{place}/{path}")))
        // What is no name is said where images are named.
        .filter_map(|text| text.parse().ok())
        .collect()
}

fn of_variant(tag: &Tag, member: &Member) -> Result<Tag, ProgramError> {
    if member.is_plain() {
        return Ok(tag.clone());
    }
    let text = format!("{tag}-{}", member.variant);
    text.parse::<Tag>()
        .map_err(|error| ProgramError::input(format!("the tag of {member}: {error}")))
}
