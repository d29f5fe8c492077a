//! An image with one layer more: files of another image, on top of what is finished. Nothing is
//! built for it, and all layers below are those of the plain image (spec clouds-and-channels 2.7).
//!
//! ```text
//! select   a tree and directories → entries of the layer; touches nothing
//! layer    entries → a layer, once for all images that want the same
//! pinned   which image that is, for each platform; and all of it done
//! mod      a finished image and that layer → another finished image
//! ```

mod layer;
mod pinned;
mod select;

use std::collections::BTreeMap;

use oci::{Descriptor, History, ImageConfig, Manifest, MediaType, Raw, Reference};

use crate::assemble::Image;
use crate::output::LayerRef;
use crate::request::Output;
pub(crate) use layer::{Layering, OverlayError};
pub(crate) use pinned::{Laid, Overlays};
pub(crate) use select::SelectError;

/// What is searched for programs where an image does not say so: as in every RUN.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The comment of the history entry, which tells who made the layer.
const HISTORY_COMMENT: &str = "kiln.overlay.v0";

/// An image of a set that is another one of the set with a layer on top, on all its platforms.
#[derive(Clone, Debug)]
pub struct OverlayImage {
    /// How messages and reports call it.
    pub name: String,
    /// The image of the set that it is made from.
    pub of: String,
    /// What is laid over it.
    pub overlay: Overlay,
    /// Its names.
    pub tags: Vec<Reference>,
    /// What is to be made of it.
    pub outputs: Vec<Output>,
}

/// Files to lay over an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Whose files they are.
    pub from: OverlaySource,
    /// Which of its directories or files go where; both absolute.
    pub paths: BTreeMap<String, String>,
    /// What is added to the end of PATH; with several directories, a colon between them. Nothing
    /// leaves PATH as it is.
    pub path_suffix: Option<String>,
}

/// Whose files are laid over an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverlaySource {
    /// An image that is looked up, for each platform.
    Image(graph::ImageName),
    /// An image of the set, on the same platform.
    Built(String),
}

impl Overlay {
    /// As the history of the image says it; `source`: the image, with its digest where it has one.
    fn shown(&self, source: &str) -> String {
        let paths = self.paths.iter();
        let paths: Vec<String> = paths.map(|(from, to)| format!("{from} {to}")).collect();
        format!("OVERLAY {source} {}", paths.join(" "))
    }
}

/// Puts a layer on top of a finished image. `created`: as in [`crate::assemble::assemble`].
pub(crate) fn apply(
    image: &Image,
    layer: &LayerRef,
    overlay: &Overlay,
    source: &str,
    created: &str,
) -> Image {
    let mut config: ImageConfig = image.config.value().clone();
    config.rootfs.diff_ids.push(layer.diff_id.clone());
    config.history.push(History {
        created: Some(created.to_owned()),
        created_by: Some(overlay.shown(source)),
        comment: Some(HISTORY_COMMENT.to_owned()),
        ..History::default()
    });
    if let Some(suffix) = overlay
        .path_suffix
        .as_deref()
        .filter(|path| !path.is_empty())
    {
        let container = &mut config.config;
        let path = match container.variable("PATH") {
            None | Some("") => PATH_DEFAULT,
            Some(path) => path,
        };
        let path = format!("{path}:{suffix}");
        container.set_variable("PATH", &path);
    }
    let config = Raw::write(config);
    let mut manifest: Manifest = image.manifest.value().clone();
    manifest.config = Descriptor {
        annotations: manifest.config.annotations.clone(),
        ..config.descriptor(MediaType::OciConfig)
    };
    manifest.layers.push(layer.blob.clone());
    Image {
        config,
        manifest: Raw::write(manifest),
        output: image.output.with(layer.clone()),
    }
}
