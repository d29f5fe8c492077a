//! Hides secrets in what a command prints, wherever the pieces of its output begin and end.

use std::collections::HashMap;

/// What stands for a secret.
const HIDDEN: &[u8] = b"****";

/// The shortest text that is hidden, in bytes: a shorter one cannot be told from any other text.
const VALUE_BYTES_MIN: usize = 3;

/// The shortest line of a longer secret that is hidden by itself.
const LINE_BYTES_MIN: usize = 8;

/// What is to be hidden.
#[derive(Default)]
pub(crate) struct Redactor {
    /// By how they begin, since a secret may have thousands of lines and the output be long; of
    /// one beginning the longest first, so that a whole secret is one mark.
    values: HashMap<[u8; VALUE_BYTES_MIN], Vec<Vec<u8>>>,
    /// The beginnings, in order.
    begins: Vec<[u8; VALUE_BYTES_MIN]>,
}

impl Redactor {
    /// Hides these, with and without the end of their last line, and each of their lines.
    pub(crate) fn new<'v>(secrets: impl Iterator<Item = &'v [u8]>) -> Self {
        let mut values: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            let trimmed = secret.trim_ascii_end();
            if trimmed.len() >= VALUE_BYTES_MIN {
                values.push(trimmed.to_vec());
            }
            let lines = trimmed.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            values.extend(
                lines
                    .filter(|line| line.len() >= LINE_BYTES_MIN && *line != trimmed)
                    .map(<[u8]>::to_vec),
            );
        }
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        let mut by_begin: HashMap<_, Vec<_>> = HashMap::new();
        for value in values {
            if let Some(begin) = value.first_chunk() {
                by_begin.entry(*begin).or_default().push(value);
            }
        }
        let mut begins: Vec<_> = by_begin.keys().copied().collect();
        begins.sort_unstable();
        Self {
            values: by_begin,
            begins,
        }
    }

    /// Whether a value may begin with what is too short to say so.
    fn may_begin(&self, rest: &[u8]) -> bool {
        let at = self.begins.partition_point(|begin| &begin[..] < rest);
        let next = self.begins.get(at);
        next.is_some_and(|begin| begin.starts_with(rest))
    }

    /// A text without secrets.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut stream = self.stream();
        let mut shown = stream.push(text.as_bytes());
        shown.extend(stream.finish());
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// For one stream of output.
    pub(crate) fn stream(&self) -> Stream<'_> {
        Stream {
            redactor: self,
            held: Vec::new(),
        }
    }
}

/// One stream of output on its way.
pub(crate) struct Stream<'r> {
    redactor: &'r Redactor,
    /// The end of what came, which may be the beginning of a secret.
    held: Vec<u8>,
}

impl Stream<'_> {
    /// Takes a piece, and gives what can be shown.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.redactor.values.is_empty() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        self.shown(false)
    }

    /// Gives what was held back: nothing more comes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.shown(true)
    }

    fn shown(&mut self, ended: bool) -> Vec<u8> {
        let mut shown = Vec::with_capacity(self.held.len());
        let mut at = 0;
        'bytes: while at < self.held.len() {
            let rest = &self.held[at..];
            match rest.first_chunk() {
                Some(begin) => {
                    for value in self.redactor.values.get(begin).into_iter().flatten() {
                        if rest.starts_with(value) {
                            shown.extend_from_slice(HIDDEN);
                            at += value.len();
                            continue 'bytes;
                        }
                        // A longer one may still come, and is looked for first.
                        if !ended && value.starts_with(rest) {
                            break 'bytes;
                        }
                    }
                }
                None if !ended && self.redactor.may_begin(rest) => break 'bytes,
                None => {}
            }
            shown.push(rest[0]);
            at += 1;
        }
        self.held.drain(..at);
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::Redactor;

    /// Every way to cut the output in two must show the same.
    fn check(secrets: &[&str], output: &str, expected: &str) {
        let redactor = Redactor::new(secrets.iter().map(|secret| secret.as_bytes()));
        for cut in 0..=output.len() {
            let mut stream = redactor.stream();
            let mut shown = stream.push(&output.as_bytes()[..cut]);
            shown.extend(stream.push(&output.as_bytes()[cut..]));
            shown.extend(stream.finish());
            assert_eq!(String::from_utf8_lossy(&shown), expected, "cut at {cut}");
        }
        let mut stream = redactor.stream();
        let mut shown: Vec<u8> = output
            .bytes()
            .flat_map(|byte| stream.push(&[byte]))
            .collect();
        shown.extend(stream.finish());
        assert_eq!(String::from_utf8_lossy(&shown), expected, "byte by byte");
    }

    #[test]
    fn secrets_are_hidden_wherever_output_is_cut() {
        check(&["hunter2\n"], "a hunter2 b hunter2", "a **** b ****");
        check(&["hunter2"], "hunter1 hunter hunte", "hunter1 hunter hunte");
        check(&["aab"], "aaab aaaab", "a**** aa****");
        check(&["abc", "abcdef"], "abcdef abcde abc", "**** ****de ****");
        check(
            &["one line\nanother line\n"],
            "one line\nanother line\n",
            "****\n",
        );
        check(
            &["one line\nanother line\n"],
            "> another line\n",
            "> ****\n",
        );
        check(&["ab", ""], "ab ab", "ab ab");
        check(&[], "text", "text");
        check(&["é secret"], "an é secret", "an ****");
        // One that is too short to be told from other text stays.
        check(&["a", "\n", "bc"], "banana bcbc", "banana bcbc");
        check(
            &["abc", "abd", "xyz"],
            "ab abd xy xyz ab",
            "ab **** xy **** ab",
        );
    }

    /// A secret of thousands of lines does not make every byte of output cost thousands of looks.
    #[test]
    fn a_secret_of_many_lines_is_looked_up_by_how_lines_begin() {
        let lines: String = (0..20_000).map(|n| format!("{n:05}-a-line\n")).collect();
        let redactor = Redactor::new([lines.as_bytes()].into_iter());
        let most = redactor.values.values().map(Vec::len).max();
        // And the whole secret, which begins like its first line.
        assert_eq!(most, Some(101));
        let mut stream = redactor.stream();
        let mut shown = stream.push(b"> 12345-a-line\n> 12345-a-lin");
        shown.extend(stream.finish());
        assert_eq!(shown, b"> ****\n> 12345-a-lin");
    }
}
