//! Packages of Python: lock files of several tools, and what is noted of installed ones.

use serde_json::Value;

use super::cargo::toml_packages;
use super::{ListingError, Package, PackageKind, fields, sentence};
use crate::purl::Purl;

/// `poetry.lock`, `uv.lock`.
pub(super) fn read_lock(text: &str) -> Result<Vec<Package>, ListingError> {
    let packages = toml_packages(text)?.into_iter();
    Ok(packages
        .map(|(name, version, _)| python(&name, &version))
        .collect())
}

pub(super) fn read_pipfile(bytes: &[u8]) -> Result<Vec<Package>, ListingError> {
    let lock: Value = serde_json::from_slice(bytes).map_err(|_| ListingError::Json)?;
    let sections = ["default", "develop"].map(|section| lock.get(section)?.as_object());
    let mut packages = Vec::new();
    for (name, package) in sections.into_iter().flatten().flatten() {
        let version = package.get("version").and_then(Value::as_str);
        let version = version.unwrap_or_default().trim_start_matches('=');
        packages.push(python(name, version));
    }
    Ok(packages)
}

/// Lines with `name==version` and nothing else; what is not pinned is no fact.
pub(super) fn read_requirements(text: &str) -> Vec<Package> {
    let pinned = |line: &str| {
        let line = line.split([';', '#', '\\']).next()?;
        let line = line.split(" --").next()?.trim();
        let (name, version) = line.split_once("==")?;
        let name = name.split('[').next()?.trim();
        let version = version.trim_start_matches('=').trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_version = |c: char| c.is_ascii_alphanumeric() || "-_.+!".contains(c);
        let usable = !name.is_empty() && name.chars().all(is_name);
        (usable && !version.is_empty() && version.chars().all(is_version))
            .then(|| python(name, version))
    };
    text.lines().filter_map(pinned).collect()
}

/// The headers of `METADATA` and `PKG-INFO` ("Core metadata specifications").
pub(super) fn read_metadata(text: &str) -> Vec<Package> {
    let mut name = "";
    let mut version = "";
    let mut license = None;
    for line in text.lines() {
        if line.trim().is_empty() {
            break;
        }
        for (field, value) in fields(line) {
            match field {
                "Name" => name = value,
                "Version" => version = value,
                "License-Expression" => license = sentence(value),
                "License" if license.is_none() => license = sentence(value),
                _ => {}
            }
        }
    }
    if name.is_empty() {
        return Vec::new();
    }
    vec![Package {
        license: license.filter(|license| license != "UNKNOWN"),
        ..python(name, version)
    }]
}

/// Names are compared in lower case with a hyphen for every run of `-_.` (PEP 503).
fn python(name: &str, version: &str) -> Package {
    let lower = name.to_ascii_lowercase();
    let words = lower.split(['-', '_', '.']).filter(|word| !word.is_empty());
    let normal = words.collect::<Vec<_>>().join("-");
    let purl = Purl::new("pypi", &normal, version).text();
    Package::new(PackageKind::Python, name, version, purl)
}
