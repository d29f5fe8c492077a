//! A tar as a table of its files, which are then read where they lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ::store::layer::{Limits, TarKind, TarReadError, TarReader};

use super::SourceError;

/// Bytes read at once.
const BUFFER_BYTES: usize = 128 * 1024;
/// Entries of an archive of images. Every layer of every image is one, and a few documents.
const ENTRIES_MAX: u64 = 100_000;
/// Links that lead to one file.
const LINKS_MAX: usize = 8;

/// A tar of a layout, or of docker.
#[derive(Debug)]
pub(super) struct TarFile {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    File { offset: u64, size: u64 },
    Link(String),
}

/// A file in a tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl TarFile {
    /// Reads the table. Blocks.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |source| SourceError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(form(path, "it is not a regular file".to_owned()));
        }
        let mut magic = [0; 6];
        let count = read_some(&mut file, &mut magic).map_err(failed)?;
        if let Some((name, program)) = compressed(&magic[..count]) {
            return Err(form(
                path,
                format!("it is compressed with {name}; `{program}` gives the archive"),
            ));
        }
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let limits = Limits {
            entries: ENTRIES_MAX,
            // Nothing is unpacked: as long as the file is there is room for it.
            tar_bytes: u64::MAX,
            ..Limits::default()
        };
        let mut tar = TarReader::new(BufReader::with_capacity(BUFFER_BYTES, file), limits);
        let unreadable = |source| match source {
            TarReadError::Io(source) => failed(source),
            source => SourceError::Archive {
                path: path.to_owned(),
                source,
            },
        };
        let mut entries = BTreeMap::new();
        while let Some(entry) = tar.next_entry().map_err(unreadable)? {
            let made = match entry.kind {
                TarKind::File => Entry::File {
                    offset: tar.bytes_read(),
                    size: entry.size,
                },
                TarKind::HardLink => match plain(b"", &entry.link) {
                    Some(target) => Entry::Link(target),
                    None => continue,
                },
                TarKind::Symlink => match plain(&entry.path, &entry.link) {
                    Some(target) => Entry::Link(target),
                    None => continue,
                },
                TarKind::Directory
                | TarKind::CharacterDevice
                | TarKind::BlockDevice
                | TarKind::Fifo => continue,
            };
            // What has no plain name cannot be asked for.
            let Some(name) = plain(b"", &entry.path) else {
                continue;
            };
            if entries.insert(name.clone(), made).is_some() {
                return Err(form(path, format!("`{name}` is in it twice")));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            entries,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file lies.
    pub(super) fn find(&self, name: &str) -> Option<Place> {
        let mut name = name;
        for _ in 0..=LINKS_MAX {
            match self.entries.get(name)? {
                Entry::File { offset, size } => {
                    return Some(Place {
                        offset: *offset,
                        size: *size,
                    });
                }
                Entry::Link(target) => name = target,
            }
        }
        None
    }

    /// A small file. Blocks.
    pub(super) fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let Some(place) = self.find(name) else {
            return Ok(None);
        };
        if place.size > max {
            return Err(SourceError::Bound(format!(
                "`{name}` has {} bytes, more than {max}",
                place.size
            )));
        }
        let mut bytes = Vec::new();
        self.open_at(place)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|source| SourceError::File {
                path: self.path.clone(),
                source,
            })?;
        Ok(Some(bytes))
    }

    /// A file, for one reading.
    pub(super) fn open_at(&self, place: Place) -> io::Result<io::Take<File>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(place.offset))?;
        Ok(file.take(place.size))
    }
}

fn form(path: &Path, reason: String) -> SourceError {
    SourceError::Form {
        path: path.to_owned(),
        expected: "archive of images",
        reason,
    }
}

fn read_some(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

/// What a file is compressed with, and what undoes it.
fn compressed(start: &[u8]) -> Option<(&'static str, &'static str)> {
    match start {
        [0x1f, 0x8b, ..] => Some(("gzip", "gunzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(("zstd", "unzstd")),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Some(("xz", "unxz")),
        [b'B', b'Z', b'h', ..] => Some(("bzip2", "bunzip2")),
        _ => None,
    }
}

/// A name without `.` and `..`, read from the directory of `from`; `None` for what leads out.
fn plain(from: &[u8], name: &[u8]) -> Option<String> {
    let (from, name) = (
        std::str::from_utf8(from).ok()?,
        std::str::from_utf8(name).ok()?,
    );
    if name.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = match from.rsplit_once('/') {
        Some((directory, _)) => directory.split('/').collect(),
        None => Vec::new(),
    };
    parts.retain(|part| !part.is_empty() && *part != ".");
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names() {
        let check = |from: &str, name: &str| plain(from.as_bytes(), name.as_bytes());
        assert_eq!(
            check("", "./blobs/sha256/a").as_deref(),
            Some("blobs/sha256/a")
        );
        assert_eq!(
            check("a/layer.tar", "../b/layer.tar").as_deref(),
            Some("b/layer.tar")
        );
        assert_eq!(check("a/b", "../../c"), None);
        assert_eq!(check("", "/etc/passwd"), None);
        assert_eq!(check("", "."), None);
    }
}
