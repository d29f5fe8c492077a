//! Annotations: notes on what is made, under the names that buildx has for the places.

use std::collections::BTreeMap;

use graph::Identity;
use oci::{ImageConfig, Platform};

/// What an annotation is put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotated {
    /// The manifest of the image for a platform, or of every image.
    Manifest(Option<Platform>),
    /// The descriptor that points at such a manifest: in the index, or in an image layout.
    ManifestDescriptor(Option<Platform>),
    /// The index.
    Index,
    /// The descriptor that points at the index in an image layout.
    IndexDescriptor,
}

/// The annotations of a build, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(Vec<(Annotated, String, String)>);

impl Annotations {
    /// Adds one. Of two with the same place and name the later counts.
    pub fn add(&mut self, on: Annotated, name: String, value: String) {
        self.0.push((on, name, value));
    }

    /// Adds all of another list.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Adds what a finished image says of itself, as its labels have it: a label that somebody
    /// wrote counts here too. Annotations that were asked for win.
    pub(crate) fn identify(&mut self, identity: Option<&Identity>, config: &ImageConfig) {
        for key in identity.iter().flat_map(|identity| identity.keys()) {
            if let Some(value) = config.config.labels.get(key) {
                self.add_first(Annotated::Manifest(None), key, value);
            }
        }
    }

    /// Adds what is said of all images of an index; `labels` that were asked for win.
    pub(crate) fn identify_index(
        &mut self,
        identity: &Identity,
        labels: &BTreeMap<String, String>,
    ) {
        for (key, value) in &identity.labels {
            self.add_first(Annotated::Index, key, labels.get(key).unwrap_or(value));
        }
    }

    /// Adds one that anything else with its place and name wins over.
    fn add_first(&mut self, on: Annotated, name: &str, value: &str) {
        self.0.insert(0, (on, name.to_owned(), value.to_owned()));
    }

    /// Everything, in order.
    pub fn iter(&self) -> impl Iterator<Item = &(Annotated, String, String)> {
        self.0.iter()
    }

    /// Those of the manifest for a platform. What is said of the platform wins over what is said
    /// of all.
    pub(crate) fn of_manifest(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.on(
            &Annotated::Manifest(None),
            &Annotated::Manifest(Some(platform.clone())),
        )
    }

    /// Those of its descriptor.
    pub(crate) fn of_manifest_descriptor(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.on(
            &Annotated::ManifestDescriptor(None),
            &Annotated::ManifestDescriptor(Some(platform.clone())),
        )
    }

    /// Those of the index.
    pub(crate) fn of_index(&self) -> BTreeMap<String, String> {
        self.on(&Annotated::Index, &Annotated::Index)
    }

    /// Those of its descriptor.
    pub(crate) fn of_index_descriptor(&self) -> BTreeMap<String, String> {
        self.on(&Annotated::IndexDescriptor, &Annotated::IndexDescriptor)
    }

    fn on(&self, general: &Annotated, special: &Annotated) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for wanted in [general, special] {
            for (on, name, value) in &self.0 {
                if on == wanted {
                    found.insert(name.clone(), value.clone());
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_platform_wins_and_later_wins_over_earlier() {
        let arm: Platform = "linux/arm64".parse().expect("a platform");
        let amd: Platform = "linux/amd64".parse().expect("a platform");
        let mut annotations = Annotations::default();
        for (on, value) in [
            (Annotated::Manifest(Some(arm.clone())), "arm"),
            (Annotated::Manifest(None), "old"),
            (Annotated::Manifest(None), "all"),
            (Annotated::Index, "index"),
        ] {
            annotations.add(on, "name".to_owned(), value.to_owned());
        }
        assert_eq!(annotations.of_manifest(&arm)["name"], "arm");
        assert_eq!(annotations.of_manifest(&amd)["name"], "all");
        assert_eq!(annotations.of_index()["name"], "index");
        assert!(annotations.of_manifest_descriptor(&arm).is_empty());
        assert!(annotations.of_index_descriptor().is_empty());
    }
}
