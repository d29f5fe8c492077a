//! What of an index that somebody else made may be believed. It can say what it likes of what is in
//! a layer; but it says nothing that no scan of any layer could have said: no attributes that would
//! take effect in a mount, no ids that Linux does not have, no places outside of the tar, no more
//! than the limits.

use super::admit::{belongs_to_the_image, is_capability};
use super::limits::Limits;
use super::{ContentHash, EntryKind, LayerIndex, Metadata, PATH_BYTES_MAX, SMALL_FILE_BYTES_MAX};
use crate::dir::XATTR_BYTES_MAX;

impl LayerIndex {
    /// Whether some layer within the limits could have this index.
    pub fn is_possible(&self, limits: Limits) -> bool {
        let mut names_bytes = 0_u64;
        let mut content_bytes = 0_u64;
        let possible = self.entries.len() as u64 <= limits.entries
            && self.tar_bytes <= limits.tar_bytes
            && self.entries.kinds().iter().enumerate().all(|(at, kind)| {
                let path = self.entries.path(at);
                names_bytes += path.as_bytes().len() as u64;
                let kind = match kind {
                    EntryKind::Directory | EntryKind::Opaque => true,
                    EntryKind::File { size, .. } => {
                        content_bytes = content_bytes.saturating_add(*size);
                        content_bytes <= limits.tar_bytes && !path.is_root()
                    }
                    EntryKind::Symlink { target } => {
                        names_bytes += target.len() as u64;
                        !target.is_empty()
                            && target.len() <= PATH_BYTES_MAX
                            && !target.contains(&0)
                            && !path.is_root()
                    }
                    EntryKind::HardLink { target } => {
                        names_bytes += target.as_bytes().len() as u64;
                        !path.is_root()
                    }
                    EntryKind::CharacterDevice { .. }
                    | EntryKind::BlockDevice { .. }
                    | EntryKind::Fifo
                    | EntryKind::Whiteout => !path.is_root(),
                };
                kind && path.components().count() <= limits.depth
                    && is_possible_metadata(self.entries.metadata(at), &mut names_bytes)
                    && names_bytes <= limits.names_bytes
            });
        possible && self.small_files_fit() && self.extents_fit()
    }

    /// Whether the contents that it brings along are those that it speaks of.
    fn small_files_fit(&self) -> bool {
        let mut left = self.small_files.len();
        // The last entry of a path holds.
        let mut seen = std::collections::BTreeSet::new();
        for (at, kind) in self.entries.kinds().iter().enumerate().rev() {
            if left == 0 {
                break;
            }
            let path = self.entries.path(at);
            let Some(content) = self.small_files.get(&path) else {
                continue;
            };
            if !seen.insert(path) {
                continue;
            }
            let is_file = match kind {
                EntryKind::File { content: hash, .. } => {
                    content.len() as u64 <= SMALL_FILE_BYTES_MAX
                        && *hash == ContentHash::of(content)
                }
                EntryKind::Directory
                | EntryKind::Symlink { .. }
                | EntryKind::HardLink { .. }
                | EntryKind::CharacterDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::Fifo
                | EntryKind::Whiteout
                // Something else took its place later.
                | EntryKind::Opaque => true,
            };
            if !is_file {
                return false;
            }
            left -= 1;
        }
        left == 0
    }
}

fn is_possible_metadata(metadata: &Metadata, names_bytes: &mut u64) -> bool {
    let Metadata {
        mode,
        uid,
        gid,
        mtime: _,
        xattrs,
    } = metadata;
    *mode <= 0o7777
        && *uid != u32::MAX
        && *gid != u32::MAX
        && xattrs.iter().all(|(name, value)| {
            *names_bytes += (name.len() + value.len()) as u64;
            let possible = !name.is_empty() && name.len() <= 255 && value.len() <= XATTR_BYTES_MAX;
            possible && (belongs_to_the_image(name) || is_capability(name, value))
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU64;

    use oci::{DiffId, Digest};

    use super::*;
    use crate::layer::{Entry, EntryPath, Extents};

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text.as_bytes()).unwrap()
    }

    fn honest() -> LayerIndex {
        let passwd = b"root:x:0:0::/:/bin/sh\n";
        let file = |name: &str, content: &[u8]| Entry {
            path: path(name),
            kind: EntryKind::File {
                size: content.len() as u64,
                content: ContentHash::of(content),
            },
            metadata: Metadata::root_owned(0o644, 0),
        };
        LayerIndex {
            diff_id: DiffId(Digest::of(b"layer")),
            entries: vec![file("etc/passwd", passwd), file("f", b"content")].into(),
            tar_bytes: 4_096,
            small_files: BTreeMap::from([(path("etc/passwd"), passwd[..].into())]),
            implicit_parents: true,
            extents: Extents {
                starts: vec![NonZeroU64::new(512), NonZeroU64::new(1_536)],
                sparse: BTreeMap::new(),
            },
        }
    }

    fn check(what: &str, lie: impl FnOnce(&mut LayerIndex)) {
        let mut index = honest();
        lie(&mut index);
        assert!(!index.is_possible(Limits::default()), "{what}");
    }

    fn check_entry(what: &str, at: usize, lie: impl FnOnce(&mut Entry)) {
        check(what, |index| {
            let mut entries = index.entries.to_vec();
            lie(&mut entries[at]);
            index.entries = entries.into();
        });
    }

    #[test]
    fn what_no_layer_could_have_is_refused() {
        assert!(honest().is_possible(Limits::default()));
        check("a content beyond the end", |index| {
            index.extents.starts[1] = NonZeroU64::new(4_095);
        });
        check("a content that overflows", |index| {
            index.extents.starts[1] = NonZeroU64::new(u64::MAX);
        });
        check("fewer places than entries", |index| {
            index.extents.starts.pop();
        });
        check("more places than entries", |index| {
            index.extents.starts.push(None);
        });
        check_entry("a mark of overlayfs", 1, |entry| {
            let name = b"trusted.overlay.redirect"[..].into();
            entry.metadata.xattrs.insert(name, b"/etc"[..].into());
        });
        check_entry("capabilities that are none", 1, |entry| {
            let name = b"security.capability"[..].into();
            entry.metadata.xattrs.insert(name, b"x"[..].into());
        });
        check_entry("a mode", 0, |entry| entry.metadata.mode = 0o10_000);
        check_entry("an id", 0, |entry| entry.metadata.uid = u32::MAX);
        check_entry("a root that is a file", 1, |entry| {
            entry.path = EntryPath::root();
        });
        check("a target", |index| {
            let mut entries = index.entries.to_vec();
            entries[1].kind = EntryKind::Symlink {
                target: b"a\0b"[..].into(),
            };
            index.entries = entries.into();
            index.extents.starts[1] = None;
        });
        check("another passwd than it speaks of", |index| {
            let small = &mut index.small_files;
            small.insert(path("etc/passwd"), b"app:x:0:0::/:/bin/sh\n"[..].into());
        });
        check("a passwd of no entry", |index| {
            let small = &mut index.small_files;
            small.insert(path("other/passwd"), b""[..].into());
        });
        check("a tar without end", |index| index.tar_bytes = u64::MAX);
    }
}
