//! Texts in the form in which BuildKit writes them into an image's history (I10, A11). Scanners
//! and people compare them, so they are rendered the same to the character: as Go prints values.

use oci::HealthcheckConfig;

/// `["/bin/sh" "-c" "make"]`: a list under Go's `%q`.
pub(super) fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(" "))
}

/// `[/data /log]`: a list under Go's `%v`.
pub(super) fn plain_list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// `&{["CMD" "true"] "30s" "0s" "0s" "0s" '\x03'}`: a pointer to the structure under Go's `%q`,
/// which quotes durations as texts and the number of retries as a character.
pub(super) fn healthcheck(check: &HealthcheckConfig) -> String {
    let HealthcheckConfig {
        test,
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
    } = check;
    let durations = [interval, timeout, start_period, start_interval];
    let durations = durations.map(|nanoseconds| quoted(&duration(*nanoseconds)));
    format!(
        "&{{{} {} {}}}",
        quoted_list(test),
        durations.join(" "),
        quoted_number(*retries)
    )
}

/// A number as Go's `%q` writes it: the character that it is the number of.
fn quoted_number(number: i64) -> String {
    let character = u32::try_from(number).ok().and_then(char::from_u32);
    let mut output = String::from('\'');
    push_escaped(
        &mut output,
        character.unwrap_or(char::REPLACEMENT_CHARACTER),
        '\'',
    );
    output.push('\'');
    output
}

/// A string as Go's `strconv.Quote` writes it.
fn quoted(text: &str) -> String {
    let mut output = String::from('"');
    for character in text.chars() {
        push_escaped(&mut output, character, '"');
    }
    output.push('"');
    output
}

fn push_escaped(output: &mut String, character: char, quote: char) {
    match character {
        '\\' => output.push_str("\\\\"),
        '\u{7}' => output.push_str("\\a"),
        '\u{8}' => output.push_str("\\b"),
        '\u{c}' => output.push_str("\\f"),
        '\n' => output.push_str("\\n"),
        '\r' => output.push_str("\\r"),
        '\t' => output.push_str("\\t"),
        '\u{b}' => output.push_str("\\v"),
        _ if character == quote => output.extend(['\\', quote]),
        ' '..='~' => output.push(character),
        '\0'..='\u{7f}' => output.push_str(&format!("\\x{:02x}", character as u32)),
        _ if is_printable(character) => output.push(character),
        '\u{80}'..='\u{ffff}' => output.push_str(&format!("\\u{:04x}", character as u32)),
        _ => output.push_str(&format!("\\U{:08x}", character as u32)),
    }
}

/// Behind another character, so that combining marks are not taken for unprintable ones.
fn is_printable(character: char) -> bool {
    let pair = format!("x{character}");
    pair.escape_debug().to_string() == pair
}

/// Nanoseconds as Go prints a `time.Duration`: `1h0m0s`, `1.5s`, `250ms`, `0s`.
fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let (unit_nanoseconds, unit) = match total {
        0 => return "0s".to_owned(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        1_000_000_000.. => (1_000_000_000, "s"),
    };
    let (whole, rest) = (total / unit_nanoseconds, total % unit_nanoseconds);
    let fraction = if rest == 0 {
        String::new()
    } else {
        let digits = unit_nanoseconds.ilog10() as usize;
        let text = format!("{rest:0digits$}");
        format!(".{}", text.trim_end_matches('0'))
    };
    if unit != "s" || whole < 60 {
        return format!("{sign}{whole}{fraction}{unit}");
    }
    let (minutes, seconds) = (whole / 60, whole % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    if hours == 0 {
        format!("{sign}{minutes}m{seconds}{fraction}s")
    } else {
        format!("{sign}{hours}h{minutes}m{seconds}{fraction}s")
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, quoted, quoted_number};

    #[test]
    fn durations_as_go_prints_them() {
        let check = |nanoseconds: i64, expected: &str| assert_eq!(duration(nanoseconds), expected);
        check(0, "0s");
        check(1, "1ns");
        check(1_500, "1.5µs");
        check(250_000_000, "250ms");
        check(1_500_000_000, "1.5s");
        check(90_000_000_000, "1m30s");
        check(3_600_000_000_000, "1h0m0s");
        check(60_000_000_001, "1m0.000000001s");
        check(-5_000_000_000, "-5s");
    }

    #[test]
    fn numbers_as_go_quotes_them() {
        let check = |number: i64, expected: &str| assert_eq!(quoted_number(number), expected);
        check(0, r"'\x00'");
        check(3, r"'\x03'");
        check(10, r"'\n'");
        check(34, r#"'"'"#);
        check(39, r"'\''");
        check(55_296, "'\u{fffd}'");
        check(i64::MAX, "'\u{fffd}'");
    }

    #[test]
    fn strings_as_go_quotes_them() {
        let check = |text: &str, expected: &str| assert_eq!(quoted(text), expected);
        check("a \"b\" \\", r#""a \"b\" \\""#);
        check("a\tb\n\u{1}\u{7f}", r#""a\tb\n\x01\x7f""#);
        check("é日e\u{301}", "\"é日e\u{301}\"");
        check("\u{a0}\u{200b}\u{e0001}", r#""\u00a0\u200b\U000e0001""#);
    }
}
