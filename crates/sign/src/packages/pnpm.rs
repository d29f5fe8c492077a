//! `pnpm-lock.yaml`. Packages are the keys of one map, which has one shape: a line for each, with
//! two spaces before it. No YAML has to be understood for that.

use super::Package;
use super::npm::npm;

pub(super) fn read(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if !line.starts_with([' ', '#']) && !line.trim().is_empty() {
            inside = line.trim_end() == "packages:";
            continue;
        }
        let key = line
            .strip_prefix("  ")
            .filter(|rest| !rest.starts_with(' '));
        let key = key.and_then(|rest| {
            rest.split(": {").next()?.trim_end().strip_suffix(':').or(
                // `key: {…}` on one line.
                rest.split_once(": {").map(|(key, _)| key),
            )
        });
        if let Some(key) = key.filter(|_| inside) {
            packages.extend(package(key.trim_matches(['\'', '"'])));
        }
    }
    packages
}

/// `name@1.0(peer@2)`, `/name@1.0`, and of older files `/name/1.0_peer@2`.
fn package(key: &str) -> Option<Package> {
    let key = key.strip_prefix('/').unwrap_or(key);
    let key = key.split('(').next()?;
    let at = key.char_indices().skip(1).find(|(_, c)| *c == '@');
    if let Some((place, _)) = at {
        let (name, version) = (&key[..place], &key[place + 1..]);
        let slashes = name.matches('/').count();
        if slashes == usize::from(name.starts_with('@')) {
            return Some(npm(name, version));
        }
    }
    let scope = usize::from(key.starts_with('@'));
    let (place, _) = key.match_indices('/').nth(scope)?;
    let version = key[place + 1..].split('_').next()?;
    Some(npm(&key[..place], version))
}
