//! `composer.lock`, and the `installed.json` of what Composer has installed.

use serde_json::Value;

use super::{ListingError, Package, PackageKind, sentence};

pub(super) fn read(bytes: &[u8]) -> Result<Vec<Package>, ListingError> {
    let lock: Value = serde_json::from_slice(bytes).map_err(|_| ListingError::Json)?;
    // Version 1 of `installed.json` is the list itself.
    let lists = [Some(&lock), lock.get("packages"), lock.get("packages-dev")];
    let lists = lists.into_iter().flatten().filter_map(Value::as_array);
    let mut packages = Vec::new();
    for package in lists.flatten() {
        let word = |key: &str| package.get(key).and_then(Value::as_str);
        let (Some(name), version) = (word("name"), word("version").unwrap_or_default()) else {
            continue;
        };
        let licenses = package.get("license").and_then(Value::as_array);
        let licenses: Vec<&str> = licenses
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        packages.push(Package {
            license: sentence(&licenses.join(" OR ")),
            ..Package::plain(PackageKind::Composer, "composer", name, version)
        });
    }
    Ok(packages)
}
