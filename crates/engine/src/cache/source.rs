//! A cache that is looked into.

use std::sync::Arc;

use oci::{Digest, Reference};
use shelf::Shelf;
use tokio::sync::OnceCell;

use super::catalogue::Catalogue;
use super::inline;
use super::load::{LoadError, READ_WAIT, load};
use crate::event::{Event, Reporter};
use crate::origins::Origin;

/// A shelf, and what is known of it.
pub(crate) struct Source {
    pub(crate) shelf: Arc<dyn Shelf>,
    /// Where an image may be instead of a catalogue.
    image: Option<Reference>,
    client: registry::Client,
    reporter: Arc<dyn Reporter>,
    catalogue: OnceCell<Result<Catalogue, Unread>>,
}

/// Why a cache was not read.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    pub(crate) reason: String,
    /// Whether what is there is ours and worth nothing.
    pub(crate) may_be_replaced: bool,
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
        catalogue.as_ref().ok()
    }

    /// How reading went, if it was tried.
    pub(crate) fn outcome(&self) -> Option<&Result<Catalogue, Unread>> {
        self.catalogue.get()
    }

    /// What is known by now.
    pub(crate) fn known(&self) -> Option<&Catalogue> {
        self.catalogue.get()?.as_ref().ok()
    }

    /// Where a blob is that the catalogue holds.
    pub(crate) fn origin(&self) -> Origin {
        Origin::of(&self.shelf)
    }

    async fn read(&self) -> Result<Catalogue, Unread> {
        let error = match load(&*self.shelf).await {
            Ok(catalogue) => return Ok(catalogue),
            Err(error) => error,
        };
        let unread = Unread {
            reason: reason(&error),
            may_be_replaced: error.may_be_replaced(),
        };
        if error.is_foreign()
            && let Some(reference) = &self.image
        {
            let read = tokio::time::timeout(READ_WAIT, inline::read(&self.client, reference));
            match read.await {
                Ok(Ok(Some(catalogue))) => return Ok(catalogue),
                Ok(Ok(None)) => {}
                Err(_elapsed) => {
                    self.warn(&format!("it takes longer than {} s", READ_WAIT.as_secs()));
                    return Err(unread);
                }
                Ok(Err(error)) => {
                    self.warn(&super::load::told(&error));
                    return Err(unread);
                }
            }
        }
        self.warn(&unread.reason);
        Err(unread)
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
