//! `go.mod` and `go.sum` (Go modules reference).

use super::{Package, PackageKind};

/// The modules that `go.mod` requires, as it replaces them.
pub(super) fn read_mod(text: &str) -> Vec<Package> {
    let mut required: Vec<(String, String)> = Vec::new();
    let mut replaced: Vec<(String, Option<String>, String, String)> = Vec::new();
    let mut block = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words == [")"] {
            block.clear();
            continue;
        }
        if let [directive, "("] = words[..] {
            directive.clone_into(&mut block);
            continue;
        }
        let directive = match block.as_str() {
            "" if words.is_empty() => continue,
            "" => words.remove(0),
            inside => inside,
        };
        match (directive, &words[..]) {
            ("require", [name, version]) => {
                required.push(((*name).to_owned(), (*version).to_owned()));
            }
            ("replace", [name, "=>", new, version]) => replaced.push((
                (*name).to_owned(),
                None,
                (*new).to_owned(),
                (*version).to_owned(),
            )),
            ("replace", [name, of, "=>", new, version]) => replaced.push((
                (*name).to_owned(),
                Some((*of).to_owned()),
                (*new).to_owned(),
                (*version).to_owned(),
            )),
            // A directory in place of a module has no version.
            _ => {}
        }
    }
    let replacements: std::collections::HashMap<_, _> = replaced
        .iter()
        .map(|(name, of, new, version)| ((name.as_str(), of.as_deref()), (new, version)))
        .collect();
    let modules = required.iter().map(|(name, version)| {
        let exact = replacements.get(&(name.as_str(), Some(version.as_str())));
        let any = replacements.get(&(name.as_str(), None));
        let (name, version) = exact.or(any).copied().unwrap_or((name, version));
        module(name, version)
    });
    modules.collect()
}

/// The modules that `go.sum` has hashes of the contents of.
pub(super) fn read_sum(text: &str) -> Vec<Package> {
    let module_of = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?);
        (!version.ends_with("/go.mod")).then(|| module(name, version))
    };
    text.lines().filter_map(module_of).collect()
}

/// A module of Go.
pub(super) fn module(name: &str, version: &str) -> Package {
    Package::plain(PackageKind::Go, "golang", name, version)
}
