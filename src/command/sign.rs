//! `kiln sign`: signatures for images that are in a registry.

use std::process::ExitCode;

use clap::Args;
use oci::{Descriptor, Document, Reference};
use publish::{Seal as _, Subject};
use registry::{Client, ErrorKind};

use super::print_product;
use crate::args::{ProjectOptions, RegistryOptions};
use crate::command::Command;
use crate::error::ProgramError;
use crate::ports;
use crate::project;
use crate::render::Presentation;
use crate::settings::Settings;
use crate::signing::{Signer, SignerOptions, Signers};

/// The most manifests of one index that are signed.
const CHILDREN_MAX: usize = 1000;

/// Sign images that are in a registry
///
/// A tag is looked up once; what is signed is the digest that it pointed at then. The signed digests
/// are printed to stdout. See docs/signing.md.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  kiln sign registry.example/team/app@sha256:… --key key.pem \
                  --certificates chain.pem\n  kiln sign registry.example/team/app:v1 --key \
                  cosign.key\n  kiln sign registry.example/team/app:v1 --signer release --recursive"
)]
pub(crate) struct SignArguments {
    /// Images in registries, best by digest
    #[arg(value_name = "REF", required = true)]
    images: Vec<String>,

    /// Signer that kiln.yaml declares [default: the only one, where no flags describe one]
    #[arg(
        long = "signer",
        value_name = "NAME",
        conflicts_with_all = ["kind", "key", "endpoint"]
    )]
    signers: Vec<String>,

    /// Sign what an index lists too
    #[arg(long, short)]
    recursive: bool,

    #[command(flatten)]
    signer: SignerOptions,

    #[command(flatten)]
    project: ProjectOptions,

    #[command(flatten)]
    registry: RegistryOptions,
}

impl Command for SignArguments {
    fn registry(&self) -> Option<&RegistryOptions> {
        Some(&self.registry)
    }

    fn run(
        &self,
        settings: &Settings,
        presentation: Presentation,
    ) -> Result<ExitCode, ProgramError> {
        let images: Vec<Reference> = self
            .images
            .iter()
            .map(|text| reference(text))
            .collect::<Result<_, _>>()?;
        let signed = ports::converse(settings, presentation, async |client| {
            let signers = self.signers(settings, client)?;
            // Everything is looked up before anything is signed.
            let mut subjects = Vec::new();
            for image in &images {
                subjects.extend(self.subjects(client, image, &signers, presentation).await?);
            }
            let mut signed = String::new();
            for subject in &subjects {
                for signer in &signers {
                    sign(client, signer, subject).await?;
                }
                signed.push_str(&name(subject));
                signed.push('\n');
            }
            Ok(signed)
        })?;
        print_product(&signed)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl SignArguments {
    fn signers(&self, settings: &Settings, client: &Client) -> Result<Vec<Signer>, ProgramError> {
        let signers = Signers { settings, client };
        if self.signers.is_empty() && !self.signer.is_empty() {
            return Ok(vec![signers.of_flags(&self.signer)?]);
        }
        let project = project::find(settings, (&self.project).into())?;
        signers.of_project(project.as_ref(), &self.signers)
    }

    /// What a reference means, from one answer of the registry (E07, D-44).
    async fn subjects(
        &self,
        client: &Client,
        image: &Reference,
        signers: &[Signer],
        presentation: Presentation,
    ) -> Result<Vec<Subject>, ProgramError> {
        let document = client.manifest(image).await.map_err(|error| {
            let headline = format!("could not look up {}", image.familiar());
            let kind = error.kind().clone();
            let said = match kind {
                ErrorKind::NotFound => ProgramError::input(headline),
                _ => ProgramError::failed(headline),
            };
            let said = said.because(&error);
            match error.advice() {
                Some(advice) => said.hint(advice),
                None => said,
            }
        })?;
        let descriptor = document.descriptor();
        let tags: Vec<_> = image.tag().cloned().into_iter().collect();
        if tags.is_empty() && signers.iter().any(Signer::signs_tags) {
            return Err(ProgramError::input(format!(
                "{} has no tag, and a signing service signs names",
                image.familiar()
            ))
            .hint("name it as REPOSITORY:TAG@DIGEST"));
        }
        if image.digest().is_none() {
            presentation.warn(&format!(
                "{} is {} now, and that is what is signed; a digest cannot be moved meanwhile",
                image.familiar(),
                descriptor.digest
            ));
        }
        let subject = |descriptor: Descriptor, tags| Subject {
            descriptor,
            repository: image.repository().clone(),
            tags,
        };
        let mut subjects = Vec::new();
        if self.recursive
            && let Document::Index(index) = &document
        {
            if signers.iter().any(Signer::signs_tags) {
                return Err(ProgramError::input(
                    "--recursive: a signing service signs names, and what an index lists has none",
                ));
            }
            let children = &index.value().manifests;
            if children.len() > CHILDREN_MAX {
                return Err(ProgramError::failed(format!(
                    "{} lists more than {CHILDREN_MAX} manifests",
                    image.familiar()
                )));
            }
            for child in children {
                subjects.push(subject(child.clone(), Vec::new()));
            }
        }
        subjects.push(subject(descriptor, tags));
        Ok(subjects)
    }
}

async fn sign(client: &Client, signer: &Signer, subject: &Subject) -> Result<(), ProgramError> {
    let failed = || ProgramError::failed(format!("could not sign {}", name(subject)));
    let sealed = signer.seal(subject).await;
    let sealed = sealed.map_err(|error| failed().because(&error))?;
    for attachment in &sealed.attachments {
        publish::attach(client, &subject.repository, attachment)
            .await
            .map_err(|error| {
                let said = failed().because(&error);
                match error.advice() {
                    Some(advice) => said.hint(advice),
                    None => said,
                }
            })?;
    }
    Ok(())
}

fn name(subject: &Subject) -> String {
    subject
        .repository
        .at_digest(subject.descriptor.digest.clone())
        .to_string()
}

/// The name of an image in a registry.
pub(super) fn reference(text: &str) -> Result<Reference, ProgramError> {
    text.parse().map_err(|error| {
        ProgramError::input(format!("`{text}` is not the name of an image")).because(&error)
    })
}
