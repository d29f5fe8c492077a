//! `Cargo.lock`.

use super::{ListingError, Package, PackageKind};
use crate::purl::Purl;

pub(super) fn read(text: &str) -> Result<Vec<Package>, ListingError> {
    let mut packages = Vec::new();
    for (name, version, source) in toml_packages(text)? {
        let git = source.strip_prefix("git+").unwrap_or_default();
        let purl = Purl::new("cargo", &name, &version).qualifier("vcs_url", git);
        let purl = purl.text();
        packages.push(Package::new(PackageKind::Cargo, name, version, purl));
    }
    Ok(packages)
}

/// The tables `[[package]]` of a TOML file: name, version and source. Several lock files have them.
pub(super) fn toml_packages(text: &str) -> Result<Vec<(String, String, String)>, ListingError> {
    let table: toml::Table = text.parse().map_err(|_| ListingError::Toml)?;
    let packages = table.get("package").and_then(toml::Value::as_array);
    let word = |package: &toml::Value, key: &str| {
        let value = package.get(key).and_then(toml::Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let found = packages.into_iter().flatten().map(|package| {
        let [name, version, source] = ["name", "version", "source"].map(|key| word(package, key));
        (name, version, source)
    });
    Ok(found.collect())
}
