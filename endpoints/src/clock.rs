//! The clock that sessions count by.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tensorwire_protocol::Time;

/// The monotonic clock of this process, as the protocol counts time.
///
/// Copies share the epoch, so that times of endpoints in one process can be compared.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }

    /// When this clock showed zero, by the wall clock as it is set now: nanoseconds since 1970 in UTC.
    #[must_use]
    pub fn origin_ns(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let origin = wall
            .unwrap_or_default()
            .saturating_sub(self.epoch.elapsed());
        u64::try_from(origin.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Ready when this clock shows `time`; never where there is none.
    pub async fn sleep_until(&self, time: Option<Time>) {
        match time {
            Some(time) => {
                let instant = self.epoch + (time - Time::ZERO);
                tokio::time::sleep_until(tokio::time::Instant::from_std(instant)).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// A duration in milliseconds, to the microsecond, for people and files.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}
