//! Lists of what is in an image. It is told which packages were found and writes them down, the
//! same list in the same bytes; where they were found is not its business.

mod cyclonedx;
mod identity;
mod spdx;

use std::collections::{BTreeMap, BTreeSet};

use oci::{Digest, Platform};
use serde_json::Value;

use crate::packages::{Distribution, Package};

/// What the `predicateType` of an SPDX document says.
pub const SPDX_TYPE: &str = "https://spdx.dev/Document";
/// What the `predicateType` of a CycloneDX document says.
pub const CYCLONEDX_TYPE: &str = "https://cyclonedx.org/bom";

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SbomFormat {
    /// SPDX 2.3, JSON.
    Spdx,
    /// CycloneDX 1.6, JSON.
    CycloneDx,
}

impl SbomFormat {
    /// The kind of predicate.
    pub fn predicate_type(self) -> &'static str {
        match self {
            Self::Spdx => SPDX_TYPE,
            Self::CycloneDx => CYCLONEDX_TYPE,
        }
    }

    /// The name of a file with it, as BuildKit and its scanners name them.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Spdx => "sbom.spdx.json",
            Self::CycloneDx => "sbom.cdx.json",
        }
    }
}

/// What is in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    packages: BTreeMap<Package, BTreeSet<String>>,
    /// What the image calls its system.
    pub distribution: Option<Distribution>,
    /// What could not be read, in sentences.
    notes: BTreeSet<String>,
}

impl Contents {
    /// Adds packages that a file lists. A package that several files list is one package.
    pub fn add(&mut self, path: &str, packages: impl IntoIterator<Item = Package>) {
        for package in packages {
            let places = self.packages.entry(package).or_default();
            places.insert(path.to_owned());
        }
    }

    /// Adds a sentence on what could not be read.
    pub fn note(&mut self, note: String) {
        self.notes.insert(note);
    }

    /// The packages, in the order in which they are written, each with the files that list it.
    pub fn packages(&self) -> impl ExactSizeIterator<Item = (&Package, &BTreeSet<String>)> {
        self.packages.iter()
    }

    /// What could not be read.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().map(String::as_str)
    }
}

/// What a list is about, and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SbomSubject {
    /// How the image is called, where it has a name.
    pub name: Option<String>,
    /// Its manifest.
    pub digest: Digest,
    /// What it runs on.
    pub platform: Platform,
    /// The time of everything in it, RFC 3339 in UTC.
    pub created: String,
    /// The version of kiln.
    pub kiln_version: String,
}

/// Writes a list. It has an identity of its own, made from what is in it.
pub fn document(format: SbomFormat, subject: &SbomSubject, contents: &Contents) -> Value {
    match format {
        SbomFormat::Spdx => spdx::document(subject, contents),
        SbomFormat::CycloneDx => cyclonedx::document(subject, contents),
    }
}

/// How documents call the image.
fn name(subject: &SbomSubject) -> String {
    let named = subject.name.clone();
    named.unwrap_or_else(|| subject.digest.to_string())
}

#[cfg(test)]
mod tests;
