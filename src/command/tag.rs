//! `kiln tag`: another name for an image that is there.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use engine::Ports;
use oci::{Digest, Reference};
use publish::source::{self, Part};
use publish::{Address, Content, Context, Item, Publication, StoreName, Target, Uploads};

use super::image_places::{Reported, address, sources, unless_interrupted, unpublished, unread};
use super::print_product;
use crate::args::{ProgressMode, ProgressOptions, RegistryOptions, StoreOption};
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Give an image another name, in its registry or in the store
///
/// The image is looked up once and tagged by its digest; nothing is sent. A tag that points at it
/// already is left alone. For each name, the name and the digest are printed to stdout.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln tag registry.example/team/app:1.4.2 registry.example/team/app:stable\n  kiln tag --immutable registry.example/team/app@sha256:… registry.example/team/app:1.4.2\n  kiln tag store:app store:app:before"
)]
pub(crate) struct TagArguments {
    /// Image: a name in a registry, or store:NAME
    #[arg(value_name = "SOURCE")]
    source: String,

    /// New names: in the same repository, or store:NAME
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Refuse to move a tag that points at something else
    #[arg(long)]
    immutable: bool,

    #[command(flatten)]
    progress: ProgressOptions,

    #[command(flatten)]
    store: StoreOption,

    #[command(flatten)]
    registry: RegistryOptions,
}

/// Where the names are.
enum Names {
    Registry(Vec<Reference>),
    Store(Vec<Reference>),
}

impl Command for TagArguments {
    fn store(&self) -> Option<&StoreOption> {
        Some(&self.store)
    }

    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn progress(&self) -> ProgressMode {
        self.progress.mode()
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        self.progress.check()?;
        let from = address(&self.source)?;
        let names = self.names(&from)?;
        let threads = settings.processors;
        let digest = ports::serve(settings, presentation, threads, async |ports| {
            let work = async {
                let opened = source::open(&from, &Part::Whole, &sources(ports)).await;
                let content = opened.map_err(|error| unread(&from, &error))?;
                match &names {
                    Names::Registry(names) => self.publish(content, names, ports).await,
                    Names::Store(names) => self.set(&content, names, ports),
                }
            };
            unless_interrupted(ports, work).await
        })?;
        let (Names::Registry(names) | Names::Store(names)) = &names;
        let lines = names.iter().map(|name| format!("{name}@{digest}\n"));
        print_product(&lines.collect::<String>())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl TagArguments {
    fn names(&self, from: &Address) -> Result<Names, ProgramError> {
        let mut names = Vec::new();
        for text in &self.names {
            let name = match (from, address(text)?) {
                (Address::Registry(source), Address::Registry(name)) => {
                    if name.repository() != source.repository() {
                        return Err(ProgramError::input(format!(
                            "{name} is not in the repository {}",
                            source.repository()
                        ))
                        .hint(format!("`kiln copy {from} {name}` brings the image there")));
                    }
                    name
                }
                (Address::Store(_), Address::Store(StoreName::Reference(name))) => name,
                (Address::Store(_) | Address::Registry(_), other) => {
                    return Err(
                        ProgramError::input(format!("{other} is no new name for {from}"))
                            .hint(format!("`kiln copy {from} {other}` brings the image there")),
                    );
                }
                (
                    Address::Layout { .. }
                    | Address::LayoutArchive { .. }
                    | Address::DockerArchive { .. },
                    other,
                ) => {
                    return Err(ProgramError::input(format!("{from} cannot be tagged"))
                        .hint(format!("`kiln copy {from} {other}` brings the image there")));
                }
            };
            if name.digest().is_some() || name.tag().is_none() {
                return Err(ProgramError::input(format!(
                    "{name} is not a new name: it has a digest"
                )));
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(match from {
            Address::Store(_) => Names::Store(names),
            Address::Registry(_)
            | Address::Layout { .. }
            | Address::LayoutArchive { .. }
            | Address::DockerArchive { .. } => Names::Registry(names),
        })
    }

    async fn publish(
        &self,
        content: Content,
        names: &[Reference],
        ports: &Ports,
    ) -> Result<Digest, ProgramError> {
        let digest = content.root.digest.clone();
        let Some(first) = names.first() else {
            return Ok(digest);
        };
        let tags = names
            .iter()
            .filter_map(|name| name.tag().cloned())
            .collect();
        let (immutable_tags, floating_tags) = match self.immutable {
            true => (tags, Vec::new()),
            false => (Vec::new(), tags),
        };
        let publication = Publication {
            items: vec![Item {
                name: self.source.clone(),
                content,
                attachments: Vec::new(),
                seals: Vec::new(),
                targets: vec![Target {
                    repository: first.repository().clone(),
                    immutable_tags,
                    floating_tags,
                }],
            }],
            ..Publication::default()
        };
        let watcher = Arc::new(Reported(ports.reporter.clone()));
        let context = Context {
            client: &ports.client,
            store: &ports.store,
            uploads: Uploads::new(ports.client.clone(), watcher.clone()),
            watcher: &*watcher,
        };
        publish::publish(&publication, &context)
            .await
            .map_err(|error| unpublished("could not tag the image", error))?;
        Ok(digest)
    }

    fn set(
        &self,
        content: &Content,
        names: &[Reference],
        ports: &Ports,
    ) -> Result<Digest, ProgramError> {
        let images = ports.store.images();
        for name in names {
            let found = images.get(&name.to_string());
            if let Some(found) = found.filter(|_| self.immutable)
                && found.digest != content.root.digest
            {
                return Err(ProgramError::failed(format!(
                    "{name} points at {} in the store, and was to point at {}",
                    found.digest, content.root.digest
                ))
                .hint("use another name, or leave out --immutable"));
            }
        }
        for name in names {
            images.set(&name.to_string(), &content.root);
        }
        ports.store.flush().map_err(|error| {
            ProgramError::failed("could not keep the name in the store").because(&error)
        })?;
        Ok(content.root.digest.clone())
    }
}
