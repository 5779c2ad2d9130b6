//! Clocks that disagree.

use std::time::Duration;

use tensorwire_protocol::Time;

/// One side's monotonic clock, as a function of the time of the simulation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// What it shows at the start.
    pub offset: Duration,
    /// How much faster than true time it runs, in parts per million.
    pub ppm: i64,
}

impl Clock {
    /// A clock that starts at `offset` and runs `ppm` parts per million fast.
    pub const fn new(offset: Duration, ppm: i64) -> Self {
        Self { offset, ppm }
    }

    /// What it shows at `now`.
    pub fn local(&self, now: Time) -> Time {
        let elapsed = i128::from(now.as_micros());
        let shown = elapsed + elapsed * i128::from(self.ppm) / 1_000_000;
        Time::from_micros(u64::try_from(shown).unwrap()) + self.offset
    }

    /// The earliest moment at which it shows `local` or later.
    pub fn global(&self, local: Time) -> Time {
        let shown = (local - Time::ZERO).saturating_sub(self.offset);
        let rate = u128::try_from(1_000_000 + self.ppm).unwrap();
        let micros = u64::try_from(shown.as_micros() * 1_000_000 / rate).unwrap();
        let mut now = Time::from_micros(micros.saturating_sub(1));
        while self.local(now) < local {
            now = now + Duration::from_micros(1);
        }
        now
    }
}
