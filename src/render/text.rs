//! Text that others wrote, made fit for a terminal or a log.
//!
//! What a step prints, what a Dockerfile says and what a registry answers is not trusted: it could
//! move the cursor, rewrite the title or the clipboard of a terminal, or give orders to a CI agent
//! that reads the log. What comes out of here is text and nothing else.

use engine::Event;

/// The longest line of a step's output that is shown, in bytes; the rest is counted.
pub(crate) const LINE_BYTES_MAX: usize = 8 * 1024;

/// The longest title of a step that is shown, in characters.
pub(crate) const TITLE_CHARACTERS_MAX: usize = 200;

/// Whether colours survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    /// SGR sequences stay; a line that has one ends with a reset.
    Keep,
    /// Nothing but text stays.
    Strip,
}

/// One line of foreign bytes as text: escape sequences and control characters removed, what is not
/// UTF-8 replaced, characters that reorder text spelt out, orders to CI agents broken.
pub(crate) fn neutralise(bytes: &[u8], colours: Colours) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\t' => out.push(character),
            '\u{1b}' => {
                if let Some(sequence) = skip_escape(&mut rest)
                    && colours == Colours::Keep
                {
                    out.push_str(&sequence);
                    coloured = true;
                }
            }
            '\u{9b}' => {
                skip_control_sequence(&mut rest);
            }
            // The eight-bit forms of the strings that `skip_escape` knows by two characters.
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut rest),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => {}
            // Bidirectional controls and line separators: a log must read in the order in which it
            // was written (CVE-2021-42574).
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => {
                out.extend(character.escape_unicode());
            }
            _ => out.push(character),
        }
    }
    if coloured {
        out.push_str("\u{1b}[0m");
    }
    break_agent_commands(&out)
}

/// Several lines, each made fit by itself.
pub(crate) fn neutralise_lines(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| neutralise(line.as_bytes(), Colours::Strip))
        .collect();
    lines.join("\n")
}

/// A step's title on one line of bounded length.
pub(crate) fn title(text: &str) -> String {
    let one_line = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let clean = neutralise(one_line.as_bytes(), Colours::Strip);
    match clean.char_indices().nth(TITLE_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

/// `##vso[…]` (Azure Pipelines) and `##[…]` (GitHub Actions, older form) are obeyed wherever they
/// stand in a line. `::command::` is obeyed only at its beginning, where kiln never prints foreign
/// text.
fn break_agent_commands(text: &str) -> String {
    if !text.contains("##") {
        return text.to_owned();
    }
    text.replace("##vso[", "# #vso[").replace("##[", "# #[")
}

/// Takes what follows an ESC. Returns the whole sequence when it sets colours.
fn skip_escape(rest: &mut std::str::Chars<'_>) -> Option<String> {
    let mut ahead = rest.clone();
    match ahead.next() {
        Some('[') => {
            *rest = ahead;
            let body = skip_control_sequence(rest)?;
            body.ends_with('m').then(|| format!("\u{1b}[{body}"))
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            *rest = ahead;
            skip_string(rest);
            None
        }
        _ => {
            // Intermediate characters, then one final character.
            let mut ahead = rest.clone();
            while let Some(character) = ahead.next() {
                match character {
                    ' '..='/' => *rest = ahead.clone(),
                    '0'..='~' => {
                        *rest = ahead;
                        break;
                    }
                    _ => break,
                }
            }
            None
        }
    }
}

/// Takes parameters and the final character of a control sequence. Returns them when there is
/// nothing in them but digits and separators.
fn skip_control_sequence(rest: &mut std::str::Chars<'_>) -> Option<String> {
    let mut body = String::new();
    let mut plain = true;
    loop {
        let mut ahead = rest.clone();
        let character = ahead.next()?;
        match character {
            '0'..='9' | ';' | ':' => {}
            ' '..='?' => plain = false,
            '@'..='~' => {
                *rest = ahead;
                body.push(character);
                return plain.then_some(body);
            }
            // Not part of any sequence: leave it to the caller.
            _ => return None,
        }
        body.push(character);
        *rest = ahead;
    }
}

/// Takes a string up to its terminator: BEL, ESC \ or U+009C. Without one it reaches to the end of
/// the line, as terminals have it.
fn skip_string(rest: &mut std::str::Chars<'_>) {
    while let Some(character) = rest.next() {
        match character {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                let mut ahead = rest.clone();
                if ahead.next() == Some('\\') {
                    *rest = ahead;
                }
                return;
            }
            _ => {}
        }
    }
}

/// Puts the lines of one step together from the pieces in which they arrive.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    /// Bytes of the current line beyond the bound.
    dropped_bytes: usize,
    /// The last byte was a carriage return that has ended a line already.
    after_return: bool,
}

impl Lines {
    /// Takes a piece and gives every line that it completes to `emit`. A carriage return ends a
    /// line as a newline does, so that nothing can overwrite what was shown.
    pub(crate) fn push(&mut self, piece: &[u8], emit: &mut dyn FnMut(&[u8])) {
        for byte in piece {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' => self.end(emit),
                b'\r' => {
                    // A bar that is redrawn begins with a return: not an empty line.
                    if !self.partial.is_empty() {
                        self.end(emit);
                        self.after_return = true;
                    }
                }
                _ => {
                    self.after_return = false;
                    if self.partial.len() < LINE_BYTES_MAX {
                        self.partial.push(*byte);
                    } else {
                        self.dropped_bytes += 1;
                    }
                }
            }
        }
    }

    /// Gives out what is left when no more will come.
    pub(crate) fn finish(&mut self, emit: &mut dyn FnMut(&[u8])) {
        if !self.partial.is_empty() {
            self.end(emit);
        }
    }

    fn end(&mut self, emit: &mut dyn FnMut(&[u8])) {
        if self.dropped_bytes > 0 {
            // The cut may be inside a character; what is left of it shows as U+FFFD.
            let note = format!("… ({} bytes more on this line)", self.dropped_bytes);
            self.partial.extend_from_slice(note.as_bytes());
        }
        emit(&self.partial);
        self.partial.clear();
        self.dropped_bytes = 0;
    }
}

/// A finding about a Dockerfile in one line: where, which rule, what, and what to do.
pub(crate) fn finding(event: &Event) -> Option<String> {
    let Event::Finding {
        message,
        rule,
        hint,
        file,
        line,
        column,
    } = event
    else {
        return None;
    };
    let rule = rule.map_or_else(String::new, |rule| format!("{rule}: "));
    let hint = hint
        .as_ref()
        .map_or_else(String::new, |hint| format!("; {hint}"));
    Some(neutralise_lines(&format!(
        "{file}:{line}:{column}: {rule}{message}{hint}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], stripped: &str) {
        assert_eq!(neutralise(bytes, Colours::Strip), stripped, "{bytes:?}");
    }

    #[test]
    fn nothing_but_text_comes_through() {
        check(b"plain\ttext", "plain\ttext");
        check(b"\x1b[1;31mred\x1b[0m", "red");
        check(b"\x1b[2J\x1b[Hhome", "home");
        check(b"\x1b[?25lhidden", "hidden");
        check(b"\x1b]0;title\x07after", "after");
        check(b"\x1b]52;c;ZXZpbA==\x1b\\after", "after");
        check(b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link");
        check(b"\x1b]0;never ends", "");
        check(b"\x1bPq#0\x1b\\sixel", "sixel");
        check(b"\x1b(Bcharset\x1b7\x1b8", "charset");
        check(b"\x1bcreset", "reset");
        check(b"bell\x07 back\x08space\x7f", "bell backspace");
        check("\u{9b}31meight bit".as_bytes(), "eight bit");
        check("\u{9d}0;title\u{9c}after".as_bytes(), "after");
        check(b"ends with \x1b", "ends with ");
        check(b"ends with \x1b[31", "ends with ");
        check("broken \u{1b}[3é".as_bytes(), "broken é");
        check(b"not \xff utf-8", "not \u{fffd} utf-8");
        check("a\u{202e}b".as_bytes(), "a\\u{202e}b");
    }

    #[test]
    fn orders_to_agents_are_broken() {
        check(
            b"x ##vso[task.setvariable variable=A]b",
            "x # #vso[task.setvariable variable=A]b",
        );
        check(b"##[add-path]/evil", "# #[add-path]/evil");
        check(b"##\x1b[0mvso[x]", "# #vso[x]");
        check(b"## heading", "## heading");
    }

    #[test]
    fn colours_can_be_kept_and_always_end() {
        let keep = |bytes: &[u8]| neutralise(bytes, Colours::Keep);
        assert_eq!(keep(b"\x1b[31mred"), "\u{1b}[31mred\u{1b}[0m");
        assert_eq!(keep(b"\x1b[2Jcleared"), "cleared");
        assert_eq!(keep(b"\x1b[>4;1mnot a colour"), "not a colour");
    }

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut assembled = Lines::default();
        let mut found = Vec::new();
        let mut emit = |line: &[u8]| found.push(String::from_utf8_lossy(line).into_owned());
        for piece in pieces {
            assembled.push(piece, &mut emit);
        }
        assembled.finish(&mut emit);
        found
    }

    #[test]
    fn lines_are_put_together() {
        assert_eq!(
            lines(&[b"a\nb", b"c\n", b"\nlast"]),
            ["a", "bc", "", "last"]
        );
        assert_eq!(lines(&[b"a\r\nb\r", b"\nc"]), ["a", "b", "c"]);
        assert_eq!(lines(&[b"\r10%\r20%\rdone\n"]), ["10%", "20%", "done"]);
        assert_eq!(lines(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let long = vec![b'x'; LINE_BYTES_MAX + 7];
        let found = lines(&[&long, b"\nnext\n"]);
        assert!(found[0].ends_with("… (7 bytes more on this line)"));
        assert!(found[0].len() < LINE_BYTES_MAX + 64);
        assert_eq!(found[1], "next");
    }

    #[test]
    fn titles_are_one_bounded_line() {
        assert_eq!(title("[1/2] RUN <<E\n  a\n  b\nE"), "[1/2] RUN <<E a b E");
        assert_eq!(
            title(&"é".repeat(300)).chars().count(),
            TITLE_CHARACTERS_MAX + 1
        );
    }
}
