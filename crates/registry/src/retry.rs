//! When to try again, and when to stop.

use std::time::Duration;

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
