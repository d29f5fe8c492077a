//! What an image was made from, as one digest: that of its steps' definitions and of everything that
//! its documents say beside its layers. Two builds with one input may differ in their layers, where a
//! command does something else every time. What an image says of its sources, such as the commit, is
//! not one of its inputs: a commit that changes nothing in it leaves it what it is.

use std::collections::BTreeMap;

use graph::{BuildGraph, Identity};
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
    let inputs = set
        .outcomes()
        .zip(images)
        .map(|((number, _, request), images)| {
            let overlay = set.overlays().find(|(overlay, _)| *overlay == number);
            let of = match overlay {
                Some((_, overlay)) => set.number_of(&overlay.of),
                None => Some(number),
            };
            let targets = graph.targets.iter().zip(definitions);
            let identity = request.graph.identity.as_ref();
            let definitions = targets.filter(|(target, _)| Some(target.image) == of);
            let parts = images.images().iter().zip(definitions);
            let parts = parts.map(|(image, (_, definition))| {
                part(image, definition, identity, overlay.is_some())
            });
            let parts: Vec<String> = parts.map(|part| part.to_string()).collect();
            Digest::of(parts.join("\n").as_bytes())
        });
    inputs.collect()
}

/// Of one platform. The layer of an overlay is made from nothing but what it is.
fn part(
    image: &Image,
    definition: &Option<Digest>,
    identity: Option<&Identity>,
    has_overlay: bool,
) -> Digest {
    let mut said = ImageConfig {
        rootfs: RootFs::default(),
        ..image.config.value().clone()
    };
    without(identity, &mut said.config.labels);
    let mut annotations = image.manifest.value().annotations.clone();
    without(identity, &mut annotations);
    let overlay = image.output.stack.last().filter(|_| has_overlay);
    let made_of = (
        "input of an image",
        definition,
        said,
        annotations,
        identity.is_some(),
        overlay.map(|layer| &layer.diff_id),
    );
    let text = serde_json::to_vec(&made_of).expect("documents and digests are JSON");
    Digest::of(&text)
}

/// Takes away what is said of the sources. What the Dockerfile or the command line says with the same
/// key is another value, or stands in the history too.
fn without(identity: Option<&Identity>, said: &mut BTreeMap<String, String>) {
    for (key, value) in identity.iter().flat_map(|identity| &identity.labels) {
        if said.get(key) == Some(value) {
            said.remove(key);
        }
    }
}
