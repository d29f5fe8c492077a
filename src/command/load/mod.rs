//! `kiln load`: an image comes into a container engine of this machine.

mod engines;
mod target;

use std::process::ExitCode;

use clap::Args;
use engine::Ports;
use oci::{Digest, Platform, Reference};
use publish::sink::ImageFiles;
use publish::source::{self, Part, SourceError};
use publish::{Address, Content, StoreName};

use self::engines::Cargo;
use self::target::LoadTarget;
use super::image_places::{address, part, sources, unless_interrupted, unread, write_archive};
use super::print_product;
use crate::args::{ProgressMode, ProgressOptions, RegistryOptions, StoreOption};
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Load an image into docker, podman, containerd or kind
///
/// The bytes are those that were built or pulled: nothing is built or compressed again, and nothing
/// lies on the disk in between. A name is looked for in the store first, and then in its registry.
/// Of an index, the image for this machine is loaded. The digest of its manifest is printed to
/// stdout.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln load app --to kind\n  kiln load registry.example/team/app:1.4 --to docker\n  kiln load app --to archive=app.tar --platform linux/arm64"
)]
pub(crate) struct LoadArguments {
    /// Image: a name in the store or in a registry, or another address as of `kiln copy`
    #[arg(value_name = "NAME")]
    image: String,

    /// What it is loaded into: docker, podman, containerd[=NAMESPACE], kind[=CLUSTER] or
    /// archive=FILE
    #[arg(long, value_name = "ENGINE")]
    to: LoadTarget,

    /// The image for this platform [default: that of this machine]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// Name that it gets; may be repeated [default: NAME, where that is a name]
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<String>,

    #[command(flatten)]
    progress: ProgressOptions,

    #[command(flatten)]
    store: StoreOption,

    #[command(flatten)]
    registry: RegistryOptions,
}

impl Command for LoadArguments {
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
        let from = address(&self.image)?;
        let names = self.names(&from)?;
        let part = match self.platform.as_deref() {
            Some(text) => part(Some(text))?,
            None => Part::Platform(Platform {
                os: "linux".to_owned(),
                ..Platform::host()
            }),
        };
        let threads = settings.processors;
        let digest = ports::serve(settings, presentation, threads, async |ports| {
            unless_interrupted(ports, self.load(&from, &names, &part, ports)).await
        })?;
        print_product(&format!("{digest}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl LoadArguments {
    fn names(&self, from: &Address) -> Result<Vec<Reference>, ProgramError> {
        let mut names = Vec::new();
        for text in &self.tags {
            let name: Reference = text
                .parse()
                .map_err(|error: oci::ReferenceError| ProgramError::input(error.to_string()))?;
            if name.digest().is_some() {
                return Err(ProgramError::input(format!("--tag: {name} has a digest")));
            }
            names.push(name);
        }
        if names.is_empty()
            && let Address::Registry(name) | Address::Store(StoreName::Reference(name)) = from
            && let Some(tag) = name.tag()
        {
            names.push(name.repository().at_tag(tag.clone()));
        }
        if names.is_empty() && self.to.needs_a_name() {
            return Err(
                ProgramError::input(format!("{from} has no name to be loaded under"))
                    .hint("give it one with --tag"),
            );
        }
        Ok(names)
    }

    async fn load(
        &self,
        from: &Address,
        names: &[Reference],
        part: &Part,
        ports: &Ports,
    ) -> Result<Digest, ProgramError> {
        // What cannot work need not be fetched.
        let engine = engines::find(&self.to, &ports.program_path).await?;
        let content = open(from, part, ports).await?;
        let files = ImageFiles::docker(&content, names).map_err(|error| {
            ProgramError::input(format!("could not load {from}")).because(&error)
        })?;
        let digest = content.root.digest.clone();
        let cargo = Cargo {
            files,
            blobs: content.blobs.clone(),
            digest: digest.clone(),
            config: content.documents.iter().find_map(config),
            names: names.to_vec(),
        };
        match (engine, &self.to) {
            (Some(engine), _) => engines::load(&engine, cargo, ports).await?,
            (None, LoadTarget::Archive(path)) => {
                write_archive(cargo.files, cargo.blobs, path.clone(), ports).await?;
            }
            (
                None,
                LoadTarget::Docker
                | LoadTarget::Podman
                | LoadTarget::Containerd { .. }
                | LoadTarget::Kind { .. },
            ) => {}
        }
        Ok(digest)
    }
}

fn config(document: &oci::Document) -> Option<Digest> {
    match document {
        oci::Document::Manifest(manifest) => Some(manifest.value().config.digest.clone()),
        oci::Document::Index(_) => None,
    }
}

/// A bare name is one of the store, or else of its registry.
async fn open(from: &Address, part: &Part, ports: &Ports) -> Result<Content, ProgramError> {
    let sources = sources(ports);
    if let Address::Registry(name) = from {
        let stored = Address::Store(StoreName::Reference(name.clone()));
        match source::open(&stored, part, &sources).await {
            Ok(content) => return Ok(content),
            Err(SourceError::Absent { .. }) => {}
            Err(error) => return Err(unread(&stored, &error)),
        }
    }
    let opened = source::open(from, part, &sources).await;
    opened.map_err(|error| unread(from, &error))
}
