//! Here-documents: which words of a line announce one, and what its body becomes.

use std::ops::Range;

use crate::line::Line;

/// A `<<word` in a line; its body follows the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeredocWord {
    pub(crate) name: String,
    pub(crate) expand: bool,
    pub(crate) strip_tabs: bool,
    pub(crate) file_descriptor: u32,
    /// Where the whole `<<word` stands in the line.
    pub(crate) range: Range<usize>,
}

/// The here-documents that a line announces, in order (H2). A line whose quotes do not close
/// announces none. `blank_after_arrows`: RUN takes `<< word` for one, COPY does not.
pub(crate) fn heredoc_words(
    line: &Line,
    range: Range<usize>,
    blank_after_arrows: bool,
) -> Vec<HeredocWord> {
    let text = line.str(range.clone());
    if !text.contains("<<") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut characters = text.char_indices().peekable();
    let take = |from: usize, to: usize, found: &mut Vec<HeredocWord>| {
        if let Some(mut word) = heredoc_word(&text[from..to]) {
            word.range = range.start + from..range.start + to;
            found.push(word);
        }
    };
    while let Some((at, c)) = characters.next() {
        match quote {
            Some(open) => {
                if c == open {
                    quote = None;
                } else if c == '\\' && open == '"' {
                    characters.next();
                }
            }
            None if c.is_whitespace() => {
                if let Some(from) = start.take() {
                    take(from, at, &mut found);
                }
            }
            None => {
                start.get_or_insert(at);
                match c {
                    '\'' | '"' => quote = Some(c),
                    '\\' => {
                        characters.next();
                    }
                    '<' if blank_after_arrows
                        && characters.peek().is_some_and(|&(_, next)| next == '<') =>
                    {
                        characters.next();
                        while characters
                            .peek()
                            .is_some_and(|&(_, next)| next.is_whitespace())
                        {
                            characters.next();
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    if quote.is_some() {
        return Vec::new();
    }
    if let Some(from) = start {
        take(from, text.len(), &mut found);
    }
    found
}

/// Reads one word as `digits << -? blanks word` (H2). The range is left empty.
pub(crate) fn heredoc_word(word: &str) -> Option<HeredocWord> {
    let after_digits = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &word[..word.len() - after_digits.len()];
    let rest = after_digits.strip_prefix("<<")?;
    let (rest, strip_tabs) = match rest.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let rest = rest.trim_start();
    if rest.contains('<') {
        return None;
    }
    let (name, quoted) = unquote(rest)?;
    Some(HeredocWord {
        name,
        expand: !quoted,
        strip_tabs,
        file_descriptor: digits.parse().unwrap_or(0),
        range: 0..0,
    })
}

/// Removes quotes and backslashes. Nothing, if that does not leave exactly one word.
fn unquote(word: &str) -> Option<(String, bool)> {
    let mut name = String::new();
    let mut quoted = false;
    let mut quote = None;
    let mut characters = word.chars().peekable();
    while let Some(c) = characters.next() {
        match quote {
            Some(open) if c == open => quote = None,
            Some('"') if c == '\\' => match characters.peek() {
                Some('"' | '$' | '\\') => name.extend(characters.next()),
                Some(_) | None => name.push(c),
            },
            Some(_) => name.push(c),
            None if c == '\'' || c == '"' => {
                quoted = true;
                quote = Some(c);
            }
            None if c == '\\' => name.extend(characters.next()),
            None if c.is_whitespace() => return None,
            None => name.push(c),
        }
    }
    (quote.is_none() && !name.is_empty()).then_some((name, quoted))
}

#[cfg(test)]
mod tests {
    use super::{heredoc_word, heredoc_words};
    use crate::line::Line;

    #[test]
    fn which_words_are_here_documents() {
        let check = |word: &str, expected: Option<(&str, bool, bool, u32)>| {
            let found = heredoc_word(word);
            let found = found.as_ref().map(|word| {
                (
                    word.name.as_str(),
                    word.expand,
                    word.strip_tabs,
                    word.file_descriptor,
                )
            });
            assert_eq!(found, expected, "{word}");
        };
        check("<<EOF", Some(("EOF", true, false, 0)));
        check("<<-EOF", Some(("EOF", true, true, 0)));
        check("3<<EOF", Some(("EOF", true, false, 3)));
        check("<<'EOF'", Some(("EOF", false, false, 0)));
        check("<<E\"O\"F", Some(("EOF", false, false, 0)));
        check("<<\"a b\"", Some(("a b", false, false, 0)));
        check("<<$EOF", Some(("$EOF", true, false, 0)));
        check("<<<EOF", None);
        check("a<<EOF", None);
        check("<<", None);
        check("<<-", None);
        check("<<a b", None);
        check("<<'a", None);
    }

    #[test]
    fn which_lines_announce_here_documents() {
        let check = |text: &str, blank_after_arrows, expected: &[&str]| {
            let mut line = Line::default();
            line.push(text, 0);
            let found = heredoc_words(&line, 0..text.len(), blank_after_arrows);
            let names: Vec<&str> = found.iter().map(|word| word.name.as_str()).collect();
            assert_eq!(names, expected, "{text}");
        };
        check("cat <<A - <<B > x", true, &["A", "B"]);
        check("cat << A", true, &["A"]);
        check("<< A /x", false, &[]);
        check("echo '<<A' \"<<B\" \\<<C", true, &[]);
        check("echo it's <<A", true, &[]);
        check("cat <<< word", true, &[]);
        check("a<<b", true, &[]);
    }
}
