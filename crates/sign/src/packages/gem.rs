//! `Gemfile.lock` of Bundler.

use super::{Package, PackageKind};
use crate::purl::Purl;

/// Lines `    name (version)` below `specs:`; what they need stands deeper.
pub(super) fn read(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.trim_end() == "  specs:" {
            inside = true;
        } else if !line.starts_with(' ') {
            inside = false;
        } else if let Some(rest) = line.strip_prefix("    ").filter(|_| inside)
            && let Some((name, version)) = rest.trim_end().split_once(" (")
            && !rest.starts_with(' ')
            && let Some(version) = version.strip_suffix(')')
        {
            packages.push(gem(name, version));
        }
    }
    packages
}

/// A gem for one platform has it behind its version.
fn gem(name: &str, version: &str) -> Package {
    let (number, platform) = version.split_once('-').unwrap_or((version, ""));
    let purl = Purl::new("gem", name, number).qualifier("platform", platform);
    Package::new(PackageKind::Gem, name, number, purl.text())
}
