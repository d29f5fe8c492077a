//! The build contexts of all images. A directory that several of them are built from, or that has
//! several names, is opened once: what is known of its files is known to all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dockerfile::ignore::IgnoreFile;
use graph::ContextName;
use store::Store;

use crate::copy::context::Context;
use crate::error::BuildError;
use crate::place::Place;
use crate::source::{IgnoreText, read_ignore_file};

/// Open contexts, by name.
#[derive(Default)]
pub(crate) struct Contexts {
    places: BTreeMap<ContextName, usize>,
    opened: Vec<(Seen, Context)>,
}

/// What makes two contexts the same: the directory, and what is left out of it.
#[derive(PartialEq, Eq)]
struct Seen {
    directory: PathBuf,
    ignore: IgnoreText,
}

impl Contexts {
    /// The context of a name.
    pub(crate) fn get(&self, name: &ContextName) -> Option<&Context> {
        let place = self.places.get(name)?;
        Some(&self.opened[*place].1)
    }

    /// Opens a context, unless that has been done. The ignore file `beside` a Dockerfile, where it
    /// is there, stands in for the one that the context has itself. A place without files gives
    /// no context, and `false`.
    pub(crate) fn open(
        &mut self,
        name: ContextName,
        place: &Place,
        beside: Option<PathBuf>,
        store: &Store,
    ) -> Result<bool, BuildError> {
        let (directory, ignore) = match place {
            Place::Nothing | Place::Text { .. } => return Ok(false),
            Place::Directory(directory) => {
                let real = directory.canonicalize();
                let ignore = read_ignore_file(directory, beside)?;
                (real.unwrap_or_else(|_| directory.clone()), ignore)
            }
            Place::Fetched { directory, .. } => (directory.clone(), IgnoreText::default()),
        };
        let seen = Seen { directory, ignore };
        let known = self.opened.iter().position(|(known, _)| *known == seen);
        let number = match known {
            Some(number) => number,
            None => {
                let context = open(place, &seen.ignore, store)?;
                self.opened.push((seen, context));
                self.opened.len() - 1
            }
        };
        self.places.insert(name, number);
        Ok(true)
    }

    /// Keeps what is known of their files for the next build.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub(crate) fn close(self) -> Result<(), store::DiskError> {
        for (_, context) in self.opened {
            context.close()?;
        }
        Ok(())
    }
}

/// Opens a place that has files.
pub(crate) fn open(
    place: &Place,
    ignore: &IgnoreText,
    store: &Store,
) -> Result<Context, BuildError> {
    let (directory, opened) = match place {
        Place::Nothing | Place::Text { .. } => unreachable!("has no files"),
        Place::Directory(directory) => {
            let IgnoreText { name, text } = ignore;
            let rules = IgnoreFile::parse(text).map_err(|error| BuildError::Input {
                message: format!("{name} cannot be used"),
                hint: None,
                source: Some(error.into()),
            })?;
            let hashes = store.stat_cache(directory);
            let opened = Context::open(directory, rules, name.clone(), hashes);
            (directory, opened)
        }
        Place::Fetched {
            directory, modes, ..
        } => {
            // Of no use to the next build, which has a directory of its own: never saved.
            let hashes = store.stat_cache(directory);
            let opened = Context::fetched(directory, *modes, i64::MAX, hashes);
            (directory, opened)
        }
    };
    opened.map_err(|source| BuildError::Input {
        message: format!("could not open the build context {}", directory.display()),
        hint: None,
        source: Some(source.into()),
    })
}
