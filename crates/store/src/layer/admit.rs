//! What of a tar entry may enter a layer or a root: paths inside the root, ids
//! that Linux has, attributes that belong to the image and not to a machine.

use super::archive::{ArchiveEntry, ArchiveKind};
use super::limits::Limits;
use super::tar_reader::{TarEntry, TarKind};
use super::{EntryPath, Metadata, PathError};
use crate::dir::XATTR_BYTES_MAX;

/// Why an entry that the tar format allows is refused.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Its path, or a hard link's target.
    #[error(transparent)]
    Path(PathError),
    /// Deeper than the limit.
    #[error("`{path}` lies deeper than {limit} directories")]
    Depth {
        /// The entry.
        path: EntryPath,
        /// The limit.
        limit: usize,
    },
    /// The root as something else than a directory (CVE-2021-29136).
    #[error("the archive would replace the root itself")]
    Root,
    /// An id that Linux does not have. It is never wrapped: 2³² would be root
    /// (CVE-2024-40635).
    #[error("`{path}` belongs to the {what} {number}: ids go from 0 to 4294967294")]
    Id {
        /// The entry.
        path: EntryPath,
        /// `user` or `group`.
        what: &'static str,
        /// As written.
        number: u64,
    },
    /// A symbolic link without target, or with one that no kernel takes.
    #[error("`{path}` is a symbolic link with an impossible target")]
    Target {
        /// The entry.
        path: EntryPath,
    },
    /// An attribute that no kernel takes.
    #[error("`{path}` has the extended attribute `{name}` with an impossible name or value")]
    Xattr {
        /// The entry.
        path: EntryPath,
        /// The attribute.
        name: String,
    },
    /// Paths, targets and attributes together, which are held in memory.
    #[error("the paths and attributes of the entries exceed {0} bytes")]
    NamesBytes(u64),
}

/// Checks entry after entry of one archive.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    names_bytes: u64,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            names_bytes: 0,
        }
    }

    pub(super) fn admit(&mut self, tar: TarEntry) -> Result<ArchiveEntry, EntryError> {
        let path = EntryPath::parse(&tar.path).map_err(EntryError::Path)?;
        if path.components().count() > self.limits.depth {
            let limit = self.limits.depth;
            return Err(EntryError::Depth { path, limit });
        }
        if path.is_root() && tar.kind != TarKind::Directory {
            return Err(EntryError::Root);
        }
        let attributes: usize = tar.xattrs.iter().map(|(k, v)| k.len() + v.len()).sum();
        self.names_bytes += (path.as_bytes().len() + tar.link.len() + attributes) as u64;
        if self.names_bytes > self.limits.names_bytes {
            return Err(EntryError::NamesBytes(self.limits.names_bytes));
        }
        let id = |what, number: u64| match u32::try_from(number) {
            // The last one means "leave as it is" to chown(2).
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(EntryError::Id {
                path: path.clone(),
                what,
                number,
            }),
        };
        let mut metadata = Metadata::root_owned(tar.mode, tar.mtime);
        metadata.uid = id("user", tar.uid)?;
        metadata.gid = id("group", tar.gid)?;
        for (name, value) in tar.xattrs {
            let impossible = || EntryError::Xattr {
                path: path.clone(),
                name: String::from_utf8_lossy(&name).into_owned(),
            };
            // XATTR_NAME_MAX is 255.
            if name.is_empty() || name.len() > 255 || value.len() > XATTR_BYTES_MAX {
                return Err(impossible());
            }
            if &*name == CAPABILITY {
                let value = without_root_id(&value).ok_or_else(impossible)?;
                metadata.xattrs.insert(name, value);
            } else if belongs_to_the_image(&name) {
                metadata.xattrs.insert(name, value);
            }
        }
        let (major, minor) = tar.device;
        let kind = match tar.kind {
            TarKind::Directory => ArchiveKind::Directory,
            TarKind::File => ArchiveKind::File { size: tar.size },
            TarKind::Symlink => {
                if tar.link.is_empty()
                    || tar.link.len() > super::PATH_BYTES_MAX
                    || tar.link.contains(&0)
                {
                    return Err(EntryError::Target { path });
                }
                ArchiveKind::Symlink {
                    target: tar.link.into(),
                }
            }
            TarKind::HardLink => ArchiveKind::HardLink {
                target: EntryPath::parse(&tar.link).map_err(EntryError::Path)?,
            },
            TarKind::CharacterDevice => ArchiveKind::CharacterDevice { major, minor },
            TarKind::BlockDevice => ArchiveKind::BlockDevice { major, minor },
            TarKind::Fifo => ArchiveKind::Fifo,
        };
        Ok(ArchiveEntry {
            path,
            kind,
            metadata,
        })
    }
}

const CAPABILITY: &[u8] = b"security.capability";

/// Whether an extended attribute of a file is a part of the image that it is in.
pub fn is_kept_attribute(name: &[u8]) -> bool {
    name == CAPABILITY || belongs_to_the_image(name)
}

/// Attributes of the machine that packed the image are not of the image:
/// labels of security modules, and overlayfs' own marks, which would take
/// effect when the layer is mounted (`redirect`, `opaque`, `metacopy`).
pub(super) fn belongs_to_the_image(name: &[u8]) -> bool {
    let overlay = name.starts_with(b"user.overlay.");
    (name.starts_with(b"user.") && !overlay) || name.starts_with(b"system.posix_acl_")
}

/// Whether an attribute is capabilities in the form that layers have them in.
pub(super) fn is_capability(name: &[u8], value: &[u8]) -> bool {
    name == CAPABILITY && without_root_id(value).is_some_and(|kept| *kept == *value)
}

/// Capabilities in their second version (linux/capability.h). The third adds
/// the id of the namespace's root, which is of the machine that packed it and
/// would make layers built with and without privileges differ.
fn without_root_id(value: &[u8]) -> Option<Box<[u8]>> {
    const REVISION_3: u32 = 0x0300_0000;
    const REVISION_2: u32 = 0x0200_0000;
    const REVISION_1: u32 = 0x0100_0000;
    let (head, _) = value.split_first_chunk::<4>()?;
    let magic = u32::from_le_bytes(*head);
    match (magic & 0xff00_0000, value.len()) {
        (REVISION_1, 12) | (REVISION_2, 20) => Some(value.into()),
        (REVISION_3, 24) => {
            let mut second = value[..20].to_vec();
            let magic = (magic & 0x00ff_ffff) | REVISION_2;
            second[..4].copy_from_slice(&magic.to_le_bytes());
            Some(second.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_lose_the_id_of_a_namespace() {
        let second: Vec<u8> = [&[1, 0, 0, 2][..], &[7; 16]].concat();
        let third: Vec<u8> = [&[1, 0, 0, 3][..], &[7; 16], &[9; 4]].concat();
        assert_eq!(without_root_id(&third).as_deref(), Some(&second[..]));
        assert_eq!(without_root_id(&second).as_deref(), Some(&second[..]));
        assert_eq!(without_root_id(&second[..19]), None);
        assert_eq!(without_root_id(&third[..20]), None);
        assert_eq!(without_root_id(b""), None);
    }

    #[test]
    fn attributes_of_a_machine_stay_there() {
        let check = |name: &str, kept| assert_eq!(belongs_to_the_image(name.as_bytes()), kept);
        check("user.mime_type", true);
        check("system.posix_acl_access", true);
        check("user.overlay.opaque", false);
        check("trusted.overlay.redirect", false);
        check("trusted.md5sum", false);
        check("security.selinux", false);
        check("security.ima", false);
    }
}
