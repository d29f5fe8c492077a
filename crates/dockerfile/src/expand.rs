//! Variables in words: `$name`, `${name}` and its modifiers, quotes and escapes (V2-V13).
//!
//! Two deliberate differences from the reference: in `${v//p/r}` the replacement is plain text
//! (there, `$1` in it is taken for a group of a regular expression that the user never wrote), and
//! variables whose absence a modifier provides for are not reported as unset.

use std::ops::Range;

use crate::shell_pattern::{PatternError, ShellPattern};

/// The longest value that an expansion may have.
pub const EXPANSION_BYTES_MAX: usize = 1 << 20;

/// How deep `${a:-${b:-…}}` may be nested.
pub const EXPANSION_DEPTH_MAX: usize = 100;

/// Where values come from.
pub trait Variables {
    /// The value of a variable, or nothing when it is unset. Set but empty is `Some("")`.
    fn get(&self, name: &str) -> Option<String>;
}

/// A word after expansion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expansion {
    /// The word: variables replaced, quotes and escapes removed.
    pub value: String,
    /// The variables that were looked up and are set, in order of first use, each once.
    pub used: Vec<String>,
    /// The variables that are unset and became empty text because of it, in order of first use,
    /// each once. Those with `-`, `+` or `?` are not among them: their absence was thought of.
    pub unset: Vec<String>,
}

/// What is wrong with a word, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ExpandError {
    /// What is wrong.
    pub kind: ExpandErrorKind,
    /// The bytes of the word that it is about.
    pub range: Range<usize>,
}

/// What can be wrong with a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandErrorKind {
    /// A quote that is opened and not closed.
    #[error("the quote {quote} is not closed")]
    UnclosedQuote {
        /// Which quote.
        quote: char,
    },
    /// `${` without its `}`.
    #[error("`${{` is not closed: `}}` is missing")]
    UnclosedBrace,
    /// `${v/p}` or `${v//p}`: the replacement is missing.
    #[error("`${{{name}/pattern` needs a second `/` and a replacement")]
    NoReplacement {
        /// The variable.
        name: String,
    },
    /// `${}`, `${:x}` or `${{x}`.
    #[error("`${{` is not followed by the name of a variable")]
    BadSubstitution,
    /// `${v:=w}`, `${v^^}` and others that the dialect does not have.
    #[error("`{modifier}` is not a modifier that `${{{name}}}` can have")]
    UnsupportedModifier {
        /// The variable.
        name: String,
        /// The character or two after its name.
        modifier: String,
    },
    /// `${v:?message}` or `${v?message}` of a variable that must be there.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What its author says.
        message: String,
    },
    /// A pattern that cannot be read.
    #[error("`{pattern}` is not a pattern: {source}")]
    Pattern {
        /// The pattern, expanded.
        pattern: String,
        /// Why.
        source: PatternError,
    },
    /// The expansion is longer than allowed.
    #[error("the value is longer than {bytes_max} bytes")]
    TooLong {
        /// The limit, [`EXPANSION_BYTES_MAX`].
        bytes_max: usize,
    },
    /// Substitutions within substitutions, too many.
    #[error("substitutions are nested more than {depth_max} deep")]
    TooDeep {
        /// The limit, [`EXPANSION_DEPTH_MAX`].
        depth_max: usize,
    },
}

/// Expands one raw word.
pub fn expand(
    word: &str,
    escape: char,
    variables: &dyn Variables,
) -> Result<Expansion, ExpandError> {
    Ok(run(word, escape, true, variables)?.1)
}

/// Expands the body of a here-document (H9): quotes are ordinary characters and the escape
/// character is always the backslash, which also here vanishes before whatever it escapes.
pub fn expand_heredoc(body: &str, variables: &dyn Variables) -> Result<Expansion, ExpandError> {
    Ok(run(body, '\\', false, variables)?.1)
}

/// Expands one raw word and splits the result at blanks that are not quoted (V12: EXPOSE only).
/// The `value` of the expansion is the unsplit one.
pub fn expand_words(
    word: &str,
    escape: char,
    variables: &dyn Variables,
) -> Result<(Vec<String>, Expansion), ExpandError> {
    run(word, escape, true, variables)
}

fn run(
    word: &str,
    escape: char,
    quotes: bool,
    variables: &dyn Variables,
) -> Result<(Vec<String>, Expansion), ExpandError> {
    let mut expander = Expander {
        word,
        at: 0,
        escape,
        quotes,
        variables,
        found: Expansion::default(),
    };
    let output = expander.until(None, false, 0)?;
    let words = output.split();
    Ok((
        words,
        Expansion {
            value: output.value,
            ..expander.found
        },
    ))
}

/// A value under construction, and the blanks in it at which it would be split.
#[derive(Default)]
struct Output {
    value: String,
    /// Byte ranges of white space that no quote protects.
    breaks: Vec<Range<usize>>,
}

impl Output {
    fn push(&mut self, c: char, protected: bool) {
        let start = self.value.len();
        self.value.push(c);
        if !protected && c.is_whitespace() {
            self.breaks.push(start..self.value.len());
        }
    }

    fn push_str(&mut self, text: &str, protected: bool) {
        if protected {
            self.value.push_str(text);
        } else {
            text.chars().for_each(|c| self.push(c, false));
        }
    }

    fn split(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut start = 0;
        for gap in self
            .breaks
            .iter()
            .cloned()
            .chain(std::iter::once(self.value.len()..self.value.len()))
        {
            if gap.start > start {
                words.push(self.value[start..gap.start].to_owned());
            }
            start = gap.end;
        }
        words
    }
}

struct Expander<'e> {
    word: &'e str,
    at: usize,
    escape: char,
    /// Whether quotes are special.
    quotes: bool,
    variables: &'e dyn Variables,
    found: Expansion,
}

impl Expander<'_> {
    fn peek(&self) -> Option<char> {
        self.word[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn error<T>(&self, start: usize, kind: ExpandErrorKind) -> Result<T, ExpandError> {
        Err(ExpandError {
            kind,
            range: start..self.at.max(start),
        })
    }

    /// Expands up to an unescaped `stop`, which is consumed, or to the end. `Ok` with a stop that
    /// never came is told apart by the callers through `self.at`. `raw`: escapes stay in the text,
    /// for patterns.
    fn until(
        &mut self,
        stop: Option<char>,
        raw: bool,
        depth: usize,
    ) -> Result<Output, ExpandError> {
        let start = self.at;
        if depth > EXPANSION_DEPTH_MAX {
            return self.error(
                start,
                ExpandErrorKind::TooDeep {
                    depth_max: EXPANSION_DEPTH_MAX,
                },
            );
        }
        let mut output = Output::default();
        loop {
            let from = self.at;
            let Some(c) = self.next() else {
                return match stop {
                    None => Ok(output),
                    Some(_) => self.error(start, ExpandErrorKind::UnclosedBrace),
                };
            };
            match c {
                _ if Some(c) == stop => return Ok(output),
                '$' => {
                    let value = self.dollar(from, raw, depth)?;
                    output.push_str(&value, false);
                }
                '\'' if self.quotes => self.single_quoted(from, &mut output)?,
                '"' if self.quotes => self.double_quoted(from, raw, depth, &mut output)?,
                _ if c == self.escape => {
                    if raw {
                        output.push(c, true);
                    }
                    if let Some(escaped) = self.next() {
                        output.push(escaped, true);
                    }
                }
                _ => output.push(c, false),
            }
            self.limit(from, &output)?;
        }
    }

    fn limit(&self, start: usize, output: &Output) -> Result<(), ExpandError> {
        if output.value.len() > EXPANSION_BYTES_MAX {
            return self.error(
                start,
                ExpandErrorKind::TooLong {
                    bytes_max: EXPANSION_BYTES_MAX,
                },
            );
        }
        Ok(())
    }

    fn single_quoted(&mut self, start: usize, output: &mut Output) -> Result<(), ExpandError> {
        let Some(length) = self.word[self.at..].find('\'') else {
            self.at = self.word.len();
            return self.error(start, ExpandErrorKind::UnclosedQuote { quote: '\'' });
        };
        output.push_str(&self.word[self.at..self.at + length], true);
        self.at += length + 1;
        Ok(())
    }

    /// In double quotes the escape character escapes only `"`, `$` and itself (V13).
    fn double_quoted(
        &mut self,
        start: usize,
        raw: bool,
        depth: usize,
        output: &mut Output,
    ) -> Result<(), ExpandError> {
        loop {
            let from = self.at;
            let Some(c) = self.next() else {
                return self.error(start, ExpandErrorKind::UnclosedQuote { quote: '"' });
            };
            match c {
                '"' => return Ok(()),
                '$' => {
                    let value = self.dollar(from, raw, depth)?;
                    output.push_str(&value, true);
                }
                _ if c == self.escape => {
                    if raw {
                        output.push(c, true);
                    }
                    match self.peek() {
                        Some(escaped)
                            if escaped == '"' || escaped == '$' || escaped == self.escape =>
                        {
                            self.next();
                            output.push(escaped, true);
                        }
                        // Raw text already has it.
                        Some(_) => output.push(c, true),
                        None => {}
                    }
                }
                _ => output.push(c, true),
            }
            self.limit(from, output)?;
        }
    }

    /// What a `$` at `start` stands for; it has just been read.
    fn dollar(&mut self, start: usize, raw: bool, depth: usize) -> Result<String, ExpandError> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                self.value(&name, true).unwrap_or_default()
            });
        }
        self.next();
        match self.peek() {
            None => return self.error(start, ExpandErrorKind::UnclosedBrace),
            Some('{' | '}' | ':') => {
                self.next();
                return self.error(start, ExpandErrorKind::BadSubstitution);
            }
            Some(_) => {}
        }
        let name = self.name();
        let modifier_at = self.at;
        let mut modifier = self.next();
        if modifier == Some('}') {
            return Ok(self.value(&name, true).unwrap_or_default());
        }
        if modifier == Some('/') {
            return self.replace(start, &name, depth);
        }
        let empty_is_unset = modifier == Some(':');
        if empty_is_unset {
            modifier = self.next();
        }
        let Some(modifier) = modifier else {
            return self.error(start, ExpandErrorKind::UnclosedBrace);
        };
        let is_pattern = matches!(modifier, '#' | '%');
        if !matches!(modifier, '-' | '+' | '?' | '#' | '%')
            || (is_pattern && empty_is_unset)
            || name.is_empty()
        {
            let modifier = self.word[modifier_at..self.at].to_owned();
            return self.error(
                start,
                ExpandErrorKind::UnsupportedModifier { name, modifier },
            );
        }
        let word = self.inner(
            '}',
            start,
            is_pattern || raw,
            depth,
            ExpandErrorKind::UnclosedBrace,
        )?;
        if is_pattern {
            return self.strip(start, &name, modifier, &word);
        }
        let value = self.value(&name, false);
        let present = value
            .as_ref()
            .is_some_and(|value| !(empty_is_unset && value.is_empty()));
        match modifier {
            '-' => Ok(if present {
                value.unwrap_or_default()
            } else {
                word
            }),
            '+' => Ok(if present { word } else { String::new() }),
            _ if present => Ok(value.unwrap_or_default()),
            _ => {
                let default = if value.is_some() {
                    "is not allowed to be empty"
                } else {
                    "is not allowed to be unset"
                };
                let message = if word.is_empty() {
                    default.to_owned()
                } else {
                    word
                };
                self.error(start, ExpandErrorKind::Required { name, message })
            }
        }
    }

    /// A word inside `${…}`; an end that never comes is an error of the whole substitution.
    fn inner(
        &mut self,
        stop: char,
        start: usize,
        raw: bool,
        depth: usize,
        unclosed: ExpandErrorKind,
    ) -> Result<String, ExpandError> {
        match self.until(Some(stop), raw, depth + 1) {
            Ok(output) => Ok(output.value),
            Err(error)
                if error.kind == ExpandErrorKind::UnclosedBrace
                    && error.range.end == self.word.len() =>
            {
                self.error(start, unclosed)
            }
            Err(error) => Err(error),
        }
    }

    /// `${v#p}`, `${v##p}`, `${v%p}`, `${v%%p}` (V8).
    fn strip(
        &mut self,
        start: usize,
        name: &str,
        modifier: char,
        word: &str,
    ) -> Result<String, ExpandError> {
        let (pattern, longest) = match word.strip_prefix(modifier) {
            Some(pattern) => (pattern, true),
            None => (word, false),
        };
        let value = self.value(name, true).unwrap_or_default();
        let pattern = self.pattern(start, pattern)?;
        Ok(if modifier == '#' {
            pattern.strip_prefix(&value, longest).to_owned()
        } else {
            pattern.strip_suffix(&value, longest).to_owned()
        })
    }

    /// `${v/p/r}` and `${v//p/r}` (V9).
    fn replace(&mut self, start: usize, name: &str, depth: usize) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let no_replacement = ExpandErrorKind::NoReplacement {
            name: name.to_owned(),
        };
        let pattern = self.inner('/', start, true, depth, no_replacement)?;
        let replacement = self.inner('}', start, true, depth, ExpandErrorKind::UnclosedBrace)?;
        let value = self.value(name, true).unwrap_or_default();
        let pattern = self.pattern(start, &pattern)?;
        match pattern.replace(&value, &replacement, all, EXPANSION_BYTES_MAX) {
            Some(replaced) => Ok(replaced),
            None => self.error(
                start,
                ExpandErrorKind::TooLong {
                    bytes_max: EXPANSION_BYTES_MAX,
                },
            ),
        }
    }

    fn pattern(&self, start: usize, pattern: &str) -> Result<ShellPattern, ExpandError> {
        ShellPattern::parse(pattern).or_else(|source| {
            // The limits make a pattern at most this long; an error need not repeat all of it.
            let pattern = pattern.chars().take(100).collect();
            self.error(start, ExpandErrorKind::Pattern { pattern, source })
        })
    }

    /// Letters, digits and `_`; or digits alone; or one special parameter (V4).
    fn name(&mut self) -> String {
        let rest = &self.word[self.at..];
        let Some(first) = rest.chars().next() else {
            return String::new();
        };
        let length = if first.is_numeric() {
            rest.find(|c: char| !c.is_numeric()).unwrap_or(rest.len())
        } else if matches!(first, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
            first.len_utf8()
        } else {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())
        };
        self.at += length;
        rest[..length].to_owned()
    }

    fn value(&mut self, name: &str, report_unset: bool) -> Option<String> {
        let value = self.variables.get(name);
        let list = if value.is_some() {
            &mut self.found.used
        } else {
            &mut self.found.unset
        };
        if (value.is_some() || report_unset) && !list.iter().any(|known| known == name) {
            list.push(name.to_owned());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Table;

    impl Variables for Table {
        fn get(&self, name: &str) -> Option<String> {
            Some(match name {
                "a" => "value".to_owned(),
                "e" => String::new(),
                "two" => "x  y".to_owned(),
                "v" => "foobarbaz".to_owned(),
                "path" => "/usr/lib/x.so.1".to_owned(),
                "stars" => "a*b?c\\d[e".to_owned(),
                "money" => "$5".to_owned(),
                "lines" => "one\ntwo".to_owned(),
                "big" => "x".repeat(EXPANSION_BYTES_MAX / 2),
                "é" => "accent".to_owned(),
                _ => return None,
            })
        }
    }

    /// One row: the raw word, `|`, what comes out. `!` begins an expected error, after it the bytes
    /// of the word that it names. `·` is a blank, `¬` a line end.
    fn check_rows(rows: &str, expand: impl Fn(&str) -> Result<String, ExpandError>) {
        let visible = |text: &str| text.replace(' ', "·").replace('\n', "¬");
        let invisible = |text: &str| text.replace('·', " ").replace('¬', "\n");
        for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
            let (word, expected) = row
                .split_once(" | ")
                .unwrap_or_else(|| (row.trim_end_matches(" |"), ""));
            let found = match expand(&invisible(word)) {
                Ok(value) => visible(&value),
                Err(error) => format!("!{}..{} {error}", error.range.start, error.range.end),
            };
            assert_eq!(found, expected, "in the row {row:?}");
        }
    }

    fn rows(text: &str) {
        check_rows(text, |word| {
            expand(word, '\\', &Table).map(|expansion| expansion.value)
        });
    }

    /// Rows: V2, V3, V13
    #[test]
    fn v2_v3_v13_plain_quoted_and_escaped() {
        rows(
            r#"
            $a | value
            ${a} | value
            x$a.y | xvalue.y
            $a$a | valuevalue
            \$a | $a
            '$a' | $a
            "$a" | value
            "\$a" | $a
            "a\"b" | a"b
            "a\\b" | a\b
            "a\nb" | a\nb
            'a\b' | a\b
            a\nb | anb
            a\\b | a\b
            tail\ | tail
            "it's" | it's
            'say·"x"' | say·"x"
            $none |
            ${none} |
            $é | accent
            é$a | évalue
            $a_x |
            ${a}_x | value_x
            "·$two·" | ·x··y·
            "$a'$a'" | value'value'
            "x | !0..2 the quote " is not closed
            x'y | !1..3 the quote ' is not closed
            "#,
        );
    }

    /// Rows: V4
    #[test]
    fn v4_special_parameters() {
        rows(
            "
            $1$@$*$#$?$-$$$!$0x | x
            $10x | x
            ${1}x | x
            $. | $.
            $( | $(
            $ | $
            a$ | a$
            $\"x\" | $x
            ",
        );
    }

    /// Rows: V5, V6
    #[test]
    fn v5_v6_defaults_alternatives_and_demands() {
        rows(
            "
            ${a:-w} | value
            ${e:-w} | w
            ${none:-w} | w
            ${e-w} |
            ${none-w} | w
            ${a:+w} | w
            ${e:+w} |
            ${none:+w} |
            ${e+w} | w
            ${none+w} |
            ${none:-${none:-deep}} | deep
            ${none:-$a·x} | value·x
            ${none:-'}'} | }
            ${none:-\\}} | }
            ${none-} |
            ${a?m} | value
            ${e?m} |
            ${e:?m} | !0..7 e: m
            ${none?m} | !0..9 none: m
            x${none:?} | !1..10 none: is not allowed to be unset
            ${e:?} | !0..6 e: is not allowed to be empty
            ${none:?${a}·text} | !0..18 none: value text
            ",
        );
    }

    /// Rows: V7
    #[test]
    fn v7_substitutions_that_are_none() {
        rows(
            "
            ${a:=w} | !0..5 `:=` is not a modifier that `${a}` can have
            ${a:#p} | !0..5 `:#` is not a modifier that `${a}` can have
            ${a^^} | !0..4 `^` is not a modifier that `${a}` can have
            ${} | !0..3 `${` is not followed by the name of a variable
            ${:x} | !0..3 `${` is not followed by the name of a variable
            ${{x} | !0..3 `${` is not followed by the name of a variable
            ${ | !0..2 `${` is not closed: `}` is missing
            ${a | !0..3 `${` is not closed: `}` is missing
            x${a:-b | !1..7 `${` is not closed: `}` is missing
            ${a: | !0..4 `${` is not closed: `}` is missing
            ",
        );
    }

    /// Rows: V8
    #[test]
    fn v8_prefixes_and_suffixes() {
        rows(
            r"
            ${v#f*b} | arbaz
            ${v##f*b} | az
            ${v%b*} | foobar
            ${v%%b*} | foo
            ${v#f?o} | barbaz
            ${v#bar} | foobarbaz
            ${v%} | foobarbaz
            ${v#*} | foobarbaz
            ${v##*} |
            ${v%%*} |
            ${path##*/} | x.so.1
            ${path%/*} | /usr/lib
            ${path%%.*} | /usr/lib/x
            ${stars#a\*b\?} | c\d[e
            ${stars##*\\} | d[e
            ${stars%[e} | a*b?c\d
            ${v#\f} | !0..7 `\f` is not a pattern: `\f` escapes nothing: only * ? \ / and } are escaped
            ${none#x} |
            ${v#$a} | foobarbaz
            ${v%'baz'} | foobar
            ",
        );
    }

    /// Rows: V9, V10
    #[test]
    fn v9_v10_replacement() {
        rows(
            r"
            ${v/ba/fo} | fooforbaz
            ${v//ba/fo} | fooforfoz
            ${v/o*b/-} | f-az
            ${v//a?/X} | foobXbX
            ${v/x/y} | foobarbaz
            ${v//o/} | fbarbaz
            ${v/ba/$a} | foovaluerbaz
            ${path//\//_} | _usr_lib_x.so.1
            ${v/\}/x} | foobarbaz
            ${v//ba/$money} | foo$5r$5z
            ${v/p} | !0..6 `${v/pattern` needs a second `/` and a replacement
            ${v/p/r | !0..7 `${` is not closed: `}` is missing
            ${lines/o*o/X} | one¬two
            ${lines/n*/X} | oX¬two
            ${none/x/y} |
            ",
        );
    }

    /// Rows: H9
    #[test]
    fn h9_here_document_bodies() {
        check_rows(
            r#"
            it's·$a | it's·value
            "$a" | "value"
            '$a' | 'value'
            \$a | $a
            a\\b | a\b
            ${none:-'x'}¬ | 'x'¬
            `$a` | `value`
            "#,
            |body| expand_heredoc(body, &Table).map(|expansion| expansion.value),
        );
    }

    /// Rows: V12
    #[test]
    fn v12_splitting_after_expansion() {
        check_rows(
            r#"
            $two | [x][y]
            "$two" | [x··y]
            80·$two | [80][x][y]
            ··a\·b·· | [a·b]
            '' |
            "a"'b'c | [abc]
            x"·"y·z | [x·y][z]
            $none |
            "#,
            |word| {
                expand_words(word, '\\', &Table)
                    .map(|(words, _)| words.iter().map(|word| format!("[{word}]")).collect())
            },
        );
    }

    #[test]
    fn another_escape_character() {
        let check = |word: &str, expected: &str| {
            assert_eq!(
                expand(word, '`', &Table).expect("a word").value,
                expected,
                "{word}"
            );
        };
        check(r"C:\$a", r"C:\value");
        check("`$a", "$a");
        check("\"`\"x\"", "\"x");
    }

    #[test]
    fn what_was_looked_up() {
        let check = |word: &str, used: &[&str], unset: &[&str]| {
            let expansion = expand(word, '\\', &Table).expect("a word");
            assert_eq!(expansion.used, used, "{word}");
            assert_eq!(expansion.unset, unset, "{word}");
        };
        check("$a ${v} $a", &["a", "v"], &[]);
        check("$none $nil '$x'", &[], &["none", "nil"]);
        check("${none:-$a}", &["a"], &[]);
        check("${none+x}${none#y}", &[], &["none"]);
    }

    #[test]
    fn bombs_end_in_an_error() {
        let deep = format!("{}x{}", "${none:-".repeat(100_000), "}".repeat(100_000));
        let error = expand(&deep, '\\', &Table).expect_err("too deep");
        assert_eq!(
            error.kind,
            ExpandErrorKind::TooDeep {
                depth_max: EXPANSION_DEPTH_MAX
            }
        );
        let error = expand("$big$big$a", '\\', &Table).expect_err("too long");
        assert_eq!(
            error.kind,
            ExpandErrorKind::TooLong {
                bytes_max: EXPANSION_BYTES_MAX
            }
        );
        assert_eq!(error.range, 8..10);
        let error = expand("${big//x/yyyy}", '\\', &Table).expect_err("too long");
        assert_eq!(
            error.kind,
            ExpandErrorKind::TooLong {
                bytes_max: EXPANSION_BYTES_MAX
            }
        );
    }
}
