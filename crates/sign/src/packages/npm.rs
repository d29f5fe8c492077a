//! `package-lock.json` of all three versions, and `package.json` of packages that are installed.

use serde_json::{Map, Value};

use super::{ListingError, PACKAGES_MAX, Package, PackageKind, sentence};

pub(super) fn read_lock(bytes: &[u8]) -> Result<Vec<Package>, ListingError> {
    let lock: Value = serde_json::from_slice(bytes).map_err(|_| ListingError::Json)?;
    let mut found = Vec::new();
    if let Some(packages) = lock.get("packages").and_then(Value::as_object) {
        for (path, package) in packages {
            // The empty path is the project; a link stands for a directory that is listed too.
            if path.is_empty() || package.get("link").is_some() {
                continue;
            }
            let in_path = path.rsplit_once("node_modules/").map(|(_, name)| name);
            let name = package.get("name").and_then(Value::as_str).or(in_path);
            if let Some(name) = name {
                found.push(with_license(name, package));
            }
        }
    } else if let Some(dependencies) = lock.get("dependencies").and_then(Value::as_object) {
        // As deep as JSON may be, which the parser bounds.
        let mut pending: Vec<&Map<String, Value>> = vec![dependencies];
        while let Some(dependencies) = pending.pop() {
            for (name, package) in dependencies {
                found.push(with_license(name, package));
                if found.len() > PACKAGES_MAX {
                    return Err(ListingError::TooMany);
                }
                let below = package.get("dependencies").and_then(Value::as_object);
                pending.extend(below);
            }
        }
    }
    Ok(found)
}

pub(super) fn read_package(bytes: &[u8]) -> Result<Vec<Package>, ListingError> {
    let package: Value = serde_json::from_slice(bytes).map_err(|_| ListingError::Json)?;
    let name = package.get("name").and_then(Value::as_str);
    // Directories of packages hold such files for tools, without a version.
    let is_released = package.get("version").and_then(Value::as_str).is_some();
    let package = name.map(|name| with_license(name, &package));
    Ok(package.filter(|_| is_released).into_iter().collect())
}

fn with_license(name: &str, package: &Value) -> Package {
    let version = package.get("version").and_then(Value::as_str);
    let license = package.get("license").and_then(Value::as_str);
    Package {
        license: license.and_then(sentence),
        ..npm(name, version.unwrap_or_default())
    }
}

/// A package of npm, by its name with its scope.
pub(super) fn npm(name: &str, version: &str) -> Package {
    Package::plain(PackageKind::Npm, "npm", name, version)
}
