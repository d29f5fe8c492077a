//! Images at both ends of a build: the bases that come in, and the target that goes out.

use dockerfile::Span;
use oci::{Descriptor, DiffId, History, ImageConfig};

use crate::{ImageName, ImageNumber, StepId};

/// An image that a Dockerfile names, once it has been looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// As the Dockerfile names it, with defaults applied, or what the user put in its place.
    pub reference: ImageName,
    /// The manifest for the platform that was asked for.
    pub manifest: Descriptor,
    /// The image's configuration: its variables, user, directory, shell and triggers change what
    /// the lines below FROM mean.
    pub config: ImageConfig,
    /// The layers, bottom first.
    pub layers: Vec<BaseLayer>,
}

/// A layer by both of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseLayer {
    /// Of the tar before compression.
    pub diff_id: DiffId,
    /// Of the blob.
    pub blob: Descriptor,
}

/// What the image of the target says beside its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetImage {
    /// Which of the images that are built it is, or is one platform of.
    pub image: ImageNumber,
    /// The step whose output is the image's file system.
    pub step: StepId,
    /// FROM of the target's stage.
    pub span: Span,
    /// Complete but for `created`, `rootfs` and `history`, which need times and diff ids.
    pub config: ImageConfig,
    /// Oldest first. Exactly as many entries stand for a layer as the image has layers (I10).
    pub history: Vec<HistoryEntry>,
}

/// One line of an image's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryEntry {
    /// From the base image, to be kept as it is.
    Base(History),
    /// By an instruction of this build; only the time is missing.
    Made {
        /// The instruction, in BuildKit's rendering.
        created_by: String,
        /// The kind of tool, in BuildKit's words, because scanners look for them.
        comment: &'static str,
        /// The step that made the layer; nothing for an entry without one.
        layer: Option<StepId>,
    },
}
