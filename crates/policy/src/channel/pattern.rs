//! Patterns for names of branches and people.

use std::fmt;

/// A text in which `*` stands for anything, slashes included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// A pattern; every text is one.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether a whole name fits.
    pub fn fits(&self, name: &str) -> bool {
        let Some((start, rest)) = self.0.split_once('*') else {
            return *self.0 == *name;
        };
        let Some(mut name) = name.strip_prefix(start) else {
            return false;
        };
        // The leftmost place for each part in turn: whatever fits at all, fits then. No way back is
        // needed, so that no pattern takes long.
        let mut parts = rest.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return name.ends_with(part);
            }
            let Some(at) = name.find(part) else {
                return false;
            };
            name = &name[at + part.len()..];
        }
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(
                Pattern::new(pattern).fits(name),
                expected,
                "{pattern} {name}"
            );
        };
        check("main", "main", true);
        check("main", "maintenance", false);
        check("release-*", "release-1.2", true);
        check("release-*", "release", false);
        check("*", "", true);
        check("*@example.com", "a@example.com", true);
        check("*@example.com", "a@example.com.evil", false);
        check(
            "repo:org/*:ref:refs/heads/main",
            "repo:org/x:ref:refs/heads/main",
            true,
        );
        check("a*b*b", "ab", false);
        check("a*b*b", "abb", true);
        check("a*a", "a", false);
        check("", "", true);
        check("", "x", false);
    }
}
