//! Paths inside an image, as text: nothing here looks at a file system.

/// An absolute path without `.`, `..` and empty components. What would leave the root stays in it.
pub(crate) fn absolute(directory: &str, path: &str) -> String {
    let inside = if path.starts_with('/') { "" } else { directory };
    format!("/{}", relative(&format!("{inside}/{path}")))
}

/// The same without the slash in front: a source of a copy, clamped to the root of what it is
/// copied from (C12). Empty is the root.
pub(crate) fn relative(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            _ => components.push(component),
        }
    }
    components.join("/")
}

/// A source under `--parents`: clean, and how many of its components stand before the pivot `/./`
/// (C28). Neither half leaves its root.
pub(crate) fn pivoted(path: &str) -> (String, usize) {
    let (before, after) = path.split_once("/./").unwrap_or(("", path));
    let (before, after) = (relative(before), relative(after));
    let pivot = before.split('/').filter(|name| !name.is_empty()).count();
    let both = match (before.is_empty(), after.is_empty()) {
        (true, _) => after,
        (false, true) => before,
        (false, false) => format!("{before}/{after}"),
    };
    (both, pivot)
}

/// Whether a destination is a directory whatever exists: a slash or `/.` at its end, `.`, or nothing.
pub(crate) fn names_directory(path: &str) -> bool {
    path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.")
}

#[cfg(test)]
mod tests {
    use super::{absolute, pivoted, relative};

    /// Rows: C28
    #[test]
    fn the_pivot_is_the_first_dot_between_slashes() {
        let check = |path: &str, pattern: &str, pivot: usize| {
            assert_eq!(pivoted(path), (pattern.to_owned(), pivot), "{path}");
        };
        check("a/b", "a/b", 0);
        check("./a/b/", "a/b", 0);
        check("/a/./b/c", "a/b/c", 1);
        check("a/b/./c/./d", "a/b/c/d", 2);
        check("/./a", "a", 0);
        check("a/./", "a", 1);
        check("a/./../b", "a/b", 1);
        check("../a/./b", "a/b", 1);
        check(".", "", 0);
    }

    #[test]
    fn paths_stay_below_the_root() {
        let check = |directory: &str, path: &str, expected: &str| {
            assert_eq!(absolute(directory, path), expected, "{path} in {directory}");
        };
        check("/", "a", "/a");
        check("/w", "a/b", "/w/a/b");
        check("/w", "/a/", "/a");
        check("/w", "../../..", "/");
        check("/w", "./a//b/.", "/w/a/b");
        check("", "a", "/a");
        check("w", "", "/w");
        assert_eq!(relative("../a/../../b*/"), "b*");
        assert_eq!(relative("/"), "");
    }
}
