//! Secrets: read once, before anything runs, and kept in memory. Their bytes are never written to
//! a disk by kiln, and never part of a key, a record, an event or a message.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::BuildError;
use crate::event::{Event, Reporter};

/// The largest secret, in bytes: what BuildKit takes.
pub const SECRET_BYTES_MAX: u64 = 500 * 1024;

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file, or a pipe, which is read to its end.
    File(PathBuf),
    /// Its bytes: those of a variable.
    Value(Vec<u8>),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            Self::Value(_) => formatter.write_str("Value(****)"),
        }
    }
}

/// The secrets of a build, by id.
#[derive(Clone, Default)]
pub(crate) struct Secrets(BTreeMap<String, Arc<[u8]>>);

impl Secrets {
    /// Reads all of them.
    pub(crate) fn read(
        sources: &BTreeMap<String, SecretSource>,
        reporter: &dyn Reporter,
    ) -> Result<Self, BuildError> {
        let mut secrets = BTreeMap::new();
        for (id, source) in sources {
            let bytes = match source {
                SecretSource::Value(bytes) => bytes.clone(),
                SecretSource::File(path) => read(path).map_err(|source| BuildError::Input {
                    message: format!("the secret `{id}` cannot be read from {}", path.display()),
                    hint: None,
                    source: Some(source.into()),
                })?,
            };
            if bytes.len() as u64 > SECRET_BYTES_MAX {
                return Err(BuildError::input(format!(
                    "the secret `{id}` is larger than {} KiB",
                    SECRET_BYTES_MAX / 1024
                )));
            }
            if bytes.is_empty() {
                reporter.report(Event::Warning {
                    message: format!("the secret `{id}` is empty"),
                });
            }
            secrets.insert(id.clone(), bytes.into());
        }
        Ok(Self(secrets))
    }

    pub(crate) fn get(&self, id: &str) -> Option<&[u8]> {
        self.0.get(id).map(|bytes| &**bytes)
    }

    /// All values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.0.values().map(|bytes| &**bytes)
    }
}

/// One byte more than is allowed, so that too much is seen.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(SECRET_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
