//! The known word nearest to an unknown one.

/// The candidate that differs from `word` by the fewest insertions, deletions, replacements and
/// swaps of neighbours, where these are few enough to be a slip. Case does not count.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are no slip of anything known, and must not cost time.
    const WORD_CHARS_MAX: usize = 40;
    let word: Vec<char> = word
        .chars()
        .take(WORD_CHARS_MAX + 1)
        .flat_map(char::to_lowercase)
        .collect();
    if word.len() > WORD_CHARS_MAX {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| {
            let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
            (distance(&word, &letters), letters.len(), candidate)
        })
        .filter(|&(distance, length, _)| {
            distance <= (length.max(word.len()) / 3).max(1) && distance < length
        })
        .min_by_key(|&(distance, _, _)| distance)
        .map(|(_, _, candidate)| candidate)
}

/// The optimal string alignment distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_slips_and_nothing_else() {
        let check = |word, expected| {
            assert_eq!(
                nearest(word, ["COPY", "CMD", "FROM", "RUN", "WORKDIR"]),
                expected,
                "{word}"
            );
        };
        check("cpoy", Some("COPY"));
        check("FORM", Some("FROM"));
        check("RNU", Some("RUN"));
        check("workdri", Some("WORKDIR"));
        check("apt-get", None);
        check("x", None);
        check("", None);
    }
}
