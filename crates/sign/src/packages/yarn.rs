//! `yarn.lock`: the form of version 1, which is its own, and the later one, which is YAML of a kind
//! that can be read line by line.

use super::Package;
use super::npm::npm;

pub(super) fn read(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let mut name: Option<&str> = None;
    for line in text.lines() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if !line.starts_with(' ') {
            name = line.strip_suffix(':').and_then(package_name);
            continue;
        }
        let Some(field) = line
            .strip_prefix("  ")
            .filter(|rest| !rest.starts_with(' '))
        else {
            continue;
        };
        let version = field.strip_prefix("version").and_then(|rest| {
            let rest = rest.strip_prefix(':').unwrap_or(rest).strip_prefix(' ')?;
            Some(rest.trim().trim_matches('"'))
        });
        if let (Some(version), Some(found)) = (version, name) {
            packages.push(npm(found, version));
            name = None;
        }
    }
    packages
}

/// Of `"@scope/name@^1.0", name@npm:^1.2`, the name. What is a part of the project has none.
fn package_name(key: &str) -> Option<&str> {
    let first = key.trim_start_matches('"').split([',', '"']).next()?.trim();
    if first.contains("@workspace:") || first == "__metadata" {
        return None;
    }
    let at = first.char_indices().skip(1).find(|(_, c)| *c == '@');
    at.map(|(place, _)| &first[..place])
}
