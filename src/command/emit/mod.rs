//! `kiln emit`: what was published, in the files that others read.

pub(super) mod helm;
mod selection;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use self::helm::HelmArguments;
use self::selection::{Selected, SelectionOptions};
use crate::args::StoreOption;
use crate::command::{Command, print_product};
use crate::error::ProgramError;
use crate::render::Presentation;
use crate::settings::Settings;

/// The version of `kiln emit json`.
const SCHEMA: u32 = 1;

/// Write what was published for Helm, kustomize, skaffold or a shell
///
/// Images are taken from the last publication of this store, and named by tags that never move or by
/// digest. Nothing is printed when anything is wrong.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln emit helm --chart charts/pool > values.yaml\n  \
                  kiln emit helm --map epp=inferenceExtension.image:hub-name-tag --set\n  \
                  eval \"$(kiln emit env)\"\n  kiln emit json --report published.json"
)]
pub(crate) struct EmitArguments {
    #[command(flatten)]
    store: StoreOption,

    /// What to write.
    #[command(subcommand)]
    verb: EmitVerb,
}

/// What to write.
#[derive(Debug, Subcommand)]
enum EmitVerb {
    Helm(HelmArguments),
    /// A kustomize component with the images by digest
    #[command(after_help = "Examples:\n  kiln emit kustomize > images/kustomization.yaml")]
    Kustomize(PlainArguments),
    /// Names, repositories, tags and digests, see docs/hand-off.md
    #[command(after_help = "Examples:\n  kiln emit json --image epp")]
    Json(PlainArguments),
    /// Assignments for a shell: EPP_IMAGE, EPP_REPOSITORY, EPP_TAG and EPP_DIGEST of `epp`
    #[command(after_help = "Examples:\n  eval \"$(kiln emit env --image epp)\"")]
    Env(PlainArguments),
    /// The file that `skaffold deploy --build-artifacts` reads
    #[command(
        after_help = "Examples:\n  kiln emit skaffold > artifacts.json && skaffold deploy --build-artifacts artifacts.json"
    )]
    Skaffold(PlainArguments),
    /// The list that the image promoter of Kubernetes reads
    #[command(after_help = "Examples:\n  kiln emit promoter > images.yaml")]
    Promoter(PlainArguments),
}

/// Which images.
#[derive(Args, Debug)]
struct PlainArguments {
    #[command(flatten)]
    selection: SelectionOptions,
}

impl Command for EmitArguments {
    fn store(&self) -> Option<&StoreOption> {
        Some(&self.store)
    }

    fn run(&self, settings: &Settings, _: Presentation) -> Result<ExitCode, ProgramError> {
        let text = match &self.verb {
            EmitVerb::Helm(helm) => helm.text(settings)?,
            EmitVerb::Kustomize(plain) => handoff::kustomize(&plain.read(settings)?.images()),
            EmitVerb::Json(plain) => json(&plain.read(settings)?),
            EmitVerb::Env(plain) => handoff::environment(&plain.read(settings)?.images()),
            EmitVerb::Skaffold(plain) => handoff::skaffold(&plain.read(settings)?.images()),
            EmitVerb::Promoter(plain) => handoff::promoter(&plain.read(settings)?.images()),
        };
        print_product(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl PlainArguments {
    fn read(&self, settings: &Settings) -> Result<Selected, ProgramError> {
        self.selection.read(settings)
    }
}

fn json(selected: &Selected) -> String {
    let image = |(published, image): &(publish::PublishedImage, handoff::PublishedImage)| {
        let tags = published.tags.iter();
        let tags: Vec<&str> = tags.map(|tag| tag.reference.manifest_selector()).collect();
        let platforms: Vec<String> = published
            .platforms
            .iter()
            .map(ToString::to_string)
            .collect();
        json!({
            "name": image.name,
            "repository": image.repository.to_string(),
            "tag": image.tag.as_ref().map(oci::Tag::as_str),
            "tags": tags,
            "digest": image.digest,
            "reference": image.reference(),
            "platforms": platforms,
            "sealed_by": published.sealed_by,
        })
    };
    let images: Vec<_> = selected.published.iter().map(image).collect();
    let document = json!({"schema": SCHEMA, "finished": selected.finished, "images": images});
    format!("{document:#}\n")
}
