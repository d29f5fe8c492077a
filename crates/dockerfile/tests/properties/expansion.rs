//! Expansion ends within its bound, says what it used, depends on nothing else, and takes and
//! replaces the parts of values that a slow and simple matcher would.
//!
//! An input is a word, and after zero bytes the values of `a`, `b` and `c`.

use std::collections::BTreeMap;

use dockerfile::{EXPANSION_BYTES_MAX, Variables, expand, expand_heredoc, expand_words};

struct Values(BTreeMap<String, String>);

impl Variables for Values {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

/// Panics where the property does not hold of `input`.
pub(crate) fn holds(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.split('\0');
    let word = parts.next().unwrap_or_default();
    let names = ["a", "b", "c"].into_iter();
    let values = Values(
        names
            .zip(parts)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    );
    for escape in ['\\', '`'] {
        check(word, escape, &values);
    }
    if let Ok(body) = expand_heredoc(word, &values) {
        assert!(body.value.len() <= EXPANSION_BYTES_MAX);
        if !word.contains(['$', '\\']) {
            assert_eq!(
                body.value, word,
                "nothing in a body is special but `$` and `\\`"
            );
        }
    }
    if let Some(value) = values.0.get("a") {
        pattern(word, value);
    }
}

fn check(word: &str, escape: char, values: &Values) {
    let (words, expansion) = match expand_words(word, escape, values) {
        Ok(found) => found,
        Err(error) => {
            let range = error.range.clone();
            assert!(word.get(range).is_some(), "{error:?} is not in {word:?}");
            assert_eq!(expand(word, escape, values), Err(error));
            return;
        }
    };
    assert_eq!(expand(word, escape, values).as_ref(), Ok(&expansion));
    assert!(expansion.value.len() <= EXPANSION_BYTES_MAX);
    assert!(
        words
            .iter()
            .all(|word| !word.is_empty() && expansion.value.contains(word))
    );
    if !word.contains(['$', '"', '\'', escape]) {
        assert_eq!(expansion.value, word, "nothing in it is special");
    }
    let mut named: Vec<_> = expansion.used.iter().chain(&expansion.unset).collect();
    let all = named.len();
    named.sort();
    named.dedup();
    assert_eq!(
        named.len(),
        all,
        "each variable is named once: {expansion:?}"
    );
    assert!(
        expansion
            .used
            .iter()
            .all(|name| values.0.contains_key(name))
    );
    assert!(
        expansion
            .unset
            .iter()
            .all(|name| !values.0.contains_key(name))
    );
    // Whatever else is set makes no difference.
    let mut only = values.0.clone();
    only.retain(|name, _| expansion.used.contains(name));
    assert_eq!(expand(word, escape, &Values(only)), Ok(expansion));
}

/// `${v#p}` and its like against a matcher that tries everything. Only patterns and values
/// whose characters mean nothing else, and few: it takes its time.
fn pattern(pattern: &str, value: &str) {
    let plain = |c: char| c.is_ascii_lowercase();
    if pattern.is_empty()
        || pattern.len() > 8
        || value.len() > 12
        || !pattern.chars().all(|c| plain(c) || matches!(c, '*' | '?'))
        || !value.chars().all(plain)
    {
        return;
    }
    let values = Values(BTreeMap::from([("v".to_owned(), value.to_owned())]));
    let found = |modifier: &str| {
        let word = format!("${{v{modifier}}}");
        expand(&word, '\\', &values)
            .expect("a simple pattern")
            .value
    };
    let (pattern_bytes, bytes) = (pattern.as_bytes(), value.as_bytes());
    let mut all = 0..=bytes.len();
    let matching = |start: usize, end: usize| matches(pattern_bytes, &bytes[start..end]);
    let mut prefixes = all.clone().filter(|end| matching(0, *end));
    let shortest = prefixes.next();
    let longest = prefixes.next_back().or(shortest);
    assert_eq!(
        found(&format!("#{pattern}")),
        value[shortest.unwrap_or(0)..]
    );
    assert_eq!(
        found(&format!("##{pattern}")),
        value[longest.unwrap_or(0)..]
    );
    let end = bytes.len();
    let mut suffixes = all.clone().rev().filter(|start| matching(*start, end));
    let shortest = suffixes.next();
    let longest = suffixes.next_back().or(shortest);
    assert_eq!(
        found(&format!("%{pattern}")),
        value[..shortest.unwrap_or(end)]
    );
    assert_eq!(
        found(&format!("%%{pattern}")),
        value[..longest.unwrap_or(end)]
    );
    let leftmost = all.find_map(|start| {
        let end = (start..=end).rev().find(|end| matching(start, *end))?;
        Some((start, end))
    });
    let replaced = match leftmost {
        Some((start, end)) => format!("{}+{}", &value[..start], &value[end..]),
        None => value.to_owned(),
    };
    assert_eq!(found(&format!("/{pattern}/+")), replaced);
}

/// Whether the pattern matches the whole text.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|taken| matches(rest, &text[taken..])),
        Some((b'?', rest)) => text
            .split_first()
            .is_some_and(|(_, text)| matches(rest, text)),
        Some((first, rest)) => text.first() == Some(first) && matches(rest, &text[1..]),
    }
}
