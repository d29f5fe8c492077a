//! An ignore file says of a path what a slow and simple matcher says, a walk comes to the same as a
//! lookup, and no re-included path is behind a directory that would not be walked.
//!
//! An input is an ignore file, and after zero bytes paths.

use dockerfile::ignore::IgnoreFile;

/// Paths of an input that are looked at: each costs the square of its length.
const PATHS_MAX: usize = 8;
const PATH_BYTES_MAX: usize = 64;

/// Panics where the property does not hold of `input`.
pub(crate) fn holds(input: &[u8]) {
    let mut parts = input.split(|byte| *byte == 0);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let file = match IgnoreFile::parse(&text) {
        Ok(file) => file,
        Err(error) => {
            assert!(
                (1..=text.lines().count()).contains(&error.line),
                "{error:?}"
            );
            return;
        }
    };
    let simple = simple_rules(&text);
    for path in parts.take(PATHS_MAX) {
        let wrong = |part: &[u8]| matches!(part, b"" | b"." | b"..");
        if path.len() > PATH_BYTES_MAX || path.split(|byte| *byte == b'/').any(wrong) {
            continue;
        }
        let verdict = file.matches(path);
        let mut walked = dockerfile::ignore::Verdict::default();
        let mut directories = Vec::new();
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            walked = file.matches_below(walked, &path[..at]);
            directories.push((&path[..at], walked));
        }
        walked = file.matches_below(walked, path);
        assert_eq!(walked, verdict, "a walk and a lookup agree");
        if !verdict.ignored {
            for (directory, of_directory) in directories {
                assert!(
                    file.may_contain_included(directory, of_directory),
                    "{:?} would not be walked",
                    String::from_utf8_lossy(directory)
                );
            }
        }
        if let Some(line) = verdict.line {
            let plain = text.strip_prefix('\u{feff}').unwrap_or(&text);
            let written = plain.lines().nth(line - 1).expect("a line of the file");
            let pattern = verdict.pattern.expect("the pattern of that line");
            assert_eq!(written.trim(), pattern);
        }
        if let (Some(rules), Ok(path)) = (&simple, std::str::from_utf8(path)) {
            assert_eq!(
                verdict.ignored,
                ignored(rules, path),
                "{path:?} under {text:?}"
            );
        }
    }
}

/// The rules of a file in which every line is a plain pattern or empty; else nothing. Plain means:
/// nothing that [`holds`] would have to read as cleverly as the code that it checks.
fn simple_rules(text: &str) -> Option<Vec<(bool, &str)>> {
    let mut rules = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (includes, pattern) = match line.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, line),
        };
        let plain = |c: char| c.is_ascii_lowercase() || matches!(c, '*' | '?' | '/');
        let whole = |part: &str| !part.is_empty() && (part == "**" || !part.contains("**"));
        if pattern.len() > 12 || !pattern.chars().all(plain) || !pattern.split('/').all(whole) {
            return None;
        }
        rules.push((includes, pattern));
    }
    Some(rules)
}

/// The last rule decides that matches the path or a directory that it is in (D3, D4).
fn ignored(rules: &[(bool, &str)], path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let mut ignored = false;
    for (includes, pattern) in rules {
        let pattern: Vec<&str> = pattern.split('/').collect();
        if (1..=parts.len()).any(|count| matches(&pattern, &parts[..count])) {
            ignored = !includes;
        }
    }
    ignored
}

/// Component by component; `**` is any number of them, and at the end at least one (D5).
fn matches(pattern: &[&str], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((&"**", [])) => !path.is_empty(),
        Some((&"**", rest)) => (0..=path.len()).any(|taken| matches(rest, &path[taken..])),
        Some((first, rest)) => path
            .split_first()
            .is_some_and(|(name, path)| component(first, name) && matches(rest, path)),
    }
}

fn component(pattern: &str, name: &str) -> bool {
    let (mut rest, mut behind) = (pattern.chars(), name.chars());
    match rest.next() {
        None => name.is_empty(),
        Some('*') => (name.char_indices().map(|(at, _)| at))
            .chain([name.len()])
            .any(|at| component(rest.as_str(), &name[at..])),
        Some('?') => behind.next().is_some() && component(rest.as_str(), behind.as_str()),
        Some(first) => behind.next() == Some(first) && component(rest.as_str(), behind.as_str()),
    }
}
