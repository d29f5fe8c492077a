//! The database of rpm: a table of headers in SQLite. Each header is a package (rpm file format,
//! "Header structure").

mod sqlite;

use super::{Distribution, PACKAGES_MAX, Package, PackageKind, os_release, sentence};
use crate::purl::Purl;

use sqlite::Database;

pub use sqlite::SqliteError;

/// The largest header of a package, in bytes; rpm itself draws the line there.
const HEADER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The most entries of a header; rpm itself draws the line there.
const ENTRIES_MAX: usize = 0xffff;

/// Why a database of rpm could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RpmError {
    /// The file is not what SQLite writes.
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    /// It is, but not rpm's.
    #[error("it has no table of packages")]
    Table,
    /// A package in it is damaged.
    #[error("the header of a package is damaged")]
    Header,
}

pub(super) fn read(
    bytes: &[u8],
    distribution: Option<&Distribution>,
) -> Result<Vec<Package>, RpmError> {
    let database = Database::open(bytes)?;
    let table = database.table("Packages")?.ok_or(RpmError::Table)?;
    let mut packages = Vec::new();
    // A blob is the second column; the first one is its number.
    for blob in database.blobs(table, 1, PACKAGES_MAX)? {
        packages.extend(package(&blob, distribution)?);
    }
    Ok(packages)
}

/// The tags that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Name = 1000,
    Version = 1001,
    Release = 1002,
    Epoch = 1003,
    Vendor = 1011,
    License = 1014,
    Architecture = 1022,
    Source = 1044,
}

fn package(blob: &[u8], distribution: Option<&Distribution>) -> Result<Option<Package>, RpmError> {
    let header = Header::read(blob).ok_or(RpmError::Header)?;
    let text = |tag: Tag| header.text(tag).unwrap_or_default();
    let name = text(Tag::Name);
    // Keys to check signatures with are kept as packages.
    if name.is_empty() || name == "gpg-pubkey" {
        return Ok(None);
    }
    let version = format!("{}-{}", text(Tag::Version), text(Tag::Release));
    let epoch = header.number(Tag::Epoch).filter(|epoch| *epoch != 0);
    let shown = match epoch {
        Some(epoch) => format!("{epoch}:{version}"),
        None => version.clone(),
    };
    let purl = Purl::new("rpm", &name, &version)
        .namespace(os_release::namespace(distribution, "redhat"))
        .qualifier("arch", text(Tag::Architecture))
        .qualifier("distro", os_release::qualifier(distribution))
        .qualifier(
            "epoch",
            epoch.map(|epoch| epoch.to_string()).unwrap_or_default(),
        )
        .qualifier("upstream", text(Tag::Source))
        .text();
    Ok(Some(Package {
        license: sentence(&text(Tag::License)),
        supplier: sentence(&text(Tag::Vendor)),
        source: sentence(&text(Tag::Source)),
        ..Package::new(PackageKind::Rpm, name, shown, purl)
    }))
}

/// A header: a table of entries, and the data that they point into.
struct Header<'h> {
    entries: &'h [u8],
    data: &'h [u8],
}

const ENTRY_BYTES: usize = 16;

impl<'h> Header<'h> {
    fn read(blob: &'h [u8]) -> Option<Self> {
        let entries = usize::try_from(number(blob, 0)?).ok()?;
        let data = usize::try_from(number(blob, 4)?).ok()?;
        if entries > ENTRIES_MAX || data > HEADER_BYTES_MAX {
            return None;
        }
        let rest = blob.get(8..)?;
        let entries = entries * ENTRY_BYTES;
        Some(Self {
            entries: rest.get(..entries)?,
            data: rest.get(entries..entries.checked_add(data)?)?,
        })
    }

    /// The kind and the data of a tag.
    fn find(&self, tag: Tag) -> Option<(u32, &'h [u8])> {
        let mut entries = self.entries.chunks_exact(ENTRY_BYTES);
        let entry = entries.find(|entry| number(entry, 0) == Some(tag as u32))?;
        let offset = usize::try_from(number(entry, 8)?).ok()?;
        Some((number(entry, 4)?, self.data.get(offset..)?))
    }

    /// A text; the first one where there are several.
    fn text(&self, tag: Tag) -> Option<String> {
        const TEXT: u32 = 6;
        const TEXTS: u32 = 8;
        const TRANSLATED: u32 = 9;
        let (kind, data) = self.find(tag)?;
        if !matches!(kind, TEXT | TEXTS | TRANSLATED) {
            return None;
        }
        let end = data.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&data[..end]).into_owned())
    }

    fn number(&self, tag: Tag) -> Option<u32> {
        const NUMBERS: u32 = 4;
        let (kind, data) = self.find(tag)?;
        (kind == NUMBERS).then(|| number(data, 0)).flatten()
    }
}

fn number(bytes: &[u8], place: usize) -> Option<u32> {
    let bytes = bytes.get(place..place.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of texts and one number.
    pub(super) fn header(texts: &[(Tag, &str)], epoch: Option<u32>) -> Vec<u8> {
        let mut data = Vec::new();
        let mut entries: Vec<[u32; 4]> = Vec::new();
        if let Some(epoch) = epoch {
            entries.push([Tag::Epoch as u32, 4, 0, 1]);
            data.extend(epoch.to_be_bytes());
        }
        for (tag, text) in texts {
            entries.push([*tag as u32, 6, data.len() as u32, 1]);
            data.extend(text.bytes().chain([0]));
        }
        let mut blob = Vec::new();
        blob.extend((entries.len() as u32).to_be_bytes());
        blob.extend((data.len() as u32).to_be_bytes());
        blob.extend(entries.iter().flatten().flat_map(|word| word.to_be_bytes()));
        blob.extend(data);
        blob
    }

    #[test]
    fn a_header_is_a_package() {
        let check = |name: &str, epoch: Option<u32>, expected: Option<(&str, &str)>| {
            let texts = [
                (Tag::Name, name),
                (Tag::Version, "5.2"),
                (Tag::Release, "3.fc40"),
                (Tag::Architecture, "x86_64"),
                (Tag::License, "GPL-3.0-or-later"),
            ];
            let fedora = Distribution {
                id: "fedora".to_owned(),
                version: "40".to_owned(),
            };
            let found = package(&header(&texts, epoch), Some(&fedora)).expect("a header");
            let found = found.map(|package| (package.version, package.purl));
            let expected = expected.map(|(version, purl)| (version.to_owned(), purl.to_owned()));
            assert_eq!(found, expected, "{name}");
        };
        check("gpg-pubkey", None, None);
        check(
            "bash",
            None,
            Some((
                "5.2-3.fc40",
                "pkg:rpm/fedora/bash@5.2-3.fc40?arch=x86_64&distro=fedora-40",
            )),
        );
        check(
            "bind",
            Some(32),
            Some((
                "32:5.2-3.fc40",
                "pkg:rpm/fedora/bind@5.2-3.fc40?arch=x86_64&distro=fedora-40&epoch=32",
            )),
        );
    }

    #[test]
    fn a_damaged_header_is_an_error() {
        let whole = header(&[(Tag::Name, "bash")], None);
        for cut in 0..whole.len() {
            assert!(package(&whole[..cut], None).is_err(), "cut at {cut}");
        }
        let mut many = whole.clone();
        many[0] = 0xff;
        assert!(package(&many, None).is_err());
        // The text lies outside of the data.
        let mut outside = whole;
        outside[8 + 8] = 0x7f;
        assert_eq!(package(&outside, None).expect("a header"), None);
    }
}
