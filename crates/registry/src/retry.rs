//! When to try again, and when to stop.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

/// How often a peer may ask for a pause before something moves again.
const PAUSES_MAX: u32 = 20;

/// Deadlines and pauses. The defaults are those of the reliability page of the
/// documentation; tests make all of them shorter.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Until the headers of an answer are there.
    pub headers: Duration,
    /// Until the answer to a request that ends an upload is there: the registry
    /// may have to move the whole blob.
    pub finish: Duration,
    /// Longest pause between two pieces of a body.
    pub idle: Duration,
    /// The time over which the rate is judged.
    pub rate_window: Duration,
    /// Fewest bytes per `rate_window`.
    pub rate_bytes_min: u64,
    /// First pause before a retry; it doubles, and a random part of it is taken.
    pub backoff: Duration,
    /// Longest pause of our own choosing.
    pub backoff_max: Duration,
    /// Longest pause that a `Retry-After` may ask for.
    pub retry_after_max: Duration,
    /// Attempts without progress before giving up.
    pub attempts_max: u32,
    /// Time without progress before giving up.
    pub progress_max: Duration,
    /// Length of a second of `Retry-After`; only tests change it.
    pub second: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            headers: Duration::from_secs(60),
            finish: Duration::from_secs(120),
            idle: Duration::from_secs(30),
            rate_window: Duration::from_secs(60),
            rate_bytes_min: 60 * 1024,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(5 * 60),
            attempts_max: 5,
            progress_max: Duration::from_secs(5 * 60),
            second: Duration::from_secs(1),
        }
    }
}

/// Statuses behind which the same request may succeed a little later.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// How much longer one operation may go on trying. What counts is progress, not
/// attempts: a transfer of many gigabytes may be interrupted often, one that
/// does not move may not.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    timing: &'a Timing,
    attempts_max: u32,
    failures: u32,
    total_failures: u32,
    /// Pauses that the peer asked for, since the last progress: their number
    /// and their sum. Whoever says when to come back is not failing, so they
    /// have bounds of their own.
    pauses: u32,
    paused: Duration,
    since: Instant,
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// Too many attempts, or too long a time, without progress.
    Attempts,
    /// The peer asks for a longer pause than is allowed.
    Pause(Duration),
}

impl<'a> Budget<'a> {
    pub(crate) fn new(timing: &'a Timing) -> Self {
        Self::with_attempts(timing, timing.attempts_max)
    }

    pub(crate) fn with_attempts(timing: &'a Timing, attempts_max: u32) -> Self {
        Self {
            timing,
            attempts_max,
            failures: 0,
            total_failures: 0,
            pauses: 0,
            paused: Duration::ZERO,
            since: Instant::now(),
        }
    }

    /// New bytes have been committed.
    pub(crate) fn progress(&mut self) {
        self.failures = 0;
        self.pauses = 0;
        self.paused = Duration::ZERO;
        self.since = Instant::now();
    }

    /// Attempts so far, the running one included.
    pub(crate) fn attempts(&self) -> u32 {
        self.total_failures + 1
    }

    /// Waits for the next attempt after a failure, or says why there is none.
    pub(crate) async fn failed(&mut self, retry_after: Option<Duration>) -> Result<(), Exhausted> {
        self.total_failures += 1;
        let pause = match retry_after {
            Some(pause) if pause > self.timing.retry_after_max => {
                return Err(Exhausted::Pause(pause));
            }
            Some(pause) => {
                self.pauses += 1;
                self.paused += pause;
                if self.pauses > PAUSES_MAX || self.paused > self.timing.retry_after_max {
                    return Err(Exhausted::Attempts);
                }
                // A pause that the peer asked for is not time in which nothing moves.
                self.since += pause;
                pause
            }
            None => {
                self.failures += 1;
                let too_long = self.since.elapsed() > self.timing.progress_max;
                if self.failures >= self.attempts_max || too_long {
                    return Err(Exhausted::Attempts);
                }
                self.backoff()
            }
        };
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Full jitter: anything between nothing and the doubled pause, so that
    /// clients that failed together do not come back together.
    fn backoff(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let ceiling = self
            .timing
            .backoff
            .saturating_mul(1 << doublings)
            .min(self.timing.backoff_max);
        ceiling.mul_f64(random_fraction())
    }
}

/// What `Retry-After` asks for (RFC 9110, section 10.2.3): seconds or a date.
/// Anything else counts as absent.
pub(crate) fn retry_after(headers: &HeaderMap, timing: &Timing) -> Option<Duration> {
    let text = headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit mean a pause that nobody will make.
        let seconds = text.parse::<u32>().unwrap_or(u32::MAX);
        return Some(timing.second.saturating_mul(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    // The peer's own clock says what the date means, ours may be wrong.
    let now = headers
        .get(http::header::DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .map_or_else(jiff::Timestamp::now, |date| date.timestamp());
    let seconds = (date.as_second() - now.as_second()).max(0);
    Some(
        timing
            .second
            .saturating_mul(u32::try_from(seconds).unwrap_or(u32::MAX)),
    )
}

/// A number in `[0, 1)` that is random enough for pauses: the standard library
/// seeds its hash maps from the kernel.
fn random_fraction() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::hash::RandomState::new().build_hasher().finish() >> 32;
    bits as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |text: &str, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(
                "date",
                "Wed, 21 Oct 2026 07:28:00 GMT".parse().expect("a value"),
            );
            headers.insert("retry-after", text.parse().expect("a value"));
            let found = retry_after(&headers, &Timing::default());
            assert_eq!(found.map(|pause| pause.as_secs()), expected, "{text}");
        };
        check("3", Some(3));
        check(" 20 ", Some(20));
        check("0", Some(0));
        check("1000000000", Some(1_000_000_000));
        check("99999999999999999999", Some(u64::from(u32::MAX)));
        check("Wed, 21 Oct 2026 07:28:30 GMT", Some(30));
        check("Wed, 21 Oct 2026 07:27:30 GMT", Some(0));
        check("soon", None);
        check("-1", None);
        check("1.5", None);
        check("", None);
    }

    #[tokio::test]
    async fn a_budget_counts_what_did_not_move() {
        let timing = Timing {
            backoff: Duration::from_micros(1),
            ..Timing::default()
        };
        let mut budget = Budget::new(&timing);
        for _ in 0..3 {
            for _ in 0..4 {
                assert_eq!(budget.failed(None).await, Ok(()));
            }
            budget.progress();
        }
        for _ in 0..4 {
            assert_eq!(budget.failed(None).await, Ok(()));
        }
        assert_eq!(budget.failed(None).await, Err(Exhausted::Attempts));
        let hour = Duration::from_secs(3600);
        assert_eq!(
            Budget::new(&timing).failed(Some(hour)).await,
            Err(Exhausted::Pause(hour))
        );
    }
}
