//! `kiln pull`: an image comes into the store, layers included.

use std::process::ExitCode;

use clap::Args;
use publish::{Address, source};

use super::image_places::{Reported, address, part, sources, unkept, unless_interrupted, unread};
use super::print_product;
use crate::args::{ProgressMode, ProgressOptions, RegistryOptions, StoreOption};
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Bring an image into the store, with all of its layers
///
/// What the name points at is kept as it is, with all of its platforms, so that it can be sent on,
/// loaded and inspected without the registry. The digest is printed to stdout.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln pull debian:12\n  kiln pull --platform linux/arm64 registry.example/team/app:1.4"
)]
pub(crate) struct PullArguments {
    /// Image: a name in a registry
    #[arg(value_name = "NAME")]
    image: String,

    /// Only the image for this platform, such as linux/arm64, and not the index that it is in
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    #[command(flatten)]
    progress: ProgressOptions,

    #[command(flatten)]
    store: StoreOption,

    #[command(flatten)]
    registry: RegistryOptions,
}

impl Command for PullArguments {
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
        let Address::Registry(name) = &from else {
            return Err(
                ProgramError::input(format!("{from} is not in a registry")).hint(format!(
                    "`kiln copy {from} store:NAME` brings it into the store"
                )),
            );
        };
        let part = part(self.platform.as_deref())?;
        let threads = settings.processors;
        let digest = ports::serve(settings, presentation, threads, async |ports| {
            let work = async {
                let opened = source::open(&from, &part, &sources(ports)).await;
                let content = opened.map_err(|error| unread(&from, &error))?;
                let watcher = Reported(ports.reporter.clone());
                publish::sink::keep(&content, &ports.store, &watcher)
                    .await
                    .map_err(|error| unkept(&error))?;
                ports.store.images().set(&name.to_string(), &content.root);
                ports.store.flush().map_err(|error| {
                    ProgramError::failed("could not keep the image in the store").because(&error)
                })?;
                Ok(content.root.digest)
            };
            unless_interrupted(ports, work).await
        })?;
        print_product(&format!("{digest}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}
