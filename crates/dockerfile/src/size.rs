//! Amounts of memory and disk as docker writes them: `64m`, `1.5GB`, `100`.

/// Why a text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Neither a number nor a number with a unit.
    #[error("`{value}` is not a size: expected a number of bytes, or one with k, m or g behind it")]
    Form {
        /// The value.
        value: String,
    },
    /// More bytes than there can be.
    #[error("the size {value} is greater than 8 EiB")]
    TooLarge {
        /// The value.
        value: String,
    },
}

/// The most digits before the unit. Twenty hold every number of 64 bits.
const DIGITS_MAX: usize = 40;

/// Reads an amount as a number of bytes. The units are powers of 1024, whatever their case, and
/// `B`, `iB` may stand behind them; a part of a byte is dropped.
pub fn parse(value: &str) -> Result<u64, SizeError> {
    let form = || SizeError::Form {
        value: value.chars().take(DIGITS_MAX).collect(),
    };
    let digits = value
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let (number, unit) = value.split_at(digits);
    if digits > DIGITS_MAX {
        return Err(form());
    }
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let power = match unit.strip_suffix('i').unwrap_or(unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(form()),
    };
    let factor = 1024_u128.pow(power);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.contains('.') || (number.contains('.') && part.is_empty()) {
        return Err(form());
    }
    // Exact, unlike a floating-point number: what is written is what is meant.
    let too_large = || SizeError::TooLarge {
        value: value.to_owned(),
    };
    let whole: u128 = whole.parse().map_err(|_| too_large())?;
    let mut bytes = whole.checked_mul(factor).ok_or_else(too_large)?;
    // Further digits change no whole byte of any unit above.
    let part = &part[..part.len().min(18)];
    if !part.is_empty() {
        let numerator: u128 = part.parse().map_err(|_| form())?;
        let denominator = 10_u128.pow(part.len() as u32);
        bytes += numerator * factor / denominator;
    }
    match u64::try_from(bytes) {
        Ok(bytes) if bytes <= i64::MAX as u64 => Ok(bytes),
        Ok(_) | Err(_) => Err(too_large()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        let check = |value: &str, expected: &str| {
            let found = match parse(value) {
                Ok(bytes) => bytes.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{value}");
        };
        check("0", "0");
        check("100", "100");
        check("100b", "100");
        check("64m", "67108864");
        check("64MB", "67108864");
        check("64MiB", "67108864");
        check("64 M", "67108864");
        check("1.5g", "1610612736");
        check("0.3k", "307");
        check("2t", "2199023255552");
        check("8191p", "9222246136947933184");
        check("8192p", "the size 8192p is greater than 8 EiB");
        check(
            "9999999999999999999999",
            "the size 9999999999999999999999 is greater than 8 EiB",
        );
        let form = |value: &str| {
            let message =
                "is not a size: expected a number of bytes, or one with k, m or g behind it";
            check(value, &format!("`{value}` {message}"));
        };
        for value in [
            "", "m", "-1", "+1", "1x", "1.", ".5g", "1.2.3", "1e3", "1 m m", "ib", "é",
        ] {
            form(value);
        }
    }
}
