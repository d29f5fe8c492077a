//! Packages, as the files of an image list them: databases of package managers, lock files of
//! languages, what the Go compiler leaves in programs. Bytes go in and packages come out; it has
//! never heard of layers, and opens nothing.
//!
//! What lists packages came with the image and can be anything. Every reader has bounds, none
//! panics, and what is no listing is an error that says so.

mod apk;
mod cargo;
mod composer;
mod dpkg;
mod gem;
mod go;
pub mod go_program;
mod npm;
mod os_release;
mod pnpm;
mod python;
mod rpm;
mod yarn;

use crate::purl::Purl;

pub use os_release::Distribution;
pub use rpm::{RpmError, SqliteError};

/// The most packages that one file may list.
pub const PACKAGES_MAX: usize = 100_000;
/// The longest name or version of a package, in bytes. Those of real packages have tens.
pub const WORD_BYTES_MAX: usize = 512;
/// The longest sentence that is kept of a package, such as its licence, in bytes.
const SENTENCE_BYTES_MAX: usize = 1024;

/// A kind of package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PackageKind {
    /// Of Debian and those who came from it.
    Deb,
    /// Of Alpine.
    Apk,
    /// Of Red Hat, SUSE and others.
    Rpm,
    /// A crate of Rust.
    Cargo,
    /// Of Node.
    Npm,
    /// Of Python.
    Python,
    /// A module of Go.
    Go,
    /// The main module of a program in Go.
    GoProgram,
    /// Of Ruby.
    Gem,
    /// Of PHP.
    Composer,
    /// Of Java.
    Maven,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Package {
    /// Its kind.
    pub kind: PackageKind,
    /// Its name; never empty.
    pub name: String,
    /// Its version; empty where it has none.
    pub version: String,
    /// Its package URL.
    pub purl: String,
    /// What it says of its licence.
    pub license: Option<String>,
    /// Who made it.
    pub supplier: Option<String>,
    /// What it was built from, of packages that are parts of something.
    pub source: Option<String>,
}

/// A file that lists packages, or says whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Listing {
    /// `/etc/os-release`.
    OsRelease,
    /// The database of dpkg, or a part of it as images without dpkg have it.
    Dpkg,
    /// The database of apk.
    Apk,
    /// The database of rpm in SQLite.
    RpmSqlite,
    /// The database of rpm in a form of its own.
    RpmNdb,
    /// The database of rpm in Berkeley's form.
    RpmBerkeley,
    /// `Cargo.lock`.
    CargoLock,
    /// `package-lock.json` and its kin.
    NpmLock,
    /// `package.json` of an installed package.
    NpmPackage,
    /// `yarn.lock` of any version.
    YarnLock,
    /// `pnpm-lock.yaml`.
    PnpmLock,
    /// `poetry.lock`, `uv.lock`.
    PythonLock,
    /// `Pipfile.lock`.
    PipfileLock,
    /// `requirements.txt`; only what it pins.
    Requirements,
    /// What pip notes of an installed package.
    PythonMetadata,
    /// `go.mod`.
    GoMod,
    /// `go.sum`, where there is no `go.mod`.
    GoSum,
    /// `Gemfile.lock`.
    GemfileLock,
    /// `composer.lock`, `installed.json`.
    Composer,
}

/// Why a listing could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// More than [`PACKAGES_MAX`].
    #[error("it lists more than {PACKAGES_MAX} packages")]
    TooMany,
    /// It should be TOML.
    #[error("it is not TOML")]
    Toml,
    /// It should be JSON.
    #[error("it is not JSON")]
    Json,
    /// An rpm database.
    #[error(transparent)]
    Rpm(#[from] RpmError),
    /// A form that kiln does not read.
    #[error("a database of rpm in the form {0} is not read")]
    Unread(&'static str),
}

impl Listing {
    /// What the file at a path lists, going by its name. The path has no slash in front.
    pub fn of(path: &[u8]) -> Option<Self> {
        let path = std::str::from_utf8(path).ok()?;
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let above = directory.rsplit('/').next().unwrap_or_default();
        let is_rpm = matches!(
            directory,
            "var/lib/rpm" | "usr/lib/sysimage/rpm" | "usr/share/rpm"
        );
        Some(match name {
            "os-release" if matches!(directory, "etc" | "usr/lib") => Self::OsRelease,
            "status" if directory == "var/lib/dpkg" => Self::Dpkg,
            _ if directory == "var/lib/dpkg/status.d" && !name.ends_with(".md5sums") => Self::Dpkg,
            "installed" if matches!(directory, "lib/apk/db" | "usr/lib/apk/db") => Self::Apk,
            "rpmdb.sqlite" if is_rpm => Self::RpmSqlite,
            "Packages.db" if is_rpm => Self::RpmNdb,
            "Packages" if is_rpm => Self::RpmBerkeley,
            "Cargo.lock" => Self::CargoLock,
            "package-lock.json" | "npm-shrinkwrap.json" => Self::NpmLock,
            "package.json" if is_node_module(directory) => Self::NpmPackage,
            "yarn.lock" => Self::YarnLock,
            "pnpm-lock.yaml" => Self::PnpmLock,
            "poetry.lock" | "uv.lock" => Self::PythonLock,
            "Pipfile.lock" => Self::PipfileLock,
            "requirements.txt" => Self::Requirements,
            "METADATA" if above.ends_with(".dist-info") => Self::PythonMetadata,
            "PKG-INFO" if above.ends_with(".egg-info") => Self::PythonMetadata,
            "go.mod" => Self::GoMod,
            "go.sum" => Self::GoSum,
            "Gemfile.lock" => Self::GemfileLock,
            "composer.lock" => Self::Composer,
            "installed.json" if directory.ends_with("vendor/composer") => Self::Composer,
            _ => return None,
        })
    }

    /// The largest file of this kind that is read, in bytes: many times what the largest real ones
    /// have.
    pub fn bytes_max(self) -> u64 {
        const MIB: u64 = 1024 * 1024;
        match self {
            Self::OsRelease => MIB / 16,
            Self::RpmSqlite => 512 * MIB,
            Self::Dpkg | Self::Apk => 128 * MIB,
            // They are not read.
            Self::RpmNdb | Self::RpmBerkeley => 0,
            Self::NpmPackage | Self::PythonMetadata | Self::Requirements => 4 * MIB,
            Self::CargoLock
            | Self::NpmLock
            | Self::YarnLock
            | Self::PnpmLock
            | Self::PythonLock
            | Self::PipfileLock
            | Self::GoMod
            | Self::GoSum
            | Self::GemfileLock
            | Self::Composer => 64 * MIB,
        }
    }

    /// The file beside it that says the same better, if there is one.
    pub fn superseded_by(self) -> Option<&'static str> {
        (self == Self::GoSum).then_some("go.mod")
    }
}

/// `node_modules/NAME` and `node_modules/@SCOPE/NAME`.
fn is_node_module(directory: &str) -> bool {
    let mut parts = directory.rsplit('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(_), Some("node_modules"), _) => true,
        (Some(_), Some(scope), Some("node_modules")) => scope.starts_with('@'),
        _ => false,
    }
}

/// The packages that a file lists. Those without a usable name are left out.
///
/// # Errors
///
/// [`ListingError`], when it is not what its name says.
pub fn read(
    listing: Listing,
    bytes: &[u8],
    distribution: Option<&Distribution>,
) -> Result<Vec<Package>, ListingError> {
    let text = || String::from_utf8_lossy(bytes);
    let packages = match listing {
        Listing::OsRelease => Vec::new(),
        Listing::Dpkg => dpkg::read(&text(), distribution),
        Listing::Apk => apk::read(&text(), distribution),
        Listing::RpmSqlite => rpm::read(bytes, distribution)?,
        Listing::RpmNdb => return Err(ListingError::Unread("ndb")),
        Listing::RpmBerkeley => return Err(ListingError::Unread("Berkeley DB")),
        Listing::CargoLock => cargo::read(&text())?,
        Listing::NpmLock => npm::read_lock(bytes)?,
        Listing::NpmPackage => npm::read_package(bytes)?,
        Listing::YarnLock => yarn::read(&text()),
        Listing::PnpmLock => pnpm::read(&text()),
        Listing::PythonLock => python::read_lock(&text())?,
        Listing::PipfileLock => python::read_pipfile(bytes)?,
        Listing::Requirements => python::read_requirements(&text()),
        Listing::PythonMetadata => python::read_metadata(&text()),
        Listing::GoMod => go::read_mod(&text()),
        Listing::GoSum => go::read_sum(&text()),
        Listing::GemfileLock => gem::read(&text()),
        Listing::Composer => composer::read(bytes)?,
    };
    if packages.len() > PACKAGES_MAX {
        return Err(ListingError::TooMany);
    }
    Ok(packages.into_iter().filter(Package::is_usable).collect())
}

impl Package {
    /// A package of which no more is known.
    pub fn new(
        kind: PackageKind,
        name: impl Into<String>,
        version: impl Into<String>,
        purl: String,
    ) -> Self {
        Self {
            kind,
            name: name.into(),
            version: version.into(),
            purl,
            license: None,
            supplier: None,
            source: None,
        }
    }

    /// A package whose URL is made of its name and its version; slashes in the name divide it.
    fn plain(kind: PackageKind, purl_kind: &'static str, name: &str, version: &str) -> Self {
        let (namespace, last) = name.rsplit_once('/').unwrap_or(("", name));
        let purl = Purl::new(purl_kind, last, version).namespace(namespace);
        Self::new(kind, name, version, purl.text())
    }

    fn is_usable(&self) -> bool {
        let is_word =
            |word: &str| word.len() <= WORD_BYTES_MAX && !word.chars().any(char::is_control);
        !self.name.trim().is_empty() && is_word(&self.name) && is_word(&self.version)
    }
}

/// A sentence that is worth keeping.
fn sentence(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let mut end = text.len().min(SENTENCE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let plain = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    Some(text[..end].chars().map(plain).collect())
}

/// The fields of one paragraph in the form of RFC 822: `Name: value`. Lines that go on are left out.
fn fields(paragraph: &str) -> impl Iterator<Item = (&str, &str)> {
    paragraph.lines().filter_map(|line| {
        if line.starts_with([' ', '\t']) {
            return None;
        }
        let (name, value) = line.split_once(':')?;
        Some((name, value.trim()))
    })
}

#[cfg(test)]
mod tests;
