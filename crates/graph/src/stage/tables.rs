//! Drafts of stages become tables that point into each other.

use dockerfile::{Diagnostic, Span};
use oci::Platform;

use super::{BuiltBase, Draft, FilesOf, Named, Planned, Source, Stage, StageBase};
use crate::{ImageName, NamedImage, StageSet, TargetImage};

impl Source {
    /// Puts the drafts into tables, in the order of the file.
    pub(super) fn tabulate(
        &self,
        drafts: Vec<(usize, Draft)>,
        warnings: Vec<Diagnostic>,
    ) -> StageSet<ImageName> {
        let mut images: Vec<NamedImage<ImageName>> = Vec::new();
        let mut stages: Vec<Stage> = Vec::new();
        let numbers: Vec<usize> = drafts.iter().map(|(number, _)| *number).collect();
        let place = |number: usize| {
            numbers
                .binary_search(&number)
                .expect("every stage that a needed stage names is needed")
        };
        let mut image = |reference: ImageName, platform: Platform, span: Span| {
            let known = images
                .iter()
                .position(|named| named.image == reference && named.platform == platform);
            known.unwrap_or_else(|| {
                images.push(NamedImage {
                    image: reference,
                    platform,
                    span,
                });
                images.len() - 1
            })
        };
        let mut contexts: Vec<String> = Vec::new();
        let mut context = |name: String| {
            let known = contexts.iter().position(|known| *known == name);
            known.unwrap_or_else(|| {
                contexts.push(name);
                contexts.len() - 1
            })
        };
        let mut built_images: Vec<TargetImage> = Vec::new();
        let mut built = |image: BuiltBase| {
            let target = image
                .target
                .expect("an image that is not there is an error");
            let known = built_images.iter().position(|known| *known == target);
            known.unwrap_or_else(|| {
                built_images.push(target);
                built_images.len() - 1
            })
        };
        for (number, draft) in drafts {
            let Draft {
                base,
                platform,
                instructions,
            } = draft;
            let (base, platform) = match base {
                Named::Scratch => (StageBase::Scratch, platform),
                Named::Stage(earlier) => {
                    let earlier = place(earlier);
                    // What a stage is for, the stages on top of it are for.
                    (StageBase::Stage(earlier), stages[earlier].platform.clone())
                }
                Named::Image(reference, wanted, span) => {
                    (StageBase::Image(image(reference, wanted, span)), platform)
                }
                Named::Files(name) => (StageBase::Context(context(name)), platform),
                Named::Built(image) => (StageBase::Built(built(*image)), platform),
            };
            let instructions = instructions
                .into_iter()
                .map(|(planned, named)| Planned {
                    files_of: named
                        .into_iter()
                        .map(|named| match named {
                            Named::Scratch => FilesOf::Scratch,
                            Named::Stage(earlier) => FilesOf::Stage(place(earlier)),
                            Named::Image(reference, wanted, span) => {
                                FilesOf::Image(image(reference, wanted, span))
                            }
                            Named::Files(name) => FilesOf::Context(context(name)),
                            Named::Built(image) => FilesOf::Built(built(*image)),
                        })
                        .collect(),
                    ..planned
                })
                .collect();
            stages.push(Stage {
                shown: self.shown(number),
                span: self.stages[number].span,
                base,
                platform,
                instructions,
            });
        }
        StageSet {
            source: self.clone(),
            stages,
            images,
            contexts,
            built: built_images,
            images_are_assumed: false,
            warnings,
        }
    }
}
