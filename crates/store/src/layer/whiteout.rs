//! Names that hide something below (image specification, "Whiteouts").

use super::archive::ArchiveKind;
use super::{EntryKind, EntryPath};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Why a name is refused that begins with `.wh.`: it can be no file either,
/// because every other reader would take it for a mark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhiteoutError {
    /// It hides nothing that can be.
    #[error("`{0}` is not a whiteout: `.wh.` must be followed by a name")]
    Name(EntryPath),
    /// It is a directory, has content, or something is below it.
    #[error("`{0}` begins with `.wh.`, but is not the empty file that a whiteout is")]
    Kind(EntryPath),
}

/// The mark that an entry is, and what it is about; `None` when it is none.
pub(super) fn of(
    path: &EntryPath,
    kind: &ArchiveKind,
) -> Result<Option<(EntryPath, EntryKind)>, WhiteoutError> {
    let Some(parent) = path.parent() else {
        return Ok(None);
    };
    if parent.components().any(|name| name.starts_with(PREFIX)) {
        return Err(WhiteoutError::Kind(path.clone()));
    }
    let Some(hidden) = path.name().strip_prefix(PREFIX) else {
        return Ok(None);
    };
    // Some writers make one file and link all other marks to it.
    let empty = matches!(
        kind,
        ArchiveKind::File { size: 0 } | ArchiveKind::HardLink { .. }
    );
    if !empty {
        return Err(WhiteoutError::Kind(path.clone()));
    }
    if path.name() == OPAQUE {
        return Ok(Some((parent, EntryKind::Opaque)));
    }
    if matches!(hidden, b"" | b"." | b"..") || hidden.starts_with(PREFIX) {
        return Err(WhiteoutError::Name(path.clone()));
    }
    let hidden = parent
        .join(hidden)
        .map_err(|_| WhiteoutError::Name(path.clone()))?;
    Ok(Some((hidden, EntryKind::Whiteout)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Option<(&str, EntryKind)>) {
        let path = EntryPath::parse(path.as_bytes()).unwrap();
        let marked = of(&path, &ArchiveKind::File { size: 0 }).unwrap();
        let marked = marked.map(|(path, kind)| (path.to_string(), kind));
        let expected = expected.map(|(path, kind)| (path.to_string(), kind));
        assert_eq!(marked, expected, "{path}");
    }

    #[test]
    fn a_prefix_makes_a_mark() {
        check("a/.wh.b", Some(("/a/b", EntryKind::Whiteout)));
        check(".wh.b", Some(("/b", EntryKind::Whiteout)));
        check("a/.wh..wh..opq", Some(("/a", EntryKind::Opaque)));
        check(".wh..wh..opq", Some(("/", EntryKind::Opaque)));
        check(".wh..hidden", Some(("/.hidden", EntryKind::Whiteout)));
        check("a/.wh", None);
        check("a/x.wh.b", None);
    }

    #[test]
    fn what_is_no_mark_and_no_file_is_refused() {
        let empty = ArchiveKind::File { size: 0 };
        for name in [".wh.", ".wh..", ".wh...", ".wh..wh.x", ".wh..wh..wh..opq"] {
            let path = EntryPath::parse(name.as_bytes()).unwrap();
            assert_eq!(of(&path, &empty), Err(WhiteoutError::Name(path.clone())));
        }
        let directory = EntryPath::parse(b".wh.d").unwrap();
        assert!(of(&directory, &ArchiveKind::Directory).is_err());
        assert!(of(&directory, &ArchiveKind::File { size: 1 }).is_err());
        let below = EntryPath::parse(b".wh.d/x").unwrap();
        assert!(of(&below, &empty).is_err());
    }
}
