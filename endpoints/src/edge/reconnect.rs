//! Coming back to a cloud that went away: when to try, and when to give up.

use std::time::Duration;

/// Whether an edge that loses its cloud tries to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Reconnect {
    /// It does not: the stream ends with an error.
    #[default]
    Never,
    /// It tries for so long, and skips frames meanwhile.
    For(Duration),
}

/// When to try again: pauses that grow from a tenth of a second to five, each by chance between half and
/// whole, so that the edges of a cloud that comes back do not all come at once.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    most: Duration,
    attempts: u32,
}

impl Backoff {
    /// The pause before the first attempt, at most.
    const FIRST: Duration = Duration::from_millis(100);
    /// The longest pause.
    const LONGEST: Duration = Duration::from_secs(5);

    /// Attempts for `most` in all.
    pub(super) const fn new(most: Duration) -> Self {
        let attempts = 0;
        Self { most, attempts }
    }

    /// Attempts so far.
    pub(super) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The pause before the next attempt; none if `elapsed` since the loss is too long. `chance` is any
    /// random number.
    pub(super) fn next(&mut self, elapsed: Duration, chance: u32) -> Option<Duration> {
        let left = self
            .most
            .checked_sub(elapsed)
            .filter(|left| !left.is_zero())?;
        let whole = Self::FIRST
            .saturating_mul(1 << self.attempts.min(10))
            .min(Self::LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        let share = 0.5 + 0.5 * f64::from(chance) / f64::from(u32::MAX);
        Some(whole.mul_f64(share).min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_are_bounded_and_end(chances in prop::collection::vec(any::<u32>(), 1..400), most in 1..600_u64) {
            let most = Duration::from_secs(most);
            let (mut backoff, mut elapsed) = (Backoff::new(most), Duration::ZERO);
            let mut chances = chances.iter().cycle();
            // Attempts that take no time are the most that there can be.
            for n in 0_u32.. {
                let Some(pause) = backoff.next(elapsed, *chances.next().unwrap()) else { break };
                let whole = Duration::from_millis(100 << n.min(6)).min(Duration::from_secs(5));
                prop_assert!(pause <= whole);
                prop_assert!(pause >= whole / 2 || elapsed + pause == most);
                elapsed += pause;
                prop_assert!(elapsed <= most);
                prop_assert!(n < 250);
            }
            prop_assert_eq!(elapsed, most);
        }
    }

    #[test]
    fn nothing_is_tried_when_the_time_is_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        assert_eq!(backoff.next(Duration::from_secs(1), 0), None);
        assert_eq!(backoff.attempts(), 0);
        assert_eq!(Backoff::new(Duration::ZERO).next(Duration::ZERO, 0), None);
    }
}
