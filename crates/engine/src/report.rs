//! What a build came to, for summaries and for `--metadata-file`.

use std::path::PathBuf;
use std::time::Duration;

use oci::{Descriptor, Digest, Platform, Reference};

use crate::event::{CachePlace, StepNumber, StepOutcome};
use crate::trace::Explanation;

/// The result of a build that succeeded.
#[derive(Clone, Debug)]
pub struct BuildReport {
    /// The manifest or index, as pushed or as it would be.
    pub manifest: Descriptor,
    /// The images: the one of the manifest, or those of the index in its order.
    pub images: Vec<ImageReport>,
    /// Layers, compressed, configurations, manifests and index in bytes, each once.
    pub image_bytes: u64,
    /// The steps that the target needs, in order of the graph; base images not
    /// listed.
    pub steps: Vec<StepReport>,
    /// Its name in this store, for [`crate::explain`].
    pub id: Option<String>,
    /// Why steps were carried out.
    pub explanation: Explanation,
    /// What was moved.
    pub traffic: Traffic,
    /// What was published, where the image goes to a registry.
    pub published: Option<publish::Report>,
    /// What was made of the image.
    pub outputs: Vec<OutputReport>,
    /// Wall time of the whole build.
    pub duration: Duration,
}

/// The result of a build of several images that succeeded.
#[derive(Clone, Debug)]
pub struct SetReport {
    /// The images, in the order of the request.
    pub images: Vec<BuiltImage>,
    /// The steps that any of them needs, each once, in the order of the graph; base images not
    /// listed.
    pub steps: Vec<StepReport>,
    /// Its name in this store, for [`crate::explain`].
    pub id: Option<String>,
    /// Why steps were carried out.
    pub explanation: Explanation,
    /// What was moved for all of them.
    pub traffic: Traffic,
    /// What was published of them, where any goes to a registry.
    pub published: Option<publish::Report>,
    /// Wall time of the whole build.
    pub duration: Duration,
}

/// One of several images of a finished build.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// How it is called.
    pub name: String,
    /// The manifest or index, as pushed or as it would be.
    pub manifest: Descriptor,
    /// The images: the one of the manifest, or those of the index in its order.
    pub images: Vec<ImageReport>,
    /// Layers, compressed, configurations, manifests and index in bytes, each once.
    pub image_bytes: u64,
    /// A digest of everything that it was made from: equal where the same is built again, whatever
    /// its steps come to.
    pub input: Digest,
    /// What was made of it.
    pub outputs: Vec<OutputReport>,
}

impl SetReport {
    /// The report of the build as if it had been for one of its images alone: all steps, and what
    /// was moved for all.
    pub fn of_image(&self, image: &BuiltImage) -> BuildReport {
        let BuiltImage {
            name: _,
            manifest,
            images,
            image_bytes,
            input: _,
            outputs,
        } = image.clone();
        BuildReport {
            manifest,
            images,
            image_bytes,
            steps: self.steps.clone(),
            id: self.id.clone(),
            explanation: self.explanation.clone(),
            traffic: self.traffic,
            published: self.published.clone(),
            outputs,
            duration: self.duration,
        }
    }

    /// The report of the build without regard to which image is which: all that was made of any,
    /// and the digest of the first.
    pub fn whole(&self) -> BuildReport {
        let mut images = self.images.iter();
        let first = images.next().expect("a set has an image");
        let mut whole = self.of_image(first);
        for image in images {
            whole.images.extend(image.images.iter().cloned());
            whole.outputs.extend(image.outputs.iter().cloned());
        }
        whole
    }

    /// The report of a build of one image.
    pub(crate) fn into_single(mut self) -> BuildReport {
        let image = self.images.pop().expect("one image was asked for");
        BuildReport {
            manifest: image.manifest,
            images: image.images,
            image_bytes: image.image_bytes,
            steps: self.steps,
            id: self.id,
            explanation: self.explanation,
            traffic: self.traffic,
            published: self.published,
            outputs: image.outputs,
            duration: self.duration,
        }
    }
}

/// One image of a finished build.
#[derive(Clone, Debug)]
pub struct ImageReport {
    /// What it runs on.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its configuration.
    pub config: Digest,
}

impl BuildReport {
    /// Whether the images are in an index.
    pub fn is_index(&self) -> bool {
        self.manifest.media_type.is_index()
    }

    /// What engines call the image ID: the digest of the configuration, or, as in buildx, of the
    /// index where there are several.
    pub fn image_id(&self) -> &Digest {
        match self.images.as_slice() {
            [image] if !self.is_index() => &image.config,
            _ => &self.manifest.digest,
        }
    }
}

/// One step of a finished build.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Its place in the graph.
    pub step: StepNumber,
    /// Such as `[build 2/5] RUN make`.
    pub title: String,
    /// How it ended.
    pub outcome: StepOutcome,
    /// Who knew the result, of a cached step.
    pub cache: Option<CachePlace>,
    /// Wall time; zero for cached steps.
    pub duration: Duration,
    /// Why it was carried out: the place in [`Explanation::causes`].
    pub cause: Option<usize>,
}

/// What was moved to and from registries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of bodies received.
    pub down_bytes: u64,
    /// Bytes of bodies sent.
    pub up_bytes: u64,
    /// Requests made.
    pub requests: u64,
    /// Blobs that had to be sent.
    pub blobs_sent: u64,
    /// Blobs that were mounted from another repository.
    pub blobs_mounted: u64,
    /// Blobs that the destination already had.
    pub blobs_present: u64,
}

/// Where the image went.
#[derive(Clone, Debug)]
pub enum OutputReport {
    /// A tag in a registry points at it.
    Published {
        /// The tag.
        reference: Reference,
        /// The tag already pointed there.
        unchanged: bool,
    },
    /// It is in the store under this name.
    Stored {
        /// The name.
        reference: Reference,
    },
    /// It was written to a file or directory; `None` is stdout.
    Written {
        /// Where.
        path: Option<PathBuf>,
    },
    /// It was handed to a container engine.
    Loaded {
        /// Which.
        engine: String,
    },
}
