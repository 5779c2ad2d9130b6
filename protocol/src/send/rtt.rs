//! The round-trip time, from FEEDBACK (wire-format.md, section 5.3).

use std::time::Duration;

use crate::time::Time;
use crate::windowed_min::WindowedMin;

/// How long a least round-trip time stays valid: paths change.
const WINDOW: Duration = Duration::from_secs(10);

/// The least that variation counts for (RFC 9002, section 6.1.2).
const GRANULARITY: Duration = Duration::from_millis(1);

/// Estimates from samples of the round-trip time.
#[derive(Clone, Debug)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    least: WindowedMin,
    sampled: Option<Time>,
}

impl Default for Rtt {
    fn default() -> Self {
        Self {
            smoothed: None,
            variation: Duration::ZERO,
            least: WindowedMin::new(WINDOW),
            sampled: None,
        }
    }
}

impl Rtt {
    pub(crate) fn sample(&mut self, now: Time, rtt: Duration) {
        // Smoothing as in RFC 9002, section 5.3.
        match self.smoothed {
            None => (self.smoothed, self.variation) = (Some(rtt), rtt / 2),
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(rtt)) / 4;
                self.smoothed = Some((smoothed * 7 + rtt) / 8);
            }
        }
        self.least
            .push(now, i64::try_from(rtt.as_micros()).unwrap_or(i64::MAX));
        self.sampled = Some(now);
    }

    pub(crate) const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// Smoothed round-trip time and four times its variation: what all but few samples stay below.
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.smoothed
            .map(|smoothed| smoothed + (self.variation * 4).max(GRANULARITY))
    }

    /// The least of the ten seconds before `now`; the newest sample if there was none in them.
    pub(crate) fn least(&self, now: Time) -> Option<Duration> {
        self.least
            .at(now)
            .and_then(|us| u64::try_from(us).ok())
            .map(Duration::from_micros)
    }

    /// When the newest sample was taken.
    pub(crate) const fn sampled(&self) -> Option<Time> {
        self.sampled
    }

    /// How long to wait for an acknowledgement before sending again: the probe timeout of RFC 9002,
    /// section 6.2.1, 200 ms before the first sample.
    pub(crate) fn timeout(&self) -> Duration {
        let ack_delay = crate::recv::feedback::MAX_DELAY;
        self.longest()
            .map_or(Duration::from_millis(200), |longest| longest + ack_delay)
    }
}
