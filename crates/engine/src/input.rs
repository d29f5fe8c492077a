//! What an image was made from, as one digest: that of its steps' definitions and of everything that
//! its documents say beside its layers. Two builds with one input may differ in their layers, where a
//! command does something else every time.

use graph::BuildGraph;
use oci::{Digest, ImageConfig, RootFs};

use crate::assemble::Image;
use crate::image_set::ImageSet;
use crate::set::SetRequest;

/// The inputs of all that a set makes. `images` and `definitions`: as they came of the graph.
pub(crate) fn inputs(
    set: &SetRequest,
    images: &[ImageSet],
    graph: &BuildGraph,
    definitions: &[Option<Digest>],
) -> Vec<Digest> {
    let inputs = set.outcomes().zip(images).map(|((number, ..), images)| {
        let overlay = set.overlays().find(|(overlay, _)| *overlay == number);
        let of = match overlay {
            Some((_, overlay)) => set.number_of(&overlay.of),
            None => Some(number),
        };
        let targets = graph.targets.iter().zip(definitions);
        let definitions = targets.filter(|(target, _)| Some(target.image) == of);
        let parts = images.images().iter().zip(definitions);
        let parts =
            parts.map(|(image, (_, definition))| part(image, definition, overlay.is_some()));
        let parts: Vec<String> = parts.map(|part| part.to_string()).collect();
        Digest::of(parts.join("\n").as_bytes())
    });
    inputs.collect()
}

/// Of one platform. The layer of an overlay is made from nothing but what it is.
fn part(image: &Image, definition: &Option<Digest>, has_overlay: bool) -> Digest {
    let said = ImageConfig {
        rootfs: RootFs::default(),
        ..image.config.value().clone()
    };
    let overlay = image.output.stack.last().filter(|_| has_overlay);
    let made_of = (
        "input of an image",
        definition,
        said,
        &image.manifest.value().annotations,
        overlay.map(|layer| &layer.diff_id),
    );
    let text = serde_json::to_vec(&made_of).expect("documents and digests are JSON");
    Digest::of(&text)
}
