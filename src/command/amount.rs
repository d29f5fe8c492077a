//! Amounts of time and of bytes, as the flags of several verbs take them.

use std::time::Duration;

/// `90s`, `30m`, `12h`, `7d`, and what docker takes: `1h30m`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and s, m, h or d, such as 12h".to_owned();
    if let Some(days) = text.strip_suffix('d') {
        let days: u64 = days.parse().map_err(|_| expected())?;
        let seconds = days.checked_mul(24 * 60 * 60).ok_or_else(expected)?;
        return Ok(Duration::from_secs(seconds));
    }
    // A number alone means nothing: seconds to one, hours to another.
    if !text.ends_with(|last: char| last.is_ascii_alphabetic()) {
        return Err(expected());
    }
    let nanoseconds = dockerfile::duration::parse(text).map_err(|_| expected())?;
    let nanoseconds = u64::try_from(nanoseconds).map_err(|_| expected())?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// `1000`, `500MB`, `10GiB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let expected = || "expected a number of bytes, such as 500MB or 10GiB".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    number.checked_mul(factor).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(time("1h30m"), Ok(Duration::from_secs(5_400)));
        for wrong in [
            "",
            "7",
            "0",
            "d",
            "-1d",
            "-1h",
            "1é",
            "99999999999999999999d",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(bytes("1000"), Ok(1_000));
        assert_eq!(bytes("500MB"), Ok(500_000_000));
        assert_eq!(bytes("500m"), Ok(500_000_000));
        assert_eq!(bytes("10GiB"), Ok(10 << 30));
        for wrong in ["", "GB", "-1", "1.5GB", "1XB", "99999999999TiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
