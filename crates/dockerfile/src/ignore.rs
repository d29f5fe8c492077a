//! `.dockerignore`: which paths of a context are left out (D2-D5, D10).
//!
//! The last pattern that matches a path *or any of its parents* decides (D3, D4). So the verdict of
//! a path is that of its parent, unless a later pattern matches the path itself: a walk hands the
//! verdict down and asks about one path at a time, and a walk and a lookup always agree.
//!
//! Patterns are not tried one by one. Those without wildcards, `**/name` and `name/**` are found by
//! hash; the others only where the path contains a fragment of their literal text; each is matched
//! in time proportional to the path.

use std::collections::HashMap;

use crate::glob::{GlobError, Token, characters, next_token};

/// The longest pattern, in bytes: no path is longer (`PATH_MAX`).
pub const PATTERN_BYTES_MAX: usize = 4096;

/// The longest fragment of a pattern's literal text by which it is found.
const FRAGMENT_BYTES_MAX: usize = 4;

/// The patterns of an ignore file. Empty, it ignores nothing.
#[derive(Debug, Clone, Default)]
pub struct IgnoreFile {
    rules: Vec<Rule>,
    /// Paths named without wildcards, each with the last rule that does so.
    exact: HashMap<Vec<u8>, usize>,
    /// `**/x`: by `x`.
    anywhere: HashMap<Vec<u8>, usize>,
    /// `x/**`: by `x`.
    below: HashMap<Vec<u8>, usize>,
    /// All others by a fragment of their literal text. Rules descending.
    by_fragment: HashMap<Fragment, Vec<usize>>,
    /// Those that have no literal text, descending.
    without_fragment: Vec<usize>,
    /// Directories that lead to a path which an exact `!` rule names, with the last such rule.
    leads_to_included: HashMap<Vec<u8>, usize>,
    /// All other `!` rules, descending.
    other_inclusions: Vec<usize>,
}

/// The length of a fragment and its bytes, the rest zero.
type Fragment = (usize, [u8; FRAGMENT_BYTES_MAX]);

#[derive(Debug, Clone)]
struct Rule {
    line: usize,
    /// As written, without white space around it.
    written: String,
    includes: bool,
    steps: Vec<Step>,
}

/// What an ignore file says of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict<'a> {
    /// Whether the path is not part of the context.
    pub ignored: bool,
    /// The line, from 1, of the pattern that decided, if any pattern matched.
    pub line: Option<usize>,
    /// That pattern as written.
    pub pattern: Option<&'a str>,
    /// The rule that decided.
    rule: Option<usize>,
}

/// Why an ignore file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct IgnoreError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub kind: IgnoreErrorKind,
}

/// What can be wrong with a line of an ignore file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreErrorKind {
    /// A lone `!` (D2).
    #[error("`!` needs a pattern after it")]
    LoneExclamation,
    /// Not a pattern.
    #[error("`{pattern}` is not a pattern: {source}")]
    Pattern {
        /// As written.
        pattern: String,
        /// Why.
        source: GlobError,
    },
    /// More than [`PATTERN_BYTES_MAX`].
    #[error("the pattern is longer than {bytes_max} bytes")]
    TooLong {
        /// The limit.
        bytes_max: usize,
    },
}

impl IgnoreFile {
    /// Reads the text of an ignore file.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let mut file = Self::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (position, line) in text.lines().enumerate() {
            // Only in the first column does `#` begin a comment (D2).
            if line.starts_with('#') {
                continue;
            }
            let written = line.trim();
            if written.is_empty() {
                continue;
            }
            file.add(position + 1, written)?;
        }
        file.index();
        Ok(file)
    }

    /// The patterns of `--exclude`, of which none is a comment. Their places count as lines.
    pub fn of_patterns(
        patterns: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, IgnoreError> {
        let mut file = Self::default();
        for (position, pattern) in patterns.into_iter().enumerate() {
            let written = pattern.as_ref().trim();
            if !written.is_empty() {
                file.add(position + 1, written)?;
            }
        }
        file.index();
        Ok(file)
    }

    /// Ignores everything but what one pattern matches, and what is below that (C28).
    pub fn all_but(pattern: &str) -> Result<Self, IgnoreError> {
        let mut file = Self::default();
        file.add(1, "**")?;
        file.add(2, &format!("!{pattern}"))?;
        file.index();
        Ok(file)
    }

    fn add(&mut self, line: usize, written: &str) -> Result<(), IgnoreError> {
        let fail = |kind| IgnoreError { line, kind };
        if written.len() > PATTERN_BYTES_MAX {
            return Err(fail(IgnoreErrorKind::TooLong {
                bytes_max: PATTERN_BYTES_MAX,
            }));
        }
        let (includes, pattern) = match written.strip_prefix('!') {
            Some(pattern) => (true, pattern.trim()),
            None => (false, written),
        };
        if pattern.is_empty() {
            return Err(fail(IgnoreErrorKind::LoneExclamation));
        }
        let clean = clean(pattern);
        let pattern = if clean.len() > 1 {
            clean.strip_prefix('/').unwrap_or(&clean)
        } else {
            &clean
        };
        let steps = steps(pattern).map_err(|source| {
            fail(IgnoreErrorKind::Pattern {
                pattern: written.to_owned(),
                source,
            })
        })?;
        self.rules.push(Rule {
            line,
            written: written.to_owned(),
            includes,
            steps,
        });
        Ok(())
    }

    /// What it says of a path relative to the context, with `/` between components and none at
    /// either end.
    pub fn matches(&self, path: impl AsRef<[u8]>) -> Verdict<'_> {
        let path = path.as_ref();
        let mut verdict = Verdict::default();
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            verdict = self.matches_below(verdict, &path[..at]);
        }
        self.matches_below(verdict, path)
    }

    /// The same for a path directly below a directory whose verdict is known: what a walk uses.
    /// The verdict of the context's own root is `Verdict::default()`.
    pub fn matches_below<'a>(&'a self, parent: Verdict<'a>, path: impl AsRef<[u8]>) -> Verdict<'a> {
        match self.last_match(path.as_ref(), parent.rule) {
            None => parent,
            Some(rule) => Verdict {
                ignored: !self.rules[rule].includes,
                line: Some(self.rules[rule].line),
                pattern: Some(&self.rules[rule].written),
                rule: Some(rule),
            },
        }
    }

    /// Whether a path below the directory may be included although the directory is ignored (D10):
    /// such a directory must be walked. May say yes too often, never no wrongly. Of a directory
    /// that is not ignored it says yes.
    pub fn may_contain_included(&self, directory: impl AsRef<[u8]>, verdict: Verdict<'_>) -> bool {
        if !verdict.ignored {
            return true;
        }
        let directory = directory.as_ref();
        let later = |rule: usize| verdict.rule.is_none_or(|decided| rule > decided);
        self.leads_to_included
            .get(directory)
            .copied()
            .is_some_and(later)
            || self
                .other_inclusions
                .iter()
                .take_while(|rule| later(**rule))
                .any(|rule| may_match_below(&self.rules[*rule].steps, directory))
    }

    /// Whether the file has no pattern: then nothing needs to be asked.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a pattern takes back what others leave out (`!`): what is left out then depends on
    /// which paths exist.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.includes)
    }

    /// The last rule, of those after `than`, that matches the path itself.
    fn last_match(&self, path: &[u8], than: Option<usize>) -> Option<usize> {
        let mut best = than
            .max(self.exact.get(path).copied())
            .max(self.anywhere.get(path).copied());
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            best = best
                .max(self.anywhere.get(&path[at + 1..]).copied())
                .max(self.below.get(&path[..at]).copied());
        }
        if !self.by_fragment.is_empty() {
            for start in 0..path.len() {
                for length in 1..=FRAGMENT_BYTES_MAX.min(path.len() - start) {
                    if let Some(rules) = self
                        .by_fragment
                        .get(&fragment(&path[start..start + length]))
                    {
                        best = best.max(self.first_match(rules, path, best));
                    }
                }
            }
        }
        best = best.max(self.first_match(&self.without_fragment, path, best));
        if best == than { None } else { best }
    }

    /// The first of descending rules that matches, before they come down to `best`.
    fn first_match(&self, rules: &[usize], path: &[u8], best: Option<usize>) -> Option<usize> {
        let later = rules.iter().copied().take_while(|rule| Some(*rule) > best);
        later
            .into_iter()
            .find(|rule| matches(&self.rules[*rule].steps, path))
    }

    fn index(&mut self) {
        for (number, rule) in self.rules.iter().enumerate() {
            let steps = rule.steps.as_slice();
            if rule.includes {
                match literal(steps) {
                    Some(path) => {
                        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                            self.leads_to_included.insert(path[..at].to_vec(), number);
                        }
                    }
                    None => self.other_inclusions.push(number),
                }
            }
            if let Some(path) = literal(steps) {
                self.exact.insert(path, number);
            } else if let [Step::Directories, Step::InDirectories, name @ ..] = steps
                && let Some(name) = literal(name)
            {
                self.anywhere.insert(name, number);
            } else if let [directory @ .., Step::Is('/'), Step::Rest] = steps
                && let Some(directory) = literal(directory)
            {
                self.below.insert(directory, number);
            } else {
                match longest_literal(steps) {
                    Some(text) => {
                        let tail = &text[text.len().saturating_sub(FRAGMENT_BYTES_MAX)..];
                        self.by_fragment
                            .entry(fragment(tail))
                            .or_default()
                            .push(number);
                    }
                    None => self.without_fragment.push(number),
                }
            }
        }
        self.by_fragment
            .values_mut()
            .for_each(|rules| rules.reverse());
        self.without_fragment.reverse();
        self.other_inclusions.reverse();
    }
}

/// A step of a compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Is(char),
    /// `?`, and a class, which unlike `?` may be a `/`.
    Token(Token),
    /// `**/` or an inner `**`: any directories or none. Always followed by `InDirectories`.
    Directories,
    /// Inside of such directories.
    InDirectories,
    /// A last `**`: anything.
    Rest,
}

/// Compiles a clean pattern. A `**` and a `/` after it are any directories or none, a last one is
/// anything, and a first one before nothing but literal text is anything too (D5).
fn steps(pattern: &str) -> Result<Vec<Step>, GlobError> {
    let mut steps = Vec::new();
    let mut rest = pattern;
    loop {
        if let Some(after) = rest.strip_prefix("**") {
            let first = rest.len() == pattern.len();
            let is_directory = after.starts_with('/');
            rest = after.strip_prefix('/').unwrap_or(after);
            let is_literal = !rest.contains(['*', '?', '[', ']', '\\']);
            if rest.is_empty() || (first && !is_directory && is_literal) {
                steps.push(Step::Rest);
            } else if steps.last() != Some(&Step::InDirectories) {
                // `**/**/` is no more than `**/`, and would only cost time.
                steps.extend([Step::Directories, Step::InDirectories]);
            }
            continue;
        }
        match next_token(&mut rest)? {
            None => return Ok(steps),
            Some(Token::Character(c)) => steps.push(Step::Is(c)),
            Some(token) => steps.push(Step::Token(token)),
        }
    }
}

/// The shortest equivalent of a path, by the rules of Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if components.last().is_some_and(|last| *last != "..") => {
                components.pop();
            }
            ".." if rooted => {}
            _ => components.push(component),
        }
    }
    match (rooted, components.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

/// The bytes of steps that are all literal.
fn literal(steps: &[Step]) -> Option<Vec<u8>> {
    let text: Option<String> = steps
        .iter()
        .map(|step| {
            if let Step::Is(c) = step {
                Some(*c)
            } else {
                None
            }
        })
        .collect();
    text.map(String::into_bytes)
}

/// The longest run of literal steps: text that every match contains.
fn longest_literal(steps: &[Step]) -> Option<Vec<u8>> {
    let runs = steps.split(|step| !matches!(step, Step::Is(_)));
    runs.filter_map(literal)
        .filter(|run| !run.is_empty())
        .max_by_key(Vec::len)
}

fn fragment(bytes: &[u8]) -> Fragment {
    let mut fragment = [0; FRAGMENT_BYTES_MAX];
    fragment[..bytes.len()].copy_from_slice(bytes);
    (bytes.len(), fragment)
}

/// The places in a pattern that matching has reached, all at once: no path takes longer than its
/// length times that of the pattern, whatever the wildcards.
struct Places<'s> {
    steps: &'s [Step],
    /// One for each step, and one for the end.
    reached: Vec<bool>,
    next: Vec<bool>,
}

impl<'s> Places<'s> {
    fn new(steps: &'s [Step]) -> Self {
        let mut places = Self {
            steps,
            reached: vec![false; steps.len() + 1],
            next: vec![false; steps.len() + 1],
        };
        places.reached[0] = true;
        places.skip_what_may_be_empty();
        places
    }

    /// Reads one character; says whether any place is left.
    fn read(&mut self, c: char) -> bool {
        self.next.fill(false);
        let mut alive = false;
        for (place, step) in self.steps.iter().enumerate() {
            if !self.reached[place] {
                continue;
            }
            match step {
                Step::Is(expected) if *expected == c => self.next[place + 1] = true,
                Step::Token(Token::One) if c != '/' => self.next[place + 1] = true,
                Step::Token(Token::Any) if c != '/' => self.next[place] = true,
                Step::Token(Token::Class(class)) if class.contains(c) => {
                    self.next[place + 1] = true;
                }
                Step::Directories => {
                    self.next[place + 1] = true;
                    self.next[place + 2] |= c == '/';
                }
                Step::InDirectories => {
                    self.next[place] = true;
                    self.next[place + 1] |= c == '/';
                }
                Step::Rest => self.next[place] = true,
                Step::Is(_) | Step::Token(_) => continue,
            }
            alive = true;
        }
        std::mem::swap(&mut self.reached, &mut self.next);
        self.skip_what_may_be_empty();
        alive
    }

    fn skip_what_may_be_empty(&mut self) {
        for (place, step) in self.steps.iter().enumerate() {
            if self.reached[place] {
                match step {
                    Step::Token(Token::Any) | Step::Rest => self.reached[place + 1] = true,
                    Step::Directories => self.reached[place + 2] = true,
                    Step::Is(_) | Step::Token(_) | Step::InDirectories => {}
                }
            }
        }
    }
}

fn matches(steps: &[Step], path: &[u8]) -> bool {
    let mut places = Places::new(steps);
    characters(path).all(|c| places.read(c)) && places.reached[steps.len()]
}

/// Whether some path that begins with `directory/` matches.
fn may_match_below(steps: &[Step], directory: &[u8]) -> bool {
    let mut places = Places::new(steps);
    characters(directory)
        .chain(std::iter::once('/'))
        .all(|c| places.read(c))
}

#[cfg(test)]
mod tests {
    use super::{IgnoreFile, Verdict, steps};

    /// Lines of an ignore file, separated by `|`, against paths; a leading `-` marks the ignored.
    fn check(lines: &str, paths: &str) {
        let file = IgnoreFile::parse(&lines.replace('|', "\n")).expect("an ignore file");
        for expected in paths.split(' ') {
            let path = expected.trim_start_matches('-');
            let verdict = file.matches(path);
            assert_eq!(
                verdict.ignored,
                expected.starts_with('-'),
                "{path} under {lines:?}: {verdict:?}"
            );
        }
    }
    /// Rows: D2
    #[test]
    fn d2_lines() {
        check("#x", "x #x");
        check(" #x", "x -#x");
        check("\u{feff}x", "-x");
        check("  x  ", "-x");
        check("x\r|y\r", "-x -y");
        check("/x", "-x -x/y a/x");
        check("x/", "-x -x/y");
        check("./x/../y//z", "-y/z x y");
        check("*|! /x", "-a x");
        check("*|!./x/", "-a x");
        check(".", "a a/b");
        check("/", "a a/b");
        check("../x", "x a");
        check("", "a");
    }

    /// Rows: D3, D4
    #[test]
    fn d3_d4_order_and_parents() {
        check("foo", "-foo -foo/a -foo/a/b foobar a/foo");
        check("foo|!foo/a", "-foo foo/a foo/a/b -foo/b");
        check("!foo/a|foo", "-foo -foo/a");
        check("*|!src|src/*.o", "-a src src/x.c -src/x.o");
        check(
            "*.md|!README*.md|README-secret.md",
            "-a.md README.md -README-secret.md a.txt",
        );
        check("*|!foo/x|foo", "-foo -foo/x");
    }

    /// Rows: D5
    #[test]
    fn d5_wildcards() {
        check("*", "-a -a/b");
        check("*.go", "-a.go a/b.go a.goo");
        check("*/*.go", "-a/b.go a.go a/b/c.go");
        check("a?c", "-abc ac a/c");
        check("**", "-a -a/b/c");
        check("**/x", "-x -a/x -a/b/x -a/x/y ax xa");
        check("**/*.go", "-a.go -a/b.go -a/b/c.go a.goo");
        check("**x", "-x -ax -a/x -a/bx xa");
        check("**x*", "-x -xa -a/xb ax");
        check("a/**", "a -a/b -a/b/c ab");
        check("a**", "-a -ab -a/b b");
        check("a/**/b", "-a/b -a/x/b -a/x/y/b ab a/xb");
        check("a**b", "-ab -a/b -ax/b -a/x/b axb");
        check("a***b", "-ab -axb -a/xb -ax/yb");
        check("**/a/**/b", "-a/b -x/a/y/b b/a");
        check("a/**/**/b", "-a/b -a/x/b");
        check("[a-c]x", "-ax dx");
        check("[^a-c]x", "-dx ax");
        check("a[b/]c", "-a/c -abc");
        check("a\\*b", "-a*b axb");
        check("{a,b}", "a -{a,b}");
        check("a.b+(c)$|^d", "-a.b+(c)$ axb+(c)$ -^d d");
        check("**/é?", "-é1 -a/éé a/é");
    }

    #[test]
    fn names_that_are_not_unicode() {
        let file = IgnoreFile::parse("a?b\n**/*.o").expect("an ignore file");
        assert!(file.matches(b"a\xffb").ignored);
        assert!(file.matches(b"\xff/\xfe.o").ignored);
        assert!(!file.matches(b"\xff").ignored);
    }

    #[test]
    fn the_verdict_names_the_line_that_decided() {
        let file = IgnoreFile::parse("# all\n*\n\n!src\n  src/*.o  \n").expect("an ignore file");
        let decided = |path: &str| (file.matches(path).line, file.matches(path).pattern);
        assert_eq!(decided("a/b"), (Some(2), Some("*")));
        assert_eq!(decided("src/x"), (Some(4), Some("!src")));
        assert_eq!(decided("src/x.o"), (Some(5), Some("src/*.o")));
        assert_eq!(IgnoreFile::default().matches("x"), Verdict::default());
    }

    /// Rows: C27, C28
    #[test]
    fn patterns_that_stand_in_no_file() {
        let check = |file: &IgnoreFile, paths: &str| {
            for expected in paths.split(' ') {
                let path = expected.trim_start_matches('-');
                let ignored = file.matches(path).ignored;
                assert_eq!(ignored, expected.starts_with('-'), "{path} under {file:?}");
            }
        };
        let excludes = IgnoreFile::of_patterns(["#x", " *.md ", "", "!keep.md"]).expect("patterns");
        check(&excludes, "-#x -a.md keep.md b");
        assert!(IgnoreFile::of_patterns(["!"]).is_err());
        let parents = IgnoreFile::all_but("a/*.txt").expect("a pattern");
        check(&parents, "-a -a/b a/b.txt a/b.txt/c -b/b.txt");
        let anywhere = IgnoreFile::all_but("**/x").expect("a pattern");
        check(&anywhere, "x x/y -a a/x a/x/y -a/y");
        assert!(anywhere.may_contain_included("a", anywhere.matches("a")));
    }

    /// Rows: D10
    #[test]
    fn d10_which_ignored_directories_are_walked() {
        let check = |lines: &str, directory: &str, expected: bool| {
            let file = IgnoreFile::parse(&lines.replace('|', "\n")).expect("an ignore file");
            let verdict = file.matches(directory);
            assert_eq!(
                file.may_contain_included(directory, verdict),
                expected,
                "{directory} under {lines}"
            );
        };
        check("*|!a/b/c", "a", true);
        check("*|!a/b/c", "a/b", true);
        check("*|!a/b/c", "x", false);
        check("!a/b|*", "a", false);
        check("*|!a/*/c", "a/x", true);
        check("*|!a/*/c", "b", false);
        check("*|!**/c", "x/y", true);
        check("*|!a/**", "a", true);
        check("node_modules|!*.md", "node_modules", false);
        check("a", "b", true);
    }

    #[test]
    fn files_that_cannot_be_used() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                IgnoreFile::parse(text)
                    .expect_err("no ignore file")
                    .to_string(),
                expected
            );
        };
        check("a\n!", "line 2: `!` needs a pattern after it");
        check("!  \n", "line 1: `!` needs a pattern after it");
        check(
            "a\\",
            "line 1: `a\\` is not a pattern: the pattern ends in a lone backslash",
        );
        check(
            "\n\nx[",
            "line 3: `x[` is not a pattern: the character class that begins with `[` is not complete",
        );
        check(
            &"x".repeat(5000),
            "line 1: the pattern is longer than 4096 bytes",
        );
    }

    #[test]
    fn patterns_made_to_be_slow_end() {
        let path = "a/".repeat(500) + "b";
        let file =
            IgnoreFile::parse(&format!("{}c", "**/*a*/".repeat(200))).expect("an ignore file");
        assert!(!file.matches(&path).ignored);
        let file = IgnoreFile::parse(&format!("{}b", "**/".repeat(1000))).expect("an ignore file");
        assert!(file.matches(&path).ignored);
    }

    #[test]
    fn the_index_agrees_with_trying_every_rule() {
        let lines = [
            "a", "b/c", "!a/b", "**/c", "!**/d", "a/**", "!b/**", "*.x", "!a/*.x", "?", "**/*b*",
            "!c/**/a", "[ab]/d", "!*a*", "c**", "**ab", "a?/*", "!b/c/d",
        ];
        let names = ["a", "b", "c", "d", "ab", "a.x", "ba"];
        let mut paths: Vec<String> = names.map(str::to_owned).to_vec();
        for depth in [0, 7] {
            let parents: Vec<String> = paths[depth..].to_vec();
            paths.extend(
                parents
                    .iter()
                    .flat_map(|parent| names.map(|name| format!("{parent}/{name}"))),
            );
        }
        for turn in 0..lines.len() {
            let mut lines = lines.to_vec();
            lines.rotate_left(turn);
            let file = IgnoreFile::parse(&lines.join("\n")).expect("an ignore file");
            for path in &paths {
                let naive = lines.iter().enumerate().rev().find(|(_, line)| {
                    let steps = steps(line.trim_start_matches('!')).expect("a pattern");
                    let ends = path
                        .match_indices('/')
                        .map(|(at, _)| at)
                        .chain([path.len()]);
                    ends.into_iter()
                        .any(|end| super::matches(&steps, &path.as_bytes()[..end]))
                });
                let verdict = file.matches(path);
                assert_eq!(
                    verdict.line,
                    naive.map(|(position, _)| position + 1),
                    "{path} under {lines:?}"
                );
            }
        }
    }
}
