//! What a copy came to, or would come to, in words and in JSON.

use std::fmt::Write as _;

use engine::Ports;
use oci::{Digest, Reference};
use publish::{Outcome, TagChange};
use serde::Serialize;

use super::Request;
use super::selection::Selection;
use crate::args::Format;
use crate::error::{EXIT_TAG_CONFLICT, ProgramError};
use crate::render::units;

/// The answer. Its JSON is described in docs/copy-images.md.
#[derive(Debug, Serialize)]
pub(super) struct Product {
    schema: u32,
    source: String,
    dry_run: bool,
    images: Vec<CopiedImage>,
    /// Manifests and indices, what is attached included.
    manifests: usize,
    /// Distinct configurations and layers.
    blobs: usize,
    /// Their bytes.
    bytes: u64,
    /// What was done with blobs in registries.
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<BlobTraffic>,
}

#[derive(Debug, Serialize)]
struct CopiedImage {
    digest: Digest,
    media_type: String,
    platforms: Vec<String>,
    destinations: Vec<Arrival>,
    attached: Vec<CopiedAttachment>,
}

#[derive(Debug, Serialize)]
struct Arrival {
    address: String,
    #[serde(flatten)]
    change: Option<TagChange>,
}

#[derive(Debug, Serialize)]
struct CopiedAttachment {
    digest: Digest,
    subject: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

#[derive(Debug, Serialize)]
struct BlobTraffic {
    sent: u64,
    mounted: u64,
    present: u64,
}

impl Product {
    pub(super) fn new(request: &Request, selection: &Selection) -> Self {
        let (manifests, blobs, bytes) = selection.amounts();
        let images = selection.images.iter().map(|image| CopiedImage {
            digest: image.digest().clone(),
            media_type: image.content.root.media_type.to_string(),
            platforms: publish::source::platforms(&image.content)
                .iter()
                .map(ToString::to_string)
                .collect(),
            destinations: request
                .destinations
                .iter()
                .flat_map(|destination| {
                    let references = destination.references(image);
                    match references.is_empty() {
                        true => vec![destination.shown()],
                        false => references.iter().map(ToString::to_string).collect(),
                    }
                })
                .map(|address| Arrival {
                    address,
                    change: None,
                })
                .collect(),
            attached: image
                .attached
                .iter()
                .map(|attached| CopiedAttachment {
                    digest: attached.content.root.digest.clone(),
                    subject: attached.subject.clone(),
                    artifact_type: publish::sink::described(&attached.content).artifact_type,
                    tag: attached.tag.as_ref().map(ToString::to_string),
                })
                .collect(),
        });
        Self {
            schema: 1,
            source: request.source.to_string(),
            dry_run: request.dry_run,
            images: images.collect(),
            manifests,
            blobs,
            bytes,
            traffic: None,
        }
    }

    /// Looks where the tags point now.
    pub(super) async fn look(
        &mut self,
        request: &Request,
        selection: &Selection,
        ports: &Ports,
    ) -> Result<(), ProgramError> {
        for (image, copied) in selection.images.iter().zip(&mut self.images) {
            let references = request
                .destinations
                .iter()
                .flat_map(|destination| destination.references(image));
            for reference in references.filter(|reference| reference.tag().is_some()) {
                let tag = match reference.tag() {
                    Some(tag) => reference.repository().at_tag(tag.clone()),
                    None => continue,
                };
                let found = ports.client.tag_points_at(&tag).await.map_err(|error| {
                    ProgramError::failed(format!("could not look at {tag}")).because(&error)
                })?;
                let change = match found {
                    None => TagChange::Created,
                    Some(previous) if previous == copied.digest => TagChange::Unchanged,
                    Some(previous) if request.immutable => {
                        return Err(ProgramError::failed(format!(
                            "{tag} points at {previous}, and was to point at {}",
                            copied.digest
                        ))
                        .code(EXIT_TAG_CONFLICT)
                        .hint("use another tag, or leave out --immutable"));
                    }
                    Some(previous) => TagChange::Moved { previous },
                };
                copied.arrived(&reference, &change);
            }
        }
        Ok(())
    }

    /// Takes in what the transaction did.
    pub(super) fn published(&mut self, outcome: &Outcome) {
        for published in &outcome.report.images {
            for tag in &published.tags {
                for image in &mut self.images {
                    if image.digest == published.digest {
                        image.arrived(&tag.reference, &tag.change);
                    }
                }
            }
        }
        self.traffic = Some(BlobTraffic {
            sent: outcome.counts.sent,
            mounted: outcome.counts.mounted,
            present: outcome.counts.present,
        });
    }

    pub(super) fn shown(&self, format: Format) -> String {
        match format {
            Format::Json => {
                let mut text =
                    serde_json::to_string_pretty(self).expect("texts and lists are JSON");
                text.push('\n');
                text
            }
            Format::Text => self.text(),
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for image in &self.images {
            for arrival in &image.destinations {
                let address = &arrival.address;
                let digest = &image.digest;
                let _ = match address.ends_with(digest.as_str()) {
                    true => write!(out, "{address}"),
                    false => write!(out, "{address}@{digest}"),
                };
                if self.dry_run {
                    let _ = match &arrival.change {
                        Some(TagChange::Created) => write!(out, " (new)"),
                        Some(TagChange::Unchanged) => write!(out, " (unchanged)"),
                        Some(TagChange::Moved { previous }) => {
                            write!(out, " (moved from {previous})")
                        }
                        None => Ok(()),
                    };
                }
                out.push('\n');
            }
            if self.dry_run {
                for attached in &image.attached {
                    let kind = attached.artifact_type.as_deref();
                    let kind = kind.or(attached.tag.as_deref()).unwrap_or("something");
                    let _ = writeln!(out, "  with {} ({kind})", attached.digest);
                }
            }
        }
        if self.dry_run {
            let _ = writeln!(
                out,
                "{} manifests and {} blobs of {} would be there afterwards",
                self.manifests,
                self.blobs,
                units::bytes(self.bytes)
            );
        }
        out
    }
}

impl CopiedImage {
    fn arrived(&mut self, reference: &Reference, change: &TagChange) {
        let text = reference.to_string();
        for arrival in &mut self.destinations {
            // A name with a digest is tagged without it.
            let address = arrival.address.split('@').next().unwrap_or_default();
            if arrival.address == text || address == text {
                arrival.change = Some(change.clone());
            }
        }
    }
}
