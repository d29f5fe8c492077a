//! What is said of images: how each came to be, and what is in it. The images are finished when
//! this begins, and nothing here changes a byte of them: what is said goes beside them.
//!
//! `facts` asks the graph and the request, `find` the files of the image; `sign` writes.

mod facts;
mod find;
mod request;
mod said;

use dockerfile::remote::without_credentials;
use graph::{BuildGraph, TargetImage};
use oci::Reference;
use serde_json::Value;
use sign::provenance::{self, PROVENANCE_TYPE};
use sign::purl;
use sign::sbom::{self, SbomSubject};
use sign::statement::StatementSubject;

use crate::assemble::{Image, rfc3339};
use crate::build::Build;
use crate::error::BuildError;
use crate::event::Event;
use crate::image_set::ImageSet;
use crate::layers::LayerError;
use crate::overlay::{Laid, Overlays};
use crate::ports::Ports;
use crate::request::BuildRequest;
use crate::run::Redactor;
use crate::set::SetRequest;
use crate::source::Text;
use crate::steps::Workshop;

pub(crate) use facts::FactsError;
pub use request::{AttestationRequest, ProvenanceRequest, SbomRequest};
pub(crate) use said::{Predicate, Said};

/// The version of kiln, as documents name it.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The name of a provenance in a file, as BuildKit has it.
const PROVENANCE_FILE: &str = "provenance.json";
/// Notes of one image that are shown; all of them are in the document.
const NOTES_SHOWN_MAX: usize = 5;

/// Why nothing can be said of an image.
#[derive(Debug, thiserror::Error)]
enum AttestError {
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Read(#[from] find::FindError),
    #[error(transparent)]
    Facts(#[from] FactsError),
}

/// Adds what is to be said of the images of a set, overlays among them.
///
/// # Errors
///
/// When the files of an image cannot be read.
pub(crate) async fn attest(
    set: &SetRequest,
    overlays: &Overlays,
    build: &Build,
    texts: &[Text],
    sets: Vec<ImageSet>,
    ports: &Ports,
) -> Result<Vec<ImageSet>, BuildError> {
    let mut attested = Vec::new();
    for ((number, _, request), images) in set.outcomes().zip(sets) {
        if request.attestations.is_empty() {
            attested.push(images);
            continue;
        }
        let elapsed = build.began.elapsed().as_secs();
        let witness = Witness {
            request,
            graph: &build.graph,
            texts,
            workshop: &build.workshop,
            elapsed_seconds: i64::try_from(elapsed).unwrap_or_default(),
        };
        let overlay = set.overlays().find(|(overlay, _)| *overlay == number);
        let of = match overlay {
            Some((_, overlay)) => set.number_of(&overlay.of).unwrap_or_default(),
            None => number,
        };
        let targets = build.graph.targets.iter();
        let targets = targets.filter(|target| target.image == of);
        let mut laid = overlays.laid(number, set);
        let mut said = Vec::new();
        for (image, target) in images.images().iter().zip(targets) {
            let one = tokio::select! {
                said = witness.say(image, target, laid.next()) => said,
                () = ports.interrupt.triggered() => return Err(BuildError::Interrupted),
            };
            said.push(one.map_err(|error| set.blame(number, error))?);
        }
        attested.push(images.attested(said, request));
    }
    Ok(attested)
}

/// What a build knows when its images are finished.
struct Witness<'w> {
    request: &'w BuildRequest,
    graph: &'w BuildGraph,
    /// The Dockerfiles, by image.
    texts: &'w [Text],
    workshop: &'w Workshop,
    /// How long the build has taken so far, in seconds.
    elapsed_seconds: i64,
}

impl Witness<'_> {
    /// Says of one image what is asked for.
    async fn say(
        &self,
        image: &Image,
        target: &TargetImage,
        laid: Option<Laid<'_>>,
    ) -> Result<Said, BuildError> {
        let predicates = self.predicates(image, target, laid).await;
        let mut predicates = predicates.map_err(|source| {
            BuildError::failed("could not make the attestations of the image", source)
        })?;
        for predicate in &mut predicates {
            hide(&mut predicate.value, &self.workshop.redactor);
        }
        let subjects = subjects(image, &self.request.tags);
        let epoch = self.request.epoch_seconds;
        Ok(Said::new(image, subjects, predicates, epoch))
    }

    async fn predicates(
        &self,
        image: &Image,
        target: &TargetImage,
        laid: Option<Laid<'_>>,
    ) -> Result<Vec<Predicate>, AttestError> {
        let AttestationRequest {
            provenance,
            sbom,
            referrers: _,
        } = &self.request.attestations;
        let mut predicates = Vec::new();
        if let Some(sbom) = sbom {
            let layers = &self.workshop.layers;
            let contents = find::contents(layers, &image.output.stack).await?;
            self.warn(image, contents.notes());
            let subject = SbomSubject {
                name: self.request.tags.first().map(Reference::familiar),
                digest: image.manifest.digest().clone(),
                platform: image.platform(),
                created: rfc3339(self.request.epoch_seconds),
                kiln_version: VERSION.to_owned(),
            };
            for format in &sbom.formats {
                predicates.push(Predicate {
                    kind: format.predicate_type(),
                    value: sbom::document(*format, &subject, &contents),
                    file_name: format.file_name().to_owned(),
                    inline_only: sbom.inline_only,
                });
            }
        }
        if let Some(wanted) = provenance {
            let mut facts = self.facts(image, target, laid, wanted).await?;
            // A name that is the same for the same build, and no other.
            let nameless = provenance::predicate(&facts, wanted.mode).to_string();
            facts.invocation_id = oci::Digest::of(nameless.as_bytes()).hex()[..32].to_owned();
            let file_name = wanted.file_name.as_deref().unwrap_or(PROVENANCE_FILE);
            predicates.push(Predicate {
                kind: PROVENANCE_TYPE,
                value: provenance::predicate(&facts, wanted.mode),
                file_name: file_name.to_owned(),
                inline_only: wanted.inline_only,
            });
        }
        Ok(predicates)
    }

    fn warn<'n>(&self, image: &Image, notes: impl Iterator<Item = &'n str>) {
        let notes: Vec<&str> = notes.collect();
        let more = notes.len().saturating_sub(NOTES_SHOWN_MAX);
        let platform = image.platform();
        for note in notes.iter().take(NOTES_SHOWN_MAX) {
            self.workshop.reporter.report(Event::Warning {
                message: format!("the list of contents for {platform} is not complete: {note}"),
            });
        }
        if more > 0 {
            self.workshop.reporter.report(Event::Warning {
                message: format!("the list of contents for {platform} has {more} more such notes"),
            });
        }
    }
}

/// What statements about an image are about: its manifest, under each of its names.
fn subjects(image: &Image, tags: &[Reference]) -> Vec<StatementSubject> {
    let digest = image.manifest.digest();
    let platform = image.platform();
    if tags.is_empty() {
        return vec![StatementSubject::new("_", digest)];
    }
    let subject = |tag| StatementSubject::new(purl::image(tag, Some(&platform)), digest);
    tags.iter().map(subject).collect()
}

/// Takes secrets out of all texts, also out of names: what users put where is theirs to choose.
/// Passwords in addresses count, wherever an address stands.
fn hide(value: &mut Value, redactor: &Redactor) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => {
            if text.contains("://") {
                let words = text.split_inclusive(char::is_whitespace);
                *text = words.map(without_credentials).collect();
            }
            *text = redactor.hide(text);
        }
        Value::Array(values) => {
            for value in values {
                hide(value, redactor);
            }
        }
        Value::Object(map) => {
            let hidden = std::mem::take(map).into_iter().map(|(key, mut value)| {
                hide(&mut value, redactor);
                (redactor.hide(&key), value)
            });
            *map = hidden.collect();
        }
    }
}
