//! Which packets a report's silence tells to be lost (wire-format.md, section 8.5).

use std::time::Duration;

use super::sent::Acknowledged;
use crate::time::{Time, micros};
use crate::windowed_min::WindowedMin;

/// How long a packet that was wrongly taken for lost counts.
const WINDOW: Duration = Duration::from_secs(10);
/// Patience where no packet was wrongly taken for lost: a little less than the receiver's least
/// reordering window, after which it reports, so that its report is not wasted.
const LEAST: Duration = Duration::from_micros(900);
/// Samples that the spacing is the mean of.
const SAMPLES: u8 = 16;
/// Samples before which the mean is not trusted …
const TRUSTED: u8 = 8;
/// … and another spacing counts: that of 1,200 bytes at 1 Mbit/s.
const SPACING: Duration = Duration::from_millis(10);
/// Packets sent within this time left at once: behind a bottleneck it makes no difference.
const AT_ONCE: Duration = Duration::from_millis(1);
/// The most that patience becomes.
const MOST: Duration = Duration::from_millis(25);

/// The newest packet that a report tells of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newest {
    pub(crate) number: u64,
    pub(crate) sent: Time,
    /// From its arrival to the report.
    pub(crate) age: Duration,
}

/// How long after a packet those sent with it or after it arrive, as far as reports have told.
///
/// Round trips are no measure: the packets of a tensor leave at once and queue at the bottleneck, so
/// the last of them come later than the first by many packets' time. From one arrival to the next
/// it is one.
#[derive(Clone, Debug)]
pub(crate) struct Silence {
    /// Mean time from packet to packet that left at once, microseconds.
    spacing: f64,
    /// Of so many, of the newest [`SAMPLES`] at most.
    samples: u8,
    /// Patience after errors, microseconds below zero: the least is the greatest.
    patience: WindowedMin,
}

impl Default for Silence {
    fn default() -> Self {
        Self {
            spacing: 0.0,
            samples: 0,
            patience: WindowedMin::new(WINDOW),
        }
    }
}

impl Silence {
    /// Two packets of one report, the earlier first, with their ages.
    pub(crate) fn observe(&mut self, [before, after]: [(Acknowledged, Duration); 2]) {
        if after.0.at - before.0.at <= AT_ONCE && after.0.number > before.0.number {
            let apart = micros(before.1.saturating_sub(after.1)) as f64;
            let sample = apart / (after.0.number - before.0.number) as f64;
            self.samples = (self.samples + 1).min(SAMPLES);
            self.spacing += (sample - self.spacing) / f64::from(self.samples);
        }
    }

    /// A report tells of packets that had been taken for lost and were not. However many: they were late for one
    /// reason.
    pub(crate) fn was_wrong(&mut self, now: Time) {
        let more = micros(self.patience(now) * 2);
        self.patience
            .push(now, -i64::try_from(more).unwrap_or(i64::MAX));
    }

    fn patience(&self, now: Time) -> Duration {
        let most = self.patience.within(now).map_or(0, i64::unsigned_abs);
        Duration::from_micros(most).clamp(LEAST, MOST)
    }

    /// Whether a packet with this number, sent at `sent`, should have arrived before a report at `now`
    /// that tells of none newer than `newest`.
    ///
    /// That it was sent well before the newest is no sign, unlike in RACK (RFC 8985): behind a queue both
    /// arrive one after the other, however far apart they left.
    pub(crate) fn tells(&self, now: Time, newest: &Newest, number: u64, sent: Time) -> bool {
        let later = u32::try_from(number.saturating_sub(newest.number)).unwrap_or(u32::MAX);
        let queued = if self.samples < TRUSTED {
            SPACING * later
        } else {
            Duration::try_from_secs_f64(self.spacing * f64::from(later) / 1e6).unwrap_or(SPACING)
        };
        let apart = sent - newest.sent;
        // Behind a queue the time between two that left at once, or as fast as they arrive, does not come on
        // top.
        let later = if apart <= queued.max(AT_ONCE) {
            apart.max(queued)
        } else {
            apart + queued
        };
        newest.age >= later + self.patience(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::Cargo;

    const fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    const fn newest(age_millis: u64) -> Newest {
        Newest {
            number: 7,
            sent: at(0),
            age: Duration::from_millis(age_millis),
        }
    }

    fn half_millisecond_apart() -> Silence {
        let mut silence = Silence::default();
        let packet = |number| Acknowledged {
            number,
            at: at(0),
            cargo: Cargo::Other,
            size: 100,
            was_lost: false,
        };
        for _ in 0..100 {
            let ages = [5_000, 4_000].map(Duration::from_micros);
            silence.observe([(packet(1), ages[0]), (packet(3), ages[1])]);
        }
        silence
    }

    #[test]
    fn what_would_have_come_by_now_is_lost() {
        let silence = half_millisecond_apart();
        let tells = |age, number, sent| silence.tells(at(20), &newest(age), number, at(sent));
        assert!(
            !tells(2, 10, 0),
            "three packets take 1.5 ms, and 0.9 ms of patience"
        );
        assert!(tells(3, 10, 0));
        assert!(!tells(3, 10, 2), "sent two milliseconds later");
        assert!(tells(1, 6, 0), "sent before the newest");
    }

    #[test]
    fn errors_make_patient_for_a_while() {
        let mut silence = half_millisecond_apart();
        silence.was_wrong(at(0));
        silence.was_wrong(at(1));
        assert_eq!(silence.patience(at(2)), LEAST * 4);
        (0..20).for_each(|_| silence.was_wrong(at(3)));
        assert_eq!(silence.patience(at(4)), MOST);
    }
}
