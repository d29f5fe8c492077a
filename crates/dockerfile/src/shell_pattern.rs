//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}` (V8-V10): `*` and `?` are wild, nothing else.
//! Neither crosses a line end, as in the reference. Time grows with text length times pattern
//! length, never faster.

/// The longest pattern, in characters. Together with the limit on values it bounds the time that
/// one substitution can take.
pub const PATTERN_CHARS_MAX: usize = 1024;

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A backslash before a character that needs none.
    #[error("`\\{escaped}` escapes nothing: only * ? \\ / and }} are escaped")]
    Escape {
        /// That character.
        escaped: char,
    },
    /// A backslash at the end.
    #[error("it ends in a lone backslash")]
    TrailingBackslash,
    /// More than [`PATTERN_CHARS_MAX`] characters.
    #[error("it is longer than {chars_max} characters")]
    TooLong {
        /// The limit.
        chars_max: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Character(char),
    One,
    Any,
}

/// A pattern that can be matched.
#[derive(Debug, Clone)]
pub(crate) struct ShellPattern(Vec<Token>);

impl ShellPattern {
    pub(crate) fn parse(pattern: &str) -> Result<Self, PatternError> {
        let mut tokens = Vec::new();
        let mut characters = pattern.chars();
        while let Some(c) = characters.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '/' | '}')) => Token::Character(escaped),
                    Some(escaped) => return Err(PatternError::Escape { escaped }),
                    None => return Err(PatternError::TrailingBackslash),
                },
                _ => Token::Character(c),
            });
            if tokens.len() > PATTERN_CHARS_MAX {
                return Err(PatternError::TooLong {
                    chars_max: PATTERN_CHARS_MAX,
                });
            }
        }
        // Two stars match what one does.
        tokens.dedup_by(|a, b| *a == Token::Any && *b == Token::Any);
        Ok(Self(tokens))
    }

    /// `value` without the shortest or longest beginning that matches.
    pub(crate) fn strip_prefix<'v>(&self, value: &'v str, longest: bool) -> &'v str {
        let ends = matches_at_start(
            &self.0,
            value.char_indices().map(|(at, c)| (at + c.len_utf8(), c)),
            0,
            longest,
        );
        ends.map_or(value, |end| &value[end..])
    }

    /// `value` without the shortest or longest end that matches.
    pub(crate) fn strip_suffix<'v>(&self, value: &'v str, longest: bool) -> &'v str {
        let reversed: Vec<Token> = self.0.iter().rev().copied().collect();
        let start = matches_at_start(&reversed, value.char_indices().rev(), value.len(), longest);
        start.map_or(value, |start| &value[..start])
    }

    /// `value` with the first or all leftmost-longest matches replaced; nothing if that is longer
    /// than `bytes_max`.
    pub(crate) fn replace(
        &self,
        value: &str,
        replacement: &str,
        all: bool,
        bytes_max: usize,
    ) -> Option<String> {
        let mut replaced = String::new();
        let mut at = 0;
        let mut last_end = None;
        while let Some((start, end)) = self.find(value, at) {
            // An empty match right behind the last match is none.
            if start == end && last_end == Some(start) {
                let Some(c) = value[start..].chars().next() else {
                    break;
                };
                replaced.push(c);
                at = start + c.len_utf8();
                last_end = None;
                continue;
            }
            replaced.push_str(&value[at..start]);
            replaced.push_str(replacement);
            at = end;
            last_end = Some(end);
            if replaced.len() > bytes_max {
                return None;
            }
            if !all {
                break;
            }
        }
        replaced.push_str(&value[at.min(value.len())..]);
        (replaced.len() <= bytes_max).then_some(replaced)
    }

    /// The leftmost match at or after `from`, as long as it can be.
    fn find(&self, value: &str, from: usize) -> Option<(usize, usize)> {
        let accept = self.0.len();
        // For each place in the pattern, the leftmost start of a match that has come so far.
        let mut states: Vec<Option<usize>> = vec![None; accept + 1];
        let mut best: Option<(usize, usize)> = None;
        let mut at = from;
        let mut rest = value[from..].chars();
        loop {
            if best.is_none() && states[0].is_none() {
                states[0] = Some(at);
            }
            // A star may also match nothing.
            for place in 0..accept {
                if self.0[place] == Token::Any {
                    states[place + 1] = leftmost(states[place + 1], states[place]);
                }
            }
            if let Some(start) = states[accept]
                && best.is_none_or(|(known, _)| start <= known)
            {
                best = Some((start, at));
            }
            // Whatever began behind the best match cannot replace it.
            if let Some((start, _)) = best {
                for state in &mut states {
                    *state = state.filter(|began| *began <= start);
                }
            }
            let Some(c) = rest.next() else { break };
            let mut next = vec![None; accept + 1];
            let mut alive = false;
            for (place, start) in states.iter().take(accept).enumerate() {
                let Some(start) = *start else { continue };
                let target = match self.0[place] {
                    Token::Character(expected) if expected == c => place + 1,
                    Token::One if c != '\n' => place + 1,
                    Token::Any if c != '\n' => place,
                    Token::Character(_) | Token::One | Token::Any => continue,
                };
                next[target] = leftmost(next[target], Some(start));
                alive = true;
            }
            states = next;
            at += c.len_utf8();
            if !alive && best.is_some() {
                break;
            }
        }
        best
    }
}

fn leftmost(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (found, None) | (None, found) => found,
    }
}

/// Matches from the first character on. `characters` yields each with the offset behind it; the
/// answer is the offset at which the shortest or longest match ends.
fn matches_at_start(
    tokens: &[Token],
    characters: impl Iterator<Item = (usize, char)>,
    origin: usize,
    longest: bool,
) -> Option<usize> {
    let accept = tokens.len();
    let mut states = vec![false; accept + 1];
    states[0] = true;
    let mut best = None;
    let mut at = origin;
    let mut characters = characters;
    loop {
        for place in 0..accept {
            if states[place] && tokens[place] == Token::Any {
                states[place + 1] = true;
            }
        }
        if states[accept] {
            best = Some(at);
            if !longest {
                return best;
            }
        }
        let Some((behind, c)) = characters.next() else {
            return best;
        };
        let mut next = vec![false; accept + 1];
        let mut alive = false;
        for place in 0..accept {
            if !states[place] {
                continue;
            }
            let target = match tokens[place] {
                Token::Character(expected) if expected == c => place + 1,
                Token::One if c != '\n' => place + 1,
                Token::Any if c != '\n' => place,
                Token::Character(_) | Token::One | Token::Any => continue,
            };
            next[target] = true;
            alive = true;
        }
        if !alive {
            return best;
        }
        states = next;
        at = behind;
    }
}
