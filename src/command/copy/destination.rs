//! Where images go: registries together, in one transaction; files and the store one by one.

use std::path::Path;

use engine::{Event, Ports};
use oci::{Descriptor, Digest, Reference, Repository, Tag};
use publish::sink::{self, ImageFiles, LayoutName};
use publish::{Address, Choice, Content, Item, StoreName, Target};

use super::selection::{Image, Selection};
use crate::command::image_places::{
    Reported, WriteError, address, blocking, unkept, unwritten, write_archive,
};
use crate::error::ProgramError;

/// A place that gets images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// A tag, or only a digest.
    Name(Reference),
    /// A repository, which gets all tags.
    Repository(Repository),
    /// Files, or the store.
    Other(Address),
}

impl Destination {
    /// Reads what the user wrote.
    pub(super) fn read(text: &str, all_tags: bool, source: &Address) -> Result<Self, ProgramError> {
        if all_tags && let Ok(repository) = text.strip_prefix("docker://").unwrap_or(text).parse() {
            // `oci:PATH` is no repository: it has a colon, and nothing that is a port behind it.
            return Ok(Self::Repository(repository));
        }
        let address = address(text)?;
        if address == *source {
            return Err(ProgramError::input(format!("{address} is the source")));
        }
        match address {
            Address::Registry(_) if all_tags => Err(ProgramError::input(format!(
                "--all-tags copies all tags, and {text} names one"
            ))
            .hint("leave out the tag")),
            Address::Registry(name) => Ok(Self::Name(name)),
            other @ Address::Layout { .. } => Ok(Self::Other(other)),
            other if all_tags => Err(ProgramError::input(format!(
                "--all-tags copies to repositories and image layouts, and {other} is neither"
            ))),
            other => Ok(Self::Other(other)),
        }
    }

    /// Refuses what it cannot hold.
    pub(super) fn check(&self, selection: &Selection) -> Result<(), ProgramError> {
        let wrong_digest = |wanted: &Digest, image: &Image| {
            ProgramError::input(format!(
                "{} cannot have that digest: the image has {}",
                self.shown(),
                image.digest()
            ))
            .hint(format!(
                "what is copied keeps its digest, and {wanted} is another's"
            ))
        };
        for image in &selection.images {
            match self {
                Self::Name(name) => {
                    if let Some(wanted) = name.digest()
                        && wanted != image.digest()
                    {
                        return Err(wrong_digest(wanted, image));
                    }
                }
                Self::Repository(_) => {}
                Self::Other(
                    Address::Layout { choice, .. }
                    | Address::LayoutArchive { choice, .. }
                    | Address::DockerArchive { choice, .. },
                ) => {
                    if let Choice::Digest(wanted) = choice {
                        return Err(ProgramError::input(format!(
                            "{} names a digest, and a destination has a tag: {wanted} is what it is",
                            self.shown()
                        )));
                    }
                    if let Self::Other(Address::DockerArchive { .. }) = self {
                        self.docker_files(image)?;
                    }
                }
                Self::Other(Address::Store(StoreName::Digest(wanted))) => {
                    if wanted != image.digest() {
                        return Err(wrong_digest(wanted, image));
                    }
                }
                Self::Other(Address::Store(StoreName::Reference(name))) => {
                    if let Some(wanted) = name.digest()
                        && wanted != image.digest()
                    {
                        return Err(wrong_digest(wanted, image));
                    }
                }
                Self::Other(Address::Registry(_)) => {}
            }
        }
        Ok(())
    }

    /// Writes files, or into the store; what goes to a registry is published with all others.
    pub(super) async fn write(
        &self,
        selection: &Selection,
        ports: &Ports,
    ) -> Result<(), ProgramError> {
        match self {
            Self::Name(_) | Self::Repository(_) | Self::Other(Address::Registry(_)) => Ok(()),
            Self::Other(Address::Layout { path, choice }) => {
                write_layout(path, choice, selection, ports).await
            }
            Self::Other(Address::LayoutArchive { path, choice }) => {
                let contents = selection.contents();
                let files = ImageFiles::layout_of(&contents, entries(selection, choice));
                write_archive(files, sink::joined(&contents), path.clone(), ports).await
            }
            Self::Other(Address::DockerArchive { path, .. }) => {
                for image in &selection.images {
                    let files = self.docker_files(image)?;
                    self.leave_out(image, ports);
                    let blobs = image.content.blobs.clone();
                    write_archive(files, blobs, path.clone(), ports).await?;
                }
                Ok(())
            }
            Self::Other(Address::Store(name)) => {
                for image in &selection.images {
                    self.leave_out(image, ports);
                    keep(name, &image.content, ports).await?;
                }
                Ok(())
            }
        }
    }

    /// Says what has no place there.
    fn leave_out(&self, image: &Image, ports: &Ports) {
        if !image.attached.is_empty() {
            ports.reporter.report(Event::Warning {
                message: format!(
                    "{} signatures and attestations are left out: {} has no place for them",
                    image.attached.len(),
                    self.shown()
                ),
            });
        }
    }

    fn docker_files(&self, image: &Image) -> Result<ImageFiles, ProgramError> {
        let mut names = Vec::new();
        if let Self::Other(Address::DockerArchive {
            choice: Choice::Named(name),
            ..
        }) = self
        {
            let name: Reference = name
                .parse()
                .map_err(|error: oci::ReferenceError| ProgramError::input(error.to_string()))?;
            names.push(name);
        }
        ImageFiles::docker(&image.content, &names).map_err(|error| {
            ProgramError::input(format!("{} cannot hold the image", self.shown()))
                .because(&error)
                .hint("choose one with --platform, or write an oci-archive:")
        })
    }

    /// As it stands in messages and answers.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Repository(repository) => repository.to_string(),
            Self::Other(address) => address.to_string(),
        }
    }

    /// The tags that an image gets there, where there is a registry.
    pub(super) fn references(&self, image: &Image) -> Vec<Reference> {
        match self {
            Self::Name(name) => vec![name.clone()],
            Self::Repository(repository) => {
                let tags = image.tags.iter();
                tags.map(|tag| repository.at_tag(tag.clone())).collect()
            }
            Self::Other(_) => Vec::new(),
        }
    }
}

async fn write_layout(
    path: &Path,
    choice: &Choice,
    selection: &Selection,
    ports: &Ports,
) -> Result<(), ProgramError> {
    let contents = selection.contents();
    let files = ImageFiles::layout_of(&contents, entries(selection, choice));
    let blobs = sink::joined(&contents);
    let (to, interrupt) = (path.to_owned(), ports.interrupt.clone());
    let written =
        blocking(move || sink::write_layout(&files, &*blobs, &to, &|| interrupt.is_triggered()));
    let written = written.await.map_err(WriteError::from);
    written.map_err(|error| unwritten(path, &error))
}

/// What the index of a layout lists: the images under their names, and what is about them.
fn entries(selection: &Selection, choice: &Choice) -> Vec<Descriptor> {
    let mut entries = Vec::new();
    for image in &selection.images {
        let names: Vec<LayoutName> = match choice {
            Choice::Named(name) => vec![LayoutName::word(name)],
            Choice::Only | Choice::Digest(_) => {
                let tags = image.tags.iter();
                tags.map(|tag| LayoutName::word(tag.as_str())).collect()
            }
        };
        entries.extend(sink::entries(&image.content.root, &names));
    }
    for attached in selection.images.iter().flat_map(|image| &image.attached) {
        let names: Vec<LayoutName> = (attached.tag.iter())
            .map(|tag| LayoutName::word(tag.as_str()))
            .collect();
        entries.extend(sink::entries(&sink::described(&attached.content), &names));
    }
    entries
}

async fn keep(name: &StoreName, content: &Content, ports: &Ports) -> Result<(), ProgramError> {
    let watcher = Reported(ports.reporter.clone());
    sink::keep(content, &ports.store, &watcher)
        .await
        .map_err(|error| unkept(&error))?;
    if let StoreName::Reference(name) = name {
        ports.store.images().set(&name.to_string(), &content.root);
    }
    ports.store.flush().map_err(|error| {
        ProgramError::failed("could not keep the image in the store").because(&error)
    })
}

/// The repositories among the destinations, each once, with the tags that `tags` gives for a name,
/// or for a repository, and whether those never move.
pub(super) fn targets(
    destinations: &[Destination],
    tags: impl Fn(Option<&Reference>) -> (Vec<Tag>, bool),
) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for destination in destinations {
        let (repository, (tags, is_immutable)) = match destination {
            Destination::Name(name) => (name.repository(), tags(Some(name))),
            Destination::Repository(repository) => (repository, tags(None)),
            Destination::Other(_) => continue,
        };
        let known = targets
            .iter()
            .position(|target| target.repository == *repository);
        let number = known.unwrap_or_else(|| {
            targets.push(Target {
                repository: repository.clone(),
                immutable_tags: Vec::new(),
                floating_tags: Vec::new(),
            });
            targets.len() - 1
        });
        let target = &mut targets[number];
        let place = match is_immutable {
            true => &mut target.immutable_tags,
            false => &mut target.floating_tags,
        };
        for tag in tags {
            if !place.contains(&tag) {
                place.push(tag);
            }
        }
    }
    targets
}

/// An item of the transaction, if it goes anywhere.
pub(super) fn item(name: String, content: Content, targets: Vec<Target>) -> Option<Item> {
    (!targets.is_empty()).then(|| Item {
        name,
        content,
        attachments: Vec::new(),
        seals: Vec::new(),
        targets,
    })
}
