//! What differs, and which differences are known.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use super::case;

/// One fact about which the builders disagree.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Difference {
    pub(super) case: String,
    /// A path with a slash in front, `config.FIELD`, or `build`: whether it succeeds.
    pub(super) key: String,
    pub(super) ours: String,
    pub(super) theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            case,
            key,
            ours,
            theirs,
        } = self;
        write!(f, "{case} {key}\n  kiln:    {ours}\n  buildah: {theirs}")
    }
}

/// Lines of `tests/twins/exceptions`: case, key, row, and why. In case and key, a `*` stands for
/// anything.
pub(super) struct Exceptions {
    lines: Vec<String>,
    used: BTreeSet<usize>,
}

impl Exceptions {
    pub(super) fn read() -> Self {
        let text = fs::read_to_string(case::directory().join("exceptions")).expect("exceptions");
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        Self {
            lines,
            used: BTreeSet::new(),
        }
    }

    /// Whether a difference is known; then its exceptions are used.
    pub(super) fn cover(&mut self, difference: &Difference) -> bool {
        let mut covered = false;
        for (at, line) in self.lines.iter().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [case, key, _row, _why, ..] = words[..] else {
                panic!("an exception is a case, a key, a row and a reason: {line}");
            };
            if matches(case, &difference.case) && matches(key, &difference.key) {
                self.used.insert(at);
                covered = true;
            }
        }
        covered
    }

    pub(super) fn unused(&self) -> impl Iterator<Item = &str> {
        (self.lines.iter().enumerate())
            .filter(|(at, _)| !self.used.contains(at))
            .map(|(_, line)| line.as_str())
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (rest.char_indices().map(|(at, _)| at))
                .chain([rest.len()])
                .any(|at| matches(after, &rest[at..]))
        }),
    }
}
