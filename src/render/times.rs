//! When something was: for people, and for programs.

use std::time::{Duration, SystemTime};

/// `5 seconds ago`, `3 days ago`. What is in the future, by a clock that was set back, is now.
pub(crate) fn ago(time: SystemTime, now: SystemTime) -> String {
    const UNITS: [(u64, &str); 4] = [
        (24 * 60 * 60, "day"),
        (60 * 60, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let age = now.duration_since(time).unwrap_or(Duration::ZERO).as_secs();
    for (seconds, unit) in UNITS {
        let count = age / seconds;
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            return format!("{count} {unit}{plural} ago");
        }
    }
    "now".to_owned()
}

/// As RFC 3339 writes it, to the second.
pub(crate) fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let now = at(1_000_000);
        for (then, expected) in [
            (1_000_001, "now"),
            (1_000_000, "now"),
            (999_999, "1 second ago"),
            (999_900, "1 minute ago"),
            (990_000, "2 hours ago"),
            (100_000, "10 days ago"),
        ] {
            assert_eq!(ago(at(then), now), expected);
        }
        assert_eq!(stamp(at(86_400)), "1970-01-02T00:00:00Z");
    }
}
