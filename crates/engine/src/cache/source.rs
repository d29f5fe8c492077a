//! A cache that is looked into.

use std::sync::Arc;

use oci::{Digest, Reference};
use shelf::Shelf;
use tokio::sync::OnceCell;

use super::catalogue::Catalogue;
use super::inline;
use super::load::{LoadError, load};
use crate::event::{Event, Reporter};
use crate::origins::Origin;

/// A shelf, and what is known of it.
pub(crate) struct Source {
    pub(crate) shelf: Arc<dyn Shelf>,
    /// Where an image may be instead of a catalogue.
    image: Option<Reference>,
    client: registry::Client,
    reporter: Arc<dyn Reporter>,
    /// Nothing where it cannot be used.
    catalogue: OnceCell<Option<Catalogue>>,
}

impl Source {
    pub(crate) fn new(
        shelf: Arc<dyn Shelf>,
        image: Option<Reference>,
        client: registry::Client,
        reporter: Arc<dyn Reporter>,
    ) -> Self {
        Self {
            shelf,
            image,
            client,
            reporter,
            catalogue: OnceCell::new(),
        }
    }

    /// What is known: asked once, and a warning where it cannot be had.
    pub(crate) async fn catalogue(&self) -> Option<&Catalogue> {
        let catalogue = self.catalogue.get_or_init(|| self.read()).await;
        catalogue.as_ref()
    }

    /// What is known by now.
    pub(crate) fn known(&self) -> Option<&Catalogue> {
        self.catalogue.get()?.as_ref()
    }

    /// Where a blob is that the catalogue holds.
    pub(crate) fn origin(&self) -> Origin {
        Origin::of(&self.shelf)
    }

    async fn read(&self) -> Option<Catalogue> {
        let error = match load(&*self.shelf).await {
            Ok(catalogue) => return Some(catalogue),
            Err(error) => error,
        };
        if error.is_foreign()
            && let Some(reference) = &self.image
        {
            match inline::read(&self.client, reference).await {
                Ok(Some(catalogue)) => return Some(catalogue),
                Ok(None) => {}
                Err(error) => {
                    self.warn(&super::load::told(&error));
                    return None;
                }
            }
        }
        self.warn(&reason(&error));
        None
    }

    fn warn(&self, reason: &str) {
        let message = format!(
            "nothing is taken from the cache {}: {reason}",
            self.shelf.address()
        );
        self.reporter.report(Event::Warning { message });
    }

    /// Whether the catalogue has a record, and where its blobs are.
    pub(crate) fn find(&self, key: &Digest) -> Option<&super::catalogue::Kept> {
        self.known()?.get(key)
    }
}

fn reason(error: &LoadError) -> String {
    match error.is_foreign() {
        true => format!("{}, and no cache of kiln", error.told()),
        false => error.told(),
    }
}
