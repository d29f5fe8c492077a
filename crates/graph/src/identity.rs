//! Labels that say what an image was made of: its sources, and the image below it.

use std::collections::{BTreeMap, BTreeSet};

use oci::Digest;

use crate::ImageName;

/// The label with the name of the image below (image specification, "Pre-Defined Annotation Keys").
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";

/// The label with its digest: of the manifest, not of an index around it.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// What an image is to say of itself. Its Dockerfile's own labels and those of the command line win;
/// what a base image says of itself does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Labels of the sources, such as the revision.
    pub labels: BTreeMap<String, String>,
}

impl Identity {
    /// The keys whose values are also annotations of what is made.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let base = [BASE_NAME, BASE_DIGEST];
        self.labels.keys().map(String::as_str).chain(base)
    }

    /// Puts the labels among those of an image. `own` are those that its Dockerfile sets.
    pub(crate) fn apply(
        &self,
        labels: &mut BTreeMap<String, String>,
        own: &BTreeSet<String>,
        base: Option<&(ImageName, Digest)>,
    ) {
        let mut ours = self.labels.clone();
        for key in [BASE_NAME, BASE_DIGEST] {
            // The base's own base is not this image's.
            if !own.contains(key) {
                labels.remove(key);
            }
        }
        // A directory of this machine means nothing to others.
        if let Some((ImageName::Registry(reference), digest)) = base {
            ours.insert(BASE_NAME.to_owned(), reference.to_string());
            ours.insert(BASE_DIGEST.to_owned(), digest.to_string());
        }
        for (key, value) in ours {
            if !own.contains(&key) {
                labels.insert(key, value);
            }
        }
    }
}
