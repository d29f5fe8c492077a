//! What stands beside an image before a tag may point at it: attachments that are at hand, and what
//! its seals make of its digest.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use oci::{
    Attachment, AttachmentPlace, DOCUMENT_BYTES_MAX, Descriptor, Digest, Document, Manifest,
    MediaType, Raw, Repository, Tag,
};
use registry::{Client, ErrorKind, PushOptions, Selector};
use serde_json::Value;

use crate::journal::Journal;
use crate::plan::Destination;
use crate::standing::DestinationError;
use crate::{Seal, Subject};

/// How often the manifest under a tag is written before others are said to overwrite it (D18).
const WRITES_MAX: u32 = 16;

/// How long after writing it is looked again: who read before we wrote writes within this time.
const SETTLE: Duration = Duration::from_millis(100);

/// Steps in which those wait who overwrite each other, each another number of them.
const STEP: Duration = Duration::from_millis(10);

/// The most layers of one manifest that signatures are kept in.
const SIGNATURES_MAX: usize = 10_000;

/// Stores the attachments of an image, and has it sealed.
pub(crate) async fn accompany(
    destination: &Destination<'_>,
    client: &Client,
    journal: &Journal,
) -> Result<(), DestinationError> {
    let repository = &destination.target.repository;
    for attachment in &destination.item.attachments {
        attach(client, repository, attachment).await?;
    }
    for seal in destination.seals() {
        let identity = identity(seal, destination);
        let kept = journal.seal(&identity, repository, destination.digest());
        let sealed = match kept {
            Some(sealed) => sealed,
            None => {
                let subject = Subject {
                    descriptor: destination.item.content.root.clone(),
                    repository: repository.clone(),
                    tags: destination.tags().map(|(tag, _)| tag.clone()).collect(),
                };
                let sealed = seal.seal(&subject).await;
                let sealed = sealed.map_err(|source| DestinationError::Seal {
                    seal: seal.name().to_owned(),
                    source,
                })?;
                journal.keep_seal(&identity, repository, destination.digest(), &sealed)?;
                sealed
            }
        };
        for attachment in &sealed.attachments {
            attach(client, repository, attachment).await?;
        }
    }
    Ok(())
}

/// Under which name the journal keeps what a seal made: with the tags, where they are sealed.
fn identity(seal: &dyn Seal, destination: &Destination<'_>) -> String {
    let mut identity = seal.identity();
    if seal.signs_tags() {
        for (tag, _) in destination.tags() {
            identity.push(' ');
            identity.push_str(tag.as_str());
        }
    }
    identity
}

/// Stores an attachment beside an image that is in a repository already. No tag of an image moves.
///
/// # Errors
///
/// When the registry does not take it.
pub async fn attach(
    client: &Client,
    repository: &Repository,
    attachment: &Attachment,
) -> Result<(), DestinationError> {
    let manifest = attachment.manifest.value();
    let named = std::iter::once(&manifest.config).chain(&manifest.layers);
    let mut sent = HashSet::new();
    for descriptor in named {
        if !sent.insert(&descriptor.digest) {
            continue;
        }
        let mut blobs = attachment.blobs.iter();
        let blob = blobs.find(|blob| blob.digest == descriptor.digest);
        let blob = blob.ok_or_else(|| DestinationError::Hollow {
            attachment: attachment.manifest.digest().clone(),
            blob: descriptor.digest.clone(),
        })?;
        send(
            client,
            repository,
            descriptor,
            Bytes::copy_from_slice(&blob.bytes),
        )
        .await?;
    }
    match &attachment.place {
        AttachmentPlace::Referrer => {
            let document = Document::Manifest(Box::new(attachment.manifest.clone()));
            client.add_referrer(repository, &document).await?;
        }
        AttachmentPlace::Tag(tag) => join(client, repository, tag, attachment).await?,
    }
    Ok(())
}

async fn send(
    client: &Client,
    repository: &Repository,
    descriptor: &Descriptor,
    bytes: Bytes,
) -> Result<(), registry::Error> {
    client
        .push_blob(repository, descriptor, &bytes, &PushOptions::default())
        .await
        .map(drop)
}

/// Lets the layers of an attachment be among those of the manifest under `tag`, whoever else writes
/// there: what was written has to be found again.
async fn join(
    client: &Client,
    repository: &Repository,
    tag: &Tag,
    attachment: &Attachment,
) -> Result<(), DestinationError> {
    let ours = &attachment.manifest;
    let selector = Selector::Tag(tag.clone());
    // Whoever else signs the same waits another time.
    let place = u32::from(ours.digest().hex().as_bytes()[0]) % 8 + 1;
    let mut writes = 0;
    let mut is_settled = true;
    let mut failure = None;
    while writes < WRITES_MAX {
        let there = match client.manifest(&repository.at_tag(tag.clone())).await {
            Ok(Document::Manifest(there)) => Some(there),
            Ok(Document::Index(_)) => {
                return Err(DestinationError::Occupied {
                    tag: repository.at_tag(tag.clone()),
                });
            }
            Err(error) if *error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let manifest = match there {
            None => ours.clone(),
            Some(there) if holds(there.value(), ours.value()) => {
                if is_settled {
                    return Ok(());
                }
                is_settled = true;
                tokio::time::sleep(SETTLE).await;
                continue;
            }
            Some(there) => {
                let config =
                    join_configs(client, repository, &there.value().config, attachment).await?;
                joined(there.value(), ours.value(), config)
            }
        };
        if manifest.value().layers.len() > SIGNATURES_MAX {
            break;
        }
        let media_type = manifest.value().media_type.clone();
        let media_type = media_type.unwrap_or(MediaType::OciManifest);
        let written = client
            .push_manifest_once(repository, &selector, &media_type, manifest.bytes())
            .await;
        match written {
            Ok(()) => {}
            Err(error) if may_pass(&error) => failure = Some(error),
            Err(error) => return Err(error.into()),
        }
        writes += 1;
        is_settled = false;
        if writes > 1 {
            tokio::time::sleep(STEP * place * writes).await;
        }
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    Err(DestinationError::Crowded {
        tag: repository.at_tag(tag.clone()),
    })
}

fn may_pass(error: &registry::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unreachable
            | ErrorKind::Stalled
            | ErrorKind::Server
            | ErrorKind::RateLimited { .. }
    )
}

/// Whether every layer is there with its annotations, which hold the signature.
fn holds(there: &Manifest, ours: &Manifest) -> bool {
    ours.layers.iter().all(|layer| is_in(layer, there))
}

fn is_in(layer: &Descriptor, manifest: &Manifest) -> bool {
    let same = |known: &&Descriptor| {
        known.digest == layer.digest && known.annotations == layer.annotations
    };
    manifest.layers.iter().find(same).is_some()
}

fn joined(there: &Manifest, ours: &Manifest, config: Descriptor) -> Raw<Manifest> {
    let new = ours.layers.iter().filter(|layer| !is_in(layer, there));
    let layers = there.layers.iter().chain(new).cloned().collect();
    Raw::write(Manifest {
        layers,
        config,
        ..there.clone()
    })
}

/// The configuration of what is joined: where both list their layers, as images do, the new ones
/// are added. Any other configuration stays as it is.
async fn join_configs(
    client: &Client,
    repository: &Repository,
    there: &Descriptor,
    attachment: &Attachment,
) -> Result<Descriptor, DestinationError> {
    let ours = &attachment.manifest.value().config.digest;
    let mut blobs = attachment.blobs.iter();
    let Some(ours) = blobs.find(|blob| blob.digest == *ours) else {
        return Ok(there.clone());
    };
    let bytes = client
        .document(repository, there, DOCUMENT_BYTES_MAX)
        .await?;
    let Some(bytes) = join_layer_lists(&bytes, &ours.bytes) else {
        return Ok(there.clone());
    };
    let descriptor = Descriptor {
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        ..there.clone()
    };
    send(client, repository, &descriptor, bytes.into()).await?;
    Ok(descriptor)
}

fn join_layer_lists(there: &[u8], ours: &[u8]) -> Option<Vec<u8>> {
    let mut there: Value = serde_json::from_slice(there).ok()?;
    let ours: Value = serde_json::from_slice(ours).ok()?;
    let new = ours.pointer("/rootfs/diff_ids")?.as_array()?;
    let known = there.pointer_mut("/rootfs/diff_ids")?.as_array_mut()?;
    known.extend(new.iter().cloned());
    if let (Some(Value::Array(history)), Some(new)) = (
        there.get_mut("history"),
        ours.get("history").and_then(Value::as_array),
    ) {
        history.extend(new.iter().cloned());
    }
    serde_json::to_vec(&there).ok()
}
