//! Names of images. A name points to a manifest (or an index) and keeps it and
//! all that it needs alive.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use crate::record::{RecordFiles, unseal};

/// The named images of a store.
#[derive(Debug)]
pub struct Images {
    files: RecordFiles,
}

/// A name and what it points to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The name, as its maker spelled it.
    pub name: String,
    /// The manifest or index.
    pub target: Descriptor,
}

/// The directory of names.
pub(crate) const IMAGES: &str = "images";

impl Images {
    pub(crate) fn new(files: RecordFiles) -> Self {
        Self { files }
    }

    /// What `name` points to.
    pub fn get(&self, name: &str) -> Option<Descriptor> {
        let payload = self.files.get(&image_path(name))?;
        let image: Image = serde_json::from_slice(&payload).ok()?;
        (image.name == name).then_some(image.target)
    }

    /// Lets `name` point to `target`: seen by this process from now on, by all
    /// after the next commit.
    pub fn set(&self, name: &str, target: &Descriptor) {
        let image = Image {
            name: name.to_owned(),
            target: target.clone(),
        };
        let payload = serde_json::to_vec(&image).expect("text keys and plain values");
        self.files.put(image_path(name), &payload);
    }

    /// Forgets a name; says whether it was there.
    pub fn remove(&self, name: &str) -> bool {
        let there = self.get(name).is_some();
        self.files.remove(image_path(name));
        there
    }

    /// All names in order. Damaged records are left out.
    pub fn list(&self) -> Vec<Image> {
        let directory = self.files.root.join(IMAGES);
        let mut found = BTreeMap::new();
        for item in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = PathBuf::from(IMAGES).join(item.file_name());
            if let Some(payload) = self.files.get(&path) {
                found.insert(path, payload);
            }
        }
        for (path, change) in self.files.committer.pending_below(IMAGES.as_ref()) {
            match change.as_deref().and_then(|bytes| unseal(&path, bytes)) {
                Some(payload) => found.insert(path.clone(), payload.to_vec()),
                None => found.remove(&path),
            };
        }
        let mut images: Vec<Image> = found
            .values()
            .filter_map(|payload| serde_json::from_slice(payload).ok())
            .collect();
        images.sort_by(|a, b| a.name.cmp(&b.name));
        images
    }
}

/// Names hold slashes and colons and may be longer than file names.
fn image_path(name: &str) -> PathBuf {
    PathBuf::from(IMAGES).join(Digest::of(name.as_bytes()).hex())
}
