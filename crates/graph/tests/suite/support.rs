//! From text to a graph, with images that exist nowhere.

use dockerfile::Diagnostic;
use graph::{BaseImage, BaseLayer, BuildGraph, Lowered, Pinned, Request, lower_onto, stages};
use oci::{Compression, Descriptor, DiffId, Digest, ImageConfig, MediaType, Platform};

pub(crate) fn platform(text: &str) -> Platform {
    text.parse().expect("a platform")
}

pub(crate) fn request() -> Request {
    Request::new(platform("linux/amd64"), platform("linux/amd64"))
}

/// An image whose layers have the digests of `content`'s words.
pub(crate) fn image(reference: &graph::ImageName, config: ImageConfig, content: &str) -> BaseImage {
    let descriptor = |media_type: MediaType, text: &str| {
        Descriptor::new(media_type, Digest::of(text.as_bytes()), 1)
    };
    BaseImage {
        reference: reference.clone(),
        manifest: descriptor(MediaType::OciManifest, &format!("{reference} {content}")),
        config,
        layers: content
            .split_whitespace()
            .map(|word| BaseLayer {
                diff_id: DiffId(Digest::of(word.as_bytes())),
                blob: descriptor(MediaType::OciLayer(Compression::Gzip), word),
            })
            .collect(),
    }
}

/// Parses, finds stages, pins until nothing is missing, lowers. Also says which images were asked
/// for, in order.
pub(crate) fn lowered(
    text: &str,
    request: &Request,
    look_up: impl FnMut(&graph::ImageName, &Platform) -> BaseImage,
) -> Result<(Lowered, Vec<String>), Vec<Diagnostic>> {
    lowered_onto(None, text, request, look_up)
}

/// The same behind what is in a graph.
pub(crate) fn lowered_onto(
    graph: Option<BuildGraph>,
    text: &str,
    request: &Request,
    mut look_up: impl FnMut(&graph::ImageName, &Platform) -> BaseImage,
) -> Result<(Lowered, Vec<String>), Vec<Diagnostic>> {
    let parse = dockerfile::parse(text);
    if parse.has_errors() {
        return Err(parse.diagnostics);
    }
    let mut set = stages(&parse.tree, request)?;
    // Every round learns of at least one more image, and a chain of triggers is short.
    for _ in 0..10 {
        let asked = set.images().iter();
        let asked = asked
            .map(|named| format!("{} {}", named.image, named.platform))
            .collect();
        match set.pin(&mut look_up)? {
            Pinned::All(set) => return Ok((lower_onto(graph, &set, request)?, asked)),
            Pinned::More(more) => set = more,
        }
    }
    panic!("pinning does not end");
}
