//! What was published from this store: documents by the digest of what they are about, and which of
//! them is the last.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use oci::Digest;

use crate::record::RecordFiles;

/// The directory of publications.
pub(crate) const PUBLICATIONS: &str = "publications";

/// How many are kept.
pub const PUBLICATIONS_MAX: usize = 64;

/// The name of the record that names the last one.
const LAST: &str = "last";

/// The publications of a store.
#[derive(Debug)]
pub struct Publications {
    files: RecordFiles,
}

impl Publications {
    pub(crate) fn new(files: RecordFiles) -> Self {
        Self { files }
    }

    /// The document about a publication.
    pub fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.files.get(&path_of(digest.hex()))
    }

    /// The document about the publication whose digest in hexadecimal digits begins so; `None` where
    /// there is none, or more than one.
    pub fn find(&self, beginning: &str) -> Option<Vec<u8>> {
        let names = self.names();
        let mut fitting = names.iter().filter(|name| name.starts_with(beginning));
        let (name, None) = (fitting.next()?, fitting.next()) else {
            return None;
        };
        self.files.get(&path_of(name))
    }

    /// The document about the last publication.
    pub fn last(&self) -> Option<Vec<u8>> {
        let name = String::from_utf8(self.files.get(&path_of(LAST))?).ok()?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_name.then(|| self.files.get(&path_of(&name)))?
    }

    /// Keeps the document about a publication, which is the last one now: seen by this process from
    /// now on, by all after the next commit. The oldest go when there are more than
    /// [`PUBLICATIONS_MAX`].
    pub fn put(&self, digest: &Digest, document: &[u8]) {
        self.files.put(path_of(digest.hex()), document);
        self.files.put(path_of(LAST), digest.hex().as_bytes());
        let mut by_age: Vec<(SystemTime, String)> = self
            .names()
            .into_iter()
            .map(|name| {
                let metadata = std::fs::metadata(self.files.root.join(path_of(&name)));
                // What is not written yet is the newest.
                let written = metadata.and_then(|metadata| metadata.modified());
                (written.unwrap_or_else(|_| SystemTime::now()), name)
            })
            .collect();
        by_age.sort();
        let excess = by_age.len().saturating_sub(PUBLICATIONS_MAX);
        for (_, name) in by_age.into_iter().take(excess) {
            if name != digest.hex() {
                self.files.remove(path_of(&name));
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let directory = self.files.root.join(PUBLICATIONS);
        let items = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut names: Vec<String> = items
            .filter_map(|item| item.file_name().into_string().ok())
            .collect();
        for (path, change) in self.files.committer.pending_below(PUBLICATIONS.as_ref()) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            names.retain(|known| known != name);
            if change.is_some() {
                names.push(name.to_owned());
            }
        }
        names.retain(|name| name != LAST);
        names
    }
}

fn path_of(name: &str) -> PathBuf {
    Path::new(PUBLICATIONS).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn the_last_is_known_and_the_number_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let store = Store::open(&path).unwrap();
        assert_eq!(store.publications().last(), None);
        let digests: Vec<Digest> = (0..PUBLICATIONS_MAX + 3)
            .map(|number| Digest::of(number.to_string().as_bytes()))
            .collect();
        for digest in &digests {
            store.publications().put(digest, digest.as_str().as_bytes());
            store.flush().unwrap();
        }
        let again = Store::open(&path).unwrap();
        let newest = digests.last().unwrap();
        let document = newest.as_str().as_bytes();
        assert_eq!(again.publications().last().as_deref(), Some(document));
        assert_eq!(again.publications().get(newest).as_deref(), Some(document));
        let found = again.publications().find(&newest.hex()[..12]);
        assert_eq!(found.as_deref(), Some(document));
        assert_eq!(again.publications().find(""), None);
        assert!(again.publications().names().len() <= PUBLICATIONS_MAX);
        // Published again, an old one is the last.
        let old = &digests[PUBLICATIONS_MAX];
        again.publications().put(old, b"again");
        assert_eq!(again.publications().last().as_deref(), Some(&b"again"[..]));
    }
}
