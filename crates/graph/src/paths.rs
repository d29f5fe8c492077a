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

/// Whether a destination is a directory whatever exists: a slash or `/.` at its end, `.`, or nothing.
pub(crate) fn names_directory(path: &str) -> bool {
    path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.")
}

#[cfg(test)]
mod tests {
    use super::{absolute, relative};

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
