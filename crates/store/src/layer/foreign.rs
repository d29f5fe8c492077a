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
            && self.entries.iter().all(|entry| {
                names_bytes += entry.path.as_bytes().len() as u64;
                let kind = match &entry.kind {
                    EntryKind::Directory | EntryKind::Opaque => true,
                    EntryKind::File { size, .. } => {
                        content_bytes = content_bytes.saturating_add(*size);
                        content_bytes <= limits.tar_bytes && !entry.path.is_root()
                    }
                    EntryKind::Symlink { target } => {
                        names_bytes += target.len() as u64;
                        !target.is_empty()
                            && target.len() <= PATH_BYTES_MAX
                            && !target.contains(&0)
                            && !entry.path.is_root()
                    }
                    EntryKind::HardLink { target } => {
                        names_bytes += target.as_bytes().len() as u64;
                        !entry.path.is_root()
                    }
                    EntryKind::CharacterDevice { .. }
                    | EntryKind::BlockDevice { .. }
                    | EntryKind::Fifo
                    | EntryKind::Whiteout => !entry.path.is_root(),
                };
                kind && entry.path.components().count() <= limits.depth
                    && is_possible_metadata(&entry.metadata, &mut names_bytes)
                    && names_bytes <= limits.names_bytes
            });
        possible && self.small_files_fit() && self.extents_fit()
    }

    /// Whether the contents that it brings along are those that it speaks of.
    fn small_files_fit(&self) -> bool {
        let mut left = self.small_files.len();
        // The last entry of a path holds.
        let mut seen = std::collections::BTreeSet::new();
        for entry in self.entries.iter().rev() {
            let Some(content) = self.small_files.get(&entry.path) else {
                continue;
            };
            if !seen.insert(&entry.path) {
                continue;
            }
            let is_file = match &entry.kind {
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
            entries: vec![file("etc/passwd", passwd), file("f", b"content")],
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
        check("a mark of overlayfs", |index| {
            let name = b"trusted.overlay.redirect"[..].into();
            let xattrs = &mut index.entries[1].metadata.xattrs;
            xattrs.insert(name, b"/etc"[..].into());
        });
        check("capabilities that are none", |index| {
            let name = b"security.capability"[..].into();
            let xattrs = &mut index.entries[1].metadata.xattrs;
            xattrs.insert(name, b"x"[..].into());
        });
        check("a mode", |index| index.entries[0].metadata.mode = 0o10_000);
        check("an id", |index| index.entries[0].metadata.uid = u32::MAX);
        check("a root that is a file", |index| {
            index.entries[1].path = EntryPath::root();
        });
        check("a target", |index| {
            index.entries[1].kind = EntryKind::Symlink {
                target: b"a\0b"[..].into(),
            };
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
