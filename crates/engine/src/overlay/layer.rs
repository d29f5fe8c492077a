//! The layer of an overlay: made once for all images that want the same, and found again by the
//! next build. Its files are read where they lie; nothing is unpacked for it that is not anyway.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use oci::Digest;
use store::layer::{Entry, EntryKind, EntryPath, LayerWriter, Metadata, Tree};

use super::select::{Selected, SelectedKind, select};
use super::{Overlay, SelectError};
use crate::copy::layer_files::LayerFiles;
use crate::layers::LayerError;
use crate::lazy::Wanted;
use crate::output::{LayerRef, StepOutput};
use crate::steps::{Workshop, layer_ref};

/// Goes up when equal overlays come to mean other bytes.
const FORMAT: u32 = 1;

/// Why the layer could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OverlayError {
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Write(#[from] store::layer::LayerError),
    #[error("could not read {path} of the overlay")]
    Read { path: EntryPath, source: io::Error },
    #[error("{path} of the overlay is not what its layer said it is")]
    Changed { path: EntryPath },
}

impl OverlayError {
    /// Whether what was asked for cannot be had.
    pub(crate) fn is_input(&self) -> bool {
        match self {
            Self::Select(_) => true,
            Self::Layer(_) | Self::Write(_) | Self::Read { .. } | Self::Changed { .. } => false,
        }
    }
}

/// The layers that were made for overlays in this build.
#[derive(Default)]
pub(crate) struct Layering {
    made: HashMap<Digest, LayerRef>,
}

impl Layering {
    /// The layer of an overlay with files of `source`. `salt`: what else decides its bytes.
    pub(crate) async fn layer(
        &mut self,
        overlay: &Overlay,
        source: &StepOutput,
        salt: &str,
        no_cache: bool,
        workshop: &Arc<Workshop>,
    ) -> Result<LayerRef, OverlayError> {
        let name = name(overlay, source, salt);
        if let Some(made) = self.made.get(&name) {
            return Ok(made.clone());
        }
        let known = (!no_cache)
            .then(|| StepOutput::recall_at(&workshop.store, &name))
            .flatten();
        let layer = match known.as_ref().and_then(|output| output.stack.first()) {
            Some(layer) => layer.clone(),
            None => {
                let layer = make(overlay, source, workshop).await?;
                let output = StepOutput::scratch().with(layer.clone());
                output.remember_at(&workshop.layers, &name);
                layer
            }
        };
        self.made.insert(name, layer.clone());
        Ok(layer)
    }
}

fn name(overlay: &Overlay, source: &StepOutput, salt: &str) -> Digest {
    let Overlay {
        from: _,
        paths,
        path_suffix: _,
    } = overlay;
    let made_of = (
        "layer of an overlay",
        FORMAT,
        salt,
        source.diff_ids(),
        paths,
    );
    let text = serde_json::to_vec(&made_of).expect("texts and digests are JSON");
    Digest::of(&text)
}

async fn make(
    overlay: &Overlay,
    source: &StepOutput,
    workshop: &Arc<Workshop>,
) -> Result<LayerRef, OverlayError> {
    let stack = &source.stack;
    let tree = workshop.layers.tree(stack, false).await?;
    let selected = select(&tree, &overlay.paths)?;
    let mut wanted: BTreeMap<usize, Wanted> = BTreeMap::new();
    for entry in &selected {
        if let SelectedKind::File { content, .. } = &entry.kind {
            let node = tree.node(*content);
            if let Some(layer) = node.layer() {
                wanted.entry(layer).or_default().add(node.extent());
            }
        }
    }
    let mut files = BTreeMap::new();
    for (position, wanted) in wanted {
        let opened = workshop.layers.files(stack, position, &tree, &wanted);
        files.insert(position, opened.await?);
    }
    let workshop = Arc::clone(workshop);
    tokio::task::spawn_blocking(move || write(&workshop, &tree, selected, &files))
        .await
        .expect("writing a layer does not panic")
}

fn write(
    workshop: &Workshop,
    tree: &Tree,
    selected: Vec<Selected>,
    files: &BTreeMap<usize, LayerFiles>,
) -> Result<LayerRef, OverlayError> {
    let mut writer = LayerWriter::create(&workshop.store, workshop.layer)?;
    for Selected { path, mode, kind } in selected {
        let metadata = Metadata::root_owned(mode, workshop.epoch);
        let kind = match kind {
            SelectedKind::Directory => EntryKind::Directory,
            SelectedKind::Symlink(target) => EntryKind::Symlink { target },
            SelectedKind::HardLink(target) => EntryKind::HardLink { target },
            SelectedKind::File {
                content,
                size,
                hash,
            } => {
                let node = tree.node(content);
                let from = node.path();
                let layer = node.layer().and_then(|layer| files.get(&layer));
                let opened = match layer {
                    Some(layer) => layer.open(&from, node.extent()),
                    None => Err(io::Error::other("a file that is in no layer")),
                };
                let mut file = opened.map_err(|source| OverlayError::Read {
                    path: from.clone(),
                    source,
                })?;
                let found = writer.add_file(path, metadata, size, None, &mut file)?;
                if found != hash {
                    return Err(OverlayError::Changed { path: from });
                }
                continue;
            }
        };
        writer.add(Entry {
            path,
            kind,
            metadata,
        })?;
    }
    Ok(layer_ref(&writer.finish()?))
}
