//! How an image is published, beside the names that it gets.
//!
//! Tags that never move are set first; all others are moved after them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use oci::Reference;
use publish::{Item, Seal, Target};

/// What is asked of publishing.
#[derive(Clone, Debug, Default)]
pub struct Publishing {
    /// Lets immutable tags move this once.
    pub retag: bool,
    /// Who has to seal the image in each repository before a tag points at it.
    pub seals: Seals,
}

/// Seals, in their order.
#[derive(Clone, Default)]
pub struct Seals(pub Vec<Arc<dyn Seal>>);

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|seal| seal.name());
        f.debug_list().entries(names).finish()
    }
}

impl Publishing {
    /// An image under its tags, repository by repository. Without a name it is called as the last
    /// part of its first repository.
    pub(crate) fn item(
        &self,
        name: &str,
        content: publish::Content,
        attachments: Vec<oci::Attachment>,
        tags: &[Reference],
        immutable_tags: &BTreeSet<Reference>,
    ) -> Item {
        let mut targets: Vec<Target> = Vec::new();
        for reference in tags {
            let Some(tag) = reference.tag() else {
                continue;
            };
            let repository = reference.repository();
            let known = targets
                .iter()
                .position(|target| target.repository == *repository);
            let place = known.unwrap_or_else(|| {
                targets.push(Target {
                    repository: repository.clone(),
                    immutable_tags: Vec::new(),
                    floating_tags: Vec::new(),
                });
                targets.len() - 1
            });
            let target = &mut targets[place];
            let kind = match immutable_tags.contains(reference) {
                true => &mut target.immutable_tags,
                false => &mut target.floating_tags,
            };
            if !kind.contains(tag) {
                kind.push(tag.clone());
            }
        }
        let name = match (name, tags.first()) {
            ("", Some(first)) => first.repository().path().rsplit('/').next().unwrap_or(""),
            (name, _) => name,
        };
        Item {
            name: name.to_owned(),
            content,
            attachments,
            seals: self.seals.0.clone(),
            targets,
        }
    }
}
