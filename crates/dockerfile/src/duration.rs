//! Lengths of time as Go programs write them: `1m30s`, `1.5h`, `250ms`.

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There is nothing, or only a sign.
    #[error("a duration is a number and a unit, such as `30s` or `1m30s`")]
    Empty,
    /// A number does not begin where one should.
    #[error("expected a number at byte {at} of the duration")]
    Number {
        /// Byte offset in the text.
        at: usize,
    },
    /// A number without a unit that is known.
    #[error("expected a unit (ns, us, ms, s, m or h) at byte {at} of the duration")]
    Unit {
        /// Byte offset in the text.
        at: usize,
    },
    /// More than 2⁶³ - 1 nanoseconds, about 292 years.
    #[error("the duration is too long")]
    Overflow,
}

/// The nanoseconds that a text stands for. `0` needs no unit.
pub fn parse(text: &str) -> Result<i64, DurationError> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) | None => (false, text),
    };
    if unsigned == "0" {
        return Ok(0);
    }
    if unsigned.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut total: i128 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        let digits_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(DurationError::Number { at });
        }
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let nanoseconds: i128 = match unit {
            "ns" => 1,
            // The micro sign and the Greek letter look the same and are both in use.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            _ => {
                return Err(DurationError::Unit {
                    at: at + digits_end,
                });
            }
        };
        let whole: i64 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| DurationError::Overflow)?
        };
        total += i128::from(whole) * nanoseconds;
        let mut scale = nanoseconds;
        for digit in fraction.bytes() {
            scale /= 10;
            total += i128::from(digit - b'0') * scale;
        }
        if total > i128::from(i64::MAX) {
            return Err(DurationError::Overflow);
        }
        rest = after;
    }
    let total = i64::try_from(total).map_err(|_| DurationError::Overflow)?;
    Ok(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::{DurationError, parse};

    #[test]
    fn durations() {
        let check = |text: &str, expected: Result<i64, DurationError>| {
            assert_eq!(parse(text), expected, "{text}");
        };
        check("0", Ok(0));
        check("-0", Ok(0));
        check("30s", Ok(30_000_000_000));
        check("1m30s", Ok(90_000_000_000));
        check("1.5h", Ok(5_400_000_000_000));
        check(".5s", Ok(500_000_000));
        check("1.s", Ok(1_000_000_000));
        check("250ms", Ok(250_000_000));
        check("1\u{b5}s2us3ns", Ok(3_003));
        check("-2s", Ok(-2_000_000_000));
        check("", Err(DurationError::Empty));
        check("-", Err(DurationError::Empty));
        check("30", Err(DurationError::Unit { at: 2 }));
        check("5 s", Err(DurationError::Unit { at: 1 }));
        check("s", Err(DurationError::Number { at: 0 }));
        check(".s", Err(DurationError::Number { at: 0 }));
        check("1.2.3s", Err(DurationError::Number { at: 0 }));
        check("1d", Err(DurationError::Unit { at: 1 }));
        check("9999999h", Err(DurationError::Overflow));
        check("99999999999999999999s", Err(DurationError::Overflow));
    }
}
