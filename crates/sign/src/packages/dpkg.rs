//! The database of dpkg: paragraphs of fields (deb822(5), dpkg-query(1)).

use super::{Distribution, Package, PackageKind, fields, os_release, sentence};
use crate::purl::Purl;

pub(super) fn read(text: &str, distribution: Option<&Distribution>) -> Vec<Package> {
    let mut packages = Vec::new();
    for paragraph in paragraphs(text) {
        packages.extend(package(&paragraph, distribution));
    }
    packages
}

/// Paragraphs are divided by lines with nothing in them, however lines end.
fn paragraphs(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        if line.trim().is_empty() {
            all.push(String::new());
        } else if let Some(last) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    all
}

fn package(paragraph: &str, distribution: Option<&Distribution>) -> Option<Package> {
    let (mut name, mut version, mut architecture) = ("", "", "");
    let (mut source, mut maintainer) = ("", "");
    let mut installed = true;
    for (field, value) in fields(paragraph) {
        match field {
            "Package" => name = value,
            "Version" => version = value,
            "Architecture" => architecture = value,
            "Source" => source = value,
            "Maintainer" => maintainer = value,
            // What was removed and left its configuration is not there.
            "Status" => installed = value.split_whitespace().last() == Some("installed"),
            _ => {}
        }
    }
    if name.is_empty() || !installed {
        return None;
    }
    let purl = Purl::new("deb", name, version)
        .namespace(os_release::namespace(distribution, "debian"))
        .qualifier("arch", architecture)
        .qualifier("distro", os_release::qualifier(distribution));
    Some(Package {
        supplier: sentence(maintainer),
        source: sentence(source),
        ..Package::new(PackageKind::Deb, name, version, purl.text())
    })
}
