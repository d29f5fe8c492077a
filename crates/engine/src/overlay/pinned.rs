//! The overlays of a set, once it is known which images they take files of.

use std::sync::Arc;

use graph::{BuildGraph, ImageNumber};

use super::{Layering, OverlayImage, OverlaySource, apply};
use crate::assemble::{Image, platform_of};
use crate::error::BuildError;
use crate::failure::unpinned_overlay;
use crate::image_set::ImageSet;
use crate::interrupt::Interrupt;
use crate::origins::{Origin, Origins};
use crate::output::StepOutput;
use crate::pin::Pins;
use crate::set::SetRequest;
use crate::steps::Workshop;

/// The overlays of a set.
#[derive(Default)]
pub(crate) struct Overlays {
    /// By overlay, and then by the targets of its image.
    sources: Vec<Vec<Source>>,
}

/// Whose files are laid over one image.
struct Source {
    /// As the history says it.
    shown: String,
    files: Files,
}

/// What is laid over one image for one platform, as it is told.
#[derive(Clone, Copy)]
pub(crate) struct Laid<'o> {
    /// As the history says it.
    pub shown: &'o str,
    /// The image that was looked up for it.
    pub base: Option<&'o graph::BaseImage>,
    /// The target of the graph that has the files, by its place.
    pub target: Option<usize>,
}

enum Files {
    /// Of an image that was looked up.
    Base(Box<graph::BaseImage>),
    /// Of a target of the graph, by its place.
    Target(usize),
}

impl Overlays {
    /// Finds the images that files are taken of, for each platform.
    pub(crate) async fn pin(
        set: &SetRequest,
        graph: &BuildGraph,
        pins: &mut Pins,
        interrupt: &Interrupt,
    ) -> Result<Self, BuildError> {
        let mut sources = Vec::new();
        for (number, overlay) in set.overlays() {
            let of = set.number_of(&overlay.of);
            let mut of_image = Vec::new();
            for target in graph.targets.iter().filter(|one| Some(one.image) == of) {
                let platform = platform_of(&target.config);
                let source = source(overlay, &platform, set, graph, pins, interrupt);
                of_image.push(source.await.map_err(|error| set.blame(number, error))?);
            }
            sources.push(of_image);
        }
        Ok(Self { sources })
    }

    /// What is laid over an image for its platforms, in their order. `number`: of the overlay.
    pub(crate) fn laid(
        &self,
        number: ImageNumber,
        set: &SetRequest,
    ) -> impl Iterator<Item = Laid<'_>> {
        let place = number.index().checked_sub(set.images().len());
        let sources = place.and_then(|place| self.sources.get(place));
        sources.into_iter().flatten().map(|source| Laid {
            shown: &source.shown,
            base: match &source.files {
                Files::Base(base) => Some(base),
                Files::Target(_) => None,
            },
            target: match &source.files {
                Files::Base(_) => None,
                Files::Target(target) => Some(*target),
            },
        })
    }

    /// Adds where the layers are that files are taken of.
    pub(crate) fn add_origins(&self, origins: &Origins) {
        for source in self.sources.iter().flatten() {
            if let Files::Base(base) = &source.files
                && let Some(repository) = base.reference.repository()
            {
                for layer in &base.layers {
                    let origin = Origin::Registry(repository.clone());
                    origins.add(layer.blob.digest.clone(), origin);
                }
            }
        }
    }

    /// Makes the images with overlays from the plain ones. `outputs`: of the targets.
    pub(crate) async fn make(
        &self,
        set: &SetRequest,
        plain: &[ImageSet],
        outputs: &[StepOutput],
        salt: &str,
        created: &str,
        workshop: &Arc<Workshop>,
    ) -> Result<Vec<ImageSet>, BuildError> {
        let mut layering = Layering::default();
        let no_cache = set.options().no_cache;
        let mut made = Vec::new();
        for ((number, overlay), sources) in set.overlays().zip(&self.sources) {
            let of = set.number_of(&overlay.of).unwrap_or_default();
            let mut images: Vec<Image> = Vec::new();
            for (image, source) in plain[of.index()].images().iter().zip(sources) {
                let files = match &source.files {
                    Files::Base(base) => StepOutput::of_base(base),
                    Files::Target(target) => outputs[*target].clone(),
                };
                let what = &overlay.overlay;
                let layer = layering.layer(what, &files, salt, no_cache, workshop).await;
                let layer = layer.map_err(|error| set.blame(number, unmade(error)))?;
                images.push(apply(image, &layer, what, &source.shown, created));
            }
            let request = &set.images()[of.index()].request;
            made.push(ImageSet::of(images, request));
        }
        Ok(made)
    }
}

async fn source(
    overlay: &OverlayImage,
    platform: &oci::Platform,
    set: &SetRequest,
    graph: &BuildGraph,
    pins: &mut Pins,
    interrupt: &Interrupt,
) -> Result<Source, BuildError> {
    match &overlay.overlay.from {
        OverlaySource::Image(name) => {
            let looked_up = tokio::select! {
                looked_up = pins.look_up(name, platform) => looked_up,
                () = interrupt.triggered() => return Err(BuildError::Interrupted),
            };
            looked_up.map_err(unpinned_overlay)?;
            let base = pins.get(name, platform).expect("it has been looked up");
            let offered = platform_of(&base.config);
            let is_known = !offered.os.is_empty() && !offered.architecture.is_empty();
            if is_known && platform.accepts(&offered).is_none() {
                return Err(BuildError::input(format!(
                    "the overlay {} is an image for {offered}, and {} is for {platform}",
                    name.familiar(),
                    overlay.of
                )));
            }
            Ok(Source {
                shown: name.at(&base.manifest.digest),
                files: Files::Base(Box::new(base.clone())),
            })
        }
        OverlaySource::Built(name) => {
            let of = set.number_of(name);
            let mut targets = graph.targets.iter().enumerate();
            let found = targets.find(|(_, target)| {
                Some(target.image) == of && platform.accepts(&platform_of(&target.config)).is_some()
            });
            let (target, _) = found.ok_or_else(|| {
                BuildError::input(format!(
                    "the overlay {name} is not built for {platform}, which {} is",
                    overlay.of
                ))
            })?;
            Ok(Source {
                shown: name.clone(),
                files: Files::Target(target),
            })
        }
    }
}

fn unmade(error: super::OverlayError) -> BuildError {
    let message = "the overlay cannot be made".to_owned();
    match error.is_input() {
        true => BuildError::Input {
            message,
            hint: None,
            source: Some(error.into()),
        },
        false => BuildError::failed(message, error),
    }
}
