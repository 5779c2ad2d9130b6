//! Monotonic time, as the caller tells it.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment of one endpoint's monotonic clock, in microseconds since an epoch of its own choosing.
///
/// The core never reads a clock: every method that needs the time takes a `Time`. Two endpoints'
/// times are not comparable; [`ClockMap`](crate::recv::clock::ClockMap) maps one to the other.
/// Differences saturate at zero, so that a caller whose clock steps back does no harm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Time(u64);

impl Time {
    /// The epoch.
    pub const ZERO: Self = Self(0);
    /// Later than any other.
    pub(crate) const MAX: Self = Self(u64::MAX);

    /// The moment `micros` microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The moment `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1000)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The low 32 bits of the microseconds: a timestamp as it stands on the wire.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the wire carries the low bits"
    )]
    pub const fn wire(self) -> u32 {
        self.0 as u32
    }
}

/// Microseconds of `duration`, saturating.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(micros(rhs)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(micros(rhs)))
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(rhs.0))
    }
}
