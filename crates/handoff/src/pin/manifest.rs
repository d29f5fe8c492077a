//! Names of images in YAML: the values of the key `image`, wherever it stands on a line of its own.
//!
//! The text is read line by line and not as a tree, because only the names may change: comments,
//! order and indentation stay as somebody wrote them. Lines of block scalars are somebody else's
//! text and are left alone.

use super::Findings;

const KEY: &str = "image";

/// Finds them.
pub(super) fn find(text: &str) -> Findings {
    let mut found = Findings::default();
    let mut start = 0;
    let mut block: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let begin = start;
        start += line.len();
        let line = line.trim_end_matches(['\n', '\r']);
        let content = line.trim_start_matches(' ');
        let indentation = line.len() - content.len();
        if let Some(outer) = block {
            if content.is_empty() || indentation > outer {
                continue;
            }
            block = None;
        }
        if opens_block(content) {
            block = Some(indentation);
            continue;
        }
        if let Some(value) = value_of_key(line) {
            value.judge(&mut found, text, begin, line);
        } else if in_braces(content) {
            let from = begin + indentation;
            found.leave(
                text,
                from..begin + line.len(),
                "it stands between braces: give `image` a line of its own",
            );
        }
    }
    found
}

/// Where the value of `image` begins on its line.
struct Value {
    at: usize,
}

impl Value {
    fn judge(&self, found: &mut Findings, text: &str, begin: usize, line: &str) {
        let rest = &line[self.at..];
        let (start, end) = match rest.chars().next() {
            // Nothing, a comment, an anchor, a mapping below it, or a template.
            None | Some('#' | '&' | '*' | '|' | '>' | '!') => return,
            Some(quote @ ('"' | '\'')) => match rest[1..].find(quote) {
                Some(length) => (1, 1 + length),
                None => return,
            },
            Some('{') if !rest.starts_with("{{") => return,
            Some(_) => {
                let end = rest.find(" #").unwrap_or(rest.len());
                (0, rest[..end].trim_end().len())
            }
        };
        let bytes = begin + self.at + start..begin + self.at + end;
        let word = &text[bytes.clone()];
        if word.is_empty() {
            return;
        }
        if word.contains("{{") || word.contains("${") || word.contains("$(") {
            found.leave(text, bytes, "a template fills it in");
        } else if word.contains('\\') {
            found.leave(text, bytes, "it is written with escapes");
        } else {
            found.take(text, bytes);
        }
    }
}

/// `image: value`, `- image: value`, `"image": value`.
fn value_of_key(line: &str) -> Option<Value> {
    let mut at = line.len() - line.trim_start().len();
    while let Some(rest) = line[at..].strip_prefix("- ") {
        at = line.len() - rest.trim_start().len();
    }
    let rest = &line[at..];
    let key = [KEY, "\"image\"", "'image'"]
        .into_iter()
        .find(|key| rest.starts_with(key))?;
    let behind = rest[key.len()..].trim_start().strip_prefix(':')?;
    if !behind.is_empty() && !behind.starts_with([' ', '\t']) {
        return None;
    }
    let at = line.len() - behind.trim_start().len();
    Some(Value { at })
}

fn in_braces(content: &str) -> bool {
    let names_image = |piece: &str| {
        let piece = piece.trim_start_matches([' ', '"', '\'']);
        piece
            .strip_prefix(KEY)
            .is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
    };
    !content.starts_with('#')
        && content
            .split(['{', ','])
            .skip(1)
            .any(|piece| content.contains('{') && !content.contains("{{") && names_image(piece))
}

/// `key: |` and its like: the lines below belong to a text.
fn opens_block(content: &str) -> bool {
    if content.starts_with('#') {
        return false;
    }
    let content = content.split(" #").next().unwrap_or_default().trim_end();
    let header = content.rsplit([' ', '\t']).next().unwrap_or_default();
    let is_header = header.starts_with(['|', '>'])
        && header[1..]
            .chars()
            .all(|c| c.is_ascii_digit() || c == '-' || c == '+')
        && header.len() <= 3;
    let before = content[..content.len() - header.len()].trim_end();
    is_header && (before.is_empty() || before.ends_with(':') || before.ends_with('-'))
}
