//! Finds out what an image is.

use std::collections::BTreeMap;
use std::io::Read as _;

use engine::Ports;
use futures_util::{StreamExt as _, stream};
use oci::{DOCUMENT_BYTES_MAX, Descriptor, Digest, Document, Index, Manifest, Raw, Reference, Tag};
use publish::source::{self, Part};
use publish::{Address, Content};
use serde::Deserialize;

use super::facts::{
    AttestationFacts, ConfigFacts, Facts, ImageFacts, LayerFacts, ReferrerFacts, ReferrerKind,
    TagFacts,
};
use crate::command::image_places::{blocking, sources, unread};
use crate::error::ProgramError;

/// The most tags of a repository whose digests are asked for.
const TAGS_ASKED_MAX: usize = 100;
/// Tags that are asked for at once.
const TAGS_AT_ONCE: usize = 8;

/// BuildKit's marks on attestations in an index.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const ATTESTATION: &str = "attestation-manifest";
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// The document itself.
pub(super) async fn raw(
    address: &Address,
    part: &Part,
    ports: &Ports,
) -> Result<Vec<u8>, ProgramError> {
    let content = open(address, part, ports).await?;
    let root = content.documents.last();
    Ok(root.map(|root| root.bytes().to_vec()).unwrap_or_default())
}

async fn open(address: &Address, part: &Part, ports: &Ports) -> Result<Content, ProgramError> {
    let opened = source::open(address, part, &sources(ports)).await;
    opened.map_err(|error| unread(address, &error))
}

/// All that is to be known.
pub(super) async fn facts(
    address: &Address,
    part: &Part,
    ports: &Ports,
) -> Result<Facts, ProgramError> {
    let content = open(address, part, ports).await?;
    let mut notes = Vec::new();
    let attached = source::attached(address, &content, &sources(ports)).await;
    let referrers = match attached {
        Ok(found) => {
            notes.extend(found.notes);
            found.found.iter().map(referrer).collect()
        }
        Err(error) => {
            notes.push(format!("what refers to it could not be found out: {error}"));
            Vec::new()
        }
    };
    let digest = content.root.digest.clone();
    let tags = match address {
        Address::Registry(name) => tags_of(name, &digest, ports, &mut notes).await,
        Address::Store(_) => Some(stored_names(&digest, ports)),
        Address::Layout { .. } | Address::LayoutArchive { .. } | Address::DockerArchive { .. } => {
            None
        }
    };
    let reading = content.clone();
    let images = blocking(move || images(&reading)).await;
    let (artifact_type, subject, annotations) = match content.documents.last() {
        Some(Document::Manifest(manifest)) => {
            let value = manifest.value();
            (
                value.artifact_type.clone(),
                value.subject.as_ref(),
                value.annotations.clone(),
            )
        }
        Some(Document::Index(index)) => {
            let value = index.value();
            (
                value.artifact_type.clone(),
                value.subject.as_ref(),
                value.annotations.clone(),
            )
        }
        None => (None, None, BTreeMap::new()),
    };
    Ok(Facts {
        schema: 1,
        address: address.to_string(),
        media_type: content.root.media_type.to_string(),
        size: content.root.size,
        artifact_type,
        subject: subject.map(|subject| subject.digest.clone()),
        platforms: source::platforms(&content)
            .iter()
            .map(ToString::to_string)
            .collect(),
        annotations,
        images,
        tags,
        referrers,
        notes,
        digest,
    })
}

fn referrer(attached: &source::Attached) -> ReferrerFacts {
    let described = publish::sink::described(&attached.content);
    let annotations = match attached.content.documents.last() {
        Some(Document::Manifest(manifest)) => manifest.value().annotations.clone(),
        Some(Document::Index(index)) => index.value().annotations.clone(),
        None => BTreeMap::new(),
    };
    let tag = attached.tag.as_ref().map(ToString::to_string);
    ReferrerFacts {
        digest: described.digest,
        subject: attached.subject.clone(),
        kind: ReferrerKind::of(described.artifact_type.as_deref(), tag.as_deref()),
        artifact_type: described.artifact_type,
        tag,
        annotations,
    }
}

/// The tags of the repository that point at a digest.
async fn tags_of(
    name: &Reference,
    digest: &Digest,
    ports: &Ports,
    notes: &mut Vec<String>,
) -> Option<TagFacts> {
    let repository = name.repository();
    let all = match ports.client.tags(repository).await {
        Ok(all) => all,
        Err(error) => {
            notes.push(format!("its other tags could not be found out: {error}"));
            return None;
        }
    };
    let mut own: Vec<Tag> = name.tag().into_iter().cloned().collect();
    let others = all
        .into_iter()
        .filter(|tag| !source::is_derived_tag(tag.as_str()) && !own.contains(tag));
    let others: Vec<Tag> = others.collect();
    let complete = others.len() <= TAGS_ASKED_MAX;
    if !complete {
        notes.push(format!(
            "{} of {} tags were looked at",
            TAGS_ASKED_MAX + own.len(),
            others.len() + own.len()
        ));
    }
    own.extend(others.into_iter().take(TAGS_ASKED_MAX));
    let asked = stream::iter(own).map(async |tag| {
        let found = ports
            .client
            .tag_points_at(&repository.at_tag(tag.clone()))
            .await;
        (tag, found)
    });
    let asked: Vec<_> = asked.buffered(TAGS_AT_ONCE).collect().await;
    let mut names = Vec::new();
    for (tag, found) in asked {
        match found {
            Ok(found) if found.as_ref() == Some(digest) => names.push(tag.to_string()),
            Ok(_) => {}
            Err(error) => notes.push(error.to_string()),
        }
    }
    Some(TagFacts { names, complete })
}

fn stored_names(digest: &Digest, ports: &Ports) -> TagFacts {
    let images = ports.store.images().list().into_iter();
    let same = images.filter(|image| image.target.digest == *digest);
    TagFacts {
        names: same.map(|image| image.name).collect(),
        complete: true,
    }
}

/// The images among the documents, in the order of the index.
fn images(content: &Content) -> Vec<ImageFacts> {
    let entries = entries(content);
    let mut facts = Vec::new();
    for document in &content.documents {
        let Document::Manifest(manifest) = document else {
            continue;
        };
        let entry = entries
            .iter()
            .find(|entry| entry.digest == *manifest.digest());
        if entry.is_some_and(is_attestation) {
            continue;
        }
        facts.push(image(content, manifest, entry, &entries));
    }
    let place = |image: &ImageFacts| {
        entries
            .iter()
            .position(|entry| entry.digest == image.digest)
    };
    facts.sort_by_key(place);
    facts
}

/// Everything that the indices list.
fn entries(content: &Content) -> Vec<Descriptor> {
    let indices = content
        .documents
        .iter()
        .filter_map(|document| match document {
            Document::Index(index) => Some(Index::clone(index.value())),
            Document::Manifest(_) => None,
        });
    indices.flat_map(|index| index.manifests).collect()
}

fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotations.get(REFERENCE_TYPE).map(String::as_str) == Some(ATTESTATION)
}

fn image(
    content: &Content,
    manifest: &Raw<Manifest>,
    entry: Option<&Descriptor>,
    entries: &[Descriptor],
) -> ImageFacts {
    let value = manifest.value();
    let listed = entry.and_then(|entry| entry.platform.as_ref());
    let platform = listed.or(content.root.platform.as_ref());
    let layers: Vec<LayerFacts> = value
        .layers
        .iter()
        .map(|layer| LayerFacts {
            digest: layer.digest.clone(),
            media_type: layer.media_type.to_string(),
            size: layer.size,
        })
        .collect();
    let about_us = |entry: &&Descriptor| {
        is_attestation(entry)
            && entry.annotations.get(REFERENCE_DIGEST).map(String::as_str)
                == Some(manifest.digest().as_str())
    };
    let attestations = entries
        .iter()
        .filter(about_us)
        .map(|entry| AttestationFacts {
            manifest: entry.digest.clone(),
            predicate_types: predicate_types(content, &entry.digest),
        });
    ImageFacts {
        digest: manifest.digest().clone(),
        media_type: Document::Manifest(Box::new(manifest.clone()))
            .media_type()
            .to_string(),
        size: manifest.bytes().len() as u64,
        platform: platform.map(ToString::to_string),
        artifact_type: value.artifact_type.clone(),
        layers_size: layers.iter().map(|layer| layer.size).sum(),
        layers,
        config: config(content, &value.config),
        annotations: value.annotations.clone(),
        attestations: attestations.collect(),
    }
}

fn predicate_types(content: &Content, attestation: &Digest) -> Vec<String> {
    let manifests = content
        .documents
        .iter()
        .filter_map(|document| match document {
            Document::Manifest(manifest) if manifest.digest() == attestation => {
                Some(manifest.value())
            }
            Document::Manifest(_) | Document::Index(_) => None,
        });
    let layers = manifests.flat_map(|manifest| &manifest.layers);
    layers
        .filter_map(|layer| layer.annotations.get(PREDICATE_TYPE).cloned())
        .collect()
}

/// The essentials of a configuration; nothing for what is none of an image.
fn config(content: &Content, descriptor: &Descriptor) -> Option<ConfigFacts> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Document {
        created: Option<String>,
        config: Option<Inner>,
        rootfs: Option<serde::de::IgnoredAny>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Inner {
        entrypoint: Option<Vec<String>>,
        cmd: Option<Vec<String>>,
        env: Option<Vec<String>>,
        user: Option<String>,
        working_dir: Option<String>,
        exposed_ports: Option<BTreeMap<String, serde::de::IgnoredAny>>,
        volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
        labels: Option<BTreeMap<String, String>>,
    }
    if !matches!(
        descriptor.media_type,
        oci::MediaType::OciConfig | oci::MediaType::DockerConfig
    ) {
        return None;
    }
    let source = content.blobs.source(descriptor)?;
    let mut bytes = Vec::new();
    let reader = source.open(0).ok()?;
    reader
        .take(DOCUMENT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    let document: Document = serde_json::from_slice(&bytes).ok()?;
    document.rootfs.as_ref()?;
    let inner = document.config.unwrap_or_default();
    let keys = |map: Option<BTreeMap<String, serde::de::IgnoredAny>>| {
        map.unwrap_or_default().into_keys().collect()
    };
    Some(ConfigFacts {
        digest: descriptor.digest.clone(),
        created: document.created,
        entrypoint: inner.entrypoint.unwrap_or_default(),
        cmd: inner.cmd.unwrap_or_default(),
        env: inner.env.unwrap_or_default(),
        user: inner.user.filter(|user| !user.is_empty()),
        working_dir: inner.working_dir.filter(|directory| !directory.is_empty()),
        exposed_ports: keys(inner.exposed_ports),
        volumes: keys(inner.volumes),
        labels: inner.labels.unwrap_or_default(),
    })
}
