//! `kiln inspect`: what an image is, wherever it is.

mod facts;
mod read;
mod text;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use self::facts::Facts;
use super::image_places::{address, part, unless_interrupted};
use super::print_product;
use crate::args::{Format, FormatOption, ProgressMode, RegistryOptions, StoreOption};
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Show what an image is: digest, platforms, layers, configuration, signatures, attestations
///
/// An address is a name in a registry, store:NAME, oci:PATH[:TAG], oci-archive:FILE[:TAG] or
/// docker-archive:FILE[:NAME]. Layers are not fetched.
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "brackets are what may be left out"
)]
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln inspect debian:12\n  kiln inspect --format json --platform linux/arm64 registry.example/team/app:1.4\n  kiln inspect --raw store:app"
)]
pub(crate) struct InspectArguments {
    /// Where the image is
    #[arg(value_name = "ADDRESS")]
    image: String,

    /// Only the image for this platform, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// The manifest or index itself, byte for byte
    #[arg(long, conflicts_with = "format")]
    raw: bool,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    store: StoreOption,

    #[command(flatten)]
    registry: RegistryOptions,
}

impl Command for InspectArguments {
    fn store(&self) -> Option<&StoreOption> {
        Some(&self.store)
    }

    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn progress(&self) -> ProgressMode {
        ProgressMode::Quiet
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let address = address(&self.image)?;
        let part = part(self.platform.as_deref())?;
        let threads = settings.processors;
        if self.raw {
            let bytes = ports::serve(settings, presentation, threads, async |ports| {
                unless_interrupted(ports, read::raw(&address, &part, ports)).await
            })?;
            return print_bytes(&bytes);
        }
        let facts: Facts = ports::serve(settings, presentation, threads, async |ports| {
            unless_interrupted(ports, read::facts(&address, &part, ports)).await
        })?;
        let product = match self.format.format {
            Format::Text => text::text(&facts),
            Format::Json => {
                let mut json =
                    serde_json::to_string_pretty(&facts).expect("texts and lists are JSON");
                json.push('\n');
                json
            }
        };
        print_product(&product)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A document need not be text.
fn print_bytes(bytes: &[u8]) -> Result<ExitCode, ProgramError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(ProgramError::failed("could not write to stdout").because(&error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
