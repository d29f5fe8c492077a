//! An access token and how long it is good.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::Secret;

/// A token is renewed when less than this is left of it: the metadata server has a new one by then,
/// and an upload that starts now does not outlive the old one at once.
const MARGIN_MAX: Duration = Duration::from_secs(4 * 60);
/// The part of a short life that is given up instead.
const MARGIN_PART: u32 = 4;
/// The longest life that is believed.
const LIFE_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// A token for Google's services. Never shown.
#[derive(Clone)]
pub struct AccessToken {
    text: Secret,
    asked: Instant,
    arrived: Instant,
    life: Duration,
}

impl AccessToken {
    /// A token that was asked for at `asked` and is good for `life`. Judged by our own monotonic
    /// clock, so that a wrong wall clock does not matter (R19).
    pub(crate) fn new(text: Secret, asked: Instant, life: Duration) -> Self {
        Self {
            text,
            asked,
            arrived: Instant::now(),
            life: life.min(LIFE_MAX),
        }
    }

    /// The token, for the moment in which it is sent.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// How long it is still good.
    pub fn time_left(&self) -> Duration {
        (self.asked + self.life).saturating_duration_since(Instant::now())
    }

    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Whether it is early enough to use it without a thought.
    pub(crate) fn is_fresh(&self) -> bool {
        self.time_left() > MARGIN_MAX.min(self.life / MARGIN_PART)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AccessToken(… {} s)", self.time_left().as_secs())
    }
}
