//! Several images that are asked for together.

use std::collections::{BTreeMap, BTreeSet};

use graph::ImageNumber;

use crate::error::BuildError;
use crate::overlay::{OverlayImage, OverlaySource};
use crate::request::{BuildRequest, ContextSource, Output};

/// The most images that one build makes; variants count as images of their own.
const IMAGES_MAX: usize = 1_000;

/// Images that are built together: their graphs become one, and what they have in common is done
/// once.
#[derive(Clone, Debug)]
pub struct SetRequest {
    images: Vec<SetImage>,
    overlays: Vec<OverlayImage>,
    /// What is asked for of each overlay: what is of its image, but for names and outputs.
    overlay_requests: Vec<BuildRequest>,
}

/// One image of a set.
#[derive(Clone, Debug)]
pub struct SetImage {
    /// How messages and reports call it.
    pub name: String,
    /// What is asked for. Where the Dockerfile and the files come from, the graph, the shape, the
    /// names, annotations and outputs are those of this image; everything else must be the same in
    /// all images of the set, and that of the first counts.
    pub request: BuildRequest,
    /// Images of the set that this one is built on: by the word with which its FROM and `--from`
    /// mean it, the name of the image.
    pub needs: BTreeMap<String, String>,
}

impl SetRequest {
    /// Images that are built together, and what is made of them: both in the order of the report.
    ///
    /// # Errors
    ///
    /// When there is none, or too many; when two have one name; when one needs an image that does
    /// not come before it, or an overlay is for one that is not there; when two want stdin, or
    /// stdout.
    pub fn new(images: Vec<SetImage>, overlays: Vec<OverlayImage>) -> Result<Self, BuildError> {
        let wrong = |message: String| Err(BuildError::input(message));
        if images.is_empty() {
            return wrong("there is no image to build".to_owned());
        }
        if images.len() + overlays.len() > IMAGES_MAX {
            let count = images.len() + overlays.len();
            return wrong(format!("{count} images are more than {IMAGES_MAX}"));
        }
        let mut known = BTreeSet::new();
        for image in &images {
            let name = &image.name;
            for needed in image.needs.values() {
                if !known.contains(needed) {
                    return wrong(format!(
                        "{name} needs {needed}, which is not built before it"
                    ));
                }
            }
            if !known.insert(name) {
                return wrong(format!("two images have the name {name}"));
            }
        }
        let mut overlay_requests: Vec<BuildRequest> = Vec::new();
        for overlay in &overlays {
            let named = images.iter().find(|image| image.name == overlay.of);
            let Some(of) = named else {
                let OverlayImage { name, of, .. } = overlay;
                return wrong(format!("{name} is made from {of}, which is not built"));
            };
            overlay_requests.push(BuildRequest {
                tags: overlay.tags.clone(),
                outputs: overlay.outputs.clone(),
                ..of.request.clone()
            });
            if !known.insert(&overlay.name) {
                return wrong(format!("two images have the name {}", overlay.name));
            }
            let OverlaySource::Built(from) = &overlay.overlay.from else {
                continue;
            };
            if !images.iter().any(|image| image.name == *from) {
                let name = &overlay.name;
                return wrong(format!("{name} has files of {from}, which is not built"));
            }
        }
        let from_stdin = images.iter().filter(|image| {
            let named = image.request.named_contexts.values();
            named
                .chain([&image.request.context])
                .any(|context| matches!(context, ContextSource::Stdin))
        });
        if images.len() > 1 && from_stdin.count() > 0 {
            return wrong("the context of several images cannot come from stdin".to_owned());
        }
        let of_images = images.iter().map(|image| &image.request);
        let requests = of_images.chain(&overlay_requests);
        let to_stdout = requests.filter(|request| request.outputs.iter().any(Output::is_stdout));
        if to_stdout.count() > 1 {
            return wrong("only one image can go to the standard output".to_owned());
        }
        Ok(Self {
            images,
            overlays,
            overlay_requests,
        })
    }

    /// One image alone, which no message has to name.
    pub(crate) fn single(request: &BuildRequest) -> Self {
        Self {
            images: vec![SetImage {
                name: String::new(),
                request: request.clone(),
                needs: BTreeMap::new(),
            }],
            overlays: Vec::new(),
            overlay_requests: Vec::new(),
        }
    }

    /// The images, each behind those that it needs.
    pub fn images(&self) -> &[SetImage] {
        &self.images
    }

    /// What is made of them by an overlay.
    pub fn overlay_images(&self) -> &[OverlayImage] {
        &self.overlays
    }

    /// The names that an image or overlay gets.
    pub fn tags(&self, name: &str) -> Option<&[oci::Reference]> {
        let mut outcomes = self.outcomes();
        let found = outcomes.find(|(_, known, _)| *known == name);
        found.map(|(.., request)| request.tags.as_slice())
    }

    /// The images with their numbers.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (ImageNumber, &SetImage)> {
        (0..).map(ImageNumber).zip(&self.images)
    }

    /// The overlays with their numbers, which go on after those of the images.
    pub(crate) fn overlays(&self) -> impl Iterator<Item = (ImageNumber, &OverlayImage)> {
        let numbers = (0..).map(ImageNumber).skip(self.images.len());
        numbers.zip(&self.overlays)
    }

    /// All that is made, overlays after images, with what is asked for of it.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (ImageNumber, &str, &BuildRequest)> {
        let images = self.numbered();
        let images = images.map(|(number, image)| (number, image.name.as_str(), &image.request));
        let overlays = self.overlays().zip(&self.overlay_requests);
        let overlays =
            overlays.map(|((number, overlay), request)| (number, overlay.name.as_str(), request));
        images.chain(overlays)
    }

    /// What is the same for all images.
    pub(crate) fn options(&self) -> &BuildRequest {
        &self.images[0].request
    }

    /// Whether messages have to say which image they are about.
    pub(crate) fn has_several(&self) -> bool {
        self.images.len() + self.overlays.len() > 1
    }

    /// An image by its name.
    pub(crate) fn number_of(&self, name: &str) -> Option<ImageNumber> {
        let mut images = self.numbered();
        images
            .find(|(_, image)| image.name == name)
            .map(|(number, _)| number)
    }

    /// An error of one image, with its name where there are others.
    pub(crate) fn blame(&self, image: ImageNumber, error: BuildError) -> BuildError {
        match error {
            BuildError::Interrupted | BuildError::Image { .. } => error,
            error if !self.has_several() => error,
            error => {
                let mut outcomes = self.outcomes();
                let found = outcomes.find(|(number, ..)| *number == image);
                BuildError::Image {
                    image: found.map_or_else(String::new, |(_, name, _)| name.to_owned()),
                    error: Box::new(error),
                }
            }
        }
    }
}
