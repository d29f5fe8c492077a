//! The word of STOPSIGNAL (I8): a signal's name or number on Linux.

/// Why a word is no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a signal: expected a name such as SIGTERM or a number from 1 to 64")]
pub struct SignalError {
    /// The word.
    pub word: String,
}

/// The highest number of a signal (signal(7)).
const NUMBER_MAX: u8 = 64;

/// The first real-time signal that programs may use; the C library keeps two below it.
const REALTIME_MIN: u8 = 34;

const NAMES: [&str; 35] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN",
];

/// Whether a word names a signal: `SIGTERM`, `term`, `9`, `RTMIN+3`. The word itself, as written,
/// is what goes into the image configuration.
pub fn validate(word: &str) -> Result<(), SignalError> {
    let error = || SignalError {
        word: word.to_owned(),
    };
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: u8 = word.parse().map_err(|_| error())?;
        return if (1..=NUMBER_MAX).contains(&number) {
            Ok(())
        } else {
            Err(error())
        };
    }
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = |offset: &str| {
        offset
            .parse::<u8>()
            .is_ok_and(|offset| (1..=NUMBER_MAX - REALTIME_MIN).contains(&offset))
    };
    let known = NAMES.contains(&name)
        || name == "RTMAX"
        || name.strip_prefix("RTMIN+").is_some_and(realtime)
        || name.strip_prefix("RTMAX-").is_some_and(realtime);
    if known { Ok(()) } else { Err(error()) }
}

#[cfg(test)]
mod tests {
    use super::validate;

    #[test]
    fn signals() {
        for word in [
            "SIGTERM",
            "sigterm",
            "TERM",
            "9",
            "64",
            "SIGRTMIN+3",
            "RTMAX-2",
            "RTMIN",
            "WINCH",
        ] {
            assert!(validate(word).is_ok(), "{word}");
        }
        for word in [
            "",
            "0",
            "65",
            "-1",
            "SIGFOO",
            "SIG",
            "RTMIN+31",
            "RTMIN+",
            "999999999999",
        ] {
            assert!(validate(word).is_err(), "{word}");
        }
    }
}
