//! Reads an image back from a registry and checks everything that can be
//! checked without running it.

use std::io::Read as _;

use bytes::Bytes;
use oci::{Compression, Digest, MediaType};
use serde_json::Value;

use crate::Registry;
use crate::tar::{self, Entry};

/// An image that passed.
#[derive(Clone, Debug)]
pub struct ValidImage {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Value,
    /// The configuration.
    pub config: Value,
    /// The layers, bottom first.
    pub layers: Vec<ValidLayer>,
}

/// A layer that passed.
#[derive(Clone, Debug)]
pub struct ValidLayer {
    /// The digest of the blob.
    pub digest: Digest,
    /// The digest of the tar stream inside.
    pub diff_id: Digest,
    /// The entries of the stream.
    pub entries: Vec<Entry>,
}

impl ValidLayer {
    /// The entries as [`Entry::line`]s.
    pub fn listing(&self) -> Vec<String> {
        self.entries.iter().map(Entry::line).collect()
    }
}

/// Reads the image behind a tag or digest and checks: media types against
/// content types and each other, digests and sizes of all blobs, each layer's
/// stream against its diff id, the count of diff ids and of history entries,
/// and that every layer is a whole tar stream.
///
/// # Errors
///
/// One sentence about the first thing that is wrong.
pub fn validate_image(
    registry: &Registry,
    repository: &str,
    reference: &str,
) -> Result<ValidImage, String> {
    let (digest, content_type, bytes) = (registry.manifest(repository, reference))
        .ok_or_else(|| format!("{repository} has no {reference}"))?;
    if !digest.matches(&bytes) {
        return Err(format!("the manifest is not {digest}"));
    }
    let manifest = json_of(&bytes, "manifest")?;
    let media_type = MediaType::from(content_type.as_str());
    if manifest["mediaType"].as_str() != Some(&content_type) || !media_type.is_manifest() {
        let inside = &manifest["mediaType"];
        return Err(format!("manifest {inside} was stored as {content_type}"));
    }
    let docker = media_type == MediaType::DockerManifest;
    if manifest["schemaVersion"] != 2 {
        return Err("schemaVersion is not 2".into());
    }
    let config_type = match docker {
        true => MediaType::DockerConfig,
        false => MediaType::OciConfig,
    };
    if manifest["config"]["mediaType"].as_str() != Some(config_type.as_str()) {
        let found = &manifest["config"]["mediaType"];
        return Err(format!("config is {found}, not {config_type}"));
    }
    let (_, config) = blob(registry, repository, &manifest["config"], "config")?;
    let config = json_of(&config, "config")?;
    for key in ["architecture", "os"] {
        if config[key].as_str().is_none_or(str::is_empty) {
            return Err(format!("config has no {key}"));
        }
    }
    if config["rootfs"]["type"] != "layers" {
        return Err("rootfs.type is not layers".into());
    }
    let diff_ids = list(&config["rootfs"]["diff_ids"], "diff_ids")?;
    let descriptors = list(&manifest["layers"], "layers")?;
    if diff_ids.len() != descriptors.len() {
        let (ids, layers) = (diff_ids.len(), descriptors.len());
        return Err(format!("{ids} diff ids for {layers} layers"));
    }
    if let Some(history) = config["history"].as_array() {
        let with_layer = (history.iter())
            .filter(|entry| entry["empty_layer"] != true)
            .count();
        if with_layer != descriptors.len() {
            let layers = descriptors.len();
            return Err(format!("{with_layer} history entries for {layers} layers"));
        }
    }
    let mut layers = Vec::new();
    for (at, (descriptor, diff_id)) in descriptors.iter().zip(diff_ids).enumerate() {
        let layer = layer(registry, repository, descriptor, diff_id, docker)
            .map_err(|problem| format!("layer {at}: {problem}"))?;
        layers.push(layer);
    }
    Ok(ValidImage {
        digest,
        manifest,
        config,
        layers,
    })
}

fn layer(
    registry: &Registry,
    repository: &str,
    descriptor: &Value,
    diff_id: &Value,
    docker: bool,
) -> Result<ValidLayer, String> {
    let text = descriptor["mediaType"].as_str().unwrap_or_default();
    let media_type = MediaType::from(text);
    let compression = media_type
        .layer_compression()
        .filter(|_| docker == matches!(media_type, MediaType::DockerLayer(_)))
        .ok_or_else(|| format!("{text} does not belong in this manifest"))?;
    let (digest, bytes) = blob(registry, repository, descriptor, "blob")?;
    let stream = decompressed(&bytes, compression)?;
    let written = Digest::of(&stream);
    if diff_id.as_str() != Some(written.as_str()) {
        return Err(format!("diff id {diff_id}, but the stream is {written}"));
    }
    Ok(ValidLayer {
        digest,
        diff_id: written,
        entries: tar::read(&stream)?,
    })
}

/// Bytes behind a descriptor, checked against its digest and size.
fn blob(
    registry: &Registry,
    repository: &str,
    descriptor: &Value,
    what: &str,
) -> Result<(Digest, Bytes), String> {
    let text = descriptor["digest"].as_str().unwrap_or_default();
    let digest: Digest = text
        .parse()
        .map_err(|_| format!("{what}: digest `{text}`"))?;
    let bytes = (registry.blob(repository, &digest))
        .ok_or_else(|| format!("{what} {digest} is not in {repository}"))?;
    if !digest.matches(&bytes) {
        return Err(format!("{what} is not {digest}"));
    }
    if descriptor["size"].as_u64() != Some(bytes.len() as u64) {
        let (said, is) = (&descriptor["size"], bytes.len());
        return Err(format!("{what} has {is} bytes, its descriptor says {said}"));
    }
    Ok((digest, bytes))
}

fn decompressed(bytes: &[u8], compression: Compression) -> Result<Vec<u8>, String> {
    let mut stream = Vec::new();
    let read = match compression {
        Compression::None => return Ok(bytes.to_vec()),
        Compression::Gzip => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut stream),
        Compression::Zstd => {
            zstd::Decoder::new(bytes).and_then(|mut decoder| decoder.read_to_end(&mut stream))
        }
    };
    read.map_err(|problem| format!("does not decompress: {problem}"))?;
    Ok(stream)
}

fn json_of(bytes: &[u8], what: &str) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|problem| format!("{what} is not JSON: {problem}"))
}

fn list<'a>(value: &'a Value, what: &str) -> Result<&'a [Value], String> {
    (value.as_array().map(Vec::as_slice)).ok_or_else(|| format!("{what} is not a list"))
}
