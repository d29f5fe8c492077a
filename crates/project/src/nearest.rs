//! The known word that an unknown one was probably meant to be.

/// Words of more characters are no slip of anything known, and must not cost time.
const WORD_CHARS_MAX: usize = 40;

/// The candidate with the fewest single changes, where these are few enough to be a slip. Case, `-`
/// and `_` do not count.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = letters(word);
    if word.len() > WORD_CHARS_MAX {
        return None;
    }
    let scored = candidates.into_iter().filter_map(|candidate| {
        let known = letters(candidate);
        let changes = changes(&word, &known);
        let bearable = (known.len().max(word.len()) / 3).max(1);
        (changes <= bearable && changes < known.len()).then_some((changes, candidate))
    });
    let best = scored.min_by_key(|(changes, _)| *changes);
    best.map(|(_, candidate)| candidate)
}

fn letters(word: &str) -> Vec<char> {
    let separators = ['-', '_'];
    let letters = word.chars().filter(|letter| !separators.contains(letter));
    let letters = letters.flat_map(char::to_lowercase);
    letters.take(WORD_CHARS_MAX + 1).collect()
}

/// How many letters must be put in, taken out, replaced, or swapped with their neighbour.
fn changes(from: &[char], to: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_found_and_nothing_else() {
        let known = ["registry", "prefix", "images", "channel-layout", "tags"];
        let check = |word, expected| assert_eq!(nearest(word, known), expected, "{word}");
        check("registy", Some("registry"));
        check("image", Some("images"));
        check("ChannelLayout", Some("channel-layout"));
        check("channel_layout", Some("channel-layout"));
        check("tgas", Some("tags"));
        check("x", None);
        check("something", None);
        check(&"i".repeat(1_000), None);
    }
}
