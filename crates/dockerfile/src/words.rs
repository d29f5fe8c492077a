//! The ways in which an instruction's text is cut into words. There are three, because the dialect
//! has three: at blanks; at blanks outside quotes; and flags, whose quotes are removed.

use std::ops::Range;

use crate::line::Line;

/// The blanks that separate plain words. Narrower than white space in general.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

/// Words between blanks; quotes mean nothing (FROM, EXPOSE, and COPY, ADD, VOLUME without JSON).
pub(crate) fn between_blanks(line: &Line, range: Range<usize>) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in line.str(range.clone()).char_indices() {
        let at = range.start + at;
        match (is_blank(c), start) {
            (true, Some(from)) => {
                words.push(from..at);
                start = None;
            }
            (false, None) => start = Some(at),
            (true, None) | (false, Some(_)) => {}
        }
    }
    if let Some(from) = start {
        words.push(from..range.end);
    }
    words
}

/// Words between white space outside quotes; quotes and escapes are kept (ARG, ENV, LABEL).
/// An unclosed quote reaches to the end.
pub(crate) fn outside_quotes(line: &Line, range: Range<usize>, escape: char) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut characters = line.str(range.clone()).char_indices();
    while let Some((at, c)) = characters.next() {
        let at = range.start + at;
        match quote {
            Some(open) => {
                if c == open {
                    quote = None;
                } else if c == escape && open != '\'' {
                    characters.next();
                }
            }
            None if c.is_whitespace() => {
                if let Some(from) = start.take() {
                    words.push(from..at);
                }
            }
            None => {
                start.get_or_insert(at);
                if c == '\'' || c == '"' {
                    quote = Some(c);
                } else if c == escape {
                    characters.next();
                }
            }
        }
    }
    if let Some(from) = start {
        words.push(from..range.end);
    }
    words
}

/// One `--name` or `--name=value`.
#[derive(Debug)]
pub(crate) struct FlagWord {
    /// Without the dashes.
    pub(crate) name: String,
    /// Without quotes; nothing when there was no `=`.
    pub(crate) value: Option<String>,
    /// The whole word.
    pub(crate) word: Range<usize>,
    /// What stands after `=`, or the whole word.
    pub(crate) value_range: Range<usize>,
    /// From the quote that is not closed, and so took everything behind it.
    pub(crate) open_quote: Option<Range<usize>>,
}

/// Takes the flags off the front of an instruction's arguments; `--` ends them (P14). In flags the
/// backslash escapes, whatever the escape directive says. Returns what is left.
pub(crate) fn take_flags(line: &Line, range: Range<usize>) -> (Vec<FlagWord>, Range<usize>) {
    let mut flags = Vec::new();
    let mut rest = line.trim(range);
    while line.str(rest.clone()).starts_with("--") {
        let (flag, end) = flag_word(line, rest.clone());
        rest = line.trim(end..rest.end);
        match flag {
            Some(flag) => flags.push(flag),
            None => break,
        }
    }
    (flags, rest)
}

/// The flag at the start of the range, or nothing for a lone `--`, and where it ends.
fn flag_word(line: &Line, range: Range<usize>) -> (Option<FlagWord>, usize) {
    let mut content = String::new();
    let mut equals = None;
    let mut quote = None;
    let mut opened = range.start;
    let mut end = range.end;
    let mut characters = line.str(range.clone()).char_indices();
    while let Some((at, c)) = characters.next() {
        let c = match quote {
            Some(open) if c == open => {
                quote = None;
                continue;
            }
            None if c.is_whitespace() => {
                end = range.start + at;
                break;
            }
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                opened = range.start + at;
                continue;
            }
            Some(_) | None if c == '\\' => match characters.next() {
                Some((_, escaped)) => escaped,
                None => break,
            },
            Some(_) | None => c,
        };
        if c == '=' && equals.is_none() {
            equals = Some((content.len(), range.start + at + 1));
        }
        content.push(c);
    }
    if content == "--" {
        return (None, end);
    }
    let open_quote = quote.map(|_| opened..end);
    let flag = match equals {
        Some((at, value_start)) => FlagWord {
            open_quote,
            name: content[2.min(at)..at].to_owned(),
            value: Some(content[at + 1..].to_owned()),
            word: range.start..end,
            value_range: value_start..end,
        },
        None => FlagWord {
            open_quote,
            name: content.get(2..).unwrap_or_default().to_owned(),
            value: None,
            word: range.start..end,
            value_range: range.start..end,
        },
    };
    (Some(flag), end)
}
