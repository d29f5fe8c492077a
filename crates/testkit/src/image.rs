//! Small valid images, made from a few lines.

use std::io::Write as _;

use bytes::Bytes;
use oci::{Compression, Digest, MediaType};
use serde_json::{Value, json};

use crate::tar::{self, Entry};

/// Seconds since 1970 in every entry that a [`Layer`] makes.
const MTIME: i64 = 1_000_000_000;

/// Begins an image for linux on this machine's architecture, without layers.
pub fn image() -> ImageBuilder {
    ImageBuilder {
        architecture: architecture().to_owned(),
        config: json!({}),
        layers: Vec::new(),
        docker: false,
        annotations: Vec::new(),
    }
}

/// An image on its way.
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    architecture: String,
    config: Value,
    layers: Vec<LayerBlob>,
    docker: bool,
    annotations: Vec<(String, String)>,
}

/// A layer on its way: entries in the order they were added.
#[derive(Clone, Debug)]
pub struct Layer {
    entries: Vec<Entry>,
    compression: Compression,
}

/// A finished layer.
#[derive(Clone, Debug)]
pub struct LayerBlob {
    /// The blob as a registry stores it.
    pub bytes: Bytes,
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The digest of the tar stream inside.
    pub diff_id: Digest,
    /// How `bytes` are compressed.
    pub compression: Compression,
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// What the manifest is.
    pub media_type: MediaType,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The configuration's bytes.
    pub config: Bytes,
    /// The layers, bottom first.
    pub layers: Vec<LayerBlob>,
}

impl Layer {
    /// An empty layer, compressed with gzip.
    #[expect(
        clippy::new_without_default,
        reason = "an empty layer is the start of a chain"
    )]
    pub fn new() -> Self {
        Self {
            entries: Vec::new(),
            compression: Compression::Gzip,
        }
    }

    /// Sets the compression.
    pub fn compressed(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// A file, mode 0644, owned by root.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.file_with(path, 0o644, content)
    }

    /// A file with its mode, owned by root.
    pub fn file_with(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(Entry {
            path: path.into(),
            kind: b'0',
            mode,
            mtime: MTIME,
            content: content.as_ref().to_vec(),
            ..Entry::default()
        })
    }

    /// A directory with its mode, owned by root.
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(Entry {
            path: path.into(),
            kind: b'5',
            mode,
            mtime: MTIME,
            ..Entry::default()
        })
    }

    /// A symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(Entry {
            path: path.into(),
            kind: b'2',
            mode: 0o777,
            mtime: MTIME,
            link: target.into(),
            ..Entry::default()
        })
    }

    /// A hard link to an entry before it.
    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(Entry {
            path: path.into(),
            kind: b'1',
            mode: 0o644,
            mtime: MTIME,
            link: target.into(),
            ..Entry::default()
        })
    }

    /// The whiteout of a name in the layers below: `a/b` becomes `a/.wh.b`
    /// (image specification, "Whiteouts").
    pub fn whiteout(self, path: &str) -> Self {
        let (parent, name) = match path.rsplit_once('/') {
            Some((parent, name)) => (format!("{parent}/"), name),
            None => (String::new(), path),
        };
        self.file(&format!("{parent}.wh.{name}"), "")
    }

    /// Makes a directory opaque: `a` becomes `a/.wh..wh..opq`.
    pub fn opaque(self, path: &str) -> Self {
        self.file(&format!("{path}/.wh..wh..opq"), "")
    }

    /// Any entry, hostile ones included.
    pub fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// The finished layer.
    pub fn build(&self) -> LayerBlob {
        LayerBlob::from_tar(&tar::write(&self.entries), self.compression)
    }
}

impl LayerBlob {
    /// A layer from a tar stream, whatever is in it.
    pub fn from_tar(stream: &[u8], compression: Compression) -> Self {
        let bytes: Bytes = match compression {
            Compression::None => stream.to_vec(),
            Compression::Gzip => {
                let level = flate2::Compression::new(6);
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(stream).expect("memory takes everything");
                encoder.finish().expect("memory takes everything")
            }
            Compression::Zstd => zstd::encode_all(stream, 3).expect("memory takes everything"),
        }
        .into();
        Self {
            digest: Digest::of(&bytes),
            diff_id: Digest::of(stream),
            bytes,
            compression,
        }
    }

    /// Its descriptor as JSON.
    fn descriptor(&self, docker: bool) -> Value {
        let media_type = match docker {
            true => MediaType::DockerLayer(self.compression),
            false => MediaType::OciLayer(self.compression),
        };
        descriptor(&media_type, &self.bytes)
    }
}

impl ImageBuilder {
    /// Adds a layer on top.
    pub fn layer(self, layer: Layer) -> Self {
        self.layer_blob(layer.build())
    }

    /// Adds a finished layer on top.
    pub fn layer_blob(mut self, layer: LayerBlob) -> Self {
        self.layers.push(layer);
        self
    }

    /// Sets a key of the container configuration: `config("User", json!("1"))`.
    pub fn config(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Adds a variable, `NAME=value`.
    pub fn env(mut self, variable: &str) -> Self {
        if self.config["Env"].is_null() {
            self.config["Env"] = json!([]);
        }
        let list = self.config["Env"].as_array_mut().expect("a list");
        list.push(json!(variable));
        self
    }

    /// For another architecture, by Go's name.
    pub fn architecture(mut self, name: &str) -> Self {
        name.clone_into(&mut self.architecture);
        self
    }

    /// With Docker's media types (schema 2) instead of OCI's.
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    /// Adds an annotation to the manifest.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The finished image.
    pub fn build(self) -> Image {
        let diff_ids: Vec<&str> = (self.layers.iter())
            .map(|layer| layer.diff_id.as_str())
            .collect();
        let history: Vec<Value> = (self.layers.iter())
            .map(|_| json!({"created": "2001-09-09T01:46:40Z", "created_by": "testkit"}))
            .collect();
        let config: Bytes = json!({
            "created": "2001-09-09T01:46:40Z",
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        })
        .to_string()
        .into();
        let (media_type, config_type) = match self.docker {
            true => (MediaType::DockerManifest, MediaType::DockerConfig),
            false => (MediaType::OciManifest, MediaType::OciConfig),
        };
        let layers: Vec<Value> = (self.layers.iter())
            .map(|layer| layer.descriptor(self.docker))
            .collect();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type.as_str(),
            "config": descriptor(&config_type, &config),
            "layers": layers,
        });
        for (key, value) in self.annotations {
            manifest["annotations"][key] = json!(value);
        }
        let manifest: Bytes = manifest.to_string().into();
        Image {
            digest: Digest::of(&manifest),
            manifest,
            media_type,
            config,
            layers: self.layers,
        }
    }
}

fn descriptor(media_type: &MediaType, bytes: &[u8]) -> Value {
    json!({
        "mediaType": media_type.as_str(),
        "digest": Digest::of(bytes).as_str(),
        "size": bytes.len(),
    })
}

/// Go's name of the architecture that this was compiled for.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
