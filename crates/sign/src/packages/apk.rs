//! The database of apk: paragraphs of fields with names of one letter (apk documentation,
//! "Installed database").

use super::{Distribution, Package, PackageKind, os_release, sentence};
use crate::purl::Purl;

pub(super) fn read(text: &str, distribution: Option<&Distribution>) -> Vec<Package> {
    let paragraphs = text.split("\n\n");
    paragraphs
        .filter_map(|paragraph| package(paragraph, distribution))
        .collect()
}

fn package(paragraph: &str, distribution: Option<&Distribution>) -> Option<Package> {
    let (mut name, mut version, mut architecture) = ("", "", "");
    let (mut license, mut origin, mut maintainer) = ("", "", "");
    for line in paragraph.lines() {
        let Some((field, value)) = line.split_once(':') else {
            continue;
        };
        match field {
            "P" => name = value,
            "V" => version = value,
            "A" => architecture = value,
            "L" => license = value,
            "o" => origin = value,
            "m" => maintainer = value,
            // From here on it is about files.
            "F" => break,
            _ => {}
        }
    }
    if name.is_empty() {
        return None;
    }
    let purl = Purl::new("apk", name, version)
        .namespace(os_release::namespace(distribution, "alpine"))
        .qualifier("arch", architecture)
        .qualifier("distro", os_release::qualifier(distribution));
    Some(Package {
        license: sentence(license),
        supplier: sentence(maintainer),
        source: sentence(origin).filter(|origin| origin != name),
        ..Package::new(PackageKind::Apk, name, version, purl.text())
    })
}
