//! `kiln repo show`: a repository of Artifact Registry, or what it knows of an image.

use std::fmt::Write as _;
use std::process::ExitCode;

use artifact_registry::{ImageFacts, Place, Repository};
use clap::Args;
use serde_json::{Value, json};

use super::{failed, place};
use crate::accounts;
use crate::args::{Format, FormatOption, RegistryOptions};
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::ports;
use crate::render::Presentation;
use crate::settings::Settings;

/// The version of the JSON form.
const SCHEMA: u32 = 1;

/// Show a repository of Artifact Registry, and what it knows of an image in it
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln repo show us-central1-docker.pkg.dev/p1/gie\n  kiln repo show \
                  us-central1-docker.pkg.dev/p1/gie/epp:v1 --format json"
)]
pub(super) struct ShowArguments {
    /// The repository, or an image in it, by tag or digest
    #[arg(value_name = "REPOSITORY|IMAGE")]
    name: String,

    #[command(flatten)]
    format: FormatOption,

    #[command(flatten)]
    registry: RegistryOptions,
}

impl Command for ShowArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn run(&self, settings: &Settings, _: Presentation) -> Result<ExitCode, ProgramError> {
        let (reference, place) = place(&self.name)?;
        let client = accounts::artifact_registry(settings)?;
        let headline = || format!("{} cannot be shown", self.name);
        let asked = async {
            let repository = client.get(&place).await?;
            let image = match (&repository, &place.image) {
                (Some(_), Some(_)) => {
                    let digest = match (reference.digest(), reference.tag()) {
                        (Some(digest), _) => Some(digest.clone()),
                        (None, Some(tag)) => client.tag(&place, tag).await?,
                        (None, None) => None,
                    };
                    match digest {
                        Some(digest) => Some(client.image(&place, &digest).await?),
                        None => Some(None),
                    }
                }
                _ => None,
            };
            Ok((repository, image))
        };
        let (repository, image) = ports::runtime(settings.processors)?
            .block_on(asked)
            .map_err(|error| failed(headline(), &error))?;
        let Some(repository) = repository else {
            return Err(
                ProgramError::failed(format!("there is no repository {place}"))
                    .hint(format!("kiln repo ensure {place}")),
            );
        };
        if let Some(None) = image {
            return Err(ProgramError::failed(format!(
                "there is no {} in {place}",
                self.name
            )));
        }
        let image = image.flatten();
        print_product(&match self.format.format {
            Format::Text => text(&place, &repository, image.as_ref()),
            Format::Json => json(&place, &repository, image.as_ref()),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(place: &Place, repository: &Repository, image: Option<&ImageFacts>) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "{name:<16}{value}");
        }
    };
    let policies: Vec<&str> = repository
        .cleanup_policies
        .keys()
        .map(String::as_str)
        .collect();
    line("repository", &place.to_string());
    line("format", &repository.format);
    line("mode", &repository.mode);
    line("location", &place.location);
    line("description", &repository.description);
    let immutable = repository.docker_config.immutable_tags;
    line("immutable tags", if immutable { "yes" } else { "no" });
    line("clean-up", &policies.join(", "));
    line("created", &repository.create_time);
    line(
        "bytes",
        repository.size_bytes.as_deref().unwrap_or_default(),
    );
    if let Some(image) = image {
        line("image", &image.uri);
        line("tags", &image.tags.join(", "));
        line("media type", &image.media_type);
        line("image bytes", &image.image_size_bytes);
        line("uploaded", &image.upload_time);
        line("built", &image.build_time);
    }
    out
}

fn json(place: &Place, repository: &Repository, image: Option<&ImageFacts>) -> String {
    let number = |text: &str| text.parse::<u64>().map_or(Value::Null, Value::from);
    let image = image.map(|image| {
        json!({
            "reference": image.uri,
            "tags": image.tags,
            "media_type": image.media_type,
            "bytes": number(&image.image_size_bytes),
            "uploaded": image.upload_time,
            "built": image.build_time,
        })
    });
    let document = json!({
        "schema": SCHEMA,
        "repository": place.to_string(),
        "resource": place.resource(),
        "format": repository.format,
        "mode": repository.mode,
        "location": place.location,
        "description": repository.description,
        "labels": repository.labels,
        "immutable_tags": repository.docker_config.immutable_tags,
        "cleanup_policies": repository.cleanup_policies,
        "created": repository.create_time,
        "bytes": repository.size_bytes.as_deref().map_or(Value::Null, number),
        "image": image,
    });
    format!("{document:#}\n")
}
