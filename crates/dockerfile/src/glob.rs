//! Wildcards in the sources of COPY and ADD (C10): the rules of Go's `filepath.Match`, one path
//! component at a time, so that `*` never crosses a `/`.

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// `[` without its `]`, or a class with nothing in it.
    #[error("the character class that begins with `[` is not complete")]
    Class,
    /// `-` or `]` where a character of a class should be; write `\-` or `\]`.
    #[error("`{found}` stands in a character class without a backslash before it")]
    Range {
        /// The character.
        found: char,
    },
    /// A backslash at the end.
    #[error("the pattern ends in a lone backslash")]
    TrailingBackslash,
}

/// A source path, cut into components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobPath {
    /// From the root of the source. Empty components and `.` are left out, `..` is kept: whoever
    /// walks decides how to clamp it (C12).
    pub components: Vec<Component>,
}

/// One component of a source path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Component {
    /// Exactly this name.
    Name(String),
    /// Every name that matches.
    Pattern(Glob),
}

/// A pattern for one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
    source: String,
}

/// A step of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Character(char),
    /// `?`
    One,
    /// `*`
    Any,
    Class(Class),
}

/// `[…]` or `[^…]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    pub(crate) fn contains(&self, c: char) -> bool {
        self.ranges.iter().any(|&(low, high)| low <= c && c <= high) != self.negated
    }
}

impl GlobPath {
    /// Cuts a path into names and patterns. An expanded word is a pattern only where it has an
    /// unescaped `*`, `?` or `[`; anywhere else backslashes are ordinary characters.
    pub fn parse(path: &str) -> Result<Self, GlobError> {
        let components = path
            .split('/')
            .filter(|component| !component.is_empty() && *component != ".")
            .map(|component| {
                Ok(if has_wildcards(component) {
                    Component::Pattern(Glob::parse(component)?)
                } else {
                    Component::Name(component.to_owned())
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { components })
    }

    /// Whether any component is a pattern. Then no match is no error (C11).
    pub fn has_patterns(&self) -> bool {
        self.components
            .iter()
            .any(|component| matches!(component, Component::Pattern(_)))
    }
}

/// Whether a text has an unescaped `*`, `?` or `[`.
pub fn has_wildcards(text: &str) -> bool {
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => {
                characters.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

impl Glob {
    /// Reads a pattern for one component.
    pub fn parse(pattern: &str) -> Result<Self, GlobError> {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some(token) = next_token(&mut rest)? {
            if token != Token::Any || tokens.last() != Some(&Token::Any) {
                tokens.push(token);
            }
        }
        Ok(Self {
            tokens,
            source: pattern.to_owned(),
        })
    }

    /// The pattern as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the whole name matches. Bytes that are not UTF-8 match `?`, `*` and negated classes.
    /// Time grows at most with the length of the name times that of the pattern.
    pub fn matches(&self, name: impl AsRef<[u8]>) -> bool {
        let name: Vec<char> = characters(name.as_ref()).collect();
        let (mut token, mut at) = (0, 0);
        // Where to go on when a match fails: one star suffices, the last one seen, because what
        // stands before it has been matched as early as possible.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let fits = match (self.tokens.get(token), name.get(at)) {
                (None, None) => return true,
                (Some(Token::Any), _) => {
                    retry = Some((token, at));
                    token += 1;
                    continue;
                }
                (Some(Token::Character(expected)), Some(c)) => expected == c,
                (Some(Token::One), Some(_)) => true,
                (Some(Token::Class(class)), Some(&c)) => class.contains(c),
                (None, Some(_))
                | (Some(Token::Character(_) | Token::One | Token::Class(_)), None) => false,
            };
            if fits {
                token += 1;
                at += 1;
                continue;
            }
            match retry {
                Some((star, from)) if from < name.len() => {
                    retry = Some((star, from + 1));
                    token = star + 1;
                    at = from + 1;
                }
                Some(_) | None => return false,
            }
        }
    }
}

/// The characters of a name; each byte that is not UTF-8 counts as one unknown character.
pub(crate) fn characters(name: &[u8]) -> impl Iterator<Item = char> {
    name.utf8_chunks().flat_map(|chunk| {
        chunk
            .valid()
            .chars()
            .chain(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER))
    })
}

/// Takes one token off the front of a pattern.
pub(crate) fn next_token(rest: &mut &str) -> Result<Option<Token>, GlobError> {
    let mut characters = rest.chars();
    let token = match characters.next() {
        None => return Ok(None),
        Some('*') => Token::Any,
        Some('?') => Token::One,
        Some('\\') => Token::Character(characters.next().ok_or(GlobError::TrailingBackslash)?),
        Some('[') => {
            let mut inside = characters.as_str();
            let class = class(&mut inside)?;
            *rest = inside;
            return Ok(Some(Token::Class(class)));
        }
        Some(c) => Token::Character(c),
    };
    *rest = characters.as_str();
    Ok(Some(token))
}

fn class(rest: &mut &str) -> Result<Class, GlobError> {
    let negated = match rest.strip_prefix('^') {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    };
    let mut ranges = Vec::new();
    loop {
        if let (Some(after), false) = (rest.strip_prefix(']'), ranges.is_empty()) {
            *rest = after;
            return Ok(Class { negated, ranges });
        }
        let low = class_character(rest)?;
        let high = match rest.strip_prefix('-') {
            Some(after) => {
                *rest = after;
                class_character(rest)?
            }
            None => low,
        };
        ranges.push((low, high));
    }
}

fn class_character(rest: &mut &str) -> Result<char, GlobError> {
    let mut characters = rest.chars();
    let c = match characters.next() {
        None => return Err(GlobError::Class),
        Some(found @ ('-' | ']')) => return Err(GlobError::Range { found }),
        Some('\\') => characters.next().ok_or(GlobError::TrailingBackslash)?,
        Some(c) => c,
    };
    *rest = characters.as_str();
    Ok(c)
}

#[cfg(test)]
mod tests {
    use super::{Component, Glob, GlobPath};

    #[test]
    fn names() {
        let check = |pattern: &str, name: &[u8], expected: bool| {
            let found = Glob::parse(pattern).expect("a pattern").matches(name);
            assert_eq!(found, expected, "{pattern} against {}", name.escape_ascii());
        };
        check("abc", b"abc", true);
        check("*", b"", true);
        check("*c", b"abc", true);
        check("a*b*c*d*e*", b"axbxcxdxexxx", true);
        check("a*b?c*x", b"abxbbxdbxebxczzx", true);
        check("a*b?c*x", b"abxbbxdbxebxczzy", false);
        check("ab[c]", b"abc", true);
        check("ab[b-d]", b"abc", true);
        check("ab[^c]", b"abc", false);
        check("ab[^e-g]", b"abc", true);
        check("ab[!c]", b"ab!", true);
        check("a\\*b", b"a*b", true);
        check("a\\*b", b"ab", false);
        check("arr[[]0].txt", b"arr[0].txt", true);
        check("a?b", "aéb".as_bytes(), true);
        check("a?b", b"a\xffb", true);
        check("[a-ζ]*", "α".as_bytes(), true);
        check("[\\-x]", b"-", true);
        check("{a,b}", b"a", false);
        check("*x", b"xxx", true);
        check(&"a*".repeat(50), &b"a".repeat(10_000), true);
        check(
            &format!("{}b", "a*".repeat(50)),
            &b"a".repeat(10_000),
            false,
        );
    }

    #[test]
    fn bad_patterns() {
        for pattern in [
            "[]a]", "[-]", "[x-]", "[-x]", "[a", "[", "[^]", "a\\", "a[", "[a-", "[^bc", "[\\",
        ] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn paths() {
        let path = GlobPath::parse("/a/./b*//..\\x/").expect("a path");
        let parts: Vec<&str> = path
            .components
            .iter()
            .map(|component| match component {
                Component::Name(name) => name.as_str(),
                Component::Pattern(glob) => glob.source(),
            })
            .collect();
        assert_eq!(parts, ["a", "b*", "..\\x"]);
        assert!(path.has_patterns());
        assert!(!GlobPath::parse("a\\*b/c").expect("a path").has_patterns());
    }
}
