//! `kiln push`: an image of the store goes to a registry.

use std::process::ExitCode;

use clap::Args;
use engine::{ImageName, PushRequest};

use super::build::values;
use super::print_product;
use super::publish_options::PublishOptions;
use crate::args::{ProgressMode, ProgressOptions, RegistryOptions, StoreOption};
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// Send an image of the store to a registry
///
/// The digest of the image is printed to stdout.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln push registry.example/team/app:1\n  kiln push --immutable=1.4.2 app one.example/app:1.4.2 two.example/app:1.4.2"
)]
pub(crate) struct PushArguments {
    /// Image: a name that `kiln build --tag` gave, or a digest
    #[arg(value_name = "NAME|DIGEST")]
    image: String,

    /// Names in registries to push to [default: the name of the image]
    #[arg(value_name = "DESTINATION")]
    destinations: Vec<String>,

    #[command(flatten)]
    publishing: PublishOptions,

    #[command(flatten)]
    progress: ProgressOptions,

    #[command(flatten)]
    store: StoreOption,

    #[command(flatten)]
    registry: RegistryOptions,
}

impl Command for PushArguments {
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
        run(self, settings, presentation)
    }
}

/// Pushes.
fn run(
    arguments: &PushArguments,
    settings: &Settings,
    presentation: Presentation,
) -> Result<ExitCode, ProgramError> {
    let mut request = arguments.request()?;
    arguments
        .publishing
        .add_signers(&mut request.publishing, settings)?;
    let report = ports::serve(settings, presentation, settings.processors, async |ports| {
        engine::push(&request, ports).await
    })?;
    presentation.conclude_push(&report);
    arguments.publishing.write_report(Some(&report.published))?;
    print_product(&format!("{}\n", report.manifest.digest))?;
    Ok(ExitCode::SUCCESS)
}

impl PushArguments {
    fn request(&self) -> Result<PushRequest, ProgramError> {
        if self.progress.contradicts_itself() {
            return Err(ProgramError::input(
                "--quiet and --progress contradict each other",
            ));
        }
        let image = values::image_name(&self.image)?;
        let mut destinations = Vec::new();
        for text in &self.destinations {
            let destination = values::tag("DESTINATION", text)?;
            if !destinations.contains(&destination) {
                destinations.push(destination);
            }
        }
        match (&image, destinations.is_empty()) {
            (ImageName::Reference(name), true) if name.digest().is_none() => {
                destinations.push(name.clone());
            }
            (_, true) => {
                return Err(ProgramError::input(
                    "an image that is given by digest needs a DESTINATION to be pushed to",
                ));
            }
            (_, false) => {}
        }
        let immutable_tags = self.publishing.immutable_tags(&destinations)?;
        let publishing = self.publishing.publishing(&immutable_tags)?;
        Ok(PushRequest {
            publishing,
            immutable_tags,
            image,
            destinations,
        })
    }
}
